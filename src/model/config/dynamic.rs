//! The checks of a configuration change while brokers run (KIP-226): for one broker or all of them, for a group, for a
//! client metrics subscription. It must never know what is stored: it gets the values as they would be after the change.

use std::collections::BTreeMap;

use super::broker::BrokerConfig;
use super::error::ConfigError;
use super::java;
use super::key::{ConfigKey, Kind};
use super::layers::{Dynamic, checked};
use super::rules::{DynamicScope, check_dynamic_config};
use super::table::{broker_key, client_metrics_key, group_key, topic_key};
use super::value::Value;
use crate::record::ResourceType;

/// The row of a key that is a list, to which a change can append. `None`: the key is something else.
pub fn list_key(kind: ResourceType, name: &str) -> Option<&'static ConfigKey> {
    let key = match kind {
        ResourceType::Topic => topic_key(name),
        ResourceType::Broker => broker_key(name),
        // Kafka's controller does not know which of these keys are lists.
        ResourceType::Group | ResourceType::ClientMetrics | ResourceType::BrokerLogger => None,
    };
    key.filter(|key| key.kind == Kind::List)
}

/// Checks everything that would be set for one broker or for all of them, as a broker does before it asks the controller.
/// `running` is the broker's present configuration, `others` are the values of the other one of the two scopes.
pub fn check_broker_change(
    running: &BrokerConfig,
    scope: DynamicScope,
    values: &BTreeMap<String, String>,
    others: &BTreeMap<String, String>,
) -> Result<(), ConfigError> {
    for (name, value) in values {
        if PER_LISTENER.contains(&name.as_str()) {
            let why = "it is set for one listener, behind listener.name.<listener>.";
            return Err(ConfigError::NotDynamic { key: name.clone(), why });
        }
        check_dynamic_config(name, value, scope)?;
    }
    let dynamic = match scope {
        DynamicScope::OneBroker => Dynamic { per_broker: values, cluster_default: others },
        DynamicScope::AllBrokers => Dynamic { per_broker: others, cluster_default: values },
    };
    let then = running.with_dynamic(dynamic)?;
    if then.listeners != running.listeners || then.advertised_listeners != running.advertised_listeners {
        let why = "listeners are opened and closed only at a restart yet";
        return Err(ConfigError::NotDynamic { key: "listeners".to_owned(), why });
    }
    THREADS.iter().try_for_each(|key| check_threads(key, running.whole(key), then.whole(key)))
}

// As in Kafka, one change may at most double or halve a pool.
fn check_threads(key: &str, now: i64, then: i64) -> Result<(), ConfigError> {
    let rule = if then == now {
        return Ok(());
    } else if then < 1 {
        "must be 1 or more".to_owned()
    } else if then < now / 2 {
        format!("must be at least half of the present {now}")
    } else if then > now * 2 {
        format!("must be at most twice the present {now}")
    } else {
        return Ok(());
    };
    Err(ConfigError::conflict(key, then, rule))
}

/// Checks everything that would be set for a group: each value, the bounds that the broker's configuration sets, and that
/// the session timeout is longer than the heartbeat interval.
pub fn check_group(broker: &BrokerConfig, values: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    let mut set = BTreeMap::new();
    for (name, text) in values {
        let key = group_key(name).ok_or_else(|| ConfigError::UnknownGroupKey(name.clone()))?;
        set.insert(key.name, checked(key, text)?);
    }
    if let Some(tags) = values.get(TAGS).filter(|tags| java::has_duplicates(tags)) {
        // Kafka refuses duplicates in this list. In a topic's list and in a file it only removes them.
        return Err(ConfigError::conflict(TAGS, tags, "must not name a tag twice"));
    }
    let whole = |name: &str| set.get(name).and_then(Value::as_whole);
    for (name, least, most) in BOUNDS {
        let Some(value) = whole(name) else { continue };
        let least = least.map(|key| (key, broker.whole(key)));
        let most = most.map(|key| (key, broker.whole(key)));
        if let Some((key, least)) = least.filter(|(_, least)| value < *least) {
            return Err(ConfigError::conflict(
                name,
                value,
                format!("must be at least {key}, which is {least}"),
            ));
        }
        if let Some((key, most)) = most.filter(|(_, most)| value > *most) {
            return Err(ConfigError::conflict(
                name,
                value,
                format!("must be at most {key}, which is {most}"),
            ));
        }
    }
    if let Some(Value::String(name)) = set.get("streams.assignor.name")
        && !broker.list("group.streams.assignors").contains(name)
    {
        let rule = "must be one of group.streams.assignors";
        return Err(ConfigError::conflict("streams.assignor.name", name, rule));
    }
    for (session, heartbeat) in SESSIONS {
        let effective = |name: &str| whole(name).unwrap_or_else(|| broker.whole(&format!("group.{name}")));
        if (whole(session).is_some() || whole(heartbeat).is_some())
            && effective(session) <= effective(heartbeat)
        {
            let rule = format!("must be above {heartbeat}, which is {}", effective(heartbeat));
            return Err(ConfigError::conflict(session, effective(session), rule));
        }
    }
    match set.get("errors.deadletterqueue.topic.name") {
        Some(Value::String(topic)) if topic.starts_with("__") => {
            let rule = "must not begin with __, as internal topics do";
            Err(ConfigError::conflict("errors.deadletterqueue.topic.name", topic, rule))
        }
        _ => Ok(()),
    }
}

