//! OffsetFetch v1-9 (all topics from v2, KIP-320 leader epochs from v5, KIP-447 require stable from v7, KIP-709 several
//! groups from v8, KIP-848 member and epoch from v9, which classic groups ignore).

use std::sync::Arc;

use bytes::Bytes;
use ottla_core::group::{Command, FetchOffsets, FetchTopic, FetchedPartition, OffsetsFetched, Reply};
use ottla_model::TopicName;
use ottla_protocol::api::ApiKey;
use ottla_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use ottla_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse, TopicName as WireTopicName};
use ottla_protocol::{ErrorCode, codec};

use super::groups::{group_of, shared, text_of, unexpected};
use super::{Begun, later};
use crate::broker::Broker;
use crate::run::groups::ask;

pub(super) fn begin(broker: &Arc<Broker>, version: i16, body: Bytes) -> Begun {
    let request: OffsetFetchRequest = codec::decode(ApiKey::OffsetFetch.code(), version, body)?;
    let fetches = commands(request, version);
    let broker = broker.clone();
    Ok(later(version, async move {
        let mut fetched = Vec::with_capacity(fetches.len());
        for fetch in fetches {
            let (group, asked) = (fetch.group.clone(), fetch.topics.clone());
            match ask(&broker, &group, Command::FetchOffsets(fetch)).await {
                Reply::OffsetsFetched(one) => fetched.push((one, asked)),
                other => unexpected(&other),
            }
        }
        response(fetched, version)
    }))
}

fn commands(request: OffsetFetchRequest, version: i16) -> Vec<FetchOffsets> {
    let topic = |(name, partitions): (&WireTopicName, &Vec<i32>)| FetchTopic {
        topic: shared(&name.0),
        id: None,
        partitions: partitions.clone(),
    };
    let require_stable = request.require_stable;
    if version >= 8 {
        let groups = request.groups.iter().map(|group| FetchOffsets {
            group: shared(&group.group_id.0),
            topics: group
                .topics
                .as_ref()
                .map(|topics| topics.iter().map(|t| topic((&t.name, &t.partition_indexes))).collect()),
            require_stable,
        });
        return groups.collect();
    }
    let topics = request
        .topics
        .as_ref()
        .map(|topics| topics.iter().map(|t| topic((&t.name, &t.partition_indexes))).collect());
    vec![FetchOffsets { group: shared(&request.group_id.0), topics, require_stable }]
}

fn response(fetched: Vec<(OffsetsFetched, Option<Vec<FetchTopic>>)>, version: i16) -> OffsetFetchResponse {
    let response = OffsetFetchResponse::default();
    if version >= 8 {
        let groups = fetched.iter().map(|(group, _)| of_group(group));
        return response.with_groups(groups.collect());
    }
    let Some((fetched, asked)) = fetched.into_iter().next() else { return response };
    if version >= 2 {
        return response.with_error_code(fetched.error.code()).with_topics(topics_of(&fetched, version));
    }
    // Without a place of its own the error is said of each partition.
    if fetched.error == ErrorCode::None {
        return response.with_topics(topics_of(&fetched, version));
    }
    let topics = asked.unwrap_or_default().into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            OffsetFetchResponsePartition::default()
                .with_partition_index(*partition)
                .with_committed_offset(-1)
                .with_metadata(Some(Default::default()))
                .with_error_code(fetched.error.code())
        });
        OffsetFetchResponseTopic::default()
            .with_name(wire(&topic.topic))
            .with_partitions(partitions.collect())
    });
    response.with_topics(topics.collect())
}

fn topics_of(fetched: &OffsetsFetched, version: i16) -> Vec<OffsetFetchResponseTopic> {
    let partition = |p: &FetchedPartition| {
        let told = OffsetFetchResponsePartition::default()
            .with_partition_index(p.partition)
            .with_committed_offset(p.offset)
            .with_metadata(Some(text_of(&p.metadata)))
            .with_error_code(p.error.code());
        if version >= 5 { told.with_committed_leader_epoch(p.leader_epoch.0) } else { told }
    };
    let topics = fetched.topics.iter().map(|topic| {
        OffsetFetchResponseTopic::default()
            .with_name(wire(&topic.topic))
            .with_partitions(topic.partitions.iter().map(partition).collect())
    });
    topics.collect()
}

fn of_group(fetched: &OffsetsFetched) -> OffsetFetchResponseGroup {
    let partition = |p: &FetchedPartition| {
        OffsetFetchResponsePartitions::default()
            .with_partition_index(p.partition)
            .with_committed_offset(p.offset)
            .with_committed_leader_epoch(p.leader_epoch.0)
            .with_metadata(Some(text_of(&p.metadata)))
            .with_error_code(p.error.code())
    };
    let topics = fetched.topics.iter().map(|topic| {
        OffsetFetchResponseTopics::default()
            .with_name(wire(&topic.topic))
            .with_partitions(topic.partitions.iter().map(partition).collect())
    });
    OffsetFetchResponseGroup::default()
        .with_group_id(group_of(&fetched.group))
        .with_error_code(fetched.error.code())
        .with_topics(topics.collect())
}

fn wire(name: &TopicName) -> WireTopicName {
    WireTopicName(text_of(name))
}
