//! Heartbeat and LeaveGroup: members show that they are alive, or that they leave.

use ottla_model::group::MemberId;
use ottla_protocol::ErrorCode;

use super::turn::Turn;
use crate::group::command::{Command, Heartbeat, Leave, Leaver};
use crate::group::reply::{GroupState, Left, LeftMember, Reply};
use crate::group::{Groups, Step};

impl<T> Groups<T> {
    pub(in crate::group) fn heartbeat(&mut self, step: &mut Step<'_, T>, token: T, heartbeat: Heartbeat) {
        if heartbeat.group.is_empty() {
            return step.reply(token, Reply::Heartbeat(ErrorCode::InvalidGroupId));
        }
        let error = self.turn(step, &heartbeat.group, |turn| turn.heartbeat(&heartbeat));
        step.reply(token, Reply::Heartbeat(error.unwrap_or(ErrorCode::UnknownMemberId)));
    }

    pub(in crate::group) fn leave(&mut self, step: &mut Step<'_, T>, token: T, leave: Leave) {
        if leave.group.is_empty() {
            return step.refuse(token, &Command::Leave(leave), ErrorCode::InvalidGroupId);
        }
        if !self.groups.contains_key(&leave.group) {
            let members = leave.members.iter().map(|member| left(member, ErrorCode::UnknownMemberId));
            let reply = Left { error: ErrorCode::None, members: members.collect() };
            return step.reply(token, Reply::Left(reply));
        }
        let group = leave.group.clone();
        self.turn(step, &group, |turn| turn.leave(token, leave));
    }
}

fn left(member: &Leaver, error: ErrorCode) -> LeftMember {
    LeftMember { member_id: member.member_id.clone(), instance_id: member.instance_id.clone(), error }
}

impl<T> Turn<'_, T> {
    fn heartbeat(&mut self, heartbeat: &Heartbeat) -> ErrorCode {
        let id = &heartbeat.member_id;
        if let Err(error) = self.group.check_member(id, heartbeat.instance_id.as_ref()) {
            return error;
        }
        if heartbeat.generation != self.group.generation {
            return ErrorCode::IllegalGeneration;
        }
        self.arm_session(id);
        match self.group.state() {
            GroupState::PreparingRebalance => ErrorCode::RebalanceInProgress,
            _ => ErrorCode::None,
        }
    }

    fn leave(&mut self, token: T, leave: Leave) {
        let members: Vec<LeftMember> =
            leave.members.iter().map(|member| left(member, self.leave_one(member))).collect();
        if members.iter().any(|member| member.error == ErrorCode::None) {
            match self.group.state() {
                GroupState::Stable | GroupState::CompletingRebalance => self.rebalance(&farewell(&leave)),
                GroupState::PreparingRebalance => self.complete_join_if_ready(),
                GroupState::Empty => {}
            }
        }
        let reply = Reply::Left(Left { error: ErrorCode::None, members });
        self.reply_when_written(token, Command::Leave(leave), reply);
    }

    fn leave_one(&mut self, leaver: &Leaver) -> ErrorCode {
        let id: MemberId = if leaver.member_id.is_empty() {
            // An operator removes a static member by its instance id.
            let by_name = leaver.instance_id.as_ref().and_then(|name| self.group.static_member(name));
            match by_name {
                Some(id) => id.clone(),
                None => return ErrorCode::UnknownMemberId,
            }
        } else if self.group.pending.contains(&leaver.member_id) {
            leaver.member_id.clone()
        } else {
            match self.group.check_member(&leaver.member_id, leaver.instance_id.as_ref()) {
                Ok(()) => leaver.member_id.clone(),
                Err(error) => return error,
            }
        };
        self.remove(&id);
        ErrorCode::None
    }
}

fn farewell(leave: &Leave) -> String {
    match &leave.members[..] {
        [one] => {
            let who = one.instance_id.as_ref().unwrap_or(&one.member_id);
            let reason = one.reason.as_deref().unwrap_or("no reason given");
            format!("member {who} left ({reason})")
        }
        many => format!("{} members left", many.len()),
    }
}
