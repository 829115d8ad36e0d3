//! What a fetcher says and hears on the wire. It must never know what follows from it.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use ottla_core::partition::Diverging;
use ottla_model::config::BrokerConfig;
use ottla_model::{BrokerEpoch, NodeId, TopicName};
use ottla_node::fetching::{Answer, Found, Plan};
use ottla_node::lane::FetchPosition;
use ottla_node::replicas::Key;
use ottla_protocol::codec::Malformed;
use ottla_protocol::fetch::{
    FetchPartition, FetchPartitionResponse, FetchRequest, FetchResponse, FetchTopic, ForgottenTopic, TopicRef,
};
use ottla_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use ottla_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use ottla_protocol::{LeaderEpoch, Offset};

/// The first version that names topics by id, and the newest one.
pub(super) const VERSIONS: std::ops::RangeInclusive<i16> = 13..=18;

/// The timestamps that ask for the start and the end of a log.
pub(super) const EARLIEST: i64 = -2;
pub(super) const LATEST: i64 = -1;

/// The body of a Fetch.
pub(super) fn request(
    plan: &Plan,
    me: NodeId,
    epoch: BrokerEpoch,
    config: &BrokerConfig,
    version: i16,
) -> BytesMut {
    let mut topics: Vec<FetchTopic> = Vec::new();
    for ((topic, index), place) in &plan.named {
        let position = place.position;
        let partition = FetchPartition {
            current_leader_epoch: position.under,
            last_fetched_epoch: position.last_epoch.unwrap_or(LeaderEpoch::NONE),
            log_start_offset: place.log_start,
            ..FetchPartition::new(*index, position.log_end, config.replica_fetch_max_bytes)
        };
        let topic = TopicRef::Id(*topic);
        match topics.last_mut().filter(|last| last.topic == topic) {
            Some(last) => last.partitions.push(partition),
            None => topics.push(FetchTopic { topic, partitions: vec![partition] }),
        }
    }
    let mut forgotten: BTreeMap<_, Vec<i32>> = BTreeMap::new();
    for (topic, index) in &plan.forgotten {
        forgotten.entry(*topic).or_default().push(*index);
    }
    let forgotten = forgotten
        .into_iter()
        .map(|(topic, partitions)| ForgottenTopic { topic: TopicRef::Id(topic), partitions });
    let request = FetchRequest {
        replica_id: me.0,
        replica_epoch: epoch.0,
        max_wait_ms: config.replica_fetch_wait_max_ms,
        min_bytes: config.replica_fetch_min_bytes,
        max_bytes: config.replica_fetch_response_max_bytes,
        session_id: plan.session.id,
        session_epoch: plan.session.epoch,
        topics,
        forgotten_topics: forgotten.collect(),
        ..FetchRequest::default()
    };
    let mut body = BytesMut::new();
    request.write(version, &mut body);
    body
}

/// The answer to it. Records stay slices of the body.
pub(super) fn answer(version: i16, body: Bytes) -> Result<Answer, Malformed> {
    let FetchResponse { error, session_id, topics, .. } = FetchResponse::read(version, body)?;
    let partitions = topics.into_iter().flat_map(|topic| {
        let id = match topic.topic {
            TopicRef::Id(id) => Some(id),
            // These versions have ids alone.
            TopicRef::Name(_) => None,
        };
        topic
            .partitions
            .into_iter()
            .filter_map(move |partition| Some(((id?, partition.index), found(partition))))
    });
    Ok(Answer { error, session_id, partitions: partitions.collect() })
}

fn found(partition: FetchPartitionResponse<Bytes>) -> Found {
    let diverging = partition.diverging_epoch;
    Found {
        error: partition.error,
        records: partition.records.unwrap_or_default(),
        high_watermark: partition.high_watermark,
        log_start: partition.log_start_offset,
        diverging: diverging.map(|d| Diverging { epoch: d.epoch, end_offset: d.end_offset }),
    }
}

/// Asks for the start or the end of these logs.
pub(super) fn ends_request(
    me: NodeId,
    timestamp: i64,
    partitions: &[(TopicName, Key, FetchPosition)],
) -> ListOffsetsRequest {
    let topics = partitions.iter().map(|(name, (_, index), position)| {
        let partition = ListOffsetsPartition::default()
            .with_partition_index(*index)
            .with_current_leader_epoch(position.under.0)
            .with_timestamp(timestamp);
        ListOffsetsTopic::default().with_name(text(name)).with_partitions(vec![partition])
    });
    ListOffsetsRequest::default().with_replica_id(me.0.into()).with_topics(topics.collect())
}

/// The offset of a partition in the answer. `None`: the leader did not say.
pub(super) fn end_of(response: &ListOffsetsResponse, name: &str, index: i32) -> Option<Offset> {
    let topics = response.topics.iter().filter(|topic| topic.name.as_str() == name);
    let mut partitions = topics.flat_map(|topic| &topic.partitions);
    let found = partitions.find(|partition| partition.partition_index == index)?;
    (found.error_code == 0 && found.offset >= 0).then_some(found.offset)
}

fn text(name: &str) -> ottla_protocol::messages::TopicName {
    ottla_protocol::StrBytes::from_string(name.to_owned()).into()
}
