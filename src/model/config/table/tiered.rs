//! Tiered storage: old segments in remote storage.
//! It must never hold anything but rows.

use super::super::key::Support::{Accepted, Refused};
use super::super::key::{ConfigKey, Importance, Kind, Valid};
use super::row::{ANY, at_least, broker_keys};

broker_keys! {
    "remote.log.storage.system.enable": Boolean = "false", ANY, Medium, ReadOnly,
        Refused("tiered storage is not built in yet"),
        "Whether topics may keep old segments in remote storage.";
    "remote.log.storage.manager.class.name": String = null, Valid::NonEmpty, Medium, ReadOnly, Accepted,
        "Class that stores segments remotely.";
    "remote.log.storage.manager.class.path": String = null, ANY, Medium, ReadOnly, Accepted,
        "Where that class and what it needs are found.";
    "remote.log.storage.manager.impl.prefix": String = "rsm.config.", Valid::NonEmpty, Medium, ReadOnly,
        Accepted,
        "Beginning of the names of that class's own settings.";
    "remote.log.metadata.manager.class.name": String =
        "org.apache.kafka.server.log.remote.metadata.storage.TopicBasedRemoteLogMetadataManager",
        Valid::NonEmpty, Medium, ReadOnly, Accepted,
        "Class that remembers which segments are remote.";
    "remote.log.metadata.manager.class.path": String = null, ANY, Medium, ReadOnly, Accepted,
        "Where that class and what it needs are found.";
    "remote.log.metadata.manager.impl.prefix": String = "rlmm.config.", Valid::NonEmpty, Medium, ReadOnly,
        Accepted,
        "Beginning of the names of that class's own settings.";
    "remote.log.metadata.manager.listener.name": String = null, Valid::NonEmpty, Medium, ReadOnly, Accepted,
        "Listener through which that class reaches this broker.";
    "remote.log.metadata.custom.metadata.max.bytes": Int = "128", at_least(0), Low, ReadOnly, Accepted,
        "Largest note that a storage class may attach to a segment.";
    "remote.log.index.file.cache.total.size.bytes": Long = "1073741824", at_least(1), Low, ClusterWide,
        Accepted,
        "Disk space for indexes fetched from remote storage.";
    internal "remote.log.index.file.cache.ttl.ms": Long = "900000", at_least(-1), Low, ReadOnly, Accepted,
        "How long an unused remote index stays cached; -1 is for ever.";
    "remote.log.manager.thread.pool.size": Int = "2", at_least(1), Medium, ReadOnly, Accepted,
        "Threads for tiering work in general.";
    "remote.log.manager.copier.thread.pool.size": Int = "10", at_least(1), Medium, ClusterWide, Accepted,
        "Threads that copy segments to remote storage.";
    "remote.log.manager.expiration.thread.pool.size": Int = "10", at_least(1), Medium, ClusterWide, Accepted,
        "Threads that delete expired remote segments.";
    "remote.log.manager.follower.thread.pool.size": Int = "2", at_least(1), Medium, ClusterWide, Accepted,
        "Threads that follow a leader's remote segments.";
    "remote.log.manager.task.interval.ms": Long = "30000", at_least(1), Low, ReadOnly, Accepted,
        "How often segments to copy or delete are looked for.";
    internal "remote.log.manager.task.retry.backoff.ms": Long = "500", at_least(1), Low, ReadOnly, Accepted,
        "First pause after a failed tiering task.";
    internal "remote.log.manager.task.retry.backoff.max.ms": Long = "30000", at_least(1), Low, ReadOnly,
        Accepted,
        "Longest pause after failed tiering tasks.";
    internal "remote.log.manager.task.retry.jitter": Double = "0.2", Valid::Ratio(0.0, 0.5), Low, ReadOnly,
        Accepted,
        "Random share added to or taken from that pause.";
    "remote.log.reader.threads": Int = "10", at_least(1), Medium, ClusterWide, Accepted,
        "Threads that read from remote storage.";
    "remote.log.reader.max.pending.tasks": Int = "100", at_least(1), Medium, ReadOnly, Accepted,
        "Remote reads that may wait for a thread.";
    "remote.log.manager.copy.max.bytes.per.second": Long = "9223372036854775807", at_least(1), Medium,
        ClusterWide, Accepted,
        "Bytes a second copied to remote storage.";
    "remote.log.manager.copy.quota.window.num": Int = "11", at_least(1), Medium, ReadOnly, Accepted,
        "Samples kept to judge the copy rate.";
    "remote.log.manager.copy.quota.window.size.seconds": Int = "1", at_least(1), Medium, ReadOnly, Accepted,
        "Length of a sample of the copy rate.";
    "remote.log.manager.fetch.max.bytes.per.second": Long = "9223372036854775807", at_least(1), Medium,
        ClusterWide, Accepted,
        "Bytes a second read from remote storage.";
    "remote.log.manager.fetch.quota.window.num": Int = "11", at_least(1), Medium, ReadOnly, Accepted,
        "Samples kept to judge the read rate.";
    "remote.log.manager.fetch.quota.window.size.seconds": Int = "1", at_least(1), Medium, ReadOnly, Accepted,
        "Length of a sample of the read rate.";
    "remote.fetch.max.wait.ms": Int = "500", at_least(1), Medium, ClusterWide, Accepted,
        "Longest time a Fetch waits for remote storage.";
    "remote.list.offsets.request.timeout.ms": Long = "30000", at_least(1), Medium, ClusterWide, Accepted,
        "Longest time a ListOffsets waits for remote storage.";
    "log.local.retention.ms": Long = "-2", at_least(-2), Medium, ClusterWide, Accepted,
        "Age up to which a tiered partition stays on local disk; -2 follows retention.";
    "log.local.retention.bytes": Long = "-2", at_least(-2), Medium, ClusterWide, Accepted,
        "Size up to which a tiered partition stays on local disk; -2 follows retention.";
    "log.remote.copy.lag.ms": Long = "0", at_least(-1), Medium, ClusterWide, Accepted,
        "Age a closed segment reaches before it is copied; -1 waits as long as it stays local.";
    "log.remote.copy.lag.bytes": Long = "-1", at_least(-1), Medium, ClusterWide, Accepted,
        "Bytes behind the log's end before a segment is copied; -1 waits as long as it stays local.";
}
