//! A fetch of the metadata log as Kafka's Fetch (KIP-595), and its answer: both directions.

use bytes::Bytes;
use ottla_client::Request;
use ottla_log::metadata::SnapshotId;
use ottla_model::{CLUSTER_METADATA_TOPIC, METADATA_TOPIC_ID, NodeId};
use ottla_node::quorum::{Fetch, FetchAnswer, Fetched, Leadership, ReplicaKey};
use ottla_protocol::fetch::{
    self, CurrentLeader, EpochEndOffset, FetchPartitionResponse, FetchTopicResponse,
    HIGH_WATERMARK_UNSUPPORTED, NodeEndpoint, TopicRef,
};
use ottla_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ReplicaState};
use ottla_protocol::messages::{BrokerId, FetchRequest, TopicName};
use ottla_protocol::{ErrorCode, LeaderEpoch, StrBytes};

/// The request of an observer that waits for so long for something new, with what this version has a field for.
pub(crate) fn request(asked: &Fetch, max_wait_ms: i64, version: i16) -> FetchRequest {
    let replica = asked.replica.unwrap_or(ReplicaKey::of(NodeId(-1)));
    let partition = FetchPartition::default()
        .with_current_leader_epoch(asked.epoch.0)
        .with_fetch_offset(asked.offset)
        .with_last_fetched_epoch(asked.last_epoch.0);
    let partition = match version {
        ..=16 => partition,
        17.. => partition.with_replica_directory_id(replica.directory_id),
    };
    let partition = match version {
        ..=17 => partition,
        18.. => partition.with_high_watermark(asked.high_watermark.unwrap_or(HIGH_WATERMARK_UNSUPPORTED)),
    };
    let topic = FetchTopic::default()
        .with_topic(TopicName(StrBytes::from_static_str(CLUSTER_METADATA_TOPIC)))
        .with_topic_id(METADATA_TOPIC_ID)
        .with_partitions(vec![partition]);
    let id = BrokerId(replica.id.0);
    let request = match version {
        ..=14 => FetchRequest::default().with_replica_id(id),
        15.. => FetchRequest::default().with_replica_state(ReplicaState::default().with_replica_id(id)),
    };
    request
        .with_cluster_id(asked.cluster_id.clone().map(StrBytes::from_string))
        .with_max_wait_ms(i32::try_from(max_wait_ms).unwrap_or(i32::MAX))
        .with_max_bytes(i32::try_from(asked.max_bytes).unwrap_or(i32::MAX))
        .with_topics(vec![topic])
}

/// What a request asks, and how long it waits, in ms. An error is the answer to the request as a whole.
pub(crate) fn of_request(request: &fetch::FetchRequest) -> Result<(Fetch, i64), ErrorCode> {
    let [topic] = request.topics.as_slice() else { return Err(ErrorCode::InvalidRequest) };
    let [partition] = topic.partitions.as_slice() else { return Err(ErrorCode::InvalidRequest) };
    if !is_metadata(&topic.topic) || partition.index != 0 {
        return Err(ErrorCode::InvalidRequest);
    }
    let replica = ReplicaKey { id: NodeId(request.replica_id), directory_id: partition.replica_directory_id };
    let known = partition.high_watermark;
    let asked = Fetch {
        cluster_id: request.cluster_id.as_ref().map(|id| id.as_str().to_owned()),
        replica: (request.replica_id >= 0).then_some(replica),
        epoch: partition.current_leader_epoch,
        // Kafka says no more than this to who wants to wait for a negative time.
        offset: if request.max_wait_ms < 0 { -1 } else { partition.fetch_offset },
        last_epoch: partition.last_fetched_epoch,
        high_watermark: (known != HIGH_WATERMARK_UNSUPPORTED).then_some(known),
        max_bytes: usize::try_from(request.max_bytes).unwrap_or(0),
    };
    Ok((asked, i64::from(request.max_wait_ms)))
}

fn is_metadata(topic: &TopicRef) -> bool {
    match topic {
        TopicRef::Id(id) => *id == METADATA_TOPIC_ID,
        TopicRef::Name(name) => name.as_str() == CLUSTER_METADATA_TOPIC,
    }
}

