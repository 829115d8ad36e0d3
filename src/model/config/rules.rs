//! The checks of a whole configuration: keys that must be set, keys that must not, and keys that must agree. It must
//! never check a single value: its row does.

use std::collections::BTreeMap;

use super::broker::{BrokerConfig, take};
use super::error::{ConfigError, shown};
use super::java;
use super::key::{ConfigKey, Support, UpdateMode, Valid};
use super::layers::{Layers, checked};
use super::quorum;
use super::table::{BROKER_KEYS, broker_key};

/// Whether a dynamic configuration is for one broker or for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DynamicScope {
    OneBroker,
    AllBrokers,
}

/// Checks a change of one broker setting, as AlterConfigs does. Names that Kafka does not know are accepted, as in Kafka:
/// they may belong to a plug-in.
pub fn check_dynamic_config(name: &str, value: &str, scope: DynamicScope) -> Result<(), ConfigError> {
    let Some(key) = governing_key(name) else { return Ok(()) };
    let fixed = |why| Err(ConfigError::NotDynamic { key: name.to_owned(), why });
    match key.update_mode {
        UpdateMode::ReadOnly => return fixed("it only changes at a restart"),
        UpdateMode::PerBroker if scope == DynamicScope::AllBrokers => {
            return fixed("it is set for one broker");
        }
        _ => checked(key, value)?,
    };
    // In a file, Kafka removes the duplicates of such a list; in a change, it refuses them.
    if matches!(key.valid, Valid::Items { .. }) && java::has_duplicates(value) {
        return Err(ConfigError::conflict(name, value, "must not name an item twice"));
    }
    refuse(name, key, value)
}

/// The row for a name: its own, or for `listener.name.x.y` the row of `y`.
pub(super) fn governing_key(name: &str) -> Option<&'static ConfigKey> {
    broker_key(name).or_else(|| broker_key(overridden_name(name)?))
}

/// `max.connections` of `listener.name.x.max.connections`, and `sasl.jaas.config` of
/// `listener.name.x.plain.sasl.jaas.config`.
pub(super) fn overridden_name(name: &str) -> Option<&str> {
    let (_listener, rest) = name.strip_prefix("listener.name.")?.split_once('.')?;
    let per_mechanism = PER_MECHANISM.iter().find(|base| rest.ends_with(*base));
    Some(per_mechanism.copied().unwrap_or(rest))
}

