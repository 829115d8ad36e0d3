//! Changing who votes (KIP-853), one change at a time, and handing leadership over. A change is a control batch that names the
//! whole new set; it counts from when it is agreed on.
//! It must never decide that a change is due.

use ottla_model::NodeId;
use ottla_protocol::batch::control::{ControlRecord, KRaftVersion, KRaftVoters, VoterNode};
use ottla_protocol::{ErrorCode, Offset};
use raft::StateRole;
use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2};

use super::voters::ReplicaKey;
use super::{Quorum, QuorumError, entries, voters};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VoterChange {
    /// Whoever asks has seen that it has nearly all of the log: a voter that lags takes part in no agreement.
    Add(VoterNode),
    Remove(ReplicaKey),
    /// The same replica, with other endpoints or versions.
    Update(VoterNode),
}

/// Why it is not done. The errors are Kafka's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeRefused {
    #[error("this node does not lead the quorum")]
    NotLeader,
    #[error("the change before is not agreed on yet")]
    Pending,
    #[error("the voters are those of controller.quorum.voters, and cannot change (kraft.version 0)")]
    Fixed,
    #[error("a voter with this id is in the set")]
    Duplicate,
    #[error("there is no such voter, or no other")]
    NotFound,
    #[error("no quorum can be made of such voters")]
    Invalid,
    #[error("the replica does not follow the metadata log, or lags behind")]
    Lagging,
}

impl ChangeRefused {
    pub fn code(self) -> ErrorCode {
        match self {
            ChangeRefused::NotLeader => ErrorCode::NotLeaderOrFollower,
            ChangeRefused::Pending | ChangeRefused::Lagging => ErrorCode::RequestTimedOut,
            ChangeRefused::Fixed => ErrorCode::UnsupportedVersion,
            ChangeRefused::Duplicate => ErrorCode::DuplicateVoter,
            ChangeRefused::NotFound => ErrorCode::VoterNotFound,
            ChangeRefused::Invalid => ErrorCode::InvalidRequest,
        }
    }
}

impl VoterChange {
    fn applied_to(&self, set: &[VoterNode]) -> Result<Vec<VoterNode>, ChangeRefused> {
        let mut changed = set.to_vec();
        let at = |key: ReplicaKey| set.iter().position(|voter| ReplicaKey::of_voter(voter) == key);
        match self {
            VoterChange::Add(voter) if set.iter().any(|known| known.id == voter.id) => {
                return Err(ChangeRefused::Duplicate);
            }
            VoterChange::Add(voter) => changed.push(voter.clone()),
            VoterChange::Remove(key) => {
                changed.remove(at(*key).filter(|_| set.len() > 1).ok_or(ChangeRefused::NotFound)?);
            }
            VoterChange::Update(voter) => {
                changed[at(ReplicaKey::of_voter(voter)).ok_or(ChangeRefused::NotFound)?] = voter.clone();
            }
        }
        changed.sort_by_key(|voter| voter.id);
        Ok(changed)
    }
}

impl Quorum {
    /// Offers a new set of voters for agreement, and says at which offset it will be. To be followed by [`Quorum::settle`].
    pub fn change_voters(&mut self, change: &VoterChange, now_ms: i64) -> Result<Offset, ChangeRefused> {
        let record = self.changed_voters(change)?;
        self.write_voters([ControlRecord::KRaftVoters(record)], now_ms)
    }

    /// Offers `kraft.version` 1 for agreement: from then on the log says who votes, and no configuration. These are the
    /// voters of the configuration, with their directories. As [`Quorum::change_voters`].
    pub fn let_voters_change(
        &mut self,
        voters: Vec<VoterNode>,
        now_ms: i64,
    ) -> Result<Offset, ChangeRefused> {
        if !self.leads() {
            return Err(ChangeRefused::NotLeader);
        }
        if self.membership().kraft_version() > 0 || self.raw.raft.has_pending_conf() {
            return Err(ChangeRefused::Pending);
        }
        let record = KRaftVoters { version: 0, voters };
        let named = voters::VoterSet::of_record(&record).ok_or(ChangeRefused::Invalid)?;
        let same = named.iter().map(|key| key.id).eq(self.voters().iter().map(|key| key.id));
        if !same || named.iter().any(|key| key.directory_id.is_nil()) {
            return Err(ChangeRefused::Invalid);
        }
        let version = KRaftVersion { version: 0, kraft_version: 1 };
        let records = [ControlRecord::KRaftVersion(version), ControlRecord::KRaftVoters(record)];
        self.write_voters(records, now_ms)
    }

