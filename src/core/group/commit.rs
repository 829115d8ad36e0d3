//! OffsetCommit, TxnOffsetCommit, OffsetFetch and OffsetDelete: who may send them, and what is written or answered.

use std::sync::Arc;

use ottla_model::group::{GroupId, GroupRecord, OffsetCommit, OffsetKey};
use ottla_model::{TopicId, TopicName};
use ottla_protocol::primitives::STRING_BYTES_MAX;
use ottla_protocol::{ErrorCode, LeaderEpoch};

use super::command::{Command, CommitOffsets, CommitPartition, DeleteOffsets, FetchOffsets};
use super::kind::Group;
use super::offsets::{Offsets, Stored, Topics};
use super::reply::{
    FetchedPartition, FetchedTopic, GroupState, OffsetsCommitted, OffsetsDeleted, OffsetsFetched,
};
use super::write::{Answer, Claim, Then, WantedWrite};
use super::{Groups, Reply, Step};

impl<T> Groups<T> {
    pub(super) fn commit_offsets(&mut self, step: &mut Step<'_, T>, token: T, commit: CommitOffsets) {
        if let Err(error) = self.check_commit(&commit) {
            return step.refuse(token, &Command::CommitOffsets(commit), error);
        }
        if commit.transaction.is_none() {
            // A commit shows that the member is alive.
            self.turn(step, &commit.group, |turn| {
                if matches!(turn.group.state(), GroupState::Stable | GroupState::PreparingRebalance) {
                    turn.arm_session(&commit.member_id);
                }
            });
        }
        let limit = self.settings.offset_metadata_max;
        let verdict = |asked: &CommitPartition| match asked.metadata.as_deref() {
            Some(metadata) if is_longer(metadata, limit) => ErrorCode::OffsetMetadataTooLarge,
            _ => ErrorCode::None,
        };
        let reply = Reply::OffsetsCommitted(OffsetsCommitted::all(&commit, verdict));
        let records = records(&commit, step.now_ms, |asked| verdict(asked) == ErrorCode::None);
        if records.is_empty() {
            return step.reply(token, reply);
        }
        let transaction = commit.transaction;
        let claim = Claim::Offsets(commit.group.clone());
        let answer = Answer { token, command: Command::CommitOffsets(commit), reply };
        self.write(
            step,
            claim,
            WantedWrite { records, transaction, then: Then::Apply, answer: Some(answer) },
        );
    }

    fn check_commit(&self, commit: &CommitOffsets) -> Result<(), ErrorCode> {
        if commit.transaction.is_some() && commit.group.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        let topics_fit = commit.topics.iter().all(|topic| topic.topic.len() <= STRING_BYTES_MAX);
        if commit.group.len() > STRING_BYTES_MAX || !topics_fit {
            return Err(ErrorCode::InvalidRequest);
        }
        match self.groups.get(&commit.group) {
            Some(group) => group.check_commit(commit),
            // An operator, or a consumer that assigns its partitions itself: the commit creates the group.
            None if commit.generation < 0 => Ok(()),
            None if commit.knows_group_id_not_found => Err(ErrorCode::GroupIdNotFound),
            None => Err(ErrorCode::IllegalGeneration),
        }
    }

    pub(super) fn fetch_offsets(&mut self, step: &mut Step<'_, T>, token: T, fetch: FetchOffsets) {
        let committed = match self.groups.contains_key(&fetch.group) {
            true => self.offsets.of(&fetch.group),
            false => None,
        };
        let open = |topic: &TopicName, partition| {
            fetch.require_stable && is_open(&self.offsets, &fetch.group, topic, partition)
        };
        let topics = match &fetch.topics {
            None => committed.map(|topics| all_topics(topics, open)).unwrap_or_default(),
            Some(asked) => {
                let fetched = asked.iter().map(|asked| {
                    let partitions = committed.and_then(|topics| topics.get(&asked.topic));
                    let one = |partition: &i32| {
                        let stored = partitions.and_then(|partitions| partitions.get(partition));
                        let stored = stored.filter(|stored| is_of_topic(stored, asked.id));
                        fetched(*partition, stored, open(&asked.topic, *partition))
                    };
                    FetchedTopic {
                        topic: asked.topic.clone(),
                        id: asked.id,
                        partitions: asked.partitions.iter().map(one).collect(),
                    }
                });
                fetched.collect()
            }
        };
        let reply = OffsetsFetched { group: fetch.group.clone(), error: ErrorCode::None, topics };
        step.reply(token, Reply::OffsetsFetched(reply));
    }

