//! Our messages converted to the types of the `kafka-protocol` crate.

use kafka_protocol::messages::FetchRequest as TheirRequest;
use kafka_protocol::messages::FetchResponse as TheirResponse;
use kafka_protocol::messages::fetch_request as req;
use kafka_protocol::messages::fetch_response as resp;

use crate::fetch::*;
use bytes::Bytes;

pub fn request(request: &FetchRequest, version: i16) -> TheirRequest {
    let topics = request.topics.iter().map(|topic| {
        req::FetchTopic::default()
            .with_topic(topic.topic.name().cloned().unwrap_or_default().into())
            .with_topic_id(topic.topic.id().unwrap_or_default())
            .with_partitions(topic.partitions.iter().map(request_partition).collect())
    });
    let forgotten = request.forgotten_topics.iter().map(|topic| {
        req::ForgottenTopic::default()
            .with_topic(topic.topic.name().cloned().unwrap_or_default().into())
            .with_topic_id(topic.topic.id().unwrap_or_default())
            .with_partitions(topic.partitions.clone())
    });
    let theirs = TheirRequest::default()
        .with_cluster_id(request.cluster_id.clone())
        .with_max_wait_ms(request.max_wait_ms)
        .with_min_bytes(request.min_bytes)
        .with_max_bytes(request.max_bytes)
        .with_isolation_level(request.isolation_level as i8)
        .with_session_id(request.session_id)
        .with_session_epoch(request.session_epoch)
        .with_topics(topics.collect())
        .with_forgotten_topics_data(forgotten.collect())
        .with_rack_id(request.rack_id.clone());
    match version {
        15.. => theirs.with_replica_state(
            req::ReplicaState::default()
                .with_replica_id(request.replica_id.into())
                .with_replica_epoch(request.replica_epoch),
        ),
        _ => theirs.with_replica_id(request.replica_id.into()),
    }
}

fn request_partition(partition: &FetchPartition) -> req::FetchPartition {
    req::FetchPartition::default()
        .with_partition(partition.index)
        .with_current_leader_epoch(partition.current_leader_epoch.0)
        .with_fetch_offset(partition.fetch_offset)
        .with_last_fetched_epoch(partition.last_fetched_epoch.0)
        .with_log_start_offset(partition.log_start_offset)
        .with_partition_max_bytes(partition.max_bytes)
        .with_replica_directory_id(partition.replica_directory_id)
        .with_high_watermark(partition.high_watermark)
}

pub fn response(response: &FetchResponse<Bytes>) -> TheirResponse {
    let topics = response.topics.iter().map(|topic| {
        resp::FetchableTopicResponse::default()
            .with_topic(topic.topic.name().cloned().unwrap_or_default().into())
            .with_topic_id(topic.topic.id().unwrap_or_default())
            .with_partitions(topic.partitions.iter().map(response_partition).collect())
    });
    let endpoints = response.node_endpoints.iter().map(|endpoint| {
        resp::NodeEndpoint::default()
            .with_node_id(endpoint.node_id.into())
            .with_host(endpoint.host.clone())
            .with_port(endpoint.port)
            .with_rack(endpoint.rack.clone())
    });
    TheirResponse::default()
        .with_throttle_time_ms(response.throttle_time_ms)
        .with_error_code(response.error.code())
        .with_session_id(response.session_id)
        .with_responses(topics.collect())
        .with_node_endpoints(endpoints.collect())
}

fn response_partition(partition: &FetchPartitionResponse<Bytes>) -> resp::PartitionData {
    let aborted = partition.aborted_transactions.as_ref().map(|transactions| {
        let transactions = transactions.iter().map(|transaction| {
            resp::AbortedTransaction::default()
                .with_producer_id(transaction.producer_id.0.into())
                .with_first_offset(transaction.first_offset)
        });
        transactions.collect()
    });
    let mut theirs = resp::PartitionData::default()
        .with_partition_index(partition.index)
        .with_error_code(partition.error.code())
        .with_high_watermark(partition.high_watermark)
        .with_last_stable_offset(partition.last_stable_offset)
        .with_log_start_offset(partition.log_start_offset)
        .with_aborted_transactions(aborted)
        .with_preferred_read_replica(partition.preferred_read_replica.into())
        .with_records(Some(partition.records.clone().unwrap_or_default()));
    if let Some(diverging) = partition.diverging_epoch {
        theirs.diverging_epoch.epoch = diverging.epoch.0;
        theirs.diverging_epoch.end_offset = diverging.end_offset;
    }
    if let Some(leader) = partition.current_leader {
        theirs.current_leader.leader_id = leader.leader_id.into();
        theirs.current_leader.leader_epoch = leader.leader_epoch.0;
    }
    if let Some(snapshot) = partition.snapshot_id {
        theirs.snapshot_id.end_offset = snapshot.end_offset;
        theirs.snapshot_id.epoch = snapshot.epoch.0;
    }
    theirs
}
