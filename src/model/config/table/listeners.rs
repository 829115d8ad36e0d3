//! Sockets: where the node listens, what it advertises, and the limits on connections.
//! It must never hold anything but rows.

use super::super::key::Support::{Accepted, Honoured, Refused};
use super::super::key::{ConfigKey, Importance, Kind};
use super::row::{ANY, NON_EMPTY_LIST, at_least, broker_keys, one_of};

broker_keys! {
    "listeners": List = "PLAINTEXT://:9092", NON_EMPTY_LIST, High, PerBroker, Honoured,
        "Addresses the node listens on, as name://host:port; no host means every interface.";
    "advertised.listeners": List = null, NON_EMPTY_LIST, High, ReadOnly, Honoured,
        "Addresses that clients are told to use, when they differ from listeners.";
    "listener.security.protocol.map": String =
        "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT", ANY, Low, PerBroker,
        Honoured,
        "Security protocol of each listener name.";
    "inter.broker.listener.name": String = null, ANY, Medium, ReadOnly, Honoured,
        "Listener that brokers use among themselves.";
    "security.inter.broker.protocol": String = "PLAINTEXT",
        one_of(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]), Medium, ReadOnly,
        Refused("only PLAINTEXT is built in yet"),
        "Security protocol among brokers, instead of naming a listener.";
    "socket.send.buffer.bytes": Int = "102400", ANY, High, ReadOnly, Honoured,
        "Kernel send buffer of a connection; -1 leaves it to the system.";
    "socket.receive.buffer.bytes": Int = "102400", ANY, High, ReadOnly, Honoured,
        "Kernel receive buffer of a connection; -1 and the default leave it to the system.";
    "socket.request.max.bytes": Int = "104857600", at_least(1), High, ReadOnly, Honoured,
        "Largest request that is read; a bigger one closes the connection.";
    "socket.listen.backlog.size": Int = "50", at_least(1), Medium, ReadOnly, Honoured,
        "Connections that may wait to be accepted.";
    "max.connections": Int = "2147483647", at_least(0), Medium, ClusterWide, Honoured,
        "Connections that the broker holds at once.";
    "max.connections.per.ip": Int = "2147483647", at_least(0), Medium, ClusterWide, Honoured,
        "Connections that one address may hold at once.";
    "max.connections.per.ip.overrides": String = "", ANY, Medium, ClusterWide, Honoured,
        "Other limits for given addresses, as host:count.";
    "max.connection.creation.rate": Int = "2147483647", at_least(0), Medium, ClusterWide, Honoured,
        "New connections that the broker accepts in a second.";
    "connections.max.idle.ms": Long = "600000", ANY, Medium, ReadOnly, Honoured,
        "A connection without traffic for this long is closed.";
    "connection.failed.authentication.delay.ms": Int = "100", at_least(0), Low, ReadOnly, Accepted,
        "Pause before a failed login is answered, to slow guessing.";
    "queued.max.requests": Int = "500", at_least(1), High, ReadOnly, Accepted,
        "Requests that may wait before the network stops reading.";
    "queued.max.request.bytes": Long = "-1", ANY, Medium, ReadOnly, Honoured,
        "Bytes of waiting requests before the network stops reading; -1 is no limit.";
    "num.network.threads": Int = "3", at_least(1), High, ClusterWide, Accepted,
        "Threads per listener that read requests and write answers.";
}
