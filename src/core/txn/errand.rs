//! What a shard has others do. Whoever does it tells what it came to by a command. If the shard refuses that command,
//! another one has taken over and does all of it again.

use ottla_model::txn::{Partitions, TransactionVersion, TransactionalId};
use ottla_protocol::Offset;
use ottla_protocol::batch::control::TransactionResult;

use crate::coordinator::Producer;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Errand {
    /// Get a producer id that nobody has, and tell with [`super::Command::ProducerIdAllocated`].
    AllocateProducerId { transactional_id: TransactionalId },
    /// Send a marker to the leader of each partition, and tell with [`super::Command::MarkersWritten`].
    WriteMarkers(Markers),
}

/// The end of a transaction, to be written into its partitions (WriteTxnMarkers).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Markers {
    pub transactional_id: TransactionalId,
    /// Where the log says that the transaction ends: it tells this end from all others of the transactional id.
    pub prepared_at: Offset,
    pub producer: Producer,
    pub result: TransactionResult,
    /// The leader epoch of the coordinator's partition. Partitions refuse markers of a coordinator that was replaced.
    pub coordinator_epoch: i32,
    pub client_version: TransactionVersion,
    pub partitions: Partitions,
}
