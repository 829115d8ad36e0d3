//! What makes a coordinator the coordinator of transactions: its topic, and its settings as the broker's configuration has
//! them.
//! It must never know what is asked of a transactional id.

use std::sync::Arc;

use ottla_core::controller::NewTopic;
use ottla_core::txn::Settings;
use ottla_model::TRANSACTION_STATE_TOPIC;
use ottla_model::config::BrokerConfig;
use ottla_model::image::{Image, Topic};
use ottla_protocol::batch::Compression;

use super::{Linger, ShardSettings};

/// The transaction log. `None`: nobody has needed it yet.
pub fn state_topic(image: &Image) -> Option<&Arc<Topic>> {
    image.topic(TRANSACTION_STATE_TOPIC)
}

/// The transaction log as it is to be created, by the `transaction.state.log.*` settings.
pub fn new_state_topic(config: &BrokerConfig) -> NewTopic {
    let setting = |name: &str, value: String| (name.to_owned(), Some(value));
    NewTopic {
        name: TRANSACTION_STATE_TOPIC.into(),
        partitions: config.transaction_state_log_num_partitions,
        replication_factor: config.transaction_state_log_replication_factor,
        assignments: Vec::new(),
        configs: vec![
            setting("unclean.leader.election.enable", "false".into()),
            setting("compression.type", "uncompressed".into()),
            setting("cleanup.policy", "compact".into()),
            setting("min.insync.replicas", config.transaction_state_log_min_isr.to_string()),
            setting("segment.bytes", config.transaction_state_log_segment_bytes.to_string()),
        ],
    }
}

/// What the machines decide by.
pub fn settings(config: &BrokerConfig) -> Settings {
    Settings {
        timeout_max_ms: config.transaction_max_timeout_ms,
        timeout_check_interval_ms: config.transaction_abort_timed_out_transaction_cleanup_interval_ms.into(),
        id_expiration_ms: config.transactional_id_expiration_ms.into(),
        id_expiration_check_interval_ms: config
            .transaction_remove_expired_transaction_cleanup_interval_ms
            .into(),
        // Whoever asks waits this long before it asks again, so that it gets its answer no later than from Kafka.
        adding_patience_ms: config
            .add_partitions_to_txn_retry_backoff_ms
            .min(config.add_partitions_to_txn_retry_backoff_max_ms)
            .into(),
        two_phase_commit: config.transaction_two_phase_commit_enable,
        ..Settings::default()
    }
}

/// How the shards work. What comes at the same time shares a batch, which Kafka's coordinator of transactions does not do.
pub fn terms(config: &BrokerConfig) -> ShardSettings {
    ShardSettings {
        compression: Compression::None,
        linger: Linger::Adaptive,
        write_timeout_ms: config.request_timeout_ms.into(),
    }
}

/// How much of a log is read at a time while it is loaded.
pub fn load_buffer_bytes(config: &BrokerConfig) -> usize {
    usize::try_from(config.transaction_state_log_load_buffer_size).unwrap_or(0)
}
