//! The in-sync set, and the change of it that the controller has been asked for. Only the controller changes it; until it
//! has answered, whoever is in the old set or in the new one counts (KIP-497). It must never decide who is in sync.

use ottla_model::NodeId;
use ottla_protocol::{ErrorCode, LeaderEpoch};

/// A change of the in-sync set that the controller is to make (AlterPartition, KIP-497).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: i32,
    pub isr: Vec<InSyncMember>,
}

/// A member of a proposed in-sync set, in the life in which it fetched (KIP-903).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InSyncMember {
    pub replica: NodeId,
    /// None where it is not known: of the leader itself, and of a member that has not fetched yet.
    pub broker_epoch: Option<i64>,
}

/// What the controller said to a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsrAnswer {
    pub proposal: Proposal,
    /// The partition as it is now: leader epoch, partition epoch, in-sync set.
    pub outcome: Result<(LeaderEpoch, i32, Vec<NodeId>), ErrorCode>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct InSync {
    committed: Vec<NodeId>,
    pending: Option<Pending>,
}

#[derive(Debug, PartialEq, Eq)]
struct Pending {
    proposal: Proposal,
    /// Who is to join; none for a change that only lets go.
    joins: Option<NodeId>,
}

impl InSync {
    pub fn committed(isr: Vec<NodeId>) -> InSync {
        InSync { committed: isr, pending: None }
    }

    pub fn members(&self) -> &[NodeId] {
        &self.committed
    }

    pub fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Whether records have to wait for `replica`: it is a member, or will perhaps be one.
    pub fn counts(&self, replica: NodeId) -> bool {
        self.committed.contains(&replica) || self.joining() == Some(replica)
    }

    /// How many [`counts`](InSync::counts) says yes to.
    pub fn counted(&self) -> usize {
        self.committed.len() + usize::from(self.joining().is_some())
    }

    fn joining(&self) -> Option<NodeId> {
        self.pending.as_ref().and_then(|pending| pending.joins)
    }

    pub fn propose(&mut self, proposal: Proposal, joins: Option<NodeId>) {
        self.pending = Some(Pending { proposal, joins });
    }

    /// Whether this is what is being waited for, and not an answer to what is over.
    pub fn awaits(&self, proposal: &Proposal) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.proposal == *proposal)
    }

    /// The controller says that nothing of it was done: the set is what it was.
    pub fn take_back(&mut self) {
        self.pending = None;
    }
}