    // The offset of the last record.
    fn write_voters(
        &mut self,
        records: impl IntoIterator<Item = ControlRecord, IntoIter: ExactSizeIterator>,
        now_ms: i64,
    ) -> Result<Offset, ChangeRefused> {
        let (records, first) = (records.into_iter(), self.next_offset());
        let offset = first + records.len() as Offset - 1;
        let batch = entries::control_batch(records, now_ms);
        let batch = entries::at(&batch, first, self.epoch()).ok_or(ChangeRefused::Invalid)?;
        // raft-rs must know that this entry changes the set: what it is to become is read from the entry when it is agreed on.
        let placeholder =
            ConfChangeV2 { changes: vec![simple(true, self.raw.raft.id)].into(), ..ConfChangeV2::default() };
        self.raw.propose_conf_change(Vec::new(), placeholder).map_err(|_| ChangeRefused::NotLeader)?;
        self.write_entry(self.raw.raft.raft_log.last_index(), batch);
        Ok(offset)
    }

    /// Whether an administrator's change is in order as things are. Kafka's rules: who is to vote follows the log already, or
    /// those who vote might agree on nothing any more.
    pub fn check_voters(&self, change: &VoterChange, now_ms: i64) -> Result<(), ChangeRefused> {
        self.changed_voters(change)?;
        match change {
            VoterChange::Add(voter) if !self.followers.has_caught_up(ReplicaKey::of_voter(voter), now_ms) => {
                Err(ChangeRefused::Lagging)
            }
            _ => Ok(()),
        }
    }

    fn changed_voters(&self, change: &VoterChange) -> Result<KRaftVoters, ChangeRefused> {
        if !self.leads() {
            return Err(ChangeRefused::NotLeader);
        }
        let membership = self.membership();
        if membership.kraft_version() < 1 {
            return Err(ChangeRefused::Fixed);
        }
        let applied = self.raw.raft.raft_log.applied;
        if self.raw.store().voters_index() > applied || self.raw.raft.has_pending_conf() {
            return Err(ChangeRefused::Pending);
        }
        let record = membership.voters.clone().ok_or(ChangeRefused::Fixed)?;
        let voters = change.applied_to(&record.voters)?;
        let record = KRaftVoters { voters, ..record };
        voters::VoterSet::of_record(&record).map(|_| record).ok_or(ChangeRefused::Invalid)
    }

    /// An entry is agreed on: if it names voters, votes are counted by them from now on.
    pub(super) fn apply_voters(&mut self, index: u64) -> Result<(), QuorumError> {
        if index <= self.voters_in_force || !self.raw.store().changed_at(index) {
            return Ok(());
        }
        self.voters_in_force = index;
        let after = self.raw.store().voters_at(index)?.raft_ids();
        let before: Vec<u64> = self.raw.raft.prs().conf().voters().ids().iter().collect();
        let added = after.iter().filter(|id| !before.contains(id)).map(|id| simple(true, *id));
        let removed = before.iter().filter(|id| !after.contains(id)).map(|id| simple(false, *id));
        let changes: Vec<ConfChangeSingle> = added.chain(removed).collect();
        if !changes.is_empty() {
            self.raw.mut_store().keep_voters_agreed(index)?;
        }
        for change in changes {
            let change = ConfChangeV2 { changes: vec![change].into(), ..ConfChangeV2::default() };
            self.raw.apply_conf_change(&change)?;
        }
        Ok(())
    }

    /// A leader that is no voter any more makes room, once the others know that its removal is agreed on.
    pub(super) fn step_down_if_removed(&mut self) {
        let raft = &self.raw.raft;
        if raft.state != StateRole::Leader || raft.promotable() {
            return;
        }
        let successor = self.best_follower();
        let term = raft.term;
        if let Some(successor) = successor {
            self.raw.raft.send_timeout_now(successor);
        }
        self.raw.raft.become_follower(term, 0);
    }

    /// Asks the voter that has most of the log to lead. To whom; none: there is nobody. To be followed by [`Quorum::settle`].
    pub fn transfer_leadership(&mut self) -> Option<NodeId> {
        if self.raw.raft.state != StateRole::Leader {
            return None;
        }
        let successor = self.best_follower()?;
        self.raw.transfer_leader(successor);
        voters::node_of(successor)
    }

    /// Whether this member leads and another one can take over.
    pub fn hands_over(&self) -> bool {
        self.raw.raft.state == StateRole::Leader && self.best_follower().is_some()
    }

    fn best_follower(&self) -> Option<u64> {
        let raft = &self.raw.raft;
        let voters = raft.prs().conf().voters().ids();
        let others = raft.prs().iter().filter(|(id, _)| **id != raft.id && voters.contains(**id));
        // Who was just not heard may yet be there: each election timeout forgets who was.
        let best = others
            .max_by_key(|(id, progress)| (progress.recent_active, progress.matched, std::cmp::Reverse(**id)));
        best.map(|(id, _)| *id)
    }

    /// Whether this replica votes, as far as its log says. One that does not must not want to lead.
    pub(super) fn votes(&self) -> bool {
        let store = self.raw.store();
        store.voters_at(store.last()).is_ok_and(|voters| voters.contains(store.voters().me))
    }
}

fn simple(add: bool, id: u64) -> ConfChangeSingle {
    let change_type = if add { ConfChangeType::AddNode } else { ConfChangeType::RemoveNode };
    ConfChangeSingle { change_type, node_id: id, ..ConfChangeSingle::default() }
}
