//! The answers of DescribeConfigs for a broker, a topic or a group: every key, its value, the source of the value, and
//! the other values that it overrides. It must never show a secret.

use std::collections::BTreeMap;

use super::broker::BrokerConfig;
use super::key::{ConfigKey, Kind, Scope, UpdateMode};
use super::layers::{Layers, Source};
use super::rules::{governing_key, overridden_name};
use super::table::{BROKER_KEYS, CLIENT_METRICS_KEYS, GROUP_KEYS, TOPIC_KEYS, broker_key};
use super::topic::effective;

/// One key of a resource. `synonyms` begin with the value in force; weaker sources follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedConfig {
    pub name: String,
    /// `None`: the value is null, or it is a secret.
    pub value: Option<String>,
    /// Kafka's code of [`Source`].
    pub source: i8,
    pub read_only: bool,
    pub sensitive: bool,
    pub is_default: bool,
    /// Kafka's code of the type; 0: Kafka has no such key.
    pub kind: i8,
    pub doc: &'static str,
    pub synonyms: Vec<DescribedSynonym>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedSynonym {
    pub name: String,
    pub value: Option<String>,
    pub source: i8,
}

/// Every broker key by name, and everything else that was set for this broker. Internal and dynamic-only keys are listed
/// only if they are set. Names that Kafka does not know are listed without their values.
pub fn describe_broker(config: &BrokerConfig) -> Vec<DescribedConfig> {
    let layers = config.layers();
    let always =
        BROKER_KEYS.iter().filter(|key| key.scope == Scope::Broker && !key.internal).map(|key| key.name);
    let mut names = layers.names();
    names.extend(always);
    names.into_iter().map(|name| broker_entry(config, name, |_| true)).collect()
}

/// The dynamic values for all brokers: the answer for the broker resource without a name.
pub fn describe_cluster_default(config: &BrokerConfig) -> Vec<DescribedConfig> {
    let only = |source: i8| source == Source::DynamicDefaultBroker.code();
    let described = |(name, text): (&String, &String)| {
        let mut entry = broker_entry(config, name, only);
        entry.value = (!entry.sensitive).then(|| text.clone());
        entry
    };
    config.layers().dynamic_default.iter().map(described).collect()
}

/// Every topic key by name, for a topic with these overrides.
pub fn describe_topic(broker: &BrokerConfig, overrides: &BTreeMap<String, String>) -> Vec<DescribedConfig> {
    describe_resource(broker.layers(), TOPIC_KEYS, Source::TopicConfig, overrides)
}

/// Every group key by name, for a group with these overrides.
pub fn describe_group(broker: &BrokerConfig, overrides: &BTreeMap<String, String>) -> Vec<DescribedConfig> {
    describe_resource(broker.layers(), GROUP_KEYS, Source::Group, overrides)
}

/// Every key of a client metrics subscription.
pub fn describe_client_metrics(overrides: &BTreeMap<String, String>) -> Vec<DescribedConfig> {
    describe_resource(&Layers::default(), CLIENT_METRICS_KEYS, Source::ClientMetrics, overrides)
}

fn describe_resource(
    layers: &Layers,
    keys: &'static [ConfigKey],
    own_source: Source,
    overrides: &BTreeMap<String, String>,
) -> Vec<DescribedConfig> {
    let mut keys: Vec<_> =
        keys.iter().filter(|key| !key.internal || overrides.contains_key(key.name)).collect();
    keys.sort_by_key(|key| key.name);
    let described = keys.into_iter().map(|key| {
        // A value that cannot be parsed was never accepted. If there is one, it is shown as it is, and the request does
        // not fail.
        let value = match effective(layers, overrides, key) {
            Ok((value, _)) => value.map(|value| value.to_text()),
            Err(_) => overrides.get(key.name).cloned(),
        };
        let own = overrides.contains_key(key.name).then(|| DescribedSynonym {
            name: key.name.to_owned(),
            value: value.clone(),
            source: own_source.code(),
        });
        let chain = match key.broker_synonyms.first() {
            Some(first) => synonyms(layers, first.name, false),
            None if key.scope == Scope::Group => own_default(key).into_iter().collect(),
            None => Vec::new(),
        };
        let synonyms: Vec<_> = own.into_iter().chain(chain).collect();
        let source = strongest(&synonyms);
        DescribedConfig {
            name: key.name.to_owned(),
            value,
            source,
            read_only: false,
            sensitive: key.sensitive,
            is_default: source == Source::Default.code(),
            kind: key.kind.code(),
            doc: key.doc,
            synonyms,
        }
    });
    described.collect()
}

