//! Replicas: fetching from leaders, staying in sync and electing leaders.
//! It must never hold anything but rows.

use super::super::key::Support::{Accepted, Honoured};
use super::super::key::{ConfigKey, Importance, Kind};
use super::row::{ANY, at_least, broker_keys};

broker_keys! {
    "default.replication.factor": Int = "1", ANY, Medium, ReadOnly, Honoured,
        "Replicas of a topic that is created without a number.";
    "unclean.leader.election.enable": Boolean = "false", ANY, High, ClusterWide, Honoured,
        "Whether a replica that is not in sync may lead as a last resort, losing records.";
    internal "unclean.leader.election.interval.ms": Long = "300000", at_least(1), Medium, ReadOnly, Honoured,
        "How often partitions without a leader are tried for an unclean election.";
    "auto.leader.rebalance.enable": Boolean = "true", ANY, High, ReadOnly, Honoured,
        "Whether leadership moves back to preferred replicas by itself.";
    "leader.imbalance.check.interval.seconds": Long = "300", at_least(1), High, ReadOnly, Honoured,
        "How often the balance of leaders is checked.";
    "num.replica.fetchers": Int = "1", at_least(1), High, ClusterWide, Honoured,
        "Fetchers that a follower runs for each leader broker.";
    "replica.lag.time.max.ms": Long = "30000", ANY, High, ReadOnly, Honoured,
        "A follower that has not caught up for this long leaves the in-sync set.";
    "replica.fetch.max.bytes": Int = "1048576", at_least(0), Medium, ReadOnly, Honoured,
        "Bytes a follower asks for per partition; the first batch comes whole.";
    "replica.fetch.min.bytes": Int = "1", ANY, High, ReadOnly, Honoured,
        "Bytes that a follower's fetch waits for.";
    "replica.fetch.wait.max.ms": Int = "500", ANY, High, ReadOnly, Honoured,
        "Longest wait of a follower's fetch.";
    "replica.fetch.response.max.bytes": Int = "10485760", at_least(0), Medium, ReadOnly, Honoured,
        "Bytes a follower asks for per response.";
    "replica.fetch.backoff.ms": Int = "1000", at_least(0), Medium, ReadOnly, Honoured,
        "Pause before a partition is fetched again after an error.";
    "replica.socket.timeout.ms": Int = "30000", ANY, High, ReadOnly, Honoured,
        "How long a follower waits for its leader's answer.";
    "replica.socket.receive.buffer.bytes": Int = "65536", ANY, High, ReadOnly, Accepted,
        "Kernel receive buffer of a follower's connection.";
    "replica.high.watermark.checkpoint.interval.ms": Long = "5000", ANY, High, ReadOnly, Honoured,
        "How often the high watermarks are written down.";
    "replica.selector.class": String = null, ANY, Medium, ReadOnly, Honoured,
        "Class that chooses the replica a consumer reads from.";
    "controller.socket.timeout.ms": Int = "30000", ANY, Medium, ReadOnly, Accepted,
        "How long a request to the controller may take.";
    "fetch.purgatory.purge.interval.requests": Int = "1000", ANY, Medium, ReadOnly, Accepted,
        "Finished fetches that may linger in the waiting room.";
    "producer.purgatory.purge.interval.requests": Int = "1000", ANY, Medium, ReadOnly, Accepted,
        "Finished produce requests that may linger in the waiting room.";
    "delete.records.purgatory.purge.interval.requests": Int = "1", ANY, Medium, ReadOnly, Accepted,
        "Finished record deletions that may linger in the waiting room.";
    "follower.fetch.last.tiered.offset.enable": Boolean = "false", ANY, Medium, ClusterWide, Accepted,
        "Whether an empty follower starts at the end of the tiered part of the log.";
}
