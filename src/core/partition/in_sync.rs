//! The in-sync set, and a change of it that was proposed to the controller. Only the controller changes the set. Until it
//! has answered, every replica in the old or the new set counts as in sync (KIP-497). It must never decide who is in
//! sync.

use ottla_model::NodeId;
use ottla_protocol::{ErrorCode, LeaderEpoch};

/// A change of the in-sync set that the controller is asked to make (AlterPartition, KIP-497).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: i32,
    pub isr: Vec<InSyncMember>,
}

/// A member of a proposed in-sync set, with the broker epoch in which it fetched (KIP-903).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InSyncMember {
    pub replica: NodeId,
    /// `None`: not known, for the leader itself and for a member that has not fetched yet.
    pub broker_epoch: Option<i64>,
}

/// The controller's answer to a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsrAnswer {
    pub proposal: Proposal,
    /// The partition after the change: leader epoch, partition epoch, in-sync set.
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
    /// The replica that is to join. `None`: the change only removes replicas.
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

    /// Whether the high watermark has to wait for `replica`: it is in the set, or in the proposed set.
    pub fn counts(&self, replica: NodeId) -> bool {
        self.committed.contains(&replica) || self.joining() == Some(replica)
    }

    /// How many replicas count in this sense (see [`counts`](InSync::counts)).
    pub fn counted(&self) -> usize {
        self.committed.len() + usize::from(self.joining().is_some())
    }

    fn joining(&self) -> Option<NodeId> {
        self.pending.as_ref().and_then(|pending| pending.joins)
    }

    pub fn propose(&mut self, proposal: Proposal, joins: Option<NodeId>) {
        self.pending = Some(Pending { proposal, joins });
    }

    /// Whether this is the pending proposal. Otherwise its answer comes too late and means nothing.
    pub fn awaits(&self, proposal: &Proposal) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.proposal == *proposal)
    }

    /// Drops the proposal: the controller has not changed the set.
    pub fn take_back(&mut self) -> Option<NodeId> {
        self.pending.take().and_then(|pending| pending.joins)
    }
}
