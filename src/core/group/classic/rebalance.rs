//! The phases of a classic rebalance: members are asked to join, the generation begins, the leader assigns. It must never
//! know requests: `join`, `sync` and `membership` call it when a request changes something.

use bytes::Bytes;
use ottla_model::group::{GroupRecord, MemberId};
use ottla_protocol::ErrorCode;

use super::turn::Turn;
use super::{InitialDelay, Phase};
use crate::group::reply::{GroupState, Reply, Synced};
use crate::group::write::Then;

impl<T> Turn<'_, T> {
    /// Begins a rebalance, or completes the one in progress if all members have joined.
    pub fn rebalance(&mut self, reason: &str) {
        if self.group.is(GroupState::PreparingRebalance) {
            self.complete_join_if_ready();
        } else {
            self.prepare(reason);
        }
    }

    /// Asks all members to join.
    pub fn prepare(&mut self, reason: &str) {
        if self.group.is(GroupState::CompletingRebalance) {
            self.reset_assignments(ErrorCode::RebalanceInProgress);
        }
        self.cancel_sync();
        self.note(|group| format!("rebalance after generation {}: {reason}", group.generation));
        let initial = self.group.is(GroupState::Empty).then(|| self.initial_delay());
        let is_initial = initial.is_some();
        self.group.enter(Phase::Preparing { initial }, self.now_ms);
        if is_initial {
            self.arm_join(self.settings.initial_rebalance_delay_ms);
        } else if self.group.all_joined() {
            self.complete_join();
        } else {
            self.arm_join(self.group.rebalance_timeout_ms());
        }
    }

    fn initial_delay(&self) -> InitialDelay {
        let delay_ms = self.settings.initial_rebalance_delay_ms;
        let remaining_ms = self.group.rebalance_timeout_ms().saturating_sub(delay_ms).max(0);
        InitialDelay { delay_ms, remaining_ms, more_came: false }
    }

    /// Completes the joining if all members have joined. The first rebalance of a group waits for its delay all the same.
    pub fn complete_join_if_ready(&mut self) {
        if matches!(self.group.phase, Phase::Preparing { initial: None }) && self.group.all_joined() {
            self.complete_join();
        }
    }

    /// Completes the joining if all members have joined, after one was removed. Unlike `complete_join_if_ready`, this
    /// also ends the delay of a first rebalance.
    pub fn complete_join_if_all(&mut self) {
        if self.group.is(GroupState::PreparingRebalance) && self.group.all_joined() {
            self.complete_join();
        }
    }

    /// The rebalance timeout, or the delay of a first rebalance, is over.
    pub fn join_is_due(&mut self) {
        let Phase::Preparing { initial } = &mut self.group.phase else { return };
        if let Some(wait) = initial
            && wait.more_came
            && wait.remaining_ms > 0
        {
            let delay_ms = self.settings.initial_rebalance_delay_ms.min(wait.remaining_ms);
            wait.more_came = false;
            wait.remaining_ms = (wait.remaining_ms - wait.delay_ms).max(0);
            wait.delay_ms = delay_ms;
            self.arm_join(delay_ms);
            return;
        }
        self.complete_join();
    }

    /// Begins the next generation with the members that have joined. Static members that have not joined stay in it
    /// (KIP-345).
    fn complete_join(&mut self) {
        self.cancel_join();
        let late = |(id, member): (&MemberId, &super::member::Member<T>)| {
            (member.awaiting_join.is_none() && !member.is_static()).then(|| id.clone())
        };
        let late: Vec<MemberId> = self.group.members().iter().filter_map(late).collect();
        for member_id in &late {
            self.remove(member_id);
        }
        if !late.is_empty() {
            self.note(|_| format!("{} members did not join in time", late.len()));
        }
        if !self.group.members().is_empty() && !self.group.elect_leader() {
            // Only static members are left, and none has joined: until their sessions expire there is no member that
            // could lead.
            if let Phase::Preparing { initial: Some(wait) } = &mut self.group.phase {
                wait.remaining_ms = 0;
            }
            self.arm_join(self.group.rebalance_timeout_ms());
            return;
        }
        self.group.next_generation(self.now_ms);
        if self.group.is(GroupState::Empty) {
            self.note(|group| format!("empty in generation {}", group.generation));
            let record = self.record(|_, _| Bytes::new());
            self.write(vec![record], Then::Nothing);
        } else {
            self.tell_the_joined();
            self.arm_sync();
        }
    }

    fn tell_the_joined(&mut self) {
        let members: Vec<MemberId> = self.group.members().keys().cloned().collect();
        self.note(|group| {
            let protocol = group.protocol.as_deref().unwrap_or_default();
            format!("generation {} of {} members, {protocol}", group.generation, members.len())
        });
        for member_id in members {
            if let Some(token) = self.group.unpark_join(&member_id) {
                let joined = self.joined(&member_id);
                self.reply(token, Reply::Joined(joined));
            }
            self.arm_session(&member_id);
            if let Some(member) = self.group.member_mut(&member_id) {
                member.is_new = false;
            }
            self.group.unsynced.insert(member_id);
        }
    }

    /// The time to sync is over: members that have not synced are removed, and the others join again.
    pub fn sync_is_due(&mut self) {
        if !matches!(self.group.phase, Phase::Completing | Phase::Stable) || self.group.unsynced.is_empty() {
            return;
        }
        let silent: Vec<MemberId> = self.group.unsynced.iter().cloned().collect();
        for member_id in &silent {
            self.remove(member_id);
        }
        self.prepare(&format!("{} members did not sync in time", silent.len()));
    }

    /// The session of a member, or of a pending member, has expired.
    pub fn session_is_due(&mut self, member_id: &MemberId) {
        if self.group.pending.contains(member_id) {
            self.remove(member_id);
            self.complete_join_if_all();
            return;
        }
        let Some(member) = self.group.member(member_id) else { return };
        if member.is_excused() {
            return; // The alarm is set again when its parked request is answered.
        }
        self.note(|_| format!("member {member_id} was not heard of in time"));
        self.remove(member_id);
        if self.group.is(GroupState::PreparingRebalance) {
            self.complete_join_if_all();
        } else {
            self.rebalance("a member's session ended");
        }
    }

    /// The leader's assignment is in the log: every member gets its part.
    pub fn assign(&mut self, assignments: impl Fn(&MemberId) -> Bytes) {
        let members: Vec<MemberId> = self.group.members().keys().cloned().collect();
        for member_id in &members {
            let assignment = assignments(member_id);
            if let Some(member) = self.group.member_mut(member_id) {
                member.assignment = assignment;
            }
        }
        self.group.enter(Phase::Stable, self.now_ms);
        self.tell_the_synced(members, |turn, id| match turn.group.member(id) {
            Some(member) => turn.synced(member),
            None => Synced::refused(ErrorCode::UnknownMemberId),
        });
    }

    /// Clears all assignments and answers the parked syncs with the error.
    pub fn reset_assignments(&mut self, error: ErrorCode) {
        let members: Vec<MemberId> = self.group.members().keys().cloned().collect();
        for member_id in &members {
            if let Some(member) = self.group.member_mut(member_id) {
                member.assignment = Bytes::new();
            }
        }
        self.tell_the_synced(members, |_, _| Synced::refused(error));
    }

    fn tell_the_synced(&mut self, members: Vec<MemberId>, reply: impl Fn(&Self, &MemberId) -> Synced) {
        for member_id in members {
            let Some(member) = self.group.member_mut(&member_id) else { continue };
            let Some(token) = member.awaiting_sync.take() else { continue };
            let synced = reply(self, &member_id);
            self.reply(token, Reply::Synced(synced));
            // The session may have expired while its sync was parked.
            self.arm_session(&member_id);
        }
    }

    /// The record of this generation.
    pub fn record(&self, assignment: impl Fn(&MemberId, &super::member::Member<T>) -> Bytes) -> GroupRecord {
        GroupRecord::GroupMetadata { group: self.id.clone(), value: Some(self.group.metadata(assignment)) }
    }
}
