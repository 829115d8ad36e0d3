//! JoinGroup: who may join, under which member id, and whether the other members have to join again.

use std::sync::Arc;

use ottla_model::group::{GroupMetadata, GroupRecord, MemberId};
use ottla_protocol::ErrorCode;
use ottla_protocol::primitives::STRING_BYTES_MAX;

use super::member::{JoinTerms, Member};
use super::turn::Turn;
use super::{Group, Phase};
use crate::group::command::{Command, Join};
use crate::group::reply::{GroupState, Joined, Reply};
use crate::group::write::Then;
use crate::group::{Effect, Groups, Step, kind};

impl<T> Groups<T> {
    pub(in crate::group) fn join(&mut self, step: &mut Step<'_, T>, token: T, join: Join) {
        if let Err(joined) = self.check_join(&join) {
            step.out.push(Effect::Reply { token, reply: Reply::Joined(joined) });
            return;
        }
        let group_id = join.group.clone();
        let is_new = !self.groups.contains_key(&group_id);
        if is_new {
            let group = Group::new(Some(step.now_ms));
            self.groups.insert(group_id.clone(), kind::Group::Classic(group));
        }
        let fresh_id = self.fresh_member_id(&join);
        self.turn(step, &group_id, |turn| {
            let answered = turn.join(token, &join, fresh_id);
            if is_new && turn.wish.is_none() {
                // The group's record is written before anybody is told about the group.
                turn.write(vec![empty_record(turn)], Then::Created);
            }
            if let Some((token, joined)) = answered {
                turn.reply_when_written(token, Command::Join(join), Reply::Joined(joined));
            }
        });
    }

    /// The checks that do not need the members.
    fn check_join(&self, join: &Join) -> Result<(), Joined> {
        let refused = |error| Err(Joined::refused(join.member_id.clone(), error));
        if join.group.is_empty() {
            return refused(ErrorCode::InvalidGroupId);
        }
        let session = join.session_timeout_ms;
        if session < self.settings.min_session_timeout_ms || session > self.settings.max_session_timeout_ms {
            return refused(ErrorCode::InvalidSessionTimeout);
        }
        if !is_writable(join) {
            return refused(ErrorCode::InvalidRequest);
        }
        if !self.groups.contains_key(&join.group) {
            if !join.member_id.is_empty() {
                return refused(ErrorCode::UnknownMemberId);
            }
            if join.protocol_type.is_empty() || join.protocols.is_empty() {
                return refused(ErrorCode::InconsistentGroupProtocol);
            }
        }
        Ok(())
    }

    fn fresh_member_id(&mut self, join: &Join) -> MemberId {
        let bits = u128::from((self.chance)()) << 64 | u128::from((self.chance)());
        let id = uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid();
        let name = join.instance_id.as_ref().unwrap_or(&join.client_id);
        Arc::from(format!("{name}-{id}"))
    }
}

/// Whether the names fit into a record: the flexible versions of a request allow longer ones.
fn is_writable(join: &Join) -> bool {
    const SUFFIX_BYTES: usize = 37;
    let mut names = [&join.group, &join.member_id, &join.client_host, &join.protocol_type]
        .into_iter()
        .chain(join.protocols.iter().map(|protocol| &protocol.name));
    let mut prefixes = [Some(&join.client_id), join.instance_id.as_ref()].into_iter().flatten();
    names.all(|name| name.len() <= STRING_BYTES_MAX)
        && prefixes.all(|name| name.len() + SUFFIX_BYTES <= STRING_BYTES_MAX)
}

fn empty_record<T>(turn: &Turn<'_, T>) -> GroupRecord {
    let value = GroupMetadata {
        protocol_type: Arc::from(""),
        generation: 0,
        protocol: None,
        leader: None,
        current_state_timestamp_ms: turn.group.since_ms,
        members: Vec::new(),
    };
    GroupRecord::GroupMetadata { group: turn.id.clone(), value: Some(value) }
}