pub(super) fn dynamic_only(values: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let fixed = |name: &str| broker_key(name).is_some_and(|key| key.update_mode == UpdateMode::ReadOnly);
    values
        .iter()
        .filter(|(name, _)| !fixed(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Checks that every value has the form that its row asks for, and that keys without a default are set.
pub(super) fn check_required(layers: &Layers) -> Result<(), ConfigError> {
    for (_, values) in layers.each() {
        for (name, text) in values {
            if let Some(key) = governing_key(name) {
                checked(key, text)?;
            }
        }
    }
    match BROKER_KEYS.iter().find(|key| key.required && !layers.is_set(key.name)) {
        Some(key) => Err(ConfigError::Missing { key: key.name, allowed: key.allowed() }),
        None => Ok(()),
    }
}

/// Fail closed: a setting stops the start if it promises protection and would be silently ignored.
pub(super) fn check_refused(layers: &Layers) -> Result<(), ConfigError> {
    for (_, values) in layers.each() {
        for (name, text) in values {
            if let Some(key) = governing_key(name) {
                refuse(name, key, text)?;
            }
        }
    }
    Ok(())
}

fn refuse(name: &str, key: &ConfigKey, text: &str) -> Result<(), ConfigError> {
    let Support::Refused(why) = key.support else { return Ok(()) };
    let off = text.trim().is_empty() || key.parse(text).ok() == key.default_value();
    if off { Ok(()) } else { Err(ConfigError::refused(name, &shown(key, text), why)) }
}

pub(super) fn check_together(config: &BrokerConfig) -> Result<(), ConfigError> {
    check_identity(config)?;
    quorum::check(config)?;
    check_log(config)?;
    check_sockets(config)?;
    check_groups(config)?;
    for (low, high) in AT_MOST {
        let (low_value, high_value) = (config.whole(low), config.whole(high));
        if low_value > high_value {
            let rule = format!("must not exceed {high}, which is {high_value}");
            return Err(ConfigError::conflict(low, low_value, rule));
        }
    }
    for (low, high) in BELOW {
        let (low_value, high_value) = (config.whole(low), config.whole(high));
        if low_value >= high_value {
            let rule = format!("must be below {high}, which is {high_value}");
            return Err(ConfigError::conflict(low, low_value, rule));
        }
    }
    Ok(())
}

fn check_identity(config: &BrokerConfig) -> Result<(), ConfigError> {
    let broker_id = config.whole("broker.id");
    if broker_id != i64::from(config.node_id.0) {
        let rule = format!("must be the same as node.id, which is {}; leave it out", config.node_id);
        return Err(ConfigError::conflict("broker.id", broker_id, rule));
    }
    Ok(())
}

fn check_log(config: &BrokerConfig) -> Result<(), ConfigError> {
    let topics = &config.topic_defaults;
    let set_by = |keys: &[&'static str]| {
        *keys.iter().find(|key| config.layers().is_set(key)).unwrap_or(&keys[keys.len() - 1])
    };
    if topics.segment_ms < 1 {
        let key = set_by(&["log.roll.ms", "log.roll.hours"]);
        return Err(ConfigError::conflict(key, config.whole(key), "must be 1 or more"));
    }
    if topics.segment_jitter_ms < 0 {
        let key = set_by(&["log.roll.jitter.ms", "log.roll.jitter.hours"]);
        return Err(ConfigError::conflict(key, config.whole(key), "must be 0 or more"));
    }
    if topics.retention_ms == 0 {
        let key = set_by(&["log.retention.ms", "log.retention.minutes", "log.retention.hours"]);
        return Err(ConfigError::conflict(key, 0, "must be 1 or more, or -1 to keep records for ever"));
    }
    let dedupe = config.whole("log.cleaner.dedupe.buffer.size");
    let threads = i64::from(config.log_cleaner_threads.max(1));
    if dedupe / threads <= 1 << 20 {
        let rule = format!("must be more than 1 MiB for each of {threads} log.cleaner.threads");
        return Err(ConfigError::conflict("log.cleaner.dedupe.buffer.size", dedupe, rule));
    }
    check_cordoned(config)
}

fn check_cordoned(config: &BrokerConfig) -> Result<(), ConfigError> {
    let cordoned = config.list("cordoned.log.dirs");
    let known = |dir: &String| config.log_dirs.iter().any(|known| known.as_os_str() == dir.as_str());
    let all = cordoned == ["*"];
    match cordoned.iter().find(|dir| !known(dir)) {
        Some(dir) if !all => {
            Err(ConfigError::conflict("cordoned.log.dirs", dir, "must be one of log.dirs, or * alone"))
        }
        _ => Ok(()),
    }
}

fn check_sockets(config: &BrokerConfig) -> Result<(), ConfigError> {
    let queued = config.queued_max_request_bytes;
    if queued > 0 && queued < i64::from(config.socket_request_max_bytes) {
        let rule = format!(
            "must be at least socket.request.max.bytes, which is {}",
            config.socket_request_max_bytes
        );
        return Err(ConfigError::conflict("queued.max.request.bytes", queued, rule));
    }
    if config.max_connections_per_ip == 0 && config.max_connections_per_ip_overrides.is_empty() {
        let rule = "may only be 0 together with max.connections.per.ip.overrides";
        return Err(ConfigError::conflict("max.connections.per.ip", 0, rule));
    }
    let delay = config.whole("connection.failed.authentication.delay.ms");
    if config.connections_max_idle_ms >= 0 && delay >= config.connections_max_idle_ms {
        let rule =
            format!("must be below connections.max.idle.ms, which is {}", config.connections_max_idle_ms);
        return Err(ConfigError::conflict("connection.failed.authentication.delay.ms", delay, rule));
    }
    let early: Option<Vec<String>> = take(config.layers(), "early.start.listeners")?;
    let known =
        |name: &String| config.listeners.iter().any(|listener| listener.name.eq_ignore_ascii_case(name));
    match early.unwrap_or_default().iter().find(|name| !known(name)) {
        Some(name) => {
            Err(ConfigError::conflict("early.start.listeners", name, "must be a name in listeners"))
        }
        None => Ok(()),
    }
}

fn check_groups(config: &BrokerConfig) -> Result<(), ConfigError> {
    let protocols = config.list("group.coordinator.rebalance.protocols");
    if !protocols.iter().any(|protocol| protocol == "classic") {
        let rule = "must have classic";
        return Err(ConfigError::conflict(
            "group.coordinator.rebalance.protocols",
            protocols.join(","),
            rule,
        ));
    }
    let assignors = config.list("group.share.assignors");
    if assignors.len() != 1 {
        let rule = "must be exactly one assignor";
        return Err(ConfigError::conflict("group.share.assignors", assignors.join(","), rule));
    }
    Ok(())
}

/// Settings that a listener can have once for each SASL mechanism.
const PER_MECHANISM: [&str; 5] = [
    "sasl.jaas.config",
    "sasl.login.callback.handler.class",
    "sasl.login.class",
    "sasl.server.callback.handler.class",
    "connections.max.reauth.ms",
];

/// The left value must not be above the right one.
const AT_MOST: &[(&str, &str)] = &[
    ("replica.fetch.wait.max.ms", "replica.socket.timeout.ms"),
    ("replica.fetch.wait.max.ms", "replica.lag.time.max.ms"),
    ("group.consumer.min.heartbeat.interval.ms", "group.consumer.max.heartbeat.interval.ms"),
    ("group.consumer.min.heartbeat.interval.ms", "group.consumer.heartbeat.interval.ms"),
    ("group.consumer.heartbeat.interval.ms", "group.consumer.max.heartbeat.interval.ms"),
    ("group.consumer.min.session.timeout.ms", "group.consumer.max.session.timeout.ms"),
    ("group.consumer.min.session.timeout.ms", "group.consumer.session.timeout.ms"),
    ("group.consumer.session.timeout.ms", "group.consumer.max.session.timeout.ms"),
    ("group.consumer.min.assignment.interval.ms", "group.consumer.max.assignment.interval.ms"),
    ("group.consumer.min.assignment.interval.ms", "group.consumer.assignment.interval.ms"),
    ("group.consumer.assignment.interval.ms", "group.consumer.max.assignment.interval.ms"),
    ("group.share.min.heartbeat.interval.ms", "group.share.max.heartbeat.interval.ms"),
    ("group.share.min.heartbeat.interval.ms", "group.share.heartbeat.interval.ms"),
    ("group.share.heartbeat.interval.ms", "group.share.max.heartbeat.interval.ms"),
    ("group.share.min.session.timeout.ms", "group.share.max.session.timeout.ms"),
    ("group.share.min.session.timeout.ms", "group.share.session.timeout.ms"),
    ("group.share.session.timeout.ms", "group.share.max.session.timeout.ms"),
    ("group.share.min.assignment.interval.ms", "group.share.max.assignment.interval.ms"),
    ("group.share.min.assignment.interval.ms", "group.share.assignment.interval.ms"),
    ("group.share.assignment.interval.ms", "group.share.max.assignment.interval.ms"),
    ("group.share.min.delivery.count.limit", "group.share.delivery.count.limit"),
    ("group.share.delivery.count.limit", "group.share.max.delivery.count.limit"),
    ("group.share.min.partition.max.record.locks", "group.share.partition.max.record.locks"),
    ("group.share.partition.max.record.locks", "group.share.max.partition.max.record.locks"),
    ("group.share.min.record.lock.duration.ms", "group.share.record.lock.duration.ms"),
    ("group.share.record.lock.duration.ms", "group.share.max.record.lock.duration.ms"),
    ("group.share.max.size", "group.share.max.share.sessions"),
    ("group.streams.min.heartbeat.interval.ms", "group.streams.max.heartbeat.interval.ms"),
    ("group.streams.min.heartbeat.interval.ms", "group.streams.heartbeat.interval.ms"),
    ("group.streams.heartbeat.interval.ms", "group.streams.max.heartbeat.interval.ms"),
    ("group.streams.min.session.timeout.ms", "group.streams.max.session.timeout.ms"),
    ("group.streams.min.session.timeout.ms", "group.streams.session.timeout.ms"),
    ("group.streams.session.timeout.ms", "group.streams.max.session.timeout.ms"),
    ("group.streams.min.assignment.interval.ms", "group.streams.max.assignment.interval.ms"),
    ("group.streams.min.assignment.interval.ms", "group.streams.assignment.interval.ms"),
    ("group.streams.assignment.interval.ms", "group.streams.max.assignment.interval.ms"),
    ("group.streams.min.task.offset.interval.ms", "group.streams.task.offset.interval.ms"),
    ("group.streams.num.standby.replicas", "group.streams.max.standby.replicas"),
    ("group.streams.num.warmup.replicas", "group.streams.max.warmup.replicas"),
];

/// The left value must be below the right one.
const BELOW: &[(&str, &str)] = &[
    ("group.consumer.heartbeat.interval.ms", "group.consumer.session.timeout.ms"),
    ("group.share.heartbeat.interval.ms", "group.share.session.timeout.ms"),
    ("group.streams.heartbeat.interval.ms", "group.streams.session.timeout.ms"),
];
