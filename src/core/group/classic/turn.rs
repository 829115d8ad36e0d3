//! One input for one group: the group and everything that the input may change. What all phases use lives here: answers
//! to parked requests, session alarms, removing members.

use std::sync::Arc;

use ottla_model::group::{GroupId, GroupRecord, MemberId};
use ottla_protocol::ErrorCode;

use super::Group;
use super::member::Member;
use crate::group::command::Command;
use crate::group::reply::{Joined, Reply, Synced};
use crate::group::settings::Settings;
use crate::group::timers::{Alarm, Timers};
use crate::group::write::{Claim, Then, WantedWrite};
use crate::group::{Effect, Groups, Note, Step};

pub(in crate::group) struct Turn<'a, T> {
    pub id: &'a GroupId,
    pub group: &'a mut Group<T>,
    pub timers: &'a mut Timers,
    pub settings: &'a Settings,
    pub now_ms: i64,
    pub out: &'a mut Vec<Effect<T>>,
    /// What has to be written before anything else happens.
    pub wish: Option<WantedWrite<T>>,
}

impl<T> Groups<T> {
    /// Works on one classic group, and begins the write that results. `None`: there is no such group.
    pub(in crate::group) fn turn<R>(
        &mut self,
        step: &mut Step<'_, T>,
        id: &GroupId,
        work: impl FnOnce(&mut Turn<'_, T>) -> R,
    ) -> Option<R> {
        let mut turn = Turn {
            id,
            group: self.groups.get_mut(id)?.classic_mut()?,
            timers: &mut self.timers,
            settings: &self.settings,
            now_ms: step.now_ms,
            out: step.out,
            wish: None,
        };
        let result = work(&mut turn);
        if let Some(wish) = turn.wish {
            self.write(step, Claim::Group(id.clone()), wish);
        }
        Some(result)
    }
}

impl<T> Turn<'_, T> {
    /// Called after loading: from now on each member has its session timeout to send a heartbeat.
    pub fn loaded(&mut self) {
        let members: Vec<MemberId> = self.group.members().keys().cloned().collect();
        for member_id in &members {
            self.arm_session(member_id);
        }
        if !members.is_empty() && members.len() > self.settings.max_size {
            self.prepare("it has more members than group.max.size");
        }
    }

    pub fn reply(&mut self, token: T, reply: Reply) {
        self.out.push(Effect::Reply { token, reply });
    }

    pub fn note(&mut self, text: impl FnOnce(&Group<T>) -> String) {
        let text = text(self.group);
        self.out.push(Effect::Note(Note(format!("group {}: {text}", self.id))));
    }

    pub fn write(&mut self, records: Vec<GroupRecord>, then: Then) {
        assert!(self.wish.is_none(), "a group writes once in a step");
        self.wish = Some(WantedWrite { records, transaction: None, then, answer: None });
    }

    /// Sends `reply` at once, or when the write of this turn is done. If the write fails, `command` is refused.
    pub fn reply_when_written(&mut self, token: T, command: Command, reply: Reply) {
        match &mut self.wish {
            Some(wish) => wish.answer_with(token, command, reply),
            None => self.reply(token, reply),
        }
    }

    /// The answer with the current generation, for a member that does not have to wait for the next one.
    pub fn joined(&self, member_id: &MemberId) -> Joined {
        let group = &self.group;
        Joined {
            error: ErrorCode::None,
            generation: group.generation,
            protocol_type: group.protocol_type.clone(),
            protocol: group.protocol.clone(),
            leader: group.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            member_id: member_id.clone(),
            members: if group.is_leader(member_id) { group.roster() } else { Vec::new() },
        }
    }

    /// The assignment of a member in the current generation.
    pub fn synced(&self, member: &Member<T>) -> Synced {
        Synced {
            error: ErrorCode::None,
            protocol_type: self.group.protocol_type.clone(),
            protocol: self.group.protocol.clone(),
            assignment: member.assignment.clone(),
        }
    }

    pub fn park_join(&mut self, member_id: &MemberId, token: T) {
        // The client has given up its earlier request, or it would not have sent another one.
        if let Some(before) = self.group.park_join(member_id, token) {
            let joined = Joined::refused(member_id.clone(), ErrorCode::RebalanceInProgress);
            self.reply(before, Reply::Joined(joined));
        }
    }

    pub fn arm_session(&mut self, member_id: &MemberId) {
        let Some(member) = self.group.member(member_id) else { return };
        self.arm_session_for(member_id, member.terms.session_timeout_ms);
    }

    pub fn arm_session_for(&mut self, member_id: &MemberId, timeout_ms: i32) {
        self.timers.set(self.session(member_id), self.now_ms + i64::from(timeout_ms));
    }

    pub fn cancel_session(&mut self, member_id: &MemberId) {
        self.timers.cancel(self.session(member_id));
    }

    fn session(&self, member_id: &MemberId) -> Alarm {
        Alarm::Session { group: self.id.clone(), member: member_id.clone() }
    }

    pub fn arm_join(&mut self, timeout_ms: i32) {
        self.timers.set(Alarm::Join { group: self.id.clone() }, self.now_ms + i64::from(timeout_ms));
    }

    pub fn cancel_join(&mut self) {
        self.timers.cancel(Alarm::Join { group: self.id.clone() });
    }

    pub fn arm_sync(&mut self) {
        let due_ms = self.now_ms + i64::from(self.group.rebalance_timeout_ms());
        self.timers.set(Alarm::Sync { group: self.id.clone() }, due_ms);
    }

    pub fn cancel_sync(&mut self) {
        self.group.unsynced.clear();
        self.timers.cancel(Alarm::Sync { group: self.id.clone() });
    }

    /// Removes a member, or a pending one. If it has a parked join, that is answered with UNKNOWN_MEMBER_ID, and it joins
    /// anew.
    pub fn remove(&mut self, member_id: &MemberId) {
        self.cancel_session(member_id);
        let Some(member) = self.group.remove(member_id) else { return };
        self.dismiss(member, Arc::from(""), ErrorCode::UnknownMemberId);
    }

    /// Answers the parked requests of a removed member.
    pub fn dismiss(&mut self, member: Member<T>, member_id: MemberId, error: ErrorCode) {
        if let Some(token) = member.awaiting_join {
            self.reply(token, Reply::Joined(Joined::refused(member_id, error)));
        }
        if let Some(token) = member.awaiting_sync {
            self.reply(token, Reply::Synced(Synced::refused(error)));
        }
    }

    /// Resets the group, which will not exist: its record could not be written.
    pub fn disband(&mut self, error: ErrorCode) {
        self.cancel_join();
        self.cancel_sync();
        let pending: Vec<MemberId> = self.group.pending.iter().cloned().collect();
        let members: Vec<MemberId> = self.group.members().keys().cloned().collect();
        for member_id in pending.iter().chain(&members) {
            self.cancel_session(member_id);
            if let Some(member) = self.group.remove(member_id) {
                self.dismiss(member, Arc::from(""), error);
            }
        }
    }
}
