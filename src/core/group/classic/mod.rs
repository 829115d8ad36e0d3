//! A classic group: its members, its leader, and the phase of its rebalance. It changes only memory; `rebalance` decides
//! when something is logged and who is answered. It must never know other kinds of groups.

mod join;
mod member;
mod membership;
mod rebalance;
mod subscription;
mod sync;
mod turn;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use ottla_model::TopicName;
use ottla_model::group::{GroupMetadata, InstanceId, MemberId, MemberMetadata};
use ottla_protocol::ErrorCode;

use crate::group::Step;
use crate::group::command::CommitOffsets;
use crate::group::reply::{DescribedGroup, DescribedMember, GroupState, Joined, JoinedMember, Reply, Synced};

pub(super) use member::{JoinTerms, Member};

#[derive(Debug)]
pub struct Group<T> {
    pub phase: Phase,
    /// When the group entered this phase. `None`: an old version logged the group without it.
    pub since_ms: Option<i64>,
    pub generation: i32,
    /// `None`: nobody has ever joined. A group that only commits offsets stays that way.
    pub protocol_type: Option<Arc<str>>,
    pub protocol: Option<Arc<str>>,
    pub leader: Option<MemberId>,
    members: BTreeMap<MemberId, Member<T>>,
    statics: BTreeMap<InstanceId, MemberId>,
    /// Members that were given an id and have not joined with it yet (KIP-394).
    pub pending: BTreeSet<MemberId>,
    /// Members that have not synced in this generation.
    pub unsynced: BTreeSet<MemberId>,
    /// How many members can use each protocol.
    supporters: BTreeMap<Arc<str>, usize>,
    awaiting_join: usize,
    /// The topics that the members consume. `None`: that is not known.
    subscribed: Option<BTreeSet<TopicName>>,
}

#[derive(Debug)]
pub enum Phase {
    Empty,
    Preparing { initial: Option<InitialDelay> },
    Completing,
    Stable,
}

/// The first rebalance of a group waits for more members, as long as more join (KIP-134).
#[derive(Debug)]
pub struct InitialDelay {
    pub delay_ms: i32,
    pub remaining_ms: i32,
    pub more_came: bool,
}

impl<T> Group<T> {
    pub fn new(now_ms: Option<i64>) -> Group<T> {
        Group {
            phase: Phase::Empty,
            since_ms: now_ms,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            statics: BTreeMap::new(),
            pending: BTreeSet::new(),
            unsynced: BTreeSet::new(),
            supporters: BTreeMap::new(),
            awaiting_join: 0,
            subscribed: None,
        }
    }

    /// The generation in the log.
    pub fn loaded(metadata: &GroupMetadata) -> Group<T> {
        let mut group = Group::new(metadata.current_state_timestamp_ms);
        group.generation = metadata.generation;
        group.protocol_type = Some(metadata.protocol_type.clone()).filter(|kind| !kind.is_empty());
        group.protocol = metadata.protocol.clone();
        let protocol = metadata.protocol.clone().unwrap_or_default();
        for member in &metadata.members {
            let taken = member.instance_id.as_ref().is_some_and(|id| group.statics.contains_key(id));
            if taken || group.members.contains_key(&member.member_id) {
                continue; // A record that we write has each member once. A damaged one may not.
            }
            group.add(member.member_id.clone(), Member::loaded(&protocol, member));
        }
        group.leader = metadata.leader.clone().or(group.leader);
        if !group.members.is_empty() {
            group.phase = Phase::Stable;
        }
        group.subscribed = group.subscriptions();
        group
    }

    /// The record of this generation for the log.
    pub fn metadata(&self, assignment: impl Fn(&MemberId, &Member<T>) -> Bytes) -> GroupMetadata {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let member = |(id, member): (&MemberId, &Member<T>)| MemberMetadata {
            member_id: id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout_ms: Some(member.terms.rebalance_timeout_ms),
            session_timeout_ms: member.terms.session_timeout_ms,
            subscription: member.metadata(protocol),
            assignment: assignment(id, member),
        };
        GroupMetadata {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            current_state_timestamp_ms: self.since_ms,
            members: self.members.iter().map(member).collect(),
        }
    }

    pub fn state(&self) -> GroupState {
        match self.phase {
            Phase::Empty => GroupState::Empty,
            Phase::Preparing { .. } => GroupState::PreparingRebalance,
            Phase::Completing => GroupState::CompletingRebalance,
            Phase::Stable => GroupState::Stable,
        }
    }

    pub fn is(&self, state: GroupState) -> bool {
        self.state() == state
    }

    pub fn enter(&mut self, phase: Phase, now_ms: i64) {
        self.phase = phase;
        self.since_ms = Some(now_ms);
    }

    pub fn members(&self) -> &BTreeMap<MemberId, Member<T>> {
        &self.members
    }

    pub fn member(&self, id: &str) -> Option<&Member<T>> {
        self.members.get(id)
    }

