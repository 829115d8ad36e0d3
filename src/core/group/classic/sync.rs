//! SyncGroup: the leader sends the assignment, and every member gets its part.

use std::collections::BTreeMap;

use bytes::Bytes;
use ottla_model::group::MemberId;
use ottla_protocol::ErrorCode;

use super::turn::Turn;
use crate::group::command::{Command, Sync};
use crate::group::reply::{GroupState, Reply, Synced};
use crate::group::write::Then;
use crate::group::{Groups, Step};

impl<T> Groups<T> {
    pub(in crate::group) fn sync(&mut self, step: &mut Step<'_, T>, token: T, sync: Sync) {
        if sync.group.is_empty() {
            return step.refuse(token, &Command::Sync(sync), ErrorCode::InvalidGroupId);
        }
        if !self.groups.contains_key(&sync.group) {
            return step.refuse(token, &Command::Sync(sync), ErrorCode::UnknownMemberId);
        }
        let group = sync.group.clone();
        self.turn(step, &group, |turn| turn.sync(token, sync));
    }
}

impl<T> Turn<'_, T> {
    fn sync(&mut self, token: T, sync: Sync) {
        if let Err(error) = self.check_sync(&sync) {
            return self.reply(token, Reply::Synced(Synced::refused(error)));
        }
        match self.group.state() {
            GroupState::CompletingRebalance => self.await_sync(token, sync),
            _ => {
                self.has_synced(&sync.member_id);
                let synced = match self.group.member(&sync.member_id) {
                    Some(member) => self.synced(member),
                    None => Synced::refused(ErrorCode::UnknownMemberId),
                };
                self.reply(token, Reply::Synced(synced));
            }
        }
    }

    fn check_sync(&self, sync: &Sync) -> Result<(), ErrorCode> {
        let group = &self.group;
        group.check_member(&sync.member_id, sync.instance_id.as_ref())?;
        if sync.generation != group.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        let differs = |a: &Option<_>, b: &Option<_>| a.is_some() && b.is_some() && a != b;
        if differs(&sync.protocol_type, &group.protocol_type) || differs(&sync.protocol, &group.protocol) {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        if group.is(GroupState::PreparingRebalance) {
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }

    fn await_sync(&mut self, token: T, sync: Sync) {
        let id = &sync.member_id;
        let Some(member) = self.group.member_mut(id) else { return };
        if let Some(before) = member.awaiting_sync.replace(token) {
            self.reply(before, Reply::Synced(Synced::refused(ErrorCode::RebalanceInProgress)));
        }
        self.has_synced(id);
        if self.group.is_leader(id) {
            // Copied, because an assignment lives longer than the frame of its request.
            let own = |(id, bytes): &(MemberId, Bytes)| (id.clone(), Bytes::copy_from_slice(bytes));
            let assignments: BTreeMap<MemberId, Bytes> = sync.assignments.iter().map(own).collect();
            let record = self.record(|id, _| assignments.get(id).cloned().unwrap_or_default());
            self.write(vec![record], Then::Assigned { assignments });
        }
    }

    fn has_synced(&mut self, member_id: &MemberId) {
        self.group.unsynced.remove(member_id);
        if self.group.unsynced.is_empty() {
            self.cancel_sync();
        }
    }

    /// The outcome of writing the leader's assignment to the log.
    pub(in crate::group) fn assigned(
        &mut self,
        assignments: BTreeMap<MemberId, Bytes>,
        outcome: Result<(), ErrorCode>,
    ) {
        if !self.group.is(GroupState::CompletingRebalance) {
            return;
        }
        match outcome {
            Ok(()) => self.assign(|id| assignments.get(id).cloned().unwrap_or_default()),
            Err(error) => {
                self.reset_assignments(error);
                self.rebalance(&format!("the assignment could not be written: {error}"));
            }
        }
    }
}
