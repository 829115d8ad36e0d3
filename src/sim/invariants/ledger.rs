//! What is known of one partition: which record is at which offset, and who was told. It must never be filled from what
//! the node says of itself, but for the ends that a crash is measured against.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ottla_log::log::Offsets;
use ottla_model::NodeId;
use ottla_protocol::Offset;

use super::compacted::{Compaction, History};
use super::copy::LogCopy;
use crate::marks::mark_if;

/// Who wrote a record, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RecordId {
    pub client: u32,
    pub number: u32,
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record {} of client {}", self.number, self.client)
    }
}

/// What a topic was created with, as far as promises go.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Promise {
    /// `flush.messages=1`: nothing is lost with the power either.
    pub outlives_power: bool,
    /// No limit of retention is near: everything stays.
    pub keeps_all: bool,
    /// `None`: it is not compacted.
    pub compaction: Option<Compaction>,
}

/// How a process ended, from the least to the worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Loss {
    #[default]
    Nothing,
    /// The process alone: what was written is still there.
    Process,
    /// Of what was not synced anything may be gone.
    Power,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Fact {
    pub record: RecordId,
    pub acknowledged: bool,
    pub seen: bool,
}

/// One partition: what was said to clients, whoever said it, and what is known of each node's replica.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub promise: Promise,
    pub facts: BTreeMap<Offset, Fact>,
    /// Where a record is, or was before retention took it.
    pub places: BTreeMap<RecordId, Offset>,
    /// Who sends with sequences.
    pub idempotent: BTreeSet<u32>,
    /// Records that were promised nothing have been lost: a producer may have had to begin again.
    pub lossy: bool,
    /// All that a compacted log ever had.
    pub history: History,
    replicas: BTreeMap<NodeId, Replica>,
}

/// What is known of one node's replica.
#[derive(Debug, Default)]
pub(crate) struct Replica {
    /// The worst that has happened since the log was last examined.
    pub loss: Loss,
    /// As last seen of the process that is running, or ran.
    pub offsets: Option<Offsets>,
    pub recovery_point: Offset,
}

impl Ledger {
    pub fn new(promise: Promise) -> Ledger {
        let (facts, places, idempotent, lossy, history, replicas) = Default::default();
        Ledger { promise, facts, places, idempotent, lossy, history, replicas }
    }

    pub fn replica(&mut self, node: NodeId) -> &mut Replica {
        self.replicas.entry(node).or_default()
    }

    /// The worst that has happened to the replica of this node since its log was last examined.
    pub fn loss(&self, node: NodeId) -> Loss {
        self.replicas.get(&node).map_or(Loss::Nothing, |replica| replica.loss)
    }

    /// Whether what was said must still be true there.
    pub fn holds(&self, node: NodeId) -> bool {
        self.loss(node) < Loss::Power || self.promise.outlives_power
    }

    pub fn ended(&mut self, node: NodeId, loss: Loss) {
        let replica = self.replica(node);
        replica.loss = replica.loss.max(loss);
    }

    /// The log of this node, which leads, was examined: what it does not have any more, and did not have to have, is forgotten.
    pub fn settle(&mut self, node: NodeId, copy: &LogCopy) {
        let end = copy.offsets.log_end;
        let gone = self.facts.split_off(&end);
        mark_if(
            gone.values().any(|fact| fact.acknowledged),
            "the power took records that nobody had promised to keep",
        );
        self.places.retain(|_, at| *at < end);
        self.history.cut(end);
        self.lossy |= !self.holds(node);
    }
}
