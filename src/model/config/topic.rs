//! The configuration of a topic: its own settings over the broker's defaults for topics. It must never know which topic
//! it is for, nor use anything but the values that it is given.

use std::collections::BTreeMap;

use ottla_protocol::batch::{Compression, TimestampType};

use super::broker::BrokerConfig;
use super::error::ConfigError;
use super::key::{ConfigKey, Kind};
use super::layers::{Layers, Source, checked};
use super::table::{broker_key, topic_key};
use super::value::{FromValue, Value};
use crate::NodeId;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanupPolicy {
    pub delete: bool,
    pub compact: bool,
}

/// How a topic's batches are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressionType {
    /// As the producer has compressed them.
    Producer,
    Uncompressed,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl CompressionType {
    /// `None`: the producer's codec is kept.
    pub fn codec(self) -> Option<Compression> {
        match self {
            CompressionType::Producer => None,
            CompressionType::Uncompressed => Some(Compression::None),
            CompressionType::Gzip => Some(Compression::Gzip),
            CompressionType::Snappy => Some(Compression::Snappy),
            CompressionType::Lz4 => Some(Compression::Lz4),
            CompressionType::Zstd => Some(Compression::Zstd),
        }
    }
}

/// The replicas to which a replication quota applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ThrottledReplicas {
    All,
    /// Partition and broker.
    Only(Vec<(i32, NodeId)>),
}

impl TopicConfig {
    /// The configuration on this broker of a topic with these overrides. CreateTopics and AlterConfigs answer the error
    /// with INVALID_CONFIG: an unknown name, a wrong value, or two values that contradict each other.
    pub fn resolve(
        broker: &BrokerConfig,
        overrides: &BTreeMap<String, String>,
    ) -> Result<TopicConfig, ConfigError> {
        TopicConfig::from_layers(broker.layers(), overrides)
    }

    pub(super) fn from_layers(
        layers: &Layers,
        overrides: &BTreeMap<String, String>,
    ) -> Result<TopicConfig, ConfigError> {
        if let Some(name) = overrides.keys().find(|name| topic_key(name).is_none()) {
            return Err(ConfigError::UnknownTopicKey(name.clone()));
        }
        let mut config = TopicConfig::read(&|key| Ok(effective(layers, overrides, key)?.0))?;
        if let Some(bytes) = config.internal_segment_bytes {
            config.segment_bytes = bytes;
        }
        config.check_together()?;
        Ok(config)
    }

    fn check_together(&self) -> Result<(), ConfigError> {
        if self.min_compaction_lag_ms > self.max_compaction_lag_ms {
            let rule =
                format!("must not exceed max.compaction.lag.ms, which is {}", self.max_compaction_lag_ms);
            return Err(ConfigError::conflict("min.compaction.lag.ms", self.min_compaction_lag_ms, rule));
        }
        // A broker with tiered storage does not start, so no topic can have it.
        if self.remote_storage_enable {
            let rule = "tiered storage is disabled in this broker (remote.log.storage.system.enable)";
            return Err(ConfigError::conflict("remote.storage.enable", true, rule));
        }
        Ok(())
    }

    /// How long a segment may stay open. For a compacted topic, `max.compaction.lag.ms` limits this, too.
    pub fn segment_ms_max(&self) -> i64 {
        if self.cleanup_policy.compact && self.max_compaction_lag_ms > 0 {
            self.segment_ms.min(self.max_compaction_lag_ms)
        } else {
            self.segment_ms
        }
    }
}

impl Default for TopicConfig {
    /// Kafka's defaults.
    fn default() -> TopicConfig {
        TopicConfig::from_layers(&Layers::default(), &BTreeMap::new())
            .expect("the table's defaults are valid")
    }
}

/// Whether a topic has such a key.
pub fn is_topic_config(key: &str) -> bool {
    topic_key(key).is_some()
}

/// Checks one setting of a topic alone, which CreateTopics and AlterConfigs do first.
pub fn check_topic_config(key: &str, value: &str) -> Result<(), ConfigError> {
    let key = topic_key(key).ok_or_else(|| ConfigError::UnknownTopicKey(key.to_owned()))?;
    checked(key, value).map(drop)
}

/// The value of a topic key, and the broker key that it comes from: the topic's own setting; otherwise the first of its
/// broker synonyms that is not null, in the topic key's unit; otherwise its default.
pub(super) fn effective(
    layers: &Layers,
    overrides: &BTreeMap<String, String>,
    key: &ConfigKey,
) -> Result<(Option<Value>, Source), ConfigError> {
    if let Some(text) = overrides.get(key.name) {
        return Ok((Some(checked(key, text)?), Source::TopicConfig));
    }
    for synonym in key.broker_synonyms {
        let broker_key = broker_key(synonym.name).expect("a synonym is a broker key");
        let found = layers.effective(broker_key)?;
        if let Some(value) = found.value {
            return Ok((Some(converted(value, synonym.times, key)), found.source));
        }
    }
    Ok((key.default_value(), Source::Default))
}

fn converted(value: Value, times: i64, key: &ConfigKey) -> Value {
    let Some(whole) = value.as_whole() else { return value };
    match key.kind {
        // "Keep for ever" is -1 for a topic, and any negative number for a broker.
        Kind::Long if key.name == "retention.ms" && whole < 0 => Value::Long(-1),
        Kind::Long => Value::Long(whole.saturating_mul(times)),
        _ => value,
    }
}

