//! Controllers: their quorum, the metadata log and broker sessions.
//! It must never hold anything but rows.

use super::super::key::Support::{Accepted, Honoured};
use super::super::key::{ConfigKey, Importance, Kind};
use super::row::{ANY, BOOTSTRAP_SERVERS, NON_EMPTY_LIST, VOTERS, at_least, broker_keys};

broker_keys! {
    "controller.listener.names": List = required, NON_EMPTY_LIST, High, ReadOnly, Honoured,
        "Listeners that controllers use, in order of preference.";
    "controller.quorum.voters": List = "", VOTERS, High, ReadOnly, Honoured,
        "Controllers that vote, as id@host:port, fixed for good.";
    "controller.quorum.bootstrap.servers": List = "", BOOTSTRAP_SERVERS, High, ReadOnly, Honoured,
        "Addresses through which the controllers are found, as host:port.";
    "controller.quorum.election.timeout.ms": Int = "1000", at_least(0), High, ReadOnly, Honoured,
        "Silence from the leader before an election; voters draw from 0.6 to 1.2 times as long.";
    "controller.quorum.election.backoff.max.ms": Int = "1000", at_least(0), High, ReadOnly, Accepted,
        "Longest random pause before another election.";
    "controller.quorum.fetch.timeout.ms": Int = "2000", at_least(0), High, ReadOnly, Honoured,
        "How often a controller sees to it that the quorum knows it; election.timeout paces elections.";
    "controller.quorum.fetch.max.bytes": Int = "1048576", at_least(1), Low, ReadOnly, Honoured,
        "Bytes of metadata log in one answer.";
    "controller.quorum.fetch.snapshot.max.bytes": Int = "1048576", at_least(1), Low, ReadOnly, Honoured,
        "Bytes of a metadata snapshot in one answer.";
    "controller.quorum.append.linger.ms": Int = "25", at_least(0), Medium, ReadOnly, Accepted,
        "How long the leader gathers records before it writes them.";
    "controller.quorum.request.timeout.ms": Int = "2000", at_least(0), Medium, ReadOnly, Honoured,
        "How long a controller waits for another's answer.";
    "controller.quorum.retry.backoff.ms": Int = "20", at_least(0), Low, ReadOnly, Honoured,
        "Pause before a failed request to a controller is sent again.";
    "controller.quorum.auto.join.enable": Boolean = "false", ANY, Low, ReadOnly, Honoured,
        "Whether a controller joins the voters by itself.";
    internal "controller.performance.sample.period.ms": Long = "60000", at_least(100), Medium, ReadOnly,
        Accepted,
        "How often the controller reports its slowest events.";
    internal "controller.performance.always.log.threshold.ms": Long = "2000", at_least(0), Medium, ReadOnly,
        Accepted,
        "An event of the controller that takes this long is logged.";
    "broker.heartbeat.interval.ms": Int = "2000", ANY, Medium, ReadOnly, Honoured,
        "How often a broker tells the controller that it lives.";
    "broker.session.timeout.ms": Int = "9000", ANY, Medium, ReadOnly, Honoured,
        "Silence after which the controller fences a broker.";
    "initial.broker.registration.timeout.ms": Int = "60000", ANY, Medium, ReadOnly, Honoured,
        "How long a starting broker tries to register.";
    internal "server.max.startup.time.ms": Long = "9223372036854775807", at_least(0), Medium, ReadOnly,
        Accepted,
        "A start that takes longer than this is given up.";
    "metadata.log.dir": String = null, ANY, High, ReadOnly, Honoured,
        "Directory of the metadata log, when it is not the first log directory.";
    "metadata.log.segment.bytes": Int = "1073741824", at_least(8388608), High, ReadOnly, Honoured,
        "Size at which the metadata log begins a new segment file.";
    "metadata.log.segment.ms": Long = "604800000", ANY, High, ReadOnly, Honoured,
        "Age at which the metadata log begins a new segment file.";
    "metadata.log.max.record.bytes.between.snapshots": Long = "20971520", at_least(1), High, ReadOnly,
        Honoured,
        "Bytes of metadata records after which a snapshot is taken.";
    "metadata.log.max.snapshot.interval.ms": Long = "3600000", at_least(0), High, ReadOnly, Honoured,
        "Time after which changed metadata is snapshotted; 0 is never.";
    "metadata.max.retention.bytes": Long = "104857600", ANY, High, ReadOnly, Honoured,
        "Size of log and snapshots above which old metadata is deleted.";
    "metadata.max.retention.ms": Long = "604800000", ANY, High, ReadOnly, Honoured,
        "Age above which old metadata is deleted.";
    "metadata.max.idle.interval.ms": Int = "500", at_least(0), Low, ReadOnly, Accepted,
        "How often the controller writes a no-op when nothing changes; 0 is never.";
    internal "internal.metadata.log.segment.bytes": Int = null, ANY, Low, ReadOnly, Accepted,
        "Segment size of the metadata log, for tests.";
    internal "internal.metadata.max.batch.size.in.bytes": Int = "8388608", ANY, Low, ReadOnly, Accepted,
        "Largest batch of the metadata log, for tests.";
    internal "internal.metadata.delete.delay.millis": Long = "60000", ANY, Low, ReadOnly, Accepted,
        "Wait before a retired metadata file is removed, for tests.";
}
