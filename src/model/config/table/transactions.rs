//! Idempotent producers, transactions, and the transaction log.
//! It must never hold anything but rows.

use super::super::key::Support::{Accepted, Honoured};
use super::super::key::{ConfigKey, Importance, Kind};
use super::row::{ANY, at_least, broker_keys};

broker_keys! {
    "producer.id.expiration.ms": Int = "86400000", at_least(1), Low, ClusterWide, Honoured,
        "A producer silent for this long in a partition is forgotten there.";
    internal "producer.id.expiration.check.interval.ms": Int = "600000", at_least(1), Low, ReadOnly, Accepted,
        "How often silent producers are looked for.";
    "transactional.id.expiration.ms": Int = "604800000", at_least(1), High, ReadOnly, Honoured,
        "A transactional id unused for this long is forgotten.";
    "transaction.max.timeout.ms": Int = "900000", at_least(1), High, ReadOnly, Honoured,
        "Longest timeout that a transactional producer may ask for.";
    "transaction.state.log.num.partitions": Int = "50", at_least(1), High, ReadOnly, Honoured,
        "Partitions of the transaction log.";
    "transaction.state.log.replication.factor": Short = "3", at_least(1), High, ReadOnly, Honoured,
        "Replicas of the transaction log.";
    "transaction.state.log.min.isr": Int = "2", at_least(1), High, ReadOnly, Honoured,
        "Replicas that must have an entry of the transaction log.";
    "transaction.state.log.segment.bytes": Int = "104857600", at_least(1), High, ReadOnly, Honoured,
        "Segment size of the transaction log.";
    "transaction.state.log.load.buffer.size": Int = "5242880", at_least(1), High, ReadOnly, Honoured,
        "Bytes read at a time when the transaction log is loaded.";
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": Int = "10000", at_least(1), Low, ReadOnly,
        Honoured,
        "How often transactions past their timeout are aborted.";
    "transaction.remove.expired.transaction.cleanup.interval.ms": Int = "3600000", at_least(1), Low, ReadOnly,
        Honoured,
        "How often expired transactional ids are removed.";
    "transaction.two.phase.commit.enable": Boolean = "false", ANY, Low, ReadOnly, Honoured,
        "Whether outside systems may take part in a transaction.";
    "transaction.partition.verification.enable": Boolean = "true", ANY, Low, ClusterWide, Honoured,
        "Whether a partition checks that it belongs to the producer's transaction.";
    "add.partitions.to.txn.retry.backoff.ms": Int = "20", at_least(1), High, ReadOnly, Honoured,
        "Pause before the broker retries to add a partition to a transaction.";
    "add.partitions.to.txn.retry.backoff.max.ms": Int = "100", at_least(0), High, ReadOnly, Honoured,
        "How long the broker retries to add a partition to a transaction.";
}
