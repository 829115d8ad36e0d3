//! The configuration without any setting, and with a file that has only the required ones.

use std::path::PathBuf;

use ottla_protocol::batch::TimestampType;

use super::{COMBINED, with_file};
use crate::NodeId;
use crate::config::{
    BrokerConfig, CleanupPolicy, CompressionType, HostPort, Role, SecurityProtocol, TopicConfig,
};
use crate::config::{ThrottledReplicas, Voter};

fn check(config: &BrokerConfig, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        let found = config.get(name).unwrap_or_else(|| panic!("no key {name}"));
        assert_eq!(found.value.map_or("null".to_owned(), |v| v.to_text()), *value, "{name}");
    }
}

#[test]
fn with_a_file_the_defaults_are_kafkas() {
    let (config, warnings) = with_file(COMBINED).expect("the least file is enough");
    assert_eq!(warnings, []);
    check(
        &config,
        &[
            ("advertised.listeners", "null"),
            ("auto.create.topics.enable", "true"),
            ("background.threads", "10"),
            ("broker.heartbeat.interval.ms", "2000"),
            ("broker.session.timeout.ms", "9000"),
            ("compression.type", "producer"),
            ("connections.max.idle.ms", "600000"),
            ("controlled.shutdown.enable", "true"),
            ("controller.quorum.election.timeout.ms", "1000"),
            ("default.replication.factor", "1"),
            ("delete.topic.enable", "true"),
            ("fetch.max.bytes", "57671680"),
            ("group.initial.rebalance.delay.ms", "3000"),
            ("group.max.session.timeout.ms", "1800000"),
            ("log.cleaner.io.max.bytes.per.second", "1.7976931348623157E308"),
            ("log.cleaner.min.cleanable.ratio", "0.5"),
            ("log.cleanup.policy", "delete"),
            ("log.dir", "/tmp/kafka-logs"),
            ("log.dirs", "null"),
            ("log.flush.interval.messages", "9223372036854775807"),
            ("log.flush.offset.checkpoint.interval.ms", "60000"),
            ("log.index.interval.bytes", "4096"),
            ("log.index.size.max.bytes", "10485760"),
            ("log.message.timestamp.after.max.ms", "3600000"),
            ("log.message.timestamp.before.max.ms", "9223372036854775807"),
            ("log.retention.bytes", "-1"),
            ("log.retention.check.interval.ms", "300000"),
            ("log.retention.hours", "168"),
            ("log.retention.ms", "null"),
            ("log.roll.hours", "168"),
            ("log.segment.bytes", "1073741824"),
            ("log.segment.delete.delay.ms", "60000"),
            ("max.connections", "2147483647"),
            ("max.incremental.fetch.session.cache.slots", "1000"),
            ("message.max.bytes", "1048588"),
            ("metadata.log.segment.bytes", "1073741824"),
            ("min.insync.replicas", "1"),
            ("num.io.threads", "8"),
            ("num.network.threads", "3"),
            ("num.partitions", "1"),
            ("num.recovery.threads.per.data.dir", "2"),
            ("offsets.retention.minutes", "10080"),
            ("offsets.topic.num.partitions", "50"),
            ("offsets.topic.replication.factor", "3"),
            ("producer.id.expiration.ms", "86400000"),
            ("replica.fetch.max.bytes", "1048576"),
            ("replica.high.watermark.checkpoint.interval.ms", "5000"),
            ("replica.lag.time.max.ms", "30000"),
            ("request.timeout.ms", "30000"),
            ("socket.listen.backlog.size", "50"),
            ("socket.request.max.bytes", "104857600"),
            ("transaction.max.timeout.ms", "900000"),
            ("transaction.state.log.min.isr", "2"),
            ("transactional.id.expiration.ms", "604800000"),
            ("unclean.leader.election.enable", "false"),
        ],
    );
    assert_eq!(config.node_id, NodeId(3));
    assert_eq!(config.log_dirs, [PathBuf::from("/tmp/kafka-logs")]);
    assert_eq!(config.metadata_log_dir, PathBuf::from("/tmp/kafka-logs"));
    assert_eq!(config.inter_broker_listener_name, "PLAINTEXT");
    assert_eq!(config.advertised_listeners.len(), 1, "controller listeners are not for clients");
    assert_eq!(config.advertised_listeners[0].resolved("box", 9092).to_string(), "PLAINTEXT://box:9092");
    let address = HostPort { host: "localhost".into(), port: 9093 };
    assert_eq!(config.controller_quorum_voters, [Voter { id: NodeId(3), address }]);
    assert_eq!(config.topic_defaults, TopicConfig::default());
}

