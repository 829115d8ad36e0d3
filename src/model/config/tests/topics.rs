//! The configuration of a topic, and the settings that are refused for it.

use ottla_protocol::batch::{Compression, TimestampType};

use super::{map, with_lines};
use crate::NodeId;
use crate::config::{
    BrokerConfig, CleanupPolicy, CompressionType, ThrottledReplicas, TopicConfig, check_topic_config,
};

fn resolved(broker_lines: &str, overrides: &[(&str, &str)]) -> TopicConfig {
    let (broker, _) = with_lines(broker_lines).unwrap_or_else(|e| panic!("{broker_lines}: {e}"));
    TopicConfig::resolve(&broker, &map(overrides)).unwrap_or_else(|e| panic!("{overrides:?}: {e}"))
}

#[test]
fn the_topics_own_setting_then_the_brokers_then_the_default() {
    let default = TopicConfig::default();
    assert_eq!(resolved("", &[]), default);
    let check = |broker: &str, overrides: &[(&str, &str)], expected: TopicConfig| {
        assert_eq!(resolved(broker, overrides), expected, "{broker} {overrides:?}");
    };
    let with = |change: &dyn Fn(&mut TopicConfig)| {
        let mut config = default.clone();
        change(&mut config);
        config
    };
    check("log.segment.bytes=2097152", &[], with(&|c| c.segment_bytes = 2 << 20));
    check("log.segment.bytes=2097152", &[("segment.bytes", "3145728")], with(&|c| c.segment_bytes = 3 << 20));
    check(
        "",
        &[("internal.segment.bytes", "100")],
        with(&|c| {
            c.internal_segment_bytes = Some(100);
            c.segment_bytes = 100;
        }),
    );
    check("message.max.bytes=5", &[], with(&|c| c.max_message_bytes = 5));
    check("log.flush.scheduler.interval.ms=7", &[], with(&|c| c.flush_ms = 7));
    check("log.flush.scheduler.interval.ms=7\nlog.flush.interval.ms=8", &[], with(&|c| c.flush_ms = 8));
    check("log.retention.hours=2", &[], with(&|c| c.retention_ms = 7_200_000));
    check("log.retention.hours=2\nlog.retention.minutes=3", &[], with(&|c| c.retention_ms = 180_000));
    check("log.retention.minutes=3\nlog.retention.ms=4", &[], with(&|c| c.retention_ms = 4));
    check("log.retention.hours=-1", &[], with(&|c| c.retention_ms = -1));
    check("log.retention.ms=-7", &[], with(&|c| c.retention_ms = -1));
    check("log.retention.ms=4", &[("retention.ms", "-1")], with(&|c| c.retention_ms = -1));
    check(
        "log.roll.hours=1\nlog.roll.jitter.hours=1",
        &[],
        with(&|c| {
            c.segment_ms = 3_600_000;
            c.segment_jitter_ms = 3_600_000;
        }),
    );
    check("log.roll.ms=9", &[], with(&|c| c.segment_ms = 9));
    check("log.cleaner.min.cleanable.ratio=0.25", &[], with(&|c| c.min_cleanable_dirty_ratio = 0.25));
    check(
        "log.message.timestamp.type=LogAppendTime",
        &[],
        with(&|c| {
            c.message_timestamp_type = TimestampType::LogAppendTime;
        }),
    );
    check(
        "",
        &[("cleanup.policy", " compact , delete ")],
        with(&|c| {
            c.cleanup_policy = CleanupPolicy { delete: true, compact: true };
        }),
    );
    check(
        "log.cleanup.policy=compact",
        &[("cleanup.policy", "")],
        with(&|c| {
            c.cleanup_policy = CleanupPolicy { delete: false, compact: false };
        }),
    );
    check(
        "",
        &[("follower.replication.throttled.replicas", "0:1,2:3")],
        with(&|c| {
            c.follower_replication_throttled_replicas =
                ThrottledReplicas::Only(vec![(0, NodeId(1)), (2, NodeId(3))]);
        }),
    );
    check(
        "",
        &[("leader.replication.throttled.replicas", "*")],
        with(&|c| {
            c.leader_replication_throttled_replicas = ThrottledReplicas::All;
        }),
    );
    check(
        "unclean.leader.election.enable=true",
        &[("unclean.leader.election.enable", "FALSE")],
        default.clone(),
    );
}