    pub(super) fn delete_offsets(&mut self, step: &mut Step<'_, T>, token: T, delete: DeleteOffsets) {
        let group = match self.check_delete(&delete) {
            Ok(group) => group,
            Err(error) => return step.refuse(token, &Command::DeleteOffsets(delete), error),
        };
        let mut records = Vec::new();
        let mut topics = Vec::new();
        for (topic, partitions) in &delete.topics {
            let error = match group.subscribes(topic) {
                true => ErrorCode::GroupSubscribedToTopic,
                false => ErrorCode::None,
            };
            for &partition in partitions {
                let key = OffsetKey { group: delete.group.clone(), topic: topic.clone(), partition };
                if error == ErrorCode::None && (self.offsets.has(&key) || self.offsets.is_open(&key)) {
                    records.push(GroupRecord::OffsetCommit { key, value: None });
                }
            }
            topics.push((topic.clone(), partitions.iter().map(|partition| (*partition, error)).collect()));
        }
        let reply = Reply::OffsetsDeleted(OffsetsDeleted { error: ErrorCode::None, topics });
        if records.is_empty() {
            return step.reply(token, reply);
        }
        let claim = Claim::Group(delete.group.clone());
        let answer = Answer { token, command: Command::DeleteOffsets(delete), reply };
        self.write(
            step,
            claim,
            WantedWrite { records, transaction: None, then: Then::Apply, answer: Some(answer) },
        );
    }

    fn check_delete(&self, delete: &DeleteOffsets) -> Result<&Group<T>, ErrorCode> {
        if delete.group.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        let group = self.groups.get(&delete.group).ok_or(ErrorCode::GroupIdNotFound)?;
        group.check_offsets_deletion()?;
        Ok(group)
    }
}

fn records(
    commit: &CommitOffsets,
    now_ms: i64,
    accepted: impl Fn(&CommitPartition) -> bool,
) -> Vec<GroupRecord> {
    let mut records = Vec::new();
    for topic in &commit.topics {
        for asked in topic.partitions.iter().filter(|asked| accepted(asked)) {
            let key = OffsetKey {
                group: commit.group.clone(),
                topic: topic.topic.clone(),
                partition: asked.partition,
            };
            let value = OffsetCommit {
                offset: asked.offset,
                leader_epoch: asked.leader_epoch,
                metadata: asked.metadata.clone().unwrap_or_default(),
                commit_timestamp_ms: now_ms,
                expire_timestamp_ms: commit.retention_ms.map(|retention| now_ms.saturating_add(retention)),
                topic_id: topic.id,
            };
            records.push(GroupRecord::OffsetCommit { key, value: Some(value) });
        }
    }
    records
}

/// The length is counted in UTF-16 units, as in Java. A record has no room for more than its own limit in bytes.
fn is_longer(metadata: &str, limit: usize) -> bool {
    metadata.len() > STRING_BYTES_MAX || metadata.len() > limit && metadata.encode_utf16().count() > limit
}

fn is_open(offsets: &Offsets, group: &GroupId, topic: &TopicName, partition: i32) -> bool {
    offsets.is_open(&OffsetKey { group: group.clone(), topic: topic.clone(), partition })
}

/// Whether the offset was committed in the topic that has this name now. If one of the ids is unknown, it counts.
fn is_of_topic(stored: &Stored, id: Option<TopicId>) -> bool {
    match (stored.commit.topic_id, id) {
        (Some(committed), Some(asked)) => committed == asked,
        _ => true,
    }
}

fn all_topics(topics: &Topics, open: impl Fn(&TopicName, i32) -> bool) -> Vec<FetchedTopic> {
    let topic = |(topic, partitions): (&TopicName, &std::collections::BTreeMap<i32, Stored>)| {
        let one =
            |(partition, stored): (&i32, &Stored)| fetched(*partition, Some(stored), open(topic, *partition));
        FetchedTopic { topic: topic.clone(), id: None, partitions: partitions.iter().map(one).collect() }
    };
    topics.iter().map(topic).collect()
}

fn fetched(partition: i32, stored: Option<&Stored>, is_open: bool) -> FetchedPartition {
    let nothing = |error| FetchedPartition {
        partition,
        error,
        offset: -1,
        leader_epoch: LeaderEpoch::NONE,
        metadata: Arc::from(""),
    };
    match stored {
        _ if is_open => nothing(ErrorCode::UnstableOffsetCommit),
        None => nothing(ErrorCode::None),
        Some(Stored { commit, .. }) => FetchedPartition {
            partition,
            error: ErrorCode::None,
            offset: commit.offset,
            leader_epoch: commit.leader_epoch,
            metadata: commit.metadata.clone(),
        },
    }
}