impl<T> Turn<'_, T> {
    /// Returns the token with its answer. `None`: the member waits for the others.
    fn join(&mut self, token: T, join: &Join, fresh_id: MemberId) -> Option<(T, Joined)> {
        let nobody = || Arc::from("");
        if !self.has_room_for(&join.member_id) {
            self.remove(&join.member_id);
            self.complete_join_if_ready();
            return Some((token, Joined::refused(nobody(), ErrorCode::GroupMaxSizeReached)));
        }
        let terms = JoinTerms::of(join);
        if !self.group.supports(&join.protocol_type, &terms) {
            let joined = Joined::refused(join.member_id.clone(), ErrorCode::InconsistentGroupProtocol);
            return Some((token, joined));
        }
        if !join.member_id.is_empty() {
            return self.join_again(token, join, terms);
        }
        if let Some(instance) = &join.instance_id {
            match self.group.static_member(instance).cloned() {
                Some(old) => self.replace(token, join, terms, old, fresh_id),
                None => self.admit(token, join, fresh_id),
            }
            return None;
        }
        if join.member_id_required {
            self.group.pending.insert(fresh_id.clone());
            self.arm_session_for(&fresh_id, join.session_timeout_ms);
            return Some((token, Joined::refused(fresh_id, ErrorCode::MemberIdRequired)));
        }
        self.admit(token, join, fresh_id);
        None
    }

    /// Whether the group has room for that member. During a rebalance only the members that have joined count: in a group
    /// that is too large already, the last ones to join are refused.
    fn has_room_for(&self, member_id: &str) -> bool {
        let member = self.group.member(member_id);
        match self.group.phase {
            Phase::Empty => true,
            Phase::Preparing { .. } => {
                member.is_some_and(|member| member.awaiting_join.is_some())
                    || self.group.awaiting_join() < self.settings.max_size
            }
            Phase::Completing | Phase::Stable => {
                member.is_some() || self.group.members().len() < self.settings.max_size
            }
        }
    }

    /// A request with a member id.
    fn join_again(&mut self, token: T, join: &Join, terms: JoinTerms) -> Option<(T, Joined)> {
        let id = &join.member_id;
        if self.group.pending.contains(id) {
            if join.instance_id.is_some() {
                // This is Kafka's answer to a static member with the id of a pending dynamic member.
                return Some((token, Joined::refused(id.clone(), ErrorCode::UnknownServerError)));
            }
            self.admit(token, join, id.clone());
            return None;
        }
        if let Err(error) = self.group.check_member(id, join.instance_id.as_ref()) {
            return Some((token, Joined::refused(id.clone(), error)));
        }
        let same = self.group.member(id).is_some_and(|member| member.terms.protocols == terms.protocols);
        match self.group.state() {
            // The first answer may have been lost: the generation in it is still the current one.
            GroupState::CompletingRebalance if same => return Some((token, self.joined(id))),
            // A follower whose subscription has not changed. A leader that joins again wants to make a new assignment.
            GroupState::Stable if same && !self.group.is_leader(id) => return Some((token, self.joined(id))),
            GroupState::Empty => {
                return Some((token, Joined::refused(id.clone(), ErrorCode::UnknownMemberId)));
            }
            _ => {}
        }
        self.group.change_terms(id, terms);
        self.park_join(id, token);
        self.rebalance(&format!("member {id} joins again{}", because(join)));
        None
    }

    fn admit(&mut self, token: T, join: &Join, id: MemberId) {
        if let Phase::Preparing { initial: Some(wait) } = &mut self.group.phase {
            wait.more_came = true;
        }
        if self.group.members().is_empty() {
            self.group.protocol_type = Some(join.protocol_type.clone());
        }
        self.group.add(id.clone(), Member::joining(join));
        self.park_join(&id, token);
        // The member cannot send heartbeats before it has an answer. Without this alarm nobody would notice that it is
        // gone.
        self.arm_session_for(&id, self.settings.new_member_join_timeout_ms);
        self.rebalance(&format!("member {id} joins{}", because(join)));
    }

    /// A restarted static member takes the place of its earlier member id (KIP-345).
    fn replace(&mut self, token: T, join: &Join, terms: JoinTerms, old: MemberId, new: MemberId) {
        let leader_before = self.group.leader.clone();
        self.cancel_session(&old);
        let Some(before) = self.group.rename(&old, &new) else { return };
        let terms_before = before.terms.clone();
        self.dismiss(before, old.clone(), ErrorCode::FencedInstanceId);
        self.group.change_terms(&new, terms);
        self.park_join(&new, token);
        self.arm_session(&new);
        let reason = || format!("static member {new} comes back{}", because(join));
        match self.group.state() {
            GroupState::Stable if self.group.elect_protocol() == self.group.protocol => {
                let record = self.record(|_, member| member.assignment.clone());
                let can_skip_assignment = join.can_skip_assignment;
                let then = Then::Replaced { old, new, terms_before, leader_before, can_skip_assignment };
                self.write(vec![record], then);
            }
            GroupState::Stable => self.rebalance(&reason()),
            // The leader may be making an assignment for the earlier id.
            GroupState::CompletingRebalance => self.prepare(&reason()),
            GroupState::PreparingRebalance | GroupState::Empty => self.complete_join_if_ready(),
        }
    }

    /// The static member's new id is in the log: it continues with its assignment, without a rebalance.
    pub(in crate::group) fn replaced(
        &mut self,
        new: &MemberId,
        leader_before: Option<MemberId>,
        can_skip: bool,
    ) {
        let Some(token) = self.group.unpark_join(new) else { return };
        let mut joined = self.joined(new);
        if can_skip {
            joined.skip_assignment = self.group.is_leader(new);
        } else {
            // It is told that its earlier id leads, so it makes no assignment, which would change nothing (KIP-814).
            joined.members = Vec::new();
            joined.leader = leader_before.unwrap_or_default();
        }
        self.reply(token, Reply::Joined(joined));
    }

    /// The static member's new id could not be logged: it has its old id again.
    pub(in crate::group) fn not_replaced(&mut self, undo: Then, error: ErrorCode) {
        let Then::Replaced { old, new, terms_before, leader_before, .. } = undo else { return };
        let token = self.group.unpark_join(&new);
        self.cancel_session(&new);
        self.group.change_terms(&new, terms_before);
        self.group.rename(&new, &old);
        self.arm_session(&old);
        if let Some(token) = token {
            let mut joined = Joined { error, members: Vec::new(), ..self.joined(&old) };
            joined.member_id = Arc::from("");
            joined.leader = leader_before.unwrap_or_default();
            self.reply(token, Reply::Joined(joined));
        }
    }
}

fn because(join: &Join) -> String {
    join.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default()
}