#[test]
fn every_codec_has_its_name() {
    let check = |name: &str, kind: CompressionType, codec: Option<Compression>| {
        let config = resolved("", &[("compression.type", name)]);
        assert_eq!((config.compression_type, config.compression_type.codec()), (kind, codec));
    };
    check("producer", CompressionType::Producer, None);
    check("uncompressed", CompressionType::Uncompressed, Some(Compression::None));
    check("gzip", CompressionType::Gzip, Some(Compression::Gzip));
    check("snappy", CompressionType::Snappy, Some(Compression::Snappy));
    check("lz4", CompressionType::Lz4, Some(Compression::Lz4));
    check("zstd", CompressionType::Zstd, Some(Compression::Zstd));
}

#[test]
fn a_compacted_topic_closes_segments_in_time() {
    let lag: &[(&str, &str)] = &[("segment.ms", "1000"), ("max.compaction.lag.ms", "10")];
    assert_eq!(resolved("", lag).segment_ms_max(), 1000);
    assert_eq!(resolved("log.cleanup.policy=compact", lag).segment_ms_max(), 10);
}

#[test]
fn a_wrong_setting_is_refused_with_one_line() {
    let broker = BrokerConfig::default();
    let check = |key: &str, value: &str, expected: &str| {
        let alone = check_topic_config(key, value).expect_err(key);
        assert_eq!(alone.to_string(), expected, "{key}={value}");
        let together = TopicConfig::resolve(&broker, &map(&[(key, value)])).expect_err(key);
        assert_eq!(together.to_string(), expected, "{key}={value}");
    };
    check("retention", "1", "Unknown topic config name: retention");
    check("log.retention.ms", "1", "Unknown topic config name: log.retention.ms");
    let cases = [
        ("retention.ms", "abc", "a 64-bit whole number, -1 or more"),
        ("retention.ms", "-2", "a 64-bit whole number, -1 or more"),
        ("max.message.bytes", "3000000000", "a 32-bit whole number, 0 or more"),
        ("segment.bytes", "1", "a 32-bit whole number, 1048576 or more"),
        ("min.cleanable.dirty.ratio", "2", "a number from 0 to 1"),
        ("preallocate", "1", "true or false"),
        ("cleanup.policy", "keep", "a list of compact, delete without empty items"),
        ("cleanup.policy", "compact,,delete", "a list of compact, delete without empty items"),
        ("compression.type", "none", "one of uncompressed, zstd, lz4, snappy, gzip, producer"),
        ("compression.lz4.level", "18", "a 32-bit whole number from 1 to 17"),
        ("message.timestamp.type", "createtime", "one of CreateTime, LogAppendTime"),
        ("leader.replication.throttled.replicas", "0-1", "a comma-separated list of partition:broker, or *"),
        ("leader.replication.throttled.replicas", "0:-1", "a comma-separated list of partition:broker, or *"),
        ("min.insync.replicas", "0", "a 32-bit whole number, 1 or more"),
    ];
    for (key, value, allowed) in cases {
        check(key, value, &format!("Invalid value {value} for configuration {key}: must be {allowed}"));
    }
}

#[test]
fn settings_that_contradict_are_refused_together() {
    let broker = BrokerConfig::default();
    let check = |overrides: &[(&str, &str)], expected: &str| {
        for (key, value) in overrides {
            check_topic_config(key, value).expect("each is fine alone");
        }
        let error = TopicConfig::resolve(&broker, &map(overrides)).expect_err("a contradiction");
        assert_eq!(error.to_string(), expected);
    };
    check(
        &[("min.compaction.lag.ms", "10"), ("max.compaction.lag.ms", "9")],
        "Invalid value 10 for configuration min.compaction.lag.ms: must not exceed max.compaction.lag.ms, which is 9",
    );
    check(
        &[("remote.storage.enable", "true")],
        "Invalid value true for configuration remote.storage.enable: tiered storage is disabled in this broker \
         (remote.log.storage.system.enable)",
    );
}
