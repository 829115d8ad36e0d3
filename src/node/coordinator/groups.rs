//! What makes a coordinator the coordinator of groups: its topic, and its settings as the broker's configuration has them.
//! It must never know what is asked of a group.

use std::sync::Arc;

use ottla_core::controller::NewTopic;
use ottla_core::group::Settings;
use ottla_model::GROUP_METADATA_TOPIC;
use ottla_model::config::BrokerConfig;
use ottla_model::image::{Image, Topic};
use ottla_protocol::batch::Compression;

use super::{Linger, ShardSettings};

/// The offsets topic. `None`: nobody has needed it yet.
pub fn offsets_topic(image: &Image) -> Option<&Arc<Topic>> {
    image.topic(GROUP_METADATA_TOPIC)
}

/// The offsets topic as it is to be created, by the `offsets.topic.*` settings.
pub fn new_offsets_topic(config: &BrokerConfig) -> NewTopic {
    let setting = |name: &str, value: String| (name.to_owned(), Some(value));
    NewTopic {
        name: GROUP_METADATA_TOPIC.into(),
        partitions: config.offsets_topic_num_partitions,
        replication_factor: config.offsets_topic_replication_factor,
        assignments: Vec::new(),
        configs: vec![
            setting("cleanup.policy", "compact".into()),
            setting("compression.type", "producer".into()),
            setting("segment.bytes", config.offsets_topic_segment_bytes.to_string()),
        ],
    }
}

/// What the machines decide by.
pub fn settings(config: &BrokerConfig) -> Settings {
    Settings {
        initial_rebalance_delay_ms: config.group_initial_rebalance_delay_ms,
        min_session_timeout_ms: config.group_min_session_timeout_ms,
        max_session_timeout_ms: config.group_max_session_timeout_ms,
        max_size: size(config.group_max_size),
        offset_metadata_max: size(config.offset_metadata_max_bytes),
        offsets_retention_ms: i64::from(config.offsets_retention_minutes) * 60_000,
        offsets_retention_check_interval_ms: config.offsets_retention_check_interval_ms,
        ..Settings::default()
    }
}

/// How the shards work.
pub fn terms(config: &BrokerConfig) -> ShardSettings {
    let codec = u8::try_from(config.offsets_topic_compression_codec).ok();
    ShardSettings {
        compression: codec.and_then(Compression::from_id).unwrap_or_default(),
        linger: Linger::of_config(config.group_coordinator_append_linger_ms.into()),
        write_timeout_ms: config.offsets_commit_timeout_ms.into(),
    }
}

/// How much of a log is read at a time while it is loaded.
pub fn load_buffer_bytes(config: &BrokerConfig) -> usize {
    size(config.offsets_load_buffer_size)
}

fn size(setting: i32) -> usize {
    usize::try_from(setting).unwrap_or(0)
}
