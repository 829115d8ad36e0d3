//! OffsetCommit v2-10 (retention of the client's own in v2-4, KIP-320 leader epochs from v6, KIP-345 static members
//! from v7, KIP-848 topic ids from v10). Topics that do not exist are answered here: the coordinator never hears of them.

use std::sync::Arc;

use bytes::Bytes;
use ottla_core::group::{CommitOffsets, CommitPartition, CommitTopic};
use ottla_model::image::{Image, Topic};
use ottla_protocol::api::{Operation, Resource};
use ottla_protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use ottla_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use ottla_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use ottla_protocol::offsets::{TOPIC_IDS_SINCE, read_commit};
use ottla_protocol::{ErrorCode, LeaderEpoch};

use super::context::{Begun, Context};
use super::groups::{shared, shared_option};

/// A topic, or why the coordinator does not hear of it.
pub(super) type Known = Result<Arc<Topic>, ErrorCode>;

pub(super) fn begin(context: &Context<'_>, body: Bytes) -> Begun {
    let Context { broker, version, .. } = *context;
    let request = read_commit(version, &body)?;
    if let Err(code) = context.check(Operation::Read, Resource::Group, &request.group_id) {
        let refused = vec![Err(code); request.topics.len()];
        let topics = response(&request, &refused, &mut std::iter::empty());
        return Ok(context.now(OffsetCommitResponse::default().with_topics(topics)));
    }
    let by_id = version >= TOPIC_IDS_SINCE;
    let topics = resolve(context, &request, &broker.image.load(), by_id);
    let broker = broker.clone();
    Ok(context.later(async move {
        let own_retention = (version <= 4).then_some(request.retention_time_ms);
        let commit = CommitOffsets {
            retention_ms: own_retention.filter(|ms| *ms != -1),
            knows_group_id_not_found: version >= 9,
            ..command(&request, &topics)
        };
        // With nothing left to commit it is still for the coordinator to say whether the member may.
        let committed = broker.groups.ask(commit).await;
        let mut told =
            committed.topics.into_iter().flat_map(|topic| topic.partitions).map(|(_, error)| error);
        OffsetCommitResponse::default().with_topics(response(&request, &topics, &mut told))
    }))
}

/// The topics of a request that names them by id or by name, in its order.
pub(super) fn resolve(
    context: &Context<'_>,
    request: &OffsetCommitRequest,
    image: &Image,
    by_id: bool,
) -> Vec<Known> {
    let check = |name: &str| context.check(Operation::Read, Resource::Topic, name);
    let known = request.topics.iter().map(|topic| match by_id {
        true => {
            let known = image.topic_by_id(topic.topic_id).ok_or(ErrorCode::UnknownTopicId)?;
            check(&known.name).map(|()| known.clone())
        }
        false => {
            check(&topic.name)?;
            image.topic(&topic.name).cloned().ok_or(ErrorCode::UnknownTopicOrPartition)
        }
    });
    known.collect()
}

fn exists(topic: &Known, partition: i32) -> bool {
    topic.as_ref().is_ok_and(|known| known.partitions.contains_key(&partition))
}

/// What the coordinator is asked, without what depends on the version.
pub(super) fn command(request: &OffsetCommitRequest, topics: &[Known]) -> CommitOffsets {
    let topics = request.topics.iter().zip(topics).filter_map(|(topic, known)| {
        let partitions = topic.partitions.iter().filter(|p| exists(known, p.partition_index));
        let partitions: Vec<_> = partitions
            .map(|p| CommitPartition {
                partition: p.partition_index,
                offset: p.committed_offset,
                leader_epoch: LeaderEpoch(p.committed_leader_epoch),
                metadata: shared_option(&p.committed_metadata),
            })
            .collect();
        let known = known.as_ref().ok().filter(|_| !partitions.is_empty())?;
        Some(CommitTopic { topic: known.name.clone(), id: Some(known.id), partitions })
    });
    CommitOffsets {
        group: shared(&request.group_id.0),
        member_id: shared(&request.member_id),
        generation: request.generation_id_or_member_epoch,
        instance_id: shared_option(&request.group_instance_id),
        retention_ms: None,
        transaction: None,
        knows_group_id_not_found: false,
        topics: topics.collect(),
    }
}

/// The topics of a response. The coordinator tells of what it was told of, in that order; the rest does not exist.
pub(super) fn response(
    request: &OffsetCommitRequest,
    topics: &[Known],
    told: &mut impl Iterator<Item = ErrorCode>,
) -> Vec<OffsetCommitResponseTopic> {
    let mut one = |(topic, known): (&OffsetCommitRequestTopic, &Known)| {
        let partitions = topic.partitions.iter().map(|p| {
            let error = match known {
                Err(code) => *code,
                Ok(_) if exists(known, p.partition_index) => {
                    told.next().unwrap_or(ErrorCode::UnknownServerError)
                }
                Ok(_) => ErrorCode::UnknownTopicOrPartition,
            };
            OffsetCommitResponsePartition::default()
                .with_partition_index(p.partition_index)
                .with_error_code(error.code())
        });
        let partitions = partitions.collect();
        OffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_topic_id(topic.topic_id)
            .with_partitions(partitions)
    };
    request.topics.iter().zip(topics).map(&mut one).collect()
}