fn broker_entry(config: &BrokerConfig, name: &str, counts: impl Fn(i8) -> bool) -> DescribedConfig {
    let layers = config.layers();
    let key = governing_key(name);
    let sensitive = key.is_none_or(|key| key.kind == Kind::Password);
    let value = match config.get(name) {
        Some(found) => found.value.map(|value| value.to_text()),
        None => layers.text(name).map(|(text, _)| text.to_owned()),
    };
    let mut synonyms = synonyms(layers, name, sensitive);
    synonyms.retain(|synonym| counts(synonym.source));
    let source = strongest(&synonyms);
    let dynamic = broker_key(name).is_some_and(|key| key.update_mode != UpdateMode::ReadOnly);
    DescribedConfig {
        name: name.to_owned(),
        value: value.filter(|_| !sensitive),
        source,
        read_only: !dynamic,
        sensitive,
        is_default: source == Source::Default.code(),
        kind: key.map_or(0, |key| key.kind.code()),
        doc: broker_key(name).map_or("", |key| key.doc),
        synonyms,
    }
}

// A group key without a broker key behind it lists its own default as a synonym.
fn own_default(key: &ConfigKey) -> Option<DescribedSynonym> {
    let value = Some(key.default_value()?.to_text());
    Some(DescribedSynonym { name: key.name.to_owned(), value, source: Source::Default.code() })
}

fn strongest(synonyms: &[DescribedSynonym]) -> i8 {
    synonyms.first().map_or(Source::Default.code(), |synonym| synonym.source)
}

// Sorted by source and then by name, as in Kafka. Entries before the key's own name override other keys of the chain, and
// are left out.
fn synonyms(layers: &Layers, name: &str, sensitive: bool) -> Vec<DescribedSynonym> {
    let chain = chain(name);
    let mut found = Vec::new();
    let entry = |name: &str, text: &str, source: Source| DescribedSynonym {
        name: name.to_owned(),
        value: (!sensitive).then(|| text.to_owned()),
        source: source.code(),
    };
    for (source, values) in layers.each() {
        let set = chain.iter().filter_map(|name| Some(entry(name, values.get(*name)?, source)));
        found.extend(set);
    }
    let default =
        |name: &&str| Some(entry(name, &broker_key(name)?.default_value()?.to_text(), Source::Default));
    found.extend(chain.iter().filter_map(default));
    let own = found.iter().position(|synonym| synonym.name == name).unwrap_or(found.len());
    found.split_off(own)
}

/// The keys that can replace one another, strongest first.
fn chain(name: &str) -> Vec<&str> {
    match CHAINS.iter().find(|chain| chain.contains(&name)) {
        // `log.flush.scheduler.interval.ms` is a default for `log.flush.interval.ms`, but not the other way round.
        Some(chain) if name != "log.flush.scheduler.interval.ms" => chain.to_vec(),
        Some(_) => vec![name],
        None => std::iter::once(name).chain(overridden_name(name)).collect(),
    }
}

const CHAINS: [&[&str]; 4] = [
    &["log.roll.ms", "log.roll.hours"],
    &["log.roll.jitter.ms", "log.roll.jitter.hours"],
    &["log.retention.ms", "log.retention.minutes", "log.retention.hours"],
    &["log.flush.interval.ms", "log.flush.scheduler.interval.ms"],
];
