//! How the quorum stands, for those who ask: who leads, who votes and how far each voter is (KIP-595, KIP-836).
//! It must never change anything.

use std::collections::BTreeMap;

use ottla_model::NodeId;
use ottla_model::config::HostPort;
use ottla_protocol::batch::control::{VoterEndpoint, VoterNode};
use ottla_protocol::{LeaderEpoch, Offset};
use raft::StateRole;

use super::Quorum;
use super::followers::ObserverState;
use super::voters::ReplicaKey;

/// The quorum as one of its members knows it.
#[derive(Clone, Debug)]
pub struct QuorumState {
    pub me: ReplicaKey,
    /// The level of `kraft.version`.
    pub kraft_version: i16,
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
    /// When it was heard last, in ms since 1970; -1: never by this leader.
    pub heard_ms: i64,
    /// When it last had everything; -1: never that this leader knows of.
    pub caught_up_ms: i64,
}

/// What a leader has heard of the other voters since it leads.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    at: BTreeMap<NodeId, HeardOf>,
}

#[derive(Clone, Copy, Debug)]
struct HeardOf {
    key: ReplicaKey,
    heard_ms: i64,
    caught_up_ms: i64,
    /// The leader's last entry then.
    last: u64,
}

impl Heard {
    /// A voter has everything up to `matched`. Kafka's rule: who has now what the leader had before was caught up then.
    pub fn note(&mut self, key: ReplicaKey, matched: u64, last: u64, now_ms: i64) {
        let before = self.at.get(&key.id).copied();
        let known_ms = before.map_or(-1, |before| before.caught_up_ms);
        let caught_up_ms = match before {
            _ if matched >= last => now_ms,
            Some(before) if matched >= before.last => before.heard_ms,
            _ => -1,
        };
        let heard = HeardOf { key, heard_ms: now_ms, caught_up_ms: known_ms.max(caught_up_ms), last };
        self.at.insert(key.id, heard);
    }

    pub fn clear(&mut self) {
        self.at.clear();
    }
}

impl Quorum {
    pub fn state(&self, now_ms: i64) -> QuorumState {
        let voters = self.voters();
        let nodes = self.membership().voters.iter().flat_map(|record| &record.voters);
        QuorumState {
            me: self.raw.store().voters().me,
            kraft_version: self.membership().kraft_version(),
            epoch: self.epoch(),
            leader: self.leader(),
            leads: self.leads(),
            high_watermark: self.high_watermark(),
            voters: self.known_voters().map(|key| self.voter_state(key)).collect(),
            observers: self.observers(now_ms),
            addresses: voters.iter().filter_map(|key| Some((key.id, self.address(key.id)?))).collect(),
            nodes: nodes.map(|node| (NodeId(node.id), node.endpoints.clone())).collect(),
        }
    }

    /// Who votes, with the directories that this leader has heard of where the log names none (`kraft.version` 0).
    pub fn known_voters(&self) -> impl Iterator<Item = ReplicaKey> {
        let me = self.raw.store().voters().me;
        self.voters().iter().collect::<Vec<_>>().into_iter().map(move |key| {
            match self.heard.at.get(&key.id) {
                _ if key.id == me.id && key.directory_id.is_nil() => me,
                Some(heard) if key.directory_id.is_nil() => heard.key,
                _ => key,
            }
        })
    }

    fn voter_state(&self, key: ReplicaKey) -> VoterState {
        let store = self.raw.store();
        if key == store.voters().me {
            let now_ms = store.now_ms();
            return VoterState { key, log_end: self.next_offset(), heard_ms: now_ms, caught_up_ms: now_ms };
        }
        let progress = self.raw.raft.prs().get(key.raft_id());
        let leads = self.raw.raft.state == StateRole::Leader;
        let matched = progress.filter(|_| leads).map(|progress| progress.matched);
        let heard = self.heard.at.get(&key.id);
        let (heard_ms, caught_up_ms) = heard.map_or((-1, -1), |heard| (heard.heard_ms, heard.caught_up_ms));
        // Raft takes it for empty until it has said what it has.
        let matched = matched.filter(|matched| *matched > 0);
        let log_end = matched.and_then(|index| store.end_of(index)).unwrap_or(-1);
        VoterState { key, log_end, heard_ms, caught_up_ms }
    }

    /// A voter has been heard, in a message that was taken.
    pub(super) fn note_heard(&mut self, from: ReplicaKey) {
        if self.raw.raft.state != StateRole::Leader {
            return;
        }
        let store = self.raw.store();
        let (last, now_ms) = (store.last(), store.now_ms());
        if let Some(progress) = self.raw.raft.prs().get(from.raft_id()) {
            self.heard.note(from, progress.matched, last, now_ms);
        }
    }

    /// Whether the log has this voter as it says that it is.
    pub fn names(&self, voter: &VoterNode) -> bool {
        self.membership().voters.iter().flat_map(|record| &record.voters).any(|named| named == voter)
    }

    /// A voter has said where it is. Only what a voter says of itself counts, and only until the log has other voters. Where the
    /// configuration names the voters, it also says where they are.
    pub fn hear_where(&mut self, voter: &VoterNode) {
        let (store, key) = (self.raw.store(), ReplicaKey::of_voter(voter));
        let votes = store.replica(key.id) == key && !key.directory_id.is_nil();
        let votes = votes && self.membership().kraft_version() > 0;
        let (index, voters) = (store.voters_index(), self.voters());
        if let Some(endpoint) = voter.endpoints.first().filter(|_| votes) {
            let address = HostPort { host: endpoint.host.clone(), port: endpoint.port };
            self.whereabouts.hear(key, address, index, &voters);
        }
    }

    /// Where a voter's controller listener is: as the log says, or else as `controller.quorum.voters` does. A voter whose
    /// removal is not agreed on yet is where it was: it may be the leader, who waits for answers.
    pub fn address(&self, id: NodeId) -> Option<HostPort> {
        let store = self.raw.store();
        if let Some(told) = self.whereabouts.of(store.replica(id), store.voters_index()) {
            return Some(told);
        }
        let agreed = store.membership_at(self.raw.raft.raft_log.committed);
        let named = [store.membership(), agreed].into_iter().flat_map(|membership| &membership.voters);
        let voters = named.flat_map(|record| &record.voters).filter(|voter| voter.id == id.0);
        let logged = voters.into_iter().find_map(|voter| voter.endpoints.first());
        let logged = logged.map(|endpoint| HostPort { host: endpoint.host.clone(), port: endpoint.port });
        logged.or_else(|| store.voters().addresses.get(&id).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_voter_that_has_what_the_leader_had_before_was_caught_up_then() {
        let (mut heard, id) = (Heard::default(), NodeId(2));
        let key = ReplicaKey::of(id);
        let rows = [
            // now, what the voter has, what the leader has; caught up at
            (100, 0, 10, -1),
            (200, 10, 20, 100),
            (300, 15, 25, 100),
            (400, 25, 25, 400),
            (500, 25, 30, 400),
        ];
        for (now_ms, matched, last, caught_up_ms) in rows {
            heard.note(key, matched, last, now_ms);
            assert_eq!((heard.at[&id].heard_ms, heard.at[&id].caught_up_ms), (now_ms, caught_up_ms));
        }
        heard.clear();
        assert!(heard.at.is_empty(), "the next leader knows nothing yet");
    }
}
