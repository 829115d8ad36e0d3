//! One transaction as its application sees it. It must never know what the node makes of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use ottla_model::TopicId;
use ottla_model::group::GroupId;
use ottla_protocol::Offset;
use ottla_protocol::batch::control::TransactionResult;

use super::ledger::RecordId;

/// One transaction of one producer, as its application sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AttemptId(pub u64);

/// What is known of it.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub client: usize,
    /// What was sent, acknowledged or not.
    pub records: BTreeSet<RecordId>,
    /// Of a loop: whose, and the inputs that it has processed.
    pub inputs: Option<Inputs>,
    pub asked_to_commit: bool,
    /// How it ends, as somebody was told.
    pub answered: Option<TransactionResult>,
    /// A reader of what is committed was given one of its records.
    pub read: bool,
}

/// A loop reads no topic: its input has every number once, and its offset is the next number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Inputs {
    pub of: LoopId,
    pub from: Offset,
    pub to: Offset,
}

/// The group of a loop, and the partition whose offset it commits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LoopId {
    pub group: GroupId,
    pub input: (Arc<str>, TopicId),
}
