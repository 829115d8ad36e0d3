//! How the quorum stands, for those who ask: who leads, who votes and how far each voter is (KIP-595, KIP-836).
//! It must never change anything.

use std::collections::BTreeMap;

use ottla_model::NodeId;
use ottla_model::config::HostPort;
use ottla_protocol::batch::control::VoterEndpoint;
use ottla_protocol::{LeaderEpoch, Offset};
use raft::StateRole;

use super::Quorum;
use super::followers::ObserverState;
use super::voters::ReplicaKey;

/// The quorum as one of its members knows it.
#[derive(Clone, Debug)]
pub struct QuorumState {
    pub epoch: LeaderEpoch,
    pub leader: Option<NodeId>,
    /// This member leads: only then it knows how far the others are.
    pub leads: bool,
    pub high_watermark: Offset,
    pub voters: Vec<VoterState>,
    /// Who else follows; only the leader knows.
    pub observers: Vec<(ReplicaKey, ObserverState)>,
    /// Where the listeners of each node are that the quorum knows of.
    pub nodes: BTreeMap<NodeId, Vec<VoterEndpoint>>,
    /// Where each voter's controller listener is.
    pub addresses: BTreeMap<NodeId, HostPort>,
}

/// A voter as the leader knows it.
#[derive(Clone, Copy, Debug)]
pub struct VoterState {
    pub key: ReplicaKey,
    /// -1: not known.
    pub log_end: Offset,
    /// When it was heard last, in ms since 1970; -1: never.
    pub heard_ms: i64,
    /// When it was last heard to have everything; -1: never.
    pub caught_up_ms: i64,
}

/// When voters were heard.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    at: BTreeMap<NodeId, (i64, i64)>,
}

impl Heard {
    pub fn note(&mut self, id: NodeId, caught_up: bool, now_ms: i64) {
        let (heard_ms, caught_up_ms) = self.at.entry(id).or_insert((-1, -1));
        *heard_ms = now_ms;
        if caught_up {
            *caught_up_ms = now_ms;
        }
    }
}

impl Quorum {
    pub fn state(&self, now_ms: i64) -> QuorumState {
        let voters = self.voters();
        let nodes = self.membership().voters.iter().flat_map(|record| &record.voters);
        QuorumState {
            epoch: self.epoch(),
            leader: self.leader(),
            leads: self.leads(),
            high_watermark: self.high_watermark(),
            voters: voters.iter().map(|key| self.voter_state(key)).collect(),
            observers: self.observers(now_ms),
            addresses: voters.iter().filter_map(|key| Some((key.id, self.address(key.id)?))).collect(),
            nodes: nodes.map(|node| (NodeId(node.id), node.endpoints.clone())).collect(),
        }
    }

    fn voter_state(&self, key: ReplicaKey) -> VoterState {
        let store = self.raw.store();
        if key.id == store.voters().me.id {
            let now_ms = store.now_ms();
            return VoterState { key, log_end: self.next_offset(), heard_ms: now_ms, caught_up_ms: now_ms };
        }
        let progress = self.raw.raft.prs().get(key.raft_id());
        let leads = self.raw.raft.state == StateRole::Leader;
        let matched = progress.filter(|_| leads).map(|progress| progress.matched);
        let (heard_ms, caught_up_ms) = self.heard.at.get(&key.id).copied().unwrap_or((-1, -1));
        let log_end = matched.and_then(|index| store.end_of(index)).unwrap_or(-1);
        VoterState { key, log_end, heard_ms, caught_up_ms }
    }

    /// A voter has been heard, in a message that was taken.
    pub(super) fn note_heard(&mut self, id: NodeId) {
        let store = self.raw.store();
        let (last, now_ms) = (store.last(), store.now_ms());
        let progress = self.raw.raft.prs().get(ReplicaKey::of(id).raft_id());
        let caught_up = progress.is_some_and(|progress| progress.matched >= last);
        self.heard.note(id, caught_up, now_ms);
    }

    /// Where a voter's controller listener is: as the log says, or else as `controller.quorum.voters` does.
    pub fn address(&self, id: NodeId) -> Option<HostPort> {
        let voters = self.membership().voters.iter().flat_map(|record| &record.voters);
        let logged = voters.filter(|voter| voter.id == id.0).find_map(|voter| voter.endpoints.first());
        let logged = logged.map(|endpoint| HostPort { host: endpoint.host.clone(), port: endpoint.port });
        logged.or_else(|| self.raw.store().voters().addresses.get(&id).cloned())
    }
}
