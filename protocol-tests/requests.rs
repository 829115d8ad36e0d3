//! Requests in short, with what the tests do not vary filled in. It must never send any.

use crate::Topic;
use bytes::Bytes;
use ottla_protocol::StrBytes;
use ottla_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use ottla_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use ottla_protocol::messages::metadata_request::MetadataRequestTopic;
use ottla_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use ottla_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use ottla_protocol::messages::{
    FetchRequest, GroupId, ListOffsetsRequest, MetadataRequest, OffsetCommitRequest, ProduceRequest,
    TopicName,
};

/// A string as messages carry it.
pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.into())
}

/// A topic's name as messages carry it.
pub fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

/// Produce to one partition; `acks` is 0, 1 or -1. Name and id are filled, each version writes its own.
pub fn produce(topic: &Topic, partition: i32, records: Bytes, acks: i16) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(records));
    let data = TopicProduceData::default()
        .with_name(topic_name(&topic.name))
        .with_topic_id(topic.id)
        .with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(acks).with_timeout_ms(10_000).with_topic_data(vec![data])
}

/// One partition of a Fetch, without limits that matter.
pub fn fetch_partition(partition: i32, offset: i64) -> FetchPartition {
    FetchPartition::default()
        .with_partition(partition)
        .with_current_leader_epoch(-1)
        .with_last_fetched_epoch(-1)
        .with_log_start_offset(-1)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20)
}

/// Fetch of partitions of one topic from their offsets, outside any session, which returns at once.
pub fn fetch(topic: &Topic, partitions: &[(i32, i64)]) -> FetchRequest {
    let partitions = partitions.iter().map(|(index, offset)| fetch_partition(*index, *offset)).collect();
    fetch_of(topic, partitions)
}

/// The same with each partition spelt out.
pub fn fetch_of(topic: &Topic, partitions: Vec<FetchPartition>) -> FetchRequest {
    let topics = vec![
        FetchTopic::default()
            .with_topic(topic_name(&topic.name))
            .with_topic_id(topic.id)
            .with_partitions(partitions),
    ];
    FetchRequest::default().with_session_epoch(-1).with_max_wait_ms(0).with_min_bytes(0).with_topics(topics)
}

/// ListOffsets of one partition.
pub fn list_offsets(topic: &str, partition: i32, timestamp: i64) -> ListOffsetsRequest {
    let at = ListOffsetsPartition::default()
        .with_partition_index(partition)
        .with_current_leader_epoch(-1)
        .with_timestamp(timestamp);
    let at = ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(vec![at]);
    ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![at])
}

/// Metadata of named topics, which creates none.
pub fn metadata(topics: &[&str]) -> MetadataRequest {
    let topic = |name: &&str| MetadataRequestTopic::default().with_name(Some(topic_name(name)));
    MetadataRequest::default()
        .with_topics(Some(topics.iter().map(topic).collect()))
        .with_allow_auto_topic_creation(false)
}

/// OffsetCommit of partition 0 by a group that manages itself, as `assign` consumers do.
pub fn commit(group: &str, topic: &Topic, offset: i64, metadata: Option<&str>) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default()
        .with_committed_offset(offset)
        .with_committed_leader_epoch(-1)
        .with_committed_metadata(metadata.map(text));
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic_name(&topic.name))
        .with_partitions(vec![partition]);
    OffsetCommitRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic])
}
