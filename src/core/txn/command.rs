//! What is asked of a shard of the transaction coordinator, in the domain's words. Knows no API versions: where a version
//! made a difference, the difference has a field here.
//!
//! A request that is about several transactional ids (AddPartitionsToTxn from version 4 on, DescribeTransactions) is one
//! command for each: they may belong to different shards.

use std::fmt;
use std::sync::Arc;

use ottla_model::TopicName;
use ottla_model::txn::{Partitions, TransactionVersion, TransactionalId};
use ottla_protocol::batch::control::TransactionResult;
use ottla_protocol::{ErrorCode, Offset, ProducerId};

use super::reply::Reply;
use crate::coordinator::Producer;

#[derive(Clone, Debug)]
pub enum Command {
    InitProducerId(InitProducerId),
    AddPartitions(AddPartitions),
    VerifyPartitions(VerifyPartitions),
    EndTxn(EndTxn),
    ListTransactions(ListTransactions),
    DescribeTransaction {
        transactional_id: TransactionalId,
    },
    /// What [`super::Errand::AllocateProducerId`] came to.
    ProducerIdAllocated {
        transactional_id: TransactionalId,
        result: Result<ProducerId, ErrorCode>,
    },
    /// What [`super::Errand::WriteMarkers`] came to.
    MarkersWritten(MarkersWritten),
}

/// A producer starts, or starts again. Without a transactional id any broker answers, and no coordinator is asked.
#[derive(Clone, Debug)]
pub struct InitProducerId {
    pub transactional_id: TransactionalId,
    pub timeout_ms: i32,
    /// Who the producer takes itself for: it goes on after an error (KIP-360).
    pub expected: Option<Producer>,
    /// Both of KIP-939.
    pub enable_two_phase_commit: bool,
    pub keep_prepared_transaction: bool,
}

/// AddPartitionsToTxn. AddOffsetsToTxn is the same for the partition of `__consumer_offsets` that has the group.
#[derive(Clone, Debug)]
pub struct AddPartitions {
    pub transactional_id: TransactionalId,
    pub producer: Producer,
    pub partitions: Partitions,
    /// From AddPartitionsToTxn 4 on it is the partition's leader that asks, for a client that bumps epochs.
    pub client_version: TransactionVersion,
}

/// AddPartitionsToTxn that only verifies: a partition's leader asks it before the first append of a transaction (KIP-890).
#[derive(Clone, Debug)]
pub struct VerifyPartitions {
    pub transactional_id: TransactionalId,
    pub producer: Producer,
    pub partitions: Partitions,
}

#[derive(Clone, Debug)]
pub struct EndTxn {
    pub transactional_id: TransactionalId,
    pub producer: Producer,
    pub result: TransactionResult,
    /// From EndTxn 5 on a client bumps epochs.
    pub client_version: TransactionVersion,
}

/// An empty filter lets everything pass.
#[derive(Clone, Debug, Default)]
pub struct ListTransactions {
    /// As Kafka spells them; case matters.
    pub states: Vec<String>,
    pub producer_ids: Vec<ProducerId>,
    /// Only transactions that have been open for longer than this, in milliseconds (KIP-994).
    pub duration_ms: Option<i64>,
    pub transactional_ids: Option<NamePattern>,
}

/// A regular expression that a transactional id has to match as a whole (KIP-1152). Whoever makes it has compiled it,
/// and has answered INVALID_REGULAR_EXPRESSION where that is impossible.
#[derive(Clone)]
pub struct NamePattern(pub Arc<dyn Fn(&str) -> bool + Send + Sync>);

/// Where the markers of a transaction have arrived, and where not.
#[derive(Clone, Debug)]
pub struct MarkersWritten {
    pub transactional_id: TransactionalId,
    /// As in the errand.
    pub prepared_at: Offset,
    /// Some of the errand's partitions or all of them, each of them once. A partition without a leader, and one whose
    /// leader could not be reached, have an error as well.
    pub results: Vec<(TopicName, i32, ErrorCode)>,
}

impl Command {
    /// The transactional id that the command is about. `None`: it is about all.
    pub fn transactional_id(&self) -> Option<&TransactionalId> {
        match self {
            Command::InitProducerId(init) => Some(&init.transactional_id),
            Command::AddPartitions(add) => Some(&add.transactional_id),
            Command::VerifyPartitions(verify) => Some(&verify.transactional_id),
            Command::EndTxn(end) => Some(&end.transactional_id),
            Command::DescribeTransaction { transactional_id }
            | Command::ProducerIdAllocated { transactional_id, .. } => Some(transactional_id),
            Command::MarkersWritten(written) => Some(&written.transactional_id),
            Command::ListTransactions(_) => None,
        }
    }

    /// Whether the command changes nothing. Its answer is right whether or not a write that is under way succeeds: nobody
    /// has been told yet that it did, and a partition's leader checks a verified append once more when it appends.
    pub(super) fn only_reads(&self) -> bool {
        match self {
            Command::VerifyPartitions(_)
            | Command::ListTransactions(_)
            | Command::DescribeTransaction { .. } => true,
            Command::InitProducerId(_)
            | Command::AddPartitions(_)
            | Command::EndTxn(_)
            | Command::ProducerIdAllocated { .. }
            | Command::MarkersWritten(_) => false,
        }
    }

    /// The reply that says `error` to all of the command.
    pub fn refused(&self, error: ErrorCode) -> Reply {
        match self {
            Command::InitProducerId(_) => Reply::ProducerInitialized(Err(error)),
            Command::AddPartitions(_) => Reply::PartitionsAdded(error),
            Command::VerifyPartitions(verify) => Reply::all_verified(&verify.partitions, |_, _| error),
            Command::EndTxn(_) => Reply::TransactionEnds(Err(error)),
            Command::ListTransactions(_) => Reply::TransactionsListed(Err(error)),
            Command::DescribeTransaction { .. } => Reply::TransactionDescribed(Err(error)),
            Command::ProducerIdAllocated { .. } | Command::MarkersWritten(_) => Reply::Noted(error),
        }
    }
}

impl fmt::Debug for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NamePattern")
    }
}
