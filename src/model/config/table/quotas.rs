//! Quotas, metrics and client telemetry.
//! It must never hold anything but rows.

use super::super::key::Support::{Accepted, Honoured};
use super::super::key::{ConfigKey, Importance, Kind};
use super::row::{ANY, LIST, at_least, broker_keys};

broker_keys! {
    "quota.window.num": Int = "11", at_least(1), Low, ReadOnly, Accepted,
        "Samples kept to judge a client's quota.";
    "quota.window.size.seconds": Int = "1", at_least(1), Low, ReadOnly, Accepted,
        "Length of a sample of a client's quota.";
    "replication.quota.window.num": Int = "11", at_least(1), Low, ReadOnly, Accepted,
        "Samples kept to judge the replication quota.";
    "replication.quota.window.size.seconds": Int = "1", at_least(1), Low, ReadOnly, Accepted,
        "Length of a sample of the replication quota.";
    "alter.log.dirs.replication.quota.window.num": Int = "11", at_least(1), Low, ReadOnly, Accepted,
        "Samples kept to judge the quota of moves between directories.";
    "alter.log.dirs.replication.quota.window.size.seconds": Int = "1", at_least(1), Low, ReadOnly, Accepted,
        "Length of a sample of the quota of moves between directories.";
    "controller.quota.window.num": Int = "11", at_least(1), Low, ReadOnly, Accepted,
        "Samples kept to judge the quota of topic changes.";
    "controller.quota.window.size.seconds": Int = "1", at_least(1), Low, ReadOnly, Accepted,
        "Length of a sample of the quota of topic changes.";
    "leader.replication.throttled.rate": Long = "9223372036854775807", at_least(0), Medium, DynamicOnly,
        Honoured,
        "Bytes a second that leaders send to throttled replicas.";
    "follower.replication.throttled.rate": Long = "9223372036854775807", at_least(0), Medium, DynamicOnly,
        Honoured,
        "Bytes a second that throttled replicas take from leaders.";
    "replica.alter.log.dirs.io.max.bytes.per.second": Long = "9223372036854775807", at_least(0), Medium,
        DynamicOnly, Honoured,
        "Bytes a second that move between log directories.";
    "metric.reporters": List = "org.apache.kafka.common.metrics.JmxReporter", LIST, Low, ClusterWide,
        Accepted,
        "Classes that receive the metrics.";
    "metrics.num.samples": Int = "2", at_least(1), Low, ReadOnly, Accepted,
        "Samples kept to compute a metric.";
    "metrics.sample.window.ms": Long = "30000", at_least(1), Low, ReadOnly, Accepted,
        "Length of a metric's sample.";
    "metrics.recording.level": String = "INFO", ANY, Low, ReadOnly, Accepted,
        "Detail of the metrics that are recorded.";
    "kafka.metrics.reporters": List = "", LIST, Low, ReadOnly, Accepted,
        "Classes that receive the older kind of metrics.";
    "kafka.metrics.polling.interval.secs": Int = "10", at_least(1), Low, ReadOnly, Accepted,
        "How often the older kind of reporter is called.";
    "telemetry.max.bytes": Int = "1048576", at_least(1), Low, ReadOnly, Accepted,
        "Largest batch of metrics that a client may push.";
}
