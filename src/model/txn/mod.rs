//! The records of `__transaction_state`, in Kafka's formats: what a transaction coordinator remembers of each
//! transactional id (KIP-98, KIP-890). It must never know what they lead to; `ottla_core::txn` decides that.
//!
//! A key begins with its record's type, which is 0 for the only type that there is, and a value with the version of its
//! layout. A key or a value of a later kind reads as nothing, as in Kafka, so that whoever loads a log can pass over it.

#[cfg(test)]
mod tests;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::primitives::ReadError;
use ottla_protocol::{ProducerEpoch, ProducerId};

use crate::TopicName;

/// What a producer calls itself across restarts, `transactional.id`.
pub type TransactionalId = Arc<str>;

/// Partitions by topic. No topic is without a partition.
pub type Partitions = BTreeMap<TopicName, BTreeSet<i32>>;

/// One record of `__transaction_state`. A value of `None` is a tombstone: the transactional id is forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionRecord {
    pub transactional_id: TransactionalId,
    pub value: Option<TransactionMetadata>,
}

/// What the log says of a transactional id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionMetadata {
    pub layout: Layout,
    pub producer_id: ProducerId,
    /// The one before the last change, which most often is the same. NONE in the classic layout.
    pub previous_producer_id: ProducerId,
    /// The one that the producer goes on with when this transaction is complete, because its epochs are used up (KIP-890).
    /// NONE if it goes on with the same, and in the classic layout.
    pub next_producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    /// `i32::MAX` with two-phase commit: such a transaction is never aborted for its age (KIP-939).
    pub timeout_ms: i32,
    pub state: TransactionState,
    /// Of the open transaction.
    pub partitions: Partitions,
    pub last_update_ms: i64,
    /// When the last transaction began. `None`: there was none since the producer was initialized.
    pub start_ms: Option<i64>,
    /// What the client knew that last changed the state. Zero in the classic layout.
    pub client_version: TransactionVersion,
}

/// How a value is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Version 0.
    Classic,
    /// Version 1, which has tagged fields.
    Flexible,
}

/// A level of the feature `transaction.version`: the cluster's, or that of the protocol that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TransactionVersion(pub i16);

/// The states that a log knows. Kafka has two more, `Dead` and `PrepareEpochFence`, which it never writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TransactionState {
    /// No transaction since the producer was initialized.
    Empty,
    Ongoing,
    /// It is decided that the transaction commits. Its partitions are told.
    PrepareCommit,
    /// It is decided that the transaction aborts. Its partitions are told.
    PrepareAbort,
    /// All partitions know.
    CompleteCommit,
    /// All partitions know.
    CompleteAbort,
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("the key: {0}")]
    Key(ReadError),
    #[error("TransactionLogValue: {0}")]
    Value(#[from] ReadError),
    #[error("TransactionLogValue has no state {0}")]
    NoSuchState(i8),
}

impl TransactionRecord {
    pub fn to_key_value(&self) -> (Bytes, Option<Bytes>) {
        wire::write(self)
    }

    /// `None` if it is of a type, or of a version, that we don't know.
    pub fn from_key_value(
        key: &Bytes,
        value: Option<&Bytes>,
    ) -> Result<Option<TransactionRecord>, Unreadable> {
        wire::read(key, value)
    }
}

impl TransactionVersion {
    /// The protocol as it was before KIP-890.
    pub const ORIGINAL: TransactionVersion = TransactionVersion(0);
    /// An epoch for each transaction, and partitions that are added by producing to them (KIP-890).
    pub const EPOCH_BUMP: TransactionVersion = TransactionVersion(2);

    pub fn bumps_epoch(self) -> bool {
        self >= TransactionVersion::EPOCH_BUMP
    }

    /// How a coordinator of this level writes.
    pub fn layout(self) -> Layout {
        if self.0 >= 1 { Layout::Flexible } else { Layout::Classic }
    }
}

impl TransactionState {
    /// Kafka's numbers are the places in this list.
    pub const ALL: [TransactionState; 6] = [
        TransactionState::Empty,
        TransactionState::Ongoing,
        TransactionState::PrepareCommit,
        TransactionState::PrepareAbort,
        TransactionState::CompleteCommit,
        TransactionState::CompleteAbort,
    ];

    /// As Kafka spells it.
    pub fn name(self) -> &'static str {
        match self {
            TransactionState::Empty => "Empty",
            TransactionState::Ongoing => "Ongoing",
            TransactionState::PrepareCommit => "PrepareCommit",
            TransactionState::PrepareAbort => "PrepareAbort",
            TransactionState::CompleteCommit => "CompleteCommit",
            TransactionState::CompleteAbort => "CompleteAbort",
        }
    }

    /// Whether it is decided how the transaction ends, and partitions are still being told.
    pub fn is_prepared(self) -> bool {
        matches!(self, TransactionState::PrepareCommit | TransactionState::PrepareAbort)
    }
}

impl fmt::Display for TransactionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
