//! Work on all groups of a shard, in pieces, so that no request waits long for it: expired offsets (KIP-211), and offsets
//! of deleted topics.

use std::ops::Bound;

use ottla_model::group::{GroupId, GroupRecord, OffsetKey};
use ottla_model::{TopicId, TopicName};
use ottla_protocol::ErrorCode;

use super::kind::Group;
use super::offsets::Stored;
use super::reply::Reply;
use super::write::{Claim, Then, WantedWrite};
use super::{Groups, Step};

pub(super) struct Sweep<T> {
    what: What,
    /// The group with which the next piece begins.
    from: Option<GroupId>,
    pub token: Option<T>,
}

enum What {
    Expired,
    OfTopics(Vec<(TopicName, TopicId)>),
}

impl<T> Sweep<T> {
    pub fn expired() -> Sweep<T> {
        Sweep { what: What::Expired, from: None, token: None }
    }

    pub fn of_topics(topics: Vec<(TopicName, TopicId)>, token: T) -> Sweep<T> {
        Sweep { what: What::OfTopics(topics), from: None, token: Some(token) }
    }

    pub fn is_of_expired(&self) -> bool {
        matches!(self.what, What::Expired)
    }
}

impl<T> Groups<T> {
    /// Does the next piece of the first sweep in the queue, if there is one.
    pub(super) fn sweep(&mut self, step: &mut Step<'_, T>) {
        let Some(sweep) = self.sweeps.front() else { return };
        let mut records = Vec::new();
        let from = sweep.from.clone().map_or(Bound::Unbounded, Bound::Included);
        let mut groups = self.groups.range::<GroupId, _>((from, Bound::Unbounded));
        let mut next = None;
        for visited in 0.. {
            let Some((id, group)) = groups.next() else { break };
            if visited == GROUPS_MAX || records.len() >= RECORDS_MAX {
                next = Some(id.clone());
                break;
            }
            let whole = match &sweep.what {
                What::Expired => self.expire(id, group, step.now_ms, &mut records),
                What::OfTopics(topics) => self.forget_topics(id, topics, &mut records),
            };
            if !whole {
                next = Some(id.clone());
                break;
            }
        }
        let done = next.is_none();
        if let Some(sweep) = self.sweeps.front_mut() {
            sweep.from = next;
        }
        if !records.is_empty() {
            let wish = WantedWrite { records, transaction: None, then: Then::Swept, answer: None };
            self.write(step, Claim::Shard, wish);
        } else if done {
            self.sweep_ends(step, ErrorCode::None);
        }
    }

    /// The outcome of writing a piece. If it cannot be written, the rest is left for the next sweep.
    pub(super) fn swept(&mut self, step: &mut Step<'_, T>, outcome: Result<(), ErrorCode>) {
        let over = self.sweeps.front().is_some_and(|sweep| sweep.from.is_none());
        match outcome {
            Ok(()) if over => self.sweep_ends(step, ErrorCode::None),
            Ok(()) => {}
            Err(error) => self.sweep_ends(step, error),
        }
    }

    fn sweep_ends(&mut self, step: &mut Step<'_, T>, error: ErrorCode) {
        if let Some(token) = self.sweeps.pop_front().and_then(|sweep| sweep.token) {
            step.reply(token, Reply::TopicsDeleted(error));
        }
    }

    /// Tombstones for expired offsets, and for the group if nothing else is left of it. `false`: the group has more of
    /// them than fit into this piece.
    fn expire(&self, id: &GroupId, group: &Group<T>, now_ms: i64, records: &mut Vec<GroupRecord>) -> bool {
        let mut all = true;
        for (topic, partitions) in self.offsets.of(id).into_iter().flatten() {
            if group.subscribes(topic) {
                all = false;
                continue;
            }
            for (&partition, stored) in partitions {
                let key = OffsetKey { group: id.clone(), topic: topic.clone(), partition };
                if !self.has_expired(group, stored, now_ms) || self.offsets.is_open(&key) {
                    all = false;
                } else if records.len() >= RECORDS_MAX {
                    return false;
                } else {
                    records.push(GroupRecord::OffsetCommit { key, value: None });
                }
            }
        }
        if all && group.is_empty() && !self.offsets.has_open(id) {
            group.tombstones(id, records);
        }
        true
    }

    fn has_expired(&self, group: &Group<T>, stored: &Stored, now_ms: i64) -> bool {
        let Some(began_ms) = group.retention_began_ms(stored) else { return false };
        match stored.commit.expire_timestamp_ms {
            Some(at_ms) => now_ms >= at_ms,
            None => now_ms.saturating_sub(began_ms) >= self.settings.offsets_retention_ms,
        }
    }

    fn forget_topics(
        &self,
        id: &GroupId,
        deleted: &[(TopicName, TopicId)],
        records: &mut Vec<GroupRecord>,
    ) -> bool {
        let committed = self.offsets.of(id);
        for (topic, topic_id) in deleted {
            let is_of_deleted = |stored: &Stored| stored.commit.topic_id.is_none_or(|own| own == *topic_id);
            let partitions = committed.and_then(|topics| topics.get(topic));
            for (&partition, stored) in partitions.into_iter().flatten() {
                if !is_of_deleted(stored) {
                    continue;
                }
                if records.len() >= RECORDS_MAX {
                    return false;
                }
                let key = OffsetKey { group: id.clone(), topic: topic.clone(), partition };
                records.push(GroupRecord::OffsetCommit { key, value: None });
            }
            for key in self.offsets.pending_of(id, topic, is_of_deleted) {
                if !self.offsets.has(&key) {
                    records.push(GroupRecord::OffsetCommit { key, value: None });
                }
            }
        }
        true
    }
}

/// The limit of one piece. A thousand tombstones with long names fit into a batch of the default size.
const RECORDS_MAX: usize = 1_000;
const GROUPS_MAX: usize = 5_000;
