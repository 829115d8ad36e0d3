//! The node itself: identity, roles, threads and limits that belong to no other area.
//! It must never hold anything but rows.

use super::super::key::Support::{Accepted, Honoured, Refused};
use super::super::key::{ConfigKey, Importance, Kind};
use super::row::{ANY, GZIP_LEVEL, LIST, NO_JAVA, at_least, between, broker_keys, one_of, some_of};

broker_keys! {
    "process.roles": List = required, some_of(&["broker", "controller"]), High, ReadOnly, Honoured,
        "Parts this node plays in the cluster.";
    "node.id": Int = required, at_least(0), High, ReadOnly, Honoured,
        "Number of this node, unique in the cluster.";
    "broker.id": Int = "-1", ANY, High, ReadOnly, Honoured,
        "Older name of node.id, still taken as its synonym.";
    "broker.rack": String = null, ANY, Medium, ReadOnly, Honoured,
        "Rack or zone of this broker, used to spread replicas and to read from a near one.";
    "num.io.threads": Int = "8", at_least(1), High, ClusterWide, Accepted,
        "Threads that carry out requests, disk work included.";
    "background.threads": Int = "10", at_least(1), High, ClusterWide, Accepted,
        "Threads for work that no request waits for.";
    "message.max.bytes": Int = "1048588", at_least(0), High, ClusterWide, Honoured,
        "Largest record batch a producer may send, after compression.";
    "max.decompressed.message.bytes": Int = "2147483639", between(1, 2147483639), Medium, ClusterWide, Honoured,
        "Largest record that a producer may send in a compressed batch, once it is decompressed.";
    "compression.type": String = "producer",
        one_of(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), High, ClusterWide, Honoured,
        "Codec a topic's batches are stored with; producer keeps what was sent.";
    "compression.gzip.level": Int = "-1", GZIP_LEVEL, Medium, ClusterWide, Accepted,
        "Effort of gzip when the broker compresses.";
    "compression.lz4.level": Int = "9", between(1, 17), Medium, ClusterWide, Accepted,
        "Effort of lz4 when the broker compresses.";
    "compression.zstd.level": Int = "3", between(-131072, 22), Medium, ClusterWide, Accepted,
        "Effort of zstd when the broker compresses.";
    "auto.create.topics.enable": Boolean = "true", ANY, High, ReadOnly, Honoured,
        "Whether asking for an unknown topic creates it.";
    "delete.topic.enable": Boolean = "true", ANY, High, ReadOnly, Honoured,
        "Whether topics may be deleted at all.";
    "fetch.max.bytes": Int = "57671680", at_least(1024), Medium, ReadOnly, Honoured,
        "Most bytes that one Fetch response carries.";
    "max.incremental.fetch.session.cache.slots": Int = "1000", at_least(0), Medium, ReadOnly, Honoured,
        "Fetch sessions that the broker remembers at once.";
    "max.request.partition.size.limit": Int = "2000", at_least(1), Medium, ReadOnly, Honoured,
        "Most partitions that one describing request is answered for.";
    "request.timeout.ms": Int = "30000", ANY, High, ReadOnly, Honoured,
        "How long this node waits for another node's answer.";
    "controlled.shutdown.enable": Boolean = "true", ANY, Medium, ReadOnly, Honoured,
        "Whether leadership is handed over before this broker stops.";
    "early.start.listeners": List = null, LIST, High, ReadOnly, Accepted,
        "Listeners that open before the broker has caught up with the metadata.";
    "authorizer.class.name": String = "", ANY, Low, ReadOnly,
        Refused("no authorizer is built in yet and every client would be let in"),
        "Class that decides who may do what; empty lets everyone do everything.";
    "client.quota.callback.class": Class = null, ANY, Low, ReadOnly, NO_JAVA,
        "Class that decides which quota a client gets.";
    "create.topic.policy.class.name": Class = null, ANY, Low, ReadOnly, NO_JAVA,
        "Class that may reject the creation of a topic.";
    "alter.config.policy.class.name": Class = null, ANY, Low, ReadOnly, NO_JAVA,
        "Class that may reject a change of configuration.";
    "config.providers": List = "", LIST, Low, ClusterWide, NO_JAVA,
        "Sources that values written as variables are read from.";
    "num.replica.alter.log.dirs.threads": Int = null, ANY, High, ReadOnly, Honoured,
        "Threads that move partitions between log directories.";
    "socket.connection.setup.timeout.ms": Long = "10000", ANY, Medium, ReadOnly, Accepted,
        "First limit on the time to connect to another node.";
    "socket.connection.setup.timeout.max.ms": Long = "30000", ANY, Medium, ReadOnly, Accepted,
        "Upper limit that the time to connect grows to after failures.";
    internal "unstable.api.versions.enable": Boolean = "false", ANY, High, ReadOnly, Accepted,
        "Whether API versions still being designed are offered.";
    internal "unstable.feature.versions.enable": Boolean = "false", ANY, High, ReadOnly, Accepted,
        "Whether feature versions still being designed may be used.";
}