/// Checks everything that would be set for a client metrics subscription.
pub fn check_client_metrics(values: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    for name in values.keys() {
        client_metrics_key(name).ok_or_else(|| ConfigError::UnknownClientMetricsKey(name.clone()))?;
    }
    for (name, text) in values {
        let Some(key) = client_metrics_key(name) else { continue };
        match checked(key, text)? {
            Value::Int(ms) if !(100..=3_600_000).contains(&ms) => {
                return Err(ConfigError::OutOfRange {
                    key: name.clone(),
                    value: ms.into(),
                    min: 100,
                    max: 3_600_000,
                });
            }
            Value::List(patterns) if name == "match" => {
                let known = |pattern: &&String| {
                    let mut parts = pattern.split('=');
                    let what = parts.next().unwrap_or_default().trim();
                    let pattern = parts.next().is_some_and(|pattern| !pattern.is_empty());
                    !(CLIENT_TRAITS.contains(&what) && pattern && parts.next().is_none())
                };
                if let Some(pattern) = patterns.iter().find(known) {
                    let allowed = format!("name=pattern, with one of the names {}", CLIENT_TRAITS.join(", "));
                    return Err(ConfigError::invalid(name, pattern, allowed));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

const TAGS: &str = "streams.rack.aware.assignment.tags";

/// Keys that Kafka allows to be changed only with a listener's prefix.
const PER_LISTENER: [&str; 10] = [
    "ssl.keystore.type",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.keystore.key",
    "ssl.keystore.certificate.chain",
    "ssl.key.password",
    "ssl.truststore.type",
    "ssl.truststore.location",
    "ssl.truststore.password",
    "ssl.truststore.certificates",
];

const THREADS: [&str; 6] = [
    "background.threads",
    "log.cleaner.threads",
    "num.io.threads",
    "num.network.threads",
    "num.recovery.threads.per.data.dir",
    "num.replica.fetchers",
];

/// A group key, and the broker keys with its lower and its upper bound.
const BOUNDS: &[(&str, Option<&str>, Option<&str>)] = &[
    (
        "consumer.heartbeat.interval.ms",
        Some("group.consumer.min.heartbeat.interval.ms"),
        Some("group.consumer.max.heartbeat.interval.ms"),
    ),
    (
        "consumer.session.timeout.ms",
        Some("group.consumer.min.session.timeout.ms"),
        Some("group.consumer.max.session.timeout.ms"),
    ),
    (
        "consumer.assignment.interval.ms",
        Some("group.consumer.min.assignment.interval.ms"),
        Some("group.consumer.max.assignment.interval.ms"),
    ),
    (
        "share.heartbeat.interval.ms",
        Some("group.share.min.heartbeat.interval.ms"),
        Some("group.share.max.heartbeat.interval.ms"),
    ),
    (
        "share.session.timeout.ms",
        Some("group.share.min.session.timeout.ms"),
        Some("group.share.max.session.timeout.ms"),
    ),
    (
        "share.record.lock.duration.ms",
        Some("group.share.min.record.lock.duration.ms"),
        Some("group.share.max.record.lock.duration.ms"),
    ),
    (
        "share.delivery.count.limit",
        Some("group.share.min.delivery.count.limit"),
        Some("group.share.max.delivery.count.limit"),
    ),
    (
        "share.partition.max.record.locks",
        Some("group.share.min.partition.max.record.locks"),
        Some("group.share.max.partition.max.record.locks"),
    ),
    (
        "share.assignment.interval.ms",
        Some("group.share.min.assignment.interval.ms"),
        Some("group.share.max.assignment.interval.ms"),
    ),
    (
        "streams.heartbeat.interval.ms",
        Some("group.streams.min.heartbeat.interval.ms"),
        Some("group.streams.max.heartbeat.interval.ms"),
    ),
    (
        "streams.session.timeout.ms",
        Some("group.streams.min.session.timeout.ms"),
        Some("group.streams.max.session.timeout.ms"),
    ),
    ("streams.num.standby.replicas", None, Some("group.streams.max.standby.replicas")),
    (
        "streams.assignment.interval.ms",
        Some("group.streams.min.assignment.interval.ms"),
        Some("group.streams.max.assignment.interval.ms"),
    ),
    ("streams.task.offset.interval.ms", Some("group.streams.min.task.offset.interval.ms"), None),
    ("streams.num.warmup.replicas", None, Some("group.streams.max.warmup.replicas")),
];

const SESSIONS: [(&str, &str); 3] = [
    ("consumer.session.timeout.ms", "consumer.heartbeat.interval.ms"),
    ("share.session.timeout.ms", "share.heartbeat.interval.ms"),
    ("streams.session.timeout.ms", "streams.heartbeat.interval.ms"),
];

const CLIENT_TRAITS: [&str; 6] = [
    "client_instance_id",
    "client_id",
    "client_software_name",
    "client_software_version",
    "client_source_address",
    "client_source_port",
];
