//! OffsetCommit v2-9 (retention of the client's own in v2-4, KIP-320 leader epochs from v6, KIP-345 static members from
//! v7). Topics that do not exist are answered here: the coordinator never hears of them.

use std::sync::Arc;

use bytes::Bytes;
use ottla_core::group::{Command, CommitOffsets, CommitPartition, CommitTopic, Reply};
use ottla_model::image::Image;
use ottla_protocol::api::ApiKey;
use ottla_protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use ottla_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use ottla_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use ottla_protocol::{ErrorCode, LeaderEpoch, codec};

use super::groups::{shared, shared_option, unexpected};
use super::{Begun, later};
use crate::broker::Broker;
use crate::run::groups::ask;

pub(super) fn begin(broker: &Arc<Broker>, version: i16, body: Bytes) -> Begun {
    let request: OffsetCommitRequest = codec::decode(ApiKey::OffsetCommit.code(), version, body)?;
    let broker = broker.clone();
    Ok(later(version, async move {
        let commit = command(&request, &broker.image.load(), version);
        let group = commit.group.clone();
        // With nothing left to commit it is still for the coordinator to say whether the member may.
        match ask(&broker, &group, Command::CommitOffsets(commit)).await {
            Reply::OffsetsCommitted(committed) => {
                let mut told = committed.topics.iter().flat_map(|topic| {
                    topic.partitions.iter().map(|(partition, error)| (&*topic.topic, *partition, *error))
                });
                response(&request, &mut told)
            }
            other => unexpected(&other),
        }
    }))
}

fn exists(image: &Image, topic: &OffsetCommitRequestTopic, partition: i32) -> bool {
    image.topic(&topic.name).is_some_and(|known| known.partitions.contains_key(&partition))
}

fn command(request: &OffsetCommitRequest, image: &Image, version: i16) -> CommitOffsets {
    let topics = request.topics.iter().map(|topic| {
        let known = topic.partitions.iter().filter(|p| exists(image, topic, p.partition_index));
        let partitions = known.map(|p| CommitPartition {
            partition: p.partition_index,
            offset: p.committed_offset,
            leader_epoch: LeaderEpoch(if version >= 6 { p.committed_leader_epoch } else { -1 }),
            metadata: shared_option(&p.committed_metadata),
        });
        CommitTopic {
            topic: shared(&topic.name.0),
            id: image.topic(&topic.name).map(|known| known.id),
            partitions: partitions.collect(),
        }
    });
    let own_retention = (version <= 4).then_some(request.retention_time_ms);
    CommitOffsets {
        group: shared(&request.group_id.0),
        member_id: shared(&request.member_id),
        generation: request.generation_id_or_member_epoch,
        instance_id: shared_option(&request.group_instance_id),
        retention_ms: own_retention.filter(|ms| *ms != -1),
        transaction: None,
        knows_group_id_not_found: version >= 9,
        topics: topics.filter(|topic| !topic.partitions.is_empty()).collect(),
    }
}

// In the order of the request; what the coordinator was not told of does not exist.
fn response<'a>(
    request: &OffsetCommitRequest,
    told: &mut impl Iterator<Item = (&'a str, i32, ErrorCode)>,
) -> OffsetCommitResponse {
    let mut told = told.peekable();
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|p| {
            let mine = |t: &(&str, i32, ErrorCode)| *t.0 == **topic.name && t.1 == p.partition_index;
            let error = told.next_if(mine).map_or(ErrorCode::UnknownTopicOrPartition, |(.., error)| error);
            OffsetCommitResponsePartition::default()
                .with_partition_index(p.partition_index)
                .with_error_code(error.code())
        });
        let partitions = partitions.collect();
        OffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions)
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}