#[test]
fn with_nothing_they_are_those_of_the_shipped_file() {
    let config = BrokerConfig::default();
    check(
        &config,
        &[
            ("process.roles", "broker,controller"),
            ("broker.id", "1"),
            ("log.dirs", "./ottla-data"),
            ("num.partitions", "1"),
            ("offsets.topic.replication.factor", "1"),
            ("transaction.state.log.replication.factor", "1"),
            ("transaction.state.log.min.isr", "1"),
            ("share.coordinator.state.topic.replication.factor", "1"),
            ("share.coordinator.state.topic.min.isr", "1"),
            ("log.retention.hours", "168"),
            ("log.segment.bytes", "1073741824"),
        ],
    );
    assert_eq!(config.node_id, NodeId(1));
    assert!(config.has_role(Role::Broker) && config.has_role(Role::Controller));
    let written = |listeners: &[crate::config::Listener]| {
        listeners.iter().map(|listener| listener.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(written(&config.listeners), ["PLAINTEXT://:9092", "CONTROLLER://:9093"]);
    assert_eq!(written(&config.advertised_listeners), ["PLAINTEXT://localhost:9092"]);
    assert!(config.listeners.iter().all(|listener| listener.protocol == SecurityProtocol::Plaintext));
    assert_eq!(config.controller_listeners().count(), 1);
    assert_eq!(config.broker_listeners().count(), 1);
    assert_eq!(config.log_dirs, [PathBuf::from("./ottla-data")]);
    assert_eq!(config.controller_quorum_voters, []);
    assert_eq!(config.controller_quorum_bootstrap_servers[0].to_string(), "localhost:9093");
}

#[test]
fn a_topic_runs_with_kafkas_defaults() {
    let expected = TopicConfig {
        cleanup_policy: CleanupPolicy { delete: true, compact: false },
        compression_gzip_level: -1,
        compression_lz4_level: 9,
        compression_type: CompressionType::Producer,
        compression_zstd_level: 3,
        delete_retention_ms: 86_400_000,
        errors_deadletterqueue_group_enable: false,
        file_delete_delay_ms: 60_000,
        flush_messages: i64::MAX,
        flush_ms: i64::MAX,
        follower_replication_throttled_replicas: ThrottledReplicas::Only(vec![]),
        index_interval_bytes: 4096,
        internal_segment_bytes: None,
        leader_replication_throttled_replicas: ThrottledReplicas::Only(vec![]),
        local_retention_bytes: -2,
        local_retention_ms: -2,
        max_compaction_lag_ms: i64::MAX,
        max_decompressed_message_bytes: 2_147_483_639,
        max_message_bytes: 1_048_588,
        message_timestamp_after_max_ms: 3_600_000,
        message_timestamp_before_max_ms: i64::MAX,
        message_timestamp_type: TimestampType::CreateTime,
        min_cleanable_dirty_ratio: 0.5,
        min_compaction_lag_ms: 0,
        min_insync_replicas: 1,
        preallocate: false,
        remote_copy_lag_bytes: -1,
        remote_copy_lag_ms: 0,
        remote_log_copy_disable: false,
        remote_log_delete_on_disable: false,
        remote_storage_enable: false,
        retention_bytes: -1,
        retention_ms: 604_800_000,
        segment_bytes: 1 << 30,
        segment_index_bytes: 10 << 20,
        segment_jitter_ms: 0,
        segment_ms: 604_800_000,
        unclean_leader_election_enable: false,
    };
    assert_eq!(TopicConfig::default(), expected);
}
