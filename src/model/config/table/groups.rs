//! Consumer, share and streams groups, and the logs that store their state.
//! It must never hold anything but rows.

use super::super::key::Support::{Accepted, Honoured};
use super::super::key::{ConfigKey, Importance, Kind, Valid};
use super::row::{ANY, LIST, NON_EMPTY_LIST, at_least, between, broker_keys, some_of};

broker_keys! {
    "offsets.topic.num.partitions": Int = "50", at_least(1), High, ReadOnly, Honoured,
        "Partitions of the offsets topic.";
    "offsets.topic.replication.factor": Short = "3", at_least(1), High, ReadOnly, Honoured,
        "Replicas of the offsets topic.";
    "offsets.topic.segment.bytes": Int = "104857600", at_least(1), High, ReadOnly, Honoured,
        "Segment size of the offsets topic.";
    "offsets.topic.compression.codec": Int = "0", ANY, High, ReadOnly, Honoured,
        "Codec number of the offsets topic's batches; 0 is none.";
    "offsets.retention.minutes": Int = "10080", at_least(1), High, ReadOnly, Honoured,
        "How long the offsets of an empty group are kept.";
    "offsets.retention.check.interval.ms": Long = "600000", at_least(1), High, ReadOnly, Honoured,
        "How often expired offsets are looked for.";
    "offsets.commit.timeout.ms": Int = "5000", at_least(1), High, ReadOnly, Honoured,
        "How long a commit waits for its replicas.";
    "offsets.load.buffer.size": Int = "5242880", at_least(1), High, ReadOnly, Honoured,
        "Bytes read at a time when the offsets topic is loaded.";
    "offset.metadata.max.bytes": Int = "4096", ANY, High, ReadOnly, Honoured,
        "Longest note that a client may attach to an offset.";
    "group.coordinator.rebalance.protocols": List = "classic,consumer,streams",
        some_of(&["consumer", "classic", "share", "streams"]), Medium, ReadOnly, Accepted,
        "Kinds of groups that are served; classic must be among them.";
    "group.coordinator.threads": Int = "4", at_least(1), High, ReadOnly, Accepted,
        "Threads of the group coordinator.";
    "group.coordinator.background.threads": Int = "2", at_least(1), High, ReadOnly, Accepted,
        "Threads of the group coordinator for work that no request waits for.";
    "group.coordinator.append.linger.ms": Int = "-1", at_least(-1), Medium, ReadOnly, Honoured,
        "How long the group coordinator gathers writes; -1: as long as requests wait.";
    "group.coordinator.cached.buffer.max.bytes": Int = "1048588", at_least(524288), Medium, ClusterWide,
        Accepted,
        "Largest write buffer that the group coordinator keeps for reuse.";
    "group.initial.rebalance.delay.ms": Int = "3000", ANY, Medium, ReadOnly, Honoured,
        "How long a new classic group waits for more members.";
    "group.min.session.timeout.ms": Int = "6000", ANY, Medium, ReadOnly, Honoured,
        "Shortest session a classic member may ask for.";
    "group.max.session.timeout.ms": Int = "1800000", ANY, Medium, ReadOnly, Honoured,
        "Longest session a classic member may ask for.";
    "group.max.size": Int = "2147483647", at_least(1), Medium, ReadOnly, Honoured,
        "Most members of a classic group.";
    "group.consumer.session.timeout.ms": Int = "45000", at_least(1), Medium, ReadOnly, Accepted,
        "Silence after which a consumer group drops a member.";
    "group.consumer.min.session.timeout.ms": Int = "45000", at_least(1), Medium, ReadOnly, Accepted,
        "Shortest session a consumer group may set.";
    "group.consumer.max.session.timeout.ms": Int = "60000", at_least(1), Medium, ReadOnly, Accepted,
        "Longest session a consumer group may set.";
    "group.consumer.heartbeat.interval.ms": Int = "5000", at_least(1), Medium, ReadOnly, Accepted,
        "How often members of a consumer group report.";
    "group.consumer.min.heartbeat.interval.ms": Int = "5000", at_least(1), Medium, ReadOnly, Accepted,
        "Shortest heartbeat interval a consumer group may set.";
    "group.consumer.max.heartbeat.interval.ms": Int = "15000", at_least(1), Medium, ReadOnly, Accepted,
        "Longest heartbeat interval a consumer group may set.";
    "group.consumer.max.size": Int = "2147483647", at_least(1), Medium, ReadOnly, Accepted,
        "Most members of a consumer group.";
    "group.consumer.assignors": List = "uniform,range", NON_EMPTY_LIST, Medium, ReadOnly, Accepted,
        "Assignors of consumer groups; the first is the default.";
    "group.consumer.migration.policy": String = "bidirectional",
        Valid::OneOfAnyCase(&["DISABLED", "DOWNGRADE", "UPGRADE", "BIDIRECTIONAL"]), Medium, ReadOnly,
        Accepted,
        "Whether groups may move between the classic and the consumer protocol.";
    "group.consumer.assignment.interval.ms": Int = "1000", at_least(0), Medium, ClusterWide, Accepted,
        "Shortest time between two assignments of a consumer group.";
    "group.consumer.min.assignment.interval.ms": Int = "0", at_least(0), Medium, ReadOnly, Accepted,
        "Lowest assignment interval a consumer group may set.";
    "group.consumer.max.assignment.interval.ms": Int = "15000", at_least(0), Medium, ReadOnly, Accepted,
        "Highest assignment interval a consumer group may set.";
    internal "group.consumer.assignor.offload.enable": Boolean = "true", ANY, Medium, ClusterWide, Accepted,
        "Whether consumer groups are assigned on a background thread.";
    internal "group.consumer.regex.refresh.interval.ms": Int = "600000", at_least(10000), Medium, ReadOnly,
        Accepted,
        "How often the topics behind a subscribed pattern are looked up again.";
    "group.share.session.timeout.ms": Int = "45000", at_least(1), Medium, ReadOnly, Accepted,
        "Silence after which a share group drops a member.";
    "group.share.min.session.timeout.ms": Int = "45000", at_least(1), Medium, ReadOnly, Accepted,
        "Shortest session a share group may set.";
    "group.share.max.session.timeout.ms": Int = "60000", at_least(1), Medium, ReadOnly, Accepted,
        "Longest session a share group may set.";
    "group.share.heartbeat.interval.ms": Int = "5000", at_least(1), Medium, ReadOnly, Accepted,
        "How often members of a share group report.";
    "group.share.min.heartbeat.interval.ms": Int = "5000", at_least(1), Medium, ReadOnly, Accepted,
        "Shortest heartbeat interval a share group may set.";
    "group.share.max.heartbeat.interval.ms": Int = "15000", at_least(1), Medium, ReadOnly, Accepted,
        "Longest heartbeat interval a share group may set.";
    "group.share.max.size": Int = "200", between(1, 1000), Medium, ReadOnly, Accepted,
        "Most members of a share group.";
    "group.share.max.share.sessions": Int = "2000", at_least(1), Medium, ReadOnly, Accepted,
        "Share sessions that a broker remembers at once.";
    "group.share.assignors": List = "simple", NON_EMPTY_LIST, Medium, ReadOnly, Accepted,
        "Assignor of share groups.";
    "group.share.assignment.interval.ms": Int = "1000", at_least(0), Medium, ClusterWide, Accepted,
        "Shortest time between two assignments of a share group.";
    "group.share.min.assignment.interval.ms": Int = "0", at_least(0), Medium, ReadOnly, Accepted,
        "Lowest assignment interval a share group may set.";
    "group.share.max.assignment.interval.ms": Int = "15000", at_least(0), Medium, ReadOnly, Accepted,
        "Highest assignment interval a share group may set.";
    internal "group.share.assignor.offload.enable": Boolean = "true", ANY, Medium, ClusterWide, Accepted,
        "Whether share groups are assigned on a background thread.";
    "group.share.delivery.count.limit": Int = "5", between(2, 10), Medium, ReadOnly, Accepted,
        "Times a record is delivered before a share group gives it up.";
    "group.share.min.delivery.count.limit": Int = "2", between(2, 5), Medium, ReadOnly, Accepted,
        "Lowest delivery limit a share group may set.";
    "group.share.max.delivery.count.limit": Int = "10", between(5, 25), Medium, ReadOnly, Accepted,
        "Highest delivery limit a share group may set.";
    "group.share.record.lock.duration.ms": Int = "30000", between(1000, 3600000), Medium, ReadOnly, Accepted,
        "How long a share consumer holds a record.";
    "group.share.min.record.lock.duration.ms": Int = "15000", between(1000, 30000), Medium, ReadOnly,
        Accepted,
        "Shortest hold a share group may set.";
    "group.share.max.record.lock.duration.ms": Int = "60000", between(30000, 3600000), Medium, ReadOnly,
        Accepted,
        "Longest hold a share group may set.";
    "group.share.partition.max.record.locks": Int = "2000", between(100, 10000), Medium, ReadOnly, Accepted,
        "Records of a partition that a share group holds at once.";
    "group.share.min.partition.max.record.locks": Int = "100", between(100, 2000), Medium, ReadOnly, Accepted,
        "Lowest such number a share group may set.";
    "group.share.max.partition.max.record.locks": Int = "4000", between(2000, 10000), Medium, ReadOnly,
        Accepted,
        "Highest such number a share group may set.";
    internal "group.share.initialize.retry.interval.ms": Int = "30000", at_least(1), Low, ReadOnly, Accepted,
        "Pause before a share group's state is initialized again.";
    internal "group.share.persister.class.name": String =
        "org.apache.kafka.server.share.persister.DefaultStatePersister", ANY, Medium, ReadOnly, Accepted,
        "Class that keeps the state of share groups.";
    internal "group.share.dlq.manager.class.name": String =
        "org.apache.kafka.server.share.dlq.DefaultShareGroupDLQManager", ANY, Medium, ReadOnly, Accepted,
        "Class that writes the dead letters of share groups.";
    "errors.deadletterqueue.auto.create.topics.enable": Boolean = "false", ANY, Medium, ClusterWide, Accepted,
        "Whether a share group's dead letter topic is created when missing.";
    "errors.deadletterqueue.topic.name.prefix": String = "dlq.", ANY, Medium, ClusterWide, Accepted,
        "What the name of a dead letter topic must begin with.";
    "group.streams.session.timeout.ms": Int = "45000", at_least(1), Medium, ReadOnly, Accepted,
        "Silence after which a streams group drops a member.";
    "group.streams.min.session.timeout.ms": Int = "45000", at_least(1), Medium, ReadOnly, Accepted,
        "Shortest session a streams group may set.";
    "group.streams.max.session.timeout.ms": Int = "60000", at_least(1), Medium, ReadOnly, Accepted,
        "Longest session a streams group may set.";
    "group.streams.heartbeat.interval.ms": Int = "5000", at_least(1), Medium, ReadOnly, Accepted,
        "How often members of a streams group report.";
    "group.streams.min.heartbeat.interval.ms": Int = "5000", at_least(1), Medium, ReadOnly, Accepted,
        "Shortest heartbeat interval a streams group may set.";
    "group.streams.max.heartbeat.interval.ms": Int = "15000", at_least(1), Medium, ReadOnly, Accepted,
        "Longest heartbeat interval a streams group may set.";
    "group.streams.max.size": Int = "2147483647", at_least(1), Medium, ReadOnly, Accepted,
        "Most members of a streams group.";
    "group.streams.initial.rebalance.delay.ms": Int = "3000", at_least(0), Medium, ReadOnly, Accepted,
        "How long a new streams group waits for more members.";
    "group.streams.assignors": List = "sticky", NON_EMPTY_LIST, Medium, ReadOnly, Accepted,
        "Task assignors of streams groups; the first is the default.";
    "group.streams.assignment.interval.ms": Int = "1000", at_least(0), Medium, ClusterWide, Accepted,
        "Shortest time between two assignments of a streams group.";
    "group.streams.min.assignment.interval.ms": Int = "0", at_least(0), Medium, ReadOnly, Accepted,
        "Lowest assignment interval a streams group may set.";
    "group.streams.max.assignment.interval.ms": Int = "15000", at_least(0), Medium, ReadOnly, Accepted,
        "Highest assignment interval a streams group may set.";
    internal "group.streams.assignor.offload.enable": Boolean = "true", ANY, Medium, ClusterWide, Accepted,
        "Whether streams groups are assigned on a background thread.";
    "group.streams.num.standby.replicas": Int = "0", at_least(0), Medium, ReadOnly, Accepted,
        "Standby copies of each stateful task.";
    "group.streams.max.standby.replicas": Int = "2", at_least(0), Medium, ReadOnly, Accepted,
        "Most standby copies a streams group may set.";
    internal "group.streams.num.warmup.replicas": Int = "2", at_least(0), Medium, ReadOnly, Accepted,
        "Tasks that may warm up elsewhere at once.";
    internal "group.streams.max.warmup.replicas": Int = "20", at_least(0), Medium, ReadOnly, Accepted,
        "Most warm-ups a streams group may set.";
    internal "group.streams.acceptable.recovery.lag": Long = "10000", at_least(0), Medium, ReadOnly, Accepted,
        "Offsets a task may be behind and still count as warm.";
    internal "group.streams.task.offset.interval.ms": Int = "60000", at_least(1), Medium, ReadOnly, Accepted,
        "How often members report how far their tasks are.";
    internal "group.streams.min.task.offset.interval.ms": Int = "15000", at_least(1), Medium, ReadOnly,
        Accepted,
        "Shortest such interval a streams group may set.";
    "group.streams.rack.aware.assignment.tags": List = "", LIST, Low, ReadOnly, Accepted,
        "Client tags over which standby copies are spread.";
    "group.streams.topology.description.plugin.class": Class = null, ANY, Medium, ReadOnly, Accepted,
        "Class that stores descriptions of topologies.";
    "share.coordinator.state.topic.num.partitions": Int = "50", at_least(1), High, ReadOnly, Accepted,
        "Partitions of the share state topic.";
    "share.coordinator.state.topic.replication.factor": Short = "3", at_least(1), High, ReadOnly, Accepted,
        "Replicas of the share state topic.";
    "share.coordinator.state.topic.min.isr": Short = "2", at_least(1), High, ReadOnly, Accepted,
        "Replicas that must have an entry of the share state topic.";
    "share.coordinator.state.topic.segment.bytes": Int = "104857600", at_least(1), High, ReadOnly, Accepted,
        "Segment size of the share state topic.";
    "share.coordinator.state.topic.compression.codec": Int = "0", ANY, High, ReadOnly, Accepted,
        "Codec number of the share state topic's batches; 0 is none.";
    internal "share.coordinator.state.topic.prune.interval.ms": Int = "300000", at_least(1), Low, ReadOnly,
        Accepted,
        "How often outdated entries of the share state topic are deleted.";
    "share.coordinator.snapshot.update.records.per.snapshot": Int = "500", between(0, 500), Medium, ReadOnly,
        Accepted,
        "Updates of a share state between two snapshots.";
    internal "share.coordinator.cold.partition.snapshot.interval.ms": Int = "300000", at_least(1), Low,
        ReadOnly, Accepted,
        "How often unused share state is snapshotted.";
    "share.coordinator.load.buffer.size": Int = "5242880", at_least(1), High, ReadOnly, Accepted,
        "Bytes read at a time when the share state topic is loaded.";
    "share.coordinator.write.timeout.ms": Int = "5000", at_least(1), High, ReadOnly, Accepted,
        "How long a write of share state waits for its replicas.";
    "share.coordinator.append.linger.ms": Int = "-1", at_least(-1), Medium, ReadOnly, Accepted,
        "How long the share coordinator gathers writes; -1 decides by itself.";
    "share.coordinator.cached.buffer.max.bytes": Int = "1048588", at_least(524288), Medium, ClusterWide,
        Accepted,
        "Largest write buffer that the share coordinator keeps for reuse.";
    "share.coordinator.threads": Int = "1", at_least(1), Medium, ReadOnly, Accepted,
        "Threads of the share coordinator.";
    "share.fetch.purgatory.purge.interval.requests": Int = "1000", ANY, Medium, ReadOnly, Accepted,
        "Finished share fetches that may linger in the waiting room.";
}
