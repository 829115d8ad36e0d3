//! OffsetFetch v1-10 (all topics from v2, KIP-320 leader epochs from v5, KIP-447 require stable from v7, KIP-709 several
//! groups from v8, KIP-848 member and epoch from v9, which classic groups ignore, and topic ids from v10).

use std::sync::Arc;

use bytes::Bytes;
use ottla_core::group::{FetchOffsets, FetchTopic, FetchedPartition, FetchedTopic, OffsetsFetched};
use ottla_model::image::Image;
use ottla_protocol::api::{Operation, Resource};
use ottla_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use ottla_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use ottla_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse, TopicName};
use ottla_protocol::offsets::{TOPIC_IDS_SINCE, read_fetch};
use ottla_protocol::{ErrorCode, LeaderEpoch};

use super::context::{Begun, Context};
use super::groups::{group_of, shared, text_of};
use super::rights::Rights;
use crate::broker::Broker;

pub(super) fn begin(context: &Context<'_>, body: Bytes) -> Begun {
    let Context { broker, version, .. } = *context;
    let request = read_fetch(version, &body)?;
    let (broker, kept) = (broker.clone(), context.rights().keep());
    if version < 8 {
        return Ok(context.later(async move { of_one(&broker, kept.rights(), request, version).await }));
    }
    Ok(context.later(async move {
        let mut response = OffsetFetchResponse::default();
        for group in request.groups {
            let group = of_group(&broker, kept.rights(), group, request.require_stable, version).await;
            response.groups.push(group);
        }
        response
    }))
}

async fn fetch(broker: &Arc<Broker>, rights: Rights<'_>, fetch: FetchOffsets) -> OffsetsFetched {
    let group = fetch.group.clone();
    if let Err(error) = rights.check(Operation::Describe, Resource::Group, &group) {
        return OffsetsFetched { group, error, topics: Vec::new() };
    }
    let all = fetch.topics.is_none();
    let mut fetched = broker.groups.ask(fetch).await;
    let check = |topic: &FetchedTopic| rights.check(Operation::Describe, Resource::Topic, &topic.topic);
    fetched.topics.retain(|topic| !all || check(topic).is_ok());
    for topic in &mut fetched.topics {
        if let Err(code) = check(topic) {
            topic.partitions.iter_mut().for_each(|known| *known = nothing(known.partition, code));
        }
    }
    fetched
}

async fn of_one(
    broker: &Arc<Broker>,
    rights: Rights<'_>,
    request: OffsetFetchRequest,
    version: i16,
) -> OffsetFetchResponse {
    let topics = request.topics.as_ref().map(|topics| {
        let topic = topics.iter().map(|topic| FetchTopic {
            topic: shared(&topic.name.0),
            id: None,
            partitions: topic.partition_indexes.clone(),
        });
        topic.collect()
    });
    let group = shared(&request.group_id.0);
    let wanted = FetchOffsets { group, topics, require_stable: request.require_stable };
    let fetched = fetch(broker, rights, wanted).await;
    let response = OffsetFetchResponse::default();
    if version >= 2 || fetched.error == ErrorCode::None {
        let topics = fetched.topics.iter().map(|topic| {
            OffsetFetchResponseTopic::default()
                .with_name(TopicName(text_of(&topic.topic)))
                .with_partitions(topic.partitions.iter().map(partition).collect())
        });
        return response.with_error_code(fetched.error.code()).with_topics(topics.collect());
    }
    // Without a place of its own the error is said of each partition.
    let topics = request.topics.unwrap_or_default().into_iter().map(|topic| {
        let none = |index: &i32| partition(&nothing(*index, fetched.error));
        let partitions = topic.partition_indexes.iter().map(none).collect();
        OffsetFetchResponseTopic::default().with_name(topic.name).with_partitions(partitions)
    });
    response.with_topics(topics.collect())
}

fn partition(p: &FetchedPartition) -> OffsetFetchResponsePartition {
    OffsetFetchResponsePartition::default()
        .with_partition_index(p.partition)
        .with_committed_offset(p.offset)
        .with_committed_leader_epoch(p.leader_epoch.0)
        .with_metadata(Some(text_of(&p.metadata)))
        .with_error_code(p.error.code())
}

fn nothing(partition: i32, error: ErrorCode) -> FetchedPartition {
    FetchedPartition { partition, error, offset: -1, leader_epoch: LeaderEpoch::NONE, metadata: "".into() }
}

async fn of_group(
    broker: &Arc<Broker>,
    rights: Rights<'_>,
    asked: OffsetFetchRequestGroup,
    require_stable: bool,
    version: i16,
) -> OffsetFetchResponseGroup {
    let image = broker.image.load_full();
    let by_id = version >= TOPIC_IDS_SINCE;
    let (known, unknown) = split(asked.topics, &image, by_id);
    let group = shared(&asked.group_id.0);
    let fetched = fetch(broker, rights, FetchOffsets { group, topics: known, require_stable }).await;
    let mut topics: Vec<_> =
        fetched.topics.iter().filter_map(|topic| of_topic(topic, &image, by_id)).collect();
    if fetched.error == ErrorCode::None {
        topics.extend(unknown.iter().map(|topic| {
            let none = |index: &i32| of_partition(&nothing(*index, ErrorCode::UnknownTopicId));
            let partitions = topic.partition_indexes.iter().map(none).collect();
            OffsetFetchResponseTopics::default().with_topic_id(topic.topic_id).with_partitions(partitions)
        }));
    }
    OffsetFetchResponseGroup::default()
        .with_group_id(group_of(&fetched.group))
        .with_error_code(fetched.error.code())
        .with_topics(topics)
}

/// The topics as the coordinator knows them, all if none are named, and those whose id nobody knows.
fn split(
    asked: Option<Vec<OffsetFetchRequestTopics>>,
    image: &Image,
    by_id: bool,
) -> (Option<Vec<FetchTopic>>, Vec<OffsetFetchRequestTopics>) {
    let Some(asked) = asked else { return (None, Vec::new()) };
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for topic in asked {
        let (name, id) = match image.topic_by_id(topic.topic_id).filter(|_| by_id) {
            Some(found) => (found.name.clone(), Some(found.id)),
            None if by_id => {
                unknown.push(topic);
                continue;
            }
            None => (shared(&topic.name.0), None),
        };
        known.push(FetchTopic { topic: name, id, partitions: topic.partition_indexes });
    }
    (Some(known), unknown)
}

// A topic without an id any more cannot be told of to who asks by id.
fn of_topic(topic: &FetchedTopic, image: &Image, by_id: bool) -> Option<OffsetFetchResponseTopics> {
    let told = OffsetFetchResponseTopics::default()
        .with_name(TopicName(text_of(&topic.topic)))
        .with_partitions(topic.partitions.iter().map(of_partition).collect());
    if !by_id {
        return Some(told);
    }
    let id = topic.id.or_else(|| image.topic(&topic.topic).map(|known| known.id))?;
    Some(told.with_topic_id(id))
}

fn of_partition(p: &FetchedPartition) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions::default()
        .with_partition_index(p.partition)
        .with_committed_offset(p.offset)
        .with_committed_leader_epoch(p.leader_epoch.0)
        .with_metadata(Some(text_of(&p.metadata)))
        .with_error_code(p.error.code())
}
