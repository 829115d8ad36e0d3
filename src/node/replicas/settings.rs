//! Which settings count for a topic and for this broker. What another version or Apache Kafka has stored may be nothing
//! for this one: that is ignored with a note, and the rest still counts. It must never know what a setting does.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_model::TopicName;
use ottla_model::config::{
    BrokerConfig, ConfigError, Dynamic, DynamicScope, TopicConfig, check_dynamic_config, check_topic_config,
};
use ottla_model::image::Image;
use ottla_model::record::ResourceType;

use super::{Action, Note};

/// What a topic runs with. Settings that are not valid must not keep it offline.
pub(super) fn of_topic(
    config: &BrokerConfig,
    image: &Image,
    topic: &TopicName,
    out: &mut Vec<Action>,
) -> Arc<TopicConfig> {
    let mut overrides = image.configs(ResourceType::Topic, topic).cloned().unwrap_or_default();
    keep_valid(&mut overrides, check_topic_config, |error| {
        out.push(Action::Note(Note::TopicSettingIgnored(topic.clone(), error)));
    });
    let resolved = TopicConfig::resolve(config, &overrides).or_else(|error| {
        out.push(Action::Note(Note::TopicSettingsIgnored(topic.clone(), error)));
        TopicConfig::resolve(config, &BTreeMap::new())
    });
    Arc::new(resolved.unwrap_or_else(|_| config.topic_defaults.clone()))
}

/// What the metadata lays over the configuration that this broker was started with (KIP-226). `None`: that cannot be
/// applied.
pub(super) fn of_broker(
    started_with: &BrokerConfig,
    image: &Image,
    out: &mut Vec<Action>,
) -> Option<BrokerConfig> {
    let of = |name: &str| image.configs(ResourceType::Broker, name).cloned().unwrap_or_default();
    let (mut per_broker, mut cluster_default) = (of(&started_with.node_id.to_string()), of(""));
    let whole = Dynamic { per_broker: &per_broker, cluster_default: &cluster_default };
    if let Ok(config) = started_with.with_dynamic(whole) {
        return Some(config);
    }
    for (settings, scope) in
        [(&mut per_broker, DynamicScope::OneBroker), (&mut cluster_default, DynamicScope::AllBrokers)]
    {
        let check = |name: &str, value: &str| check_dynamic_config(name, value, scope);
        keep_valid(settings, check, |error| out.push(Action::Note(Note::BrokerSettingIgnored(error))));
    }
    let rest = Dynamic { per_broker: &per_broker, cluster_default: &cluster_default };
    match started_with.with_dynamic(rest) {
        Ok(config) => Some(config),
        Err(error) => {
            out.push(Action::Note(Note::BrokerSettingsIgnored(error)));
            None
        }
    }
}

fn keep_valid(
    settings: &mut BTreeMap<String, String>,
    check: impl Fn(&str, &str) -> Result<(), ConfigError>,
    mut ignored: impl FnMut(ConfigError),
) {
    settings.retain(|name, value| check(name, value).map_err(&mut ignored).is_ok());
}
