//! Topics: the keys that a topic can override, and the broker keys that supply their defaults.
//! It must never hold anything but rows.

use super::super::key::Support::{Accepted, Honoured};
use super::super::key::{ConfigKey, Importance, Kind, Scope, UpdateMode, Valid};
use super::row::{
    ANY, GZIP_LEVEL, THROTTLED_REPLICAS, at_least, between, hours, items_of, minutes, one_of, resource_keys,
    same,
};

resource_keys! {
    Topic;
    "cleanup.policy": List = "delete", items_of(&["compact", "delete"]), [same("log.cleanup.policy")],
        Honoured,
        "What happens to old records: delete them, compact them by key, both or neither.";
    "compression.type": String = "producer",
        one_of(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), [same("compression.type")],
        Honoured,
        "Codec the topic's batches are stored with; producer keeps what was sent.";
    "compression.gzip.level": Int = "-1", GZIP_LEVEL, [same("compression.gzip.level")], Honoured,
        "Effort of gzip when the broker compresses.";
    "compression.lz4.level": Int = "9", between(1, 17), [same("compression.lz4.level")], Accepted,
        "Effort of lz4 when the broker compresses.";
    "compression.zstd.level": Int = "3", between(-131072, 22), [same("compression.zstd.level")], Honoured,
        "Effort of zstd when the broker compresses.";
    "delete.retention.ms": Long = "86400000", at_least(0), [same("log.cleaner.delete.retention.ms")],
        Honoured,
        "How long a tombstone stays for readers to see.";
    "errors.deadletterqueue.group.enable": Boolean = "false", ANY, [], Accepted,
        "Whether share groups may use this topic as their dead letter queue.";
    "file.delete.delay.ms": Long = "60000", at_least(0), [same("log.segment.delete.delay.ms")], Honoured,
        "Wait between retiring a file and removing it.";
    "flush.messages": Long = "9223372036854775807", at_least(1), [same("log.flush.interval.messages")],
        Honoured,
        "Records that may be unsynced before the log is flushed to disk.";
    "flush.ms": Long = "9223372036854775807", at_least(0),
        [same("log.flush.interval.ms"), same("log.flush.scheduler.interval.ms")], Honoured,
        "Time that a record may stay unsynced before it is flushed to disk.";
    "follower.replication.throttled.replicas": List = "", THROTTLED_REPLICAS, [], Honoured,
        "Replicas whose fetching is throttled, as partition:broker, or * for all.";
    "index.interval.bytes": Int = "4096", at_least(0), [same("log.index.interval.bytes")], Honoured,
        "Bytes of log between two index entries.";
    internal "internal.segment.bytes": Int = null, ANY, [], Honoured,
        "Segment size without a lower bound, for tests.";
    "leader.replication.throttled.replicas": List = "", THROTTLED_REPLICAS, [], Honoured,
        "Replicas that leaders serve throttled, as partition:broker, or * for all.";
    "local.retention.bytes": Long = "-2", at_least(-2), [same("log.local.retention.bytes")], Accepted,
        "Size up to which a tiered partition stays on local disk; -2 follows retention.bytes.";
    "local.retention.ms": Long = "-2", at_least(-2), [same("log.local.retention.ms")], Accepted,
        "Age up to which a tiered partition stays on local disk; -2 follows retention.ms.";
    "max.compaction.lag.ms": Long = "9223372036854775807", at_least(1),
        [same("log.cleaner.max.compaction.lag.ms")], Honoured,
        "Age at which a record must be considered for compaction.";
    "max.decompressed.message.bytes": Int = "2147483639", between(1, 2147483639),
        [same("max.decompressed.message.bytes")], Honoured,
        "Largest record that is accepted in a compressed batch, once it is decompressed.";
    "max.message.bytes": Int = "1048588", at_least(0), [same("message.max.bytes")], Honoured,
        "Largest record batch that is accepted, after compression.";
    "message.timestamp.after.max.ms": Long = "3600000", at_least(0),
        [same("log.message.timestamp.after.max.ms")], Honoured,
        "How far a record's time may lie in the future.";
    "message.timestamp.before.max.ms": Long = "9223372036854775807", at_least(0),
        [same("log.message.timestamp.before.max.ms")], Honoured,
        "How far a record's time may lie in the past.";
    "message.timestamp.type": String = "CreateTime", one_of(&["CreateTime", "LogAppendTime"]),
        [same("log.message.timestamp.type")], Honoured,
        "Whether records keep the producer's time or get the time of appending.";
    "min.cleanable.dirty.ratio": Double = "0.5", Valid::Ratio(0.0, 1.0),
        [same("log.cleaner.min.cleanable.ratio")], Honoured,
        "Share of uncompacted log that makes a partition worth compacting.";
    "min.compaction.lag.ms": Long = "0", at_least(0), [same("log.cleaner.min.compaction.lag.ms")], Honoured,
        "Age a record must reach before it may be compacted away.";
    "min.insync.replicas": Int = "1", at_least(1), [same("min.insync.replicas")], Honoured,
        "Replicas that must have a record before acks=all is answered.";
    "preallocate": Boolean = "false", ANY, [same("log.preallocate")], Accepted,
        "Whether the whole space of a new segment is reserved at once.";
    "remote.copy.lag.bytes": Long = "-1", at_least(-1), [same("log.remote.copy.lag.bytes")], Accepted,
        "Bytes behind the log's end before a segment is copied; -1 waits as long as it stays local.";
    "remote.copy.lag.ms": Long = "0", at_least(-1), [same("log.remote.copy.lag.ms")], Accepted,
        "Age a closed segment reaches before it is copied; -1 waits as long as it stays local.";
    "remote.log.copy.disable": Boolean = "false", ANY, [], Accepted,
        "Whether a tiered topic stops copying new segments.";
    "remote.log.delete.on.disable": Boolean = "false", ANY, [], Accepted,
        "Whether turning tiering off deletes the remote segments.";
    "remote.storage.enable": Boolean = "false", ANY, [], Accepted,
        "Whether old segments of the topic go to remote storage.";
    "retention.bytes": Long = "-1", ANY, [same("log.retention.bytes")], Honoured,
        "Size of a partition above which old segments are deleted; -1 is no limit.";
    "retention.ms": Long = "604800000", at_least(-1),
        [same("log.retention.ms"), minutes("log.retention.minutes"), hours("log.retention.hours")], Honoured,
        "Age after which a segment is deleted; -1 keeps it for ever.";
    "segment.bytes": Int = "1073741824", at_least(1048576), [same("log.segment.bytes")], Honoured,
        "Size at which a new segment file begins.";
    "segment.index.bytes": Int = "10485760", at_least(4), [same("log.index.size.max.bytes")], Honoured,
        "Largest size of an index file.";
    "segment.jitter.ms": Long = "0", at_least(0),
        [same("log.roll.jitter.ms"), hours("log.roll.jitter.hours")], Honoured,
        "Largest random shortening of a segment's age limit.";
    "segment.ms": Long = "604800000", at_least(1), [same("log.roll.ms"), hours("log.roll.hours")], Honoured,
        "Age at which a new segment file begins.";
    "unclean.leader.election.enable": Boolean = "false", ANY, [same("unclean.leader.election.enable")],
        Accepted,
        "Whether a replica that is not in sync may lead as a last resort, losing records.";
}