    /// For its assignment and similar fields. Parked joins and protocols change only in this module.
    pub fn member_mut(&mut self, id: &str) -> Option<&mut Member<T>> {
        self.members.get_mut(id)
    }

    pub fn static_member(&self, instance: &str) -> Option<&MemberId> {
        self.statics.get(instance)
    }

    pub fn awaiting_join(&self) -> usize {
        self.awaiting_join
    }

    pub fn is_leader(&self, id: &str) -> bool {
        self.leader.as_deref() == Some(id)
    }

    /// Whether the member exists, and is the one that has the instance id now (KIP-345).
    pub fn check_member(&self, id: &str, instance: Option<&InstanceId>) -> Result<(), ErrorCode> {
        if let Some(instance) = instance {
            match self.statics.get(instance) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(current) if &**current != id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        self.members.contains_key(id).then_some(()).ok_or(ErrorCode::UnknownMemberId)
    }

    /// Whether the sender of the request may commit these offsets.
    pub fn check_commit(&self, commit: &CommitOffsets) -> Result<(), ErrorCode> {
        if commit.generation < 0 && self.is(GroupState::Empty) {
            return Ok(());
        }
        let transactional = commit.transaction.is_some();
        if commit.generation >= 0 || !commit.member_id.is_empty() || commit.instance_id.is_some() {
            self.check_member(&commit.member_id, commit.instance_id.as_ref())?;
            if commit.generation != self.generation {
                return Err(ErrorCode::IllegalGeneration);
            }
        } else if !transactional {
            return Err(ErrorCode::UnknownMemberId);
        }
        // A member that knows the generation but has no assignment yet may not commit; this does not apply to
        // transactions.
        if !transactional && self.is(GroupState::CompletingRebalance) {
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }

    /// Whether no member has to be waited for.
    pub fn all_joined(&self) -> bool {
        self.members.len() == self.awaiting_join && self.pending.is_empty()
    }

    /// The longest rebalance timeout of all members.
    pub fn rebalance_timeout_ms(&self) -> i32 {
        self.members.values().map(|member| member.terms.rebalance_timeout_ms).max().unwrap_or(0)
    }

    /// Whether a member with these protocols can join: all members must have one protocol in common.
    pub fn supports(&self, protocol_type: &str, terms: &JoinTerms) -> bool {
        if let Phase::Empty = self.phase {
            return !protocol_type.is_empty() && !terms.protocols.is_empty();
        }
        let by_all = |name: &Arc<str>| self.supporters_of(name) == self.members.len();
        self.protocol_type.as_deref() == Some(protocol_type) && terms.names().into_iter().any(by_all)
    }

    fn supporters_of(&self, protocol: &Arc<str>) -> usize {
        self.supporters.get(protocol).copied().unwrap_or(0)
    }

    /// The protocol with the most votes, of those that all members can use. Each member votes for the first of these in
    /// its list.
    pub fn elect_protocol(&self) -> Option<Arc<str>> {
        let mut votes: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
        for member in self.members.values() {
            let mut own = member.terms.protocols.iter().map(|protocol| &protocol.name);
            if let Some(vote) = own.find(|name| self.supporters_of(name) == self.members.len()) {
                *votes.entry(vote).or_default() += 1;
            }
        }
        let most = *votes.values().max()?;
        votes.into_iter().find(|(_, count)| *count == most).map(|(name, _)| name.clone())
    }

    /// The members as the leader gets them in its answer.
    pub fn roster(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let listed = |(id, member): (&MemberId, &Member<T>)| JoinedMember {
            member_id: id.clone(),
            instance_id: member.instance_id.clone(),
            metadata: member.metadata(protocol),
        };
        self.members.iter().map(listed).collect()
    }

    /// Whether members consume the topic. If that is not known, a group of consumers counts as consuming it.
    pub fn subscribes(&self, topic: &str) -> bool {
        match &self.subscribed {
            Some(topics) => topics.contains(topic),
            None => self.is_of_consumers(),
        }
    }

    /// When the retention began of an offset that no member consumes. `None`: it does not expire now.
    pub fn retention_began_ms(&self, committed_ms: i64) -> Option<i64> {
        match (&self.protocol_type, self.state()) {
            // Such a group has no members, and each commit has its own retention.
            (None, _) => Some(committed_ms),
            (Some(_), GroupState::Empty) => Some(self.since_ms.unwrap_or(committed_ms)),
            // No member consumes the topic any longer, and the subscriptions of all members can be read.
            (Some(_), GroupState::Stable) if self.subscribed.is_some() => Some(committed_ms),
            _ => None,
        }
    }

    pub fn is_of_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(subscription::PROTOCOL_TYPE)
    }

    fn subscriptions(&self) -> Option<BTreeSet<TopicName>> {
        if !self.is_of_consumers() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol.as_deref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            topics.extend(subscription::topics(&member.metadata(protocol))?);
        }
        Some(topics)
    }
}

