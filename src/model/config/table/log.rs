//! The log: directories, segments, flushing, retention and cleaning, with the defaults of topic keys.
//! It must never hold anything but rows.

use super::super::key::Support::{Accepted, Honoured};
use super::super::key::{ConfigKey, Importance, Kind, Valid};
use super::row::{ANY, LIST, NON_EMPTY_LIST, at_least, broker_keys, items_of, one_of};

broker_keys! {
    "num.partitions": Int = "1", at_least(1), Medium, ReadOnly, Honoured,
        "Partitions of a topic that is created without a number.";
    "log.dir": List = "/tmp/kafka-logs", NON_EMPTY_LIST, High, ReadOnly, Honoured,
        "Directory for the log, when log.dirs is not set.";
    "log.dirs": List = null, NON_EMPTY_LIST, High, ReadOnly, Honoured,
        "Directories for the log, spread over the disks.";
    "cordoned.log.dirs": List = "", LIST, Medium, PerBroker, Honoured,
        "Directories that get no new partitions; * means all.";
    "log.segment.bytes": Int = "1073741824", at_least(1048576), High, ClusterWide, Honoured,
        "Size at which a new segment file begins.";
    "log.roll.ms": Long = null, ANY, High, ClusterWide, Honoured,
        "Age at which a new segment file begins.";
    "log.roll.hours": Int = "168", at_least(1), High, ReadOnly, Honoured,
        "Age in hours at which a new segment file begins, unless log.roll.ms is set.";
    "log.roll.jitter.ms": Long = null, ANY, High, ClusterWide, Honoured,
        "Largest random shortening of a segment's age limit.";
    "log.roll.jitter.hours": Int = "0", at_least(0), High, ReadOnly, Honoured,
        "Largest random shortening in hours, unless log.roll.jitter.ms is set.";
    "log.retention.ms": Long = null, ANY, High, ClusterWide, Honoured,
        "Age after which a segment is deleted; -1 keeps it for ever.";
    "log.retention.minutes": Int = null, ANY, High, ReadOnly, Honoured,
        "Age in minutes after which a segment is deleted, unless log.retention.ms is set.";
    "log.retention.hours": Int = "168", ANY, High, ReadOnly, Honoured,
        "Age in hours after which a segment is deleted, unless a finer key is set.";
    "log.retention.bytes": Long = "-1", ANY, High, ClusterWide, Honoured,
        "Size of a partition above which old segments are deleted; -1 is no limit.";
    "log.retention.check.interval.ms": Long = "300000", at_least(1), Medium, ReadOnly, Honoured,
        "How often retention looks for segments to delete.";
    "log.cleanup.policy": List = "delete", items_of(&["compact", "delete"]), Medium, ClusterWide, Honoured,
        "What happens to old records: delete them, compact them by key, both or neither.";
    "log.index.size.max.bytes": Int = "10485760", at_least(4), Medium, ClusterWide, Honoured,
        "Largest size of an index file.";
    "log.index.interval.bytes": Int = "4096", at_least(0), Medium, ClusterWide, Honoured,
        "Bytes of log between two index entries.";
    "log.flush.interval.messages": Long = "9223372036854775807", at_least(1), High, ClusterWide, Honoured,
        "Records that may be unsynced in a partition before it is flushed to disk.";
    "log.flush.interval.ms": Long = null, ANY, High, ClusterWide, Honoured,
        "Time that a record may stay unsynced before it is flushed to disk.";
    "log.flush.scheduler.interval.ms": Long = "9223372036854775807", ANY, High, ReadOnly, Honoured,
        "How often the flusher looks for partitions that are due.";
    "log.flush.offset.checkpoint.interval.ms": Int = "60000", at_least(0), High, ReadOnly, Honoured,
        "How often the recovery points are written down.";
    "log.flush.start.offset.checkpoint.interval.ms": Int = "60000", at_least(0), High, ReadOnly, Honoured,
        "How often the log start offsets are written down.";
    "log.segment.delete.delay.ms": Long = "60000", at_least(0), High, ClusterWide, Honoured,
        "Wait between retiring a file and removing it.";
    "log.preallocate": Boolean = "false", ANY, Medium, ClusterWide, Accepted,
        "Whether the whole space of a new segment is reserved at once.";
    "num.recovery.threads.per.data.dir": Int = "2", at_least(1), High, ClusterWide, Honoured,
        "Threads per log directory that recover and close partitions.";
    "min.insync.replicas": Int = "1", at_least(1), High, ClusterWide, Honoured,
        "Replicas that must have a record before acks=all is answered.";
    "log.message.timestamp.type": String = "CreateTime", one_of(&["CreateTime", "LogAppendTime"]), Medium,
        ClusterWide, Honoured,
        "Whether records keep the producer's time or get the time of appending.";
    "log.message.timestamp.before.max.ms": Long = "9223372036854775807", at_least(0), Medium, ClusterWide,
        Honoured,
        "How far a record's time may lie in the past.";
    "log.message.timestamp.after.max.ms": Long = "3600000", at_least(0), Medium, ClusterWide, Honoured,
        "How far a record's time may lie in the future.";
    "log.dir.failure.timeout.ms": Long = "30000", at_least(1), Low, ReadOnly, Accepted,
        "Time to report a failed log directory before the broker stops itself.";
    internal "log.initial.task.delay.ms": Long = "30000", at_least(0), Low, ReadOnly, Accepted,
        "Wait after the start before the log's periodic work begins.";
    "log.cleaner.enable": Boolean = "true", ANY, Medium, ReadOnly, Honoured,
        "Whether compaction runs; needed by compacted topics.";
    "log.cleaner.threads": Int = "1", at_least(0), Medium, ClusterWide, Honoured,
        "Threads that compact.";
    "log.cleaner.io.max.bytes.per.second": Double = "1.7976931348623157E308", ANY, Medium, ClusterWide,
        Honoured,
        "Bytes a second that all of compaction may read and write.";
    "log.cleaner.dedupe.buffer.size": Long = "134217728", ANY, Medium, ClusterWide, Honoured,
        "Memory for the key maps of all cleaner threads together.";
    "log.cleaner.io.buffer.size": Int = "524288", at_least(0), Medium, ClusterWide, Accepted,
        "Memory for the I/O buffers of all cleaner threads together.";
    "log.cleaner.io.buffer.load.factor": Double = "0.9", ANY, Medium, ClusterWide, Honoured,
        "How full a key map may get; fuller means fewer passes and more collisions.";
    "log.cleaner.backoff.ms": Long = "15000", at_least(0), Medium, ClusterWide, Honoured,
        "Pause when there is nothing to compact.";
    "log.cleaner.min.cleanable.ratio": Double = "0.5", Valid::Ratio(0.0, 1.0), Medium, ClusterWide, Honoured,
        "Share of uncompacted log that makes a partition worth compacting.";
    "log.cleaner.delete.retention.ms": Long = "86400000", at_least(0), Medium, ClusterWide, Honoured,
        "How long a tombstone stays for readers to see.";
    "log.cleaner.min.compaction.lag.ms": Long = "0", at_least(0), Medium, ClusterWide, Honoured,
        "Age a record must reach before it may be compacted away.";
    "log.cleaner.max.compaction.lag.ms": Long = "9223372036854775807", at_least(1), Medium, ClusterWide,
        Honoured,
        "Age at which a record must be considered for compaction.";
}