macro_rules! topic_config {
    ($($(#[$meta:meta])* $field:ident: $type:ty = $key:literal,)*) => {
        /// A topic's settings, typed. Units are in the names; limits and meanings are in the table.
        #[derive(Clone, Debug, PartialEq)]
        pub struct TopicConfig {
            $($(#[$meta])* #[doc = concat!("`", $key, "`")] pub $field: $type,)*
        }

        impl TopicConfig {
            fn read(
                value_of: &dyn Fn(&ConfigKey) -> Result<Option<Value>, ConfigError>,
            ) -> Result<TopicConfig, ConfigError> {
                Ok(TopicConfig {$(
                    $field: {
                        let key = topic_key($key).expect(concat!($key, " is a topic key"));
                        FromValue::from_value(value_of(key)?).expect(concat!($key, " has the type of its field"))
                    },
                )*})
            }
        }
    };
}

topic_config! {
    cleanup_policy: CleanupPolicy = "cleanup.policy",
    compression_gzip_level: i32 = "compression.gzip.level",
    compression_lz4_level: i32 = "compression.lz4.level",
    compression_type: CompressionType = "compression.type",
    compression_zstd_level: i32 = "compression.zstd.level",
    delete_retention_ms: i64 = "delete.retention.ms",
    errors_deadletterqueue_group_enable: bool = "errors.deadletterqueue.group.enable",
    file_delete_delay_ms: i64 = "file.delete.delay.ms",
    flush_messages: i64 = "flush.messages",
    flush_ms: i64 = "flush.ms",
    follower_replication_throttled_replicas: ThrottledReplicas = "follower.replication.throttled.replicas",
    index_interval_bytes: i32 = "index.interval.bytes",
    internal_segment_bytes: Option<i32> = "internal.segment.bytes",
    leader_replication_throttled_replicas: ThrottledReplicas = "leader.replication.throttled.replicas",
    local_retention_bytes: i64 = "local.retention.bytes",
    local_retention_ms: i64 = "local.retention.ms",
    max_compaction_lag_ms: i64 = "max.compaction.lag.ms",
    max_decompressed_message_bytes: i32 = "max.decompressed.message.bytes",
    max_message_bytes: i32 = "max.message.bytes",
    message_timestamp_after_max_ms: i64 = "message.timestamp.after.max.ms",
    message_timestamp_before_max_ms: i64 = "message.timestamp.before.max.ms",
    message_timestamp_type: TimestampType = "message.timestamp.type",
    min_cleanable_dirty_ratio: f64 = "min.cleanable.dirty.ratio",
    min_compaction_lag_ms: i64 = "min.compaction.lag.ms",
    min_insync_replicas: i32 = "min.insync.replicas",
    preallocate: bool = "preallocate",
    remote_copy_lag_bytes: i64 = "remote.copy.lag.bytes",
    remote_copy_lag_ms: i64 = "remote.copy.lag.ms",
    remote_log_copy_disable: bool = "remote.log.copy.disable",
    remote_log_delete_on_disable: bool = "remote.log.delete.on.disable",
    remote_storage_enable: bool = "remote.storage.enable",
    retention_bytes: i64 = "retention.bytes",
    retention_ms: i64 = "retention.ms",
    segment_bytes: i32 = "segment.bytes",
    segment_index_bytes: i32 = "segment.index.bytes",
    segment_jitter_ms: i64 = "segment.jitter.ms",
    segment_ms: i64 = "segment.ms",
    unclean_leader_election_enable: bool = "unclean.leader.election.enable",
}

impl FromValue for CleanupPolicy {
    fn from_value(value: Option<Value>) -> Option<CleanupPolicy> {
        let Some(Value::List(items)) = value else { return None };
        let has = |name: &str| items.iter().any(|item| item == name);
        Some(CleanupPolicy { delete: has("delete"), compact: has("compact") })
    }
}

impl FromValue for CompressionType {
    fn from_value(value: Option<Value>) -> Option<CompressionType> {
        let Some(Value::String(name)) = value else { return None };
        Some(match name.as_str() {
            "producer" => CompressionType::Producer,
            "uncompressed" => CompressionType::Uncompressed,
            "gzip" => CompressionType::Gzip,
            "snappy" => CompressionType::Snappy,
            "lz4" => CompressionType::Lz4,
            "zstd" => CompressionType::Zstd,
            _ => return None,
        })
    }
}

impl FromValue for TimestampType {
    fn from_value(value: Option<Value>) -> Option<TimestampType> {
        let Some(Value::String(name)) = value else { return None };
        match name.as_str() {
            "CreateTime" => Some(TimestampType::CreateTime),
            "LogAppendTime" => Some(TimestampType::LogAppendTime),
            _ => None,
        }
    }
}

impl FromValue for ThrottledReplicas {
    fn from_value(value: Option<Value>) -> Option<ThrottledReplicas> {
        let Some(Value::List(items)) = value else { return None };
        if items.concat() == "*" {
            return Some(ThrottledReplicas::All);
        }
        let pair = |item: &String| {
            let (partition, broker) = item.split_once(':')?;
            Some((partition.parse().ok()?, NodeId(broker.parse().ok()?)))
        };
        // A number that is too large is well formed, as in Kafka, but there is no such replica.
        Some(ThrottledReplicas::Only(items.iter().filter_map(pair).collect()))
    }
}