/// What other code asks of a group.
impl<T> Group<T> {
    pub fn described(&self) -> DescribedGroup {
        let is_stable = self.is(GroupState::Stable);
        let protocol = self.protocol.clone().filter(|_| is_stable).unwrap_or_default();
        let member = |(id, member): (&MemberId, &Member<T>)| DescribedMember {
            member_id: id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: if is_stable { member.metadata(&protocol) } else { Bytes::new() },
            assignment: member.assignment.clone(),
        };
        DescribedGroup {
            state: self.state(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            members: self.members.iter().map(member).collect(),
            protocol,
        }
    }

    /// Answers every parked request.
    pub fn resign(self, step: &mut Step<'_, T>, error: ErrorCode) {
        for (id, member) in self.members {
            if let Some(token) = member.awaiting_join {
                step.reply(token, Reply::Joined(Joined::refused(id, error)));
            }
            if let Some(token) = member.awaiting_sync {
                step.reply(token, Reply::Synced(Synced::refused(error)));
            }
        }
    }
}

/// Members join and leave.
impl<T> Group<T> {
    pub fn add(&mut self, id: MemberId, member: Member<T>) {
        self.pending.remove(&id);
        if let Some(instance) = &member.instance_id {
            let before = self.statics.insert(instance.clone(), id.clone());
            assert!(before.is_none(), "{instance} is a member already");
        }
        if self.leader.is_none() {
            self.leader = Some(id.clone());
        }
        self.count(&member.terms, Tally::In);
        self.awaiting_join += usize::from(member.awaiting_join.is_some());
        let before = self.members.insert(id, member);
        assert!(before.is_none(), "the member is there already");
    }

    /// Removes a member, or a pending one. The caller answers the parked requests of the removed member.
    pub fn remove(&mut self, id: &str) -> Option<Member<T>> {
        self.pending.remove(id);
        self.unsynced.remove(id);
        let member = self.members.remove(id)?;
        self.count(&member.terms, Tally::Out);
        self.awaiting_join -= usize::from(member.awaiting_join.is_some());
        if let Some(instance) = &member.instance_id {
            self.statics.remove(instance);
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
        Some(member)
    }

    /// Gives a static member another id. Returns the member under its old id, with its parked requests.
    pub fn rename(&mut self, old: &MemberId, new: &MemberId) -> Option<Member<T>> {
        let before = self.members.remove(old)?;
        self.awaiting_join -= usize::from(before.awaiting_join.is_some());
        if let Some(instance) = &before.instance_id {
            self.statics.insert(instance.clone(), new.clone());
        }
        if self.is_leader(old) {
            self.leader = Some(new.clone());
        }
        if self.unsynced.remove(old) {
            self.unsynced.insert(new.clone());
        }
        self.members.insert(new.clone(), before.successor());
        Some(before)
    }

    pub fn change_terms(&mut self, id: &str, terms: JoinTerms) {
        let Some(member) = self.members.get_mut(id) else { return };
        let before = std::mem::replace(&mut member.terms, terms.clone());
        self.count(&before, Tally::Out);
        self.count(&terms, Tally::In);
    }

    /// Parks the join. Returns the one that was parked before.
    pub fn park_join(&mut self, id: &str, token: T) -> Option<T> {
        let member = self.members.get_mut(id)?;
        let before = member.awaiting_join.replace(token);
        self.awaiting_join += usize::from(before.is_none());
        before
    }

    pub fn unpark_join(&mut self, id: &str) -> Option<T> {
        let token = self.members.get_mut(id)?.awaiting_join.take()?;
        self.awaiting_join -= 1;
        Some(token)
    }

    /// All joins are in. If the leader did not join again, a member that did becomes leader. `false`: no member has
    /// joined.
    pub fn elect_leader(&mut self) -> bool {
        let joined = |id: &MemberId| self.members.get(id).is_some_and(|m| m.awaiting_join.is_some());
        if !self.leader.as_ref().is_some_and(joined) {
            let Some(next) = self.members.keys().find(|id| joined(id)) else { return false };
            self.leader = Some(next.clone());
        }
        true
    }

    pub fn next_generation(&mut self, now_ms: i64) {
        // At one generation a second, the numbers last 68 years. Then they begin again at 0, since a negative one means
        // "none".
        self.generation = self.generation.wrapping_add(1).max(0);
        self.protocol = self.elect_protocol();
        self.subscribed = self.subscriptions();
        let next = if self.members.is_empty() { Phase::Empty } else { Phase::Completing };
        self.enter(next, now_ms);
        self.unsynced.clear();
    }

    fn count(&mut self, terms: &JoinTerms, tally: Tally) {
        for name in terms.names() {
            match (tally, self.supporters.get_mut(name)) {
                (Tally::In, Some(count)) => *count += 1,
                (Tally::In, None) => {
                    self.supporters.insert(name.clone(), 1);
                }
                (Tally::Out, Some(count)) if *count > 1 => *count -= 1,
                (Tally::Out, _) => {
                    self.supporters.remove(name);
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Tally {
    In,
    Out,
}