/// An answer as the response of this version.
pub(crate) fn response(answer: FetchAnswer, version: i16) -> fetch::FetchResponse<Bytes> {
    let FetchAnswer { leadership, fetched, high_watermark, log_start } = answer;
    if let (Err(error), false) = (&fetched, leadership.epoch.is_some()) {
        return fetch::FetchResponse { error: *error, ..fetch::FetchResponse::default() };
    }
    let error = fetched.as_ref().err().copied().unwrap_or(ErrorCode::None);
    let leader_id = leadership.leader.map_or(-1, |leader| leader.0);
    let mut partition = FetchPartitionResponse {
        high_watermark: high_watermark.unwrap_or(-1),
        log_start_offset: log_start,
        current_leader: Some(CurrentLeader { leader_id, leader_epoch: leadership.epoch }),
        ..FetchPartitionResponse::failed(0, error)
    };
    match fetched {
        Ok(Fetched::Records(records)) => partition.records = Some(records),
        Ok(Fetched::Diverging { epoch, end }) => {
            partition.diverging_epoch = Some(EpochEndOffset { epoch, end_offset: end });
        }
        Ok(Fetched::Snapshot(SnapshotId { end, epoch })) => {
            partition.snapshot_id = Some(fetch::SnapshotId { end_offset: end, epoch });
        }
        Err(_) => {}
    }
    let topic = match version {
        ..=12 => TopicRef::Name(StrBytes::from_static_str(CLUSTER_METADATA_TOPIC)),
        13.. => TopicRef::Id(METADATA_TOPIC_ID),
    };
    // Before version 17 who asks knows where the voters are.
    let endpoint = leadership.endpoint.filter(|_| version >= 17).map(|(host, port)| NodeEndpoint {
        node_id: leader_id,
        host: StrBytes::from_string(host),
        port: i32::from(port),
        rack: None,
    });
    fetch::FetchResponse {
        topics: vec![FetchTopicResponse { topic, partitions: vec![partition] }],
        node_endpoints: endpoint.into_iter().collect(),
        ..fetch::FetchResponse::default()
    }
}

/// The answer that a response has. `None`: it is none to a fetch of the metadata log.
pub(crate) fn of_response(response: <FetchRequest as Request>::Response) -> Option<FetchAnswer> {
    if let Err(error) = said(response.error_code) {
        let leadership = Leadership::unsaid();
        return Some(FetchAnswer { leadership, fetched: Err(error), high_watermark: None, log_start: -1 });
    }
    let [topic] = response.responses.as_slice() else { return None };
    let [partition] = topic.partitions.as_slice() else { return None };
    let named = topic.topic_id == METADATA_TOPIC_ID || topic.topic.as_str() == CLUSTER_METADATA_TOPIC;
    if !named || partition.partition_index != 0 {
        return None;
    }
    let leader = partition.current_leader.leader_id;
    let endpoint = response.node_endpoints.iter().find(|node| node.node_id == leader);
    let endpoint =
        endpoint.and_then(|node| Some((node.host.as_str().to_owned(), u16::try_from(node.port).ok()?)));
    let (diverging, snapshot) = (&partition.diverging_epoch, &partition.snapshot_id);
    let fetched = match said(partition.error_code) {
        Err(error) => Err(error),
        Ok(()) if diverging.epoch >= 0 => {
            Ok(Fetched::Diverging { epoch: LeaderEpoch(diverging.epoch), end: diverging.end_offset })
        }
        Ok(()) if snapshot.epoch >= 0 || snapshot.end_offset >= 0 => {
            let (end, epoch) = (snapshot.end_offset, LeaderEpoch(snapshot.epoch));
            Ok(Fetched::Snapshot(SnapshotId { end, epoch }))
        }
        Ok(()) => Ok(Fetched::Records(partition.records.clone().unwrap_or_default())),
    };
    Some(FetchAnswer {
        leadership: Leadership {
            epoch: LeaderEpoch(partition.current_leader.leader_epoch),
            leader: (leader.0 >= 0).then_some(NodeId(leader.0)),
            endpoint,
        },
        fetched,
        high_watermark: (partition.high_watermark >= 0).then_some(partition.high_watermark),
        log_start: partition.log_start_offset,
    })
}

pub(super) fn said(code: i16) -> Result<(), ErrorCode> {
    match ErrorCode::from_code(code) {
        ErrorCode::None => Ok(()),
        error => Err(error),
    }
}
