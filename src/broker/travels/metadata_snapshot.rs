//! A piece of a snapshot of the metadata as Kafka's FetchSnapshot (KIP-630), and its answer: both directions.

use ottla_log::metadata::SnapshotId;
use ottla_model::{CLUSTER_METADATA_TOPIC, NodeId};
use ottla_node::quorum::{FetchSnapshot, Leadership, Piece, PieceAnswer, ReplicaKey};
use ottla_protocol::messages::fetch_snapshot_request::{self, PartitionSnapshot, TopicSnapshot};
use ottla_protocol::messages::fetch_snapshot_response::{self, LeaderIdAndEpoch, NodeEndpoint};
use ottla_protocol::messages::{BrokerId, FetchSnapshotRequest, FetchSnapshotResponse, TopicName};
use ottla_protocol::{ErrorCode, LeaderEpoch, StrBytes};

use super::metadata_fetch::said;

/// The request of an observer, with what this version has a field for.
pub(crate) fn request(asked: &FetchSnapshot, version: i16) -> FetchSnapshotRequest {
    let replica = asked.replica.unwrap_or(ReplicaKey::of(NodeId(-1)));
    let id = fetch_snapshot_request::SnapshotId::default()
        .with_end_offset(asked.id.end)
        .with_epoch(asked.id.epoch.0);
    let partition = PartitionSnapshot::default()
        .with_current_leader_epoch(asked.epoch.0)
        .with_snapshot_id(id)
        .with_position(asked.position);
    let partition = match version {
        ..=0 => partition,
        1.. => partition.with_replica_directory_id(replica.directory_id),
    };
    let topic = TopicSnapshot::default().with_name(topic_name()).with_partitions(vec![partition]);
    FetchSnapshotRequest::default()
        .with_cluster_id(asked.cluster_id.clone().map(StrBytes::from_string))
        .with_replica_id(BrokerId(replica.id.0))
        .with_max_bytes(i32::try_from(asked.max_bytes).unwrap_or(i32::MAX))
        .with_topics(vec![topic])
}

fn topic_name() -> TopicName {
    TopicName(StrBytes::from_static_str(CLUSTER_METADATA_TOPIC))
}

/// What a request asks. An error is the answer to the request as a whole.
pub(crate) fn of_request(request: &FetchSnapshotRequest) -> Result<FetchSnapshot, ErrorCode> {
    let [topic] = request.topics.as_slice() else { return Err(ErrorCode::InvalidRequest) };
    let [partition] = topic.partitions.as_slice() else { return Err(ErrorCode::InvalidRequest) };
    if topic.name != topic_name() || partition.partition != 0 {
        return Err(ErrorCode::UnknownTopicOrPartition);
    }
    let replica =
        ReplicaKey { id: NodeId(request.replica_id.0), directory_id: partition.replica_directory_id };
    let (end, epoch) = (partition.snapshot_id.end_offset, LeaderEpoch(partition.snapshot_id.epoch));
    Ok(FetchSnapshot {
        cluster_id: request.cluster_id.as_ref().map(|id| id.as_str().to_owned()),
        replica: (replica.id.0 >= 0).then_some(replica),
        epoch: LeaderEpoch(partition.current_leader_epoch),
        id: SnapshotId { end, epoch },
        position: partition.position,
        max_bytes: usize::try_from(request.max_bytes).unwrap_or(0),
    })
}

/// An answer as the response of this version.
pub(crate) fn response(answer: PieceAnswer, version: i16) -> FetchSnapshotResponse {
    let PieceAnswer { leadership, piece } = answer;
    if let (Err(error), false) = (&piece, leadership.epoch.is_some()) {
        return FetchSnapshotResponse::default().with_error_code(error.code());
    }
    let leader = BrokerId(leadership.leader.map_or(-1, |leader| leader.0));
    let current = LeaderIdAndEpoch::default().with_leader_id(leader).with_leader_epoch(leadership.epoch.0);
    let partition = fetch_snapshot_response::PartitionSnapshot::default().with_current_leader(current);
    let partition = match piece {
        Err(error) => partition.with_error_code(error.code()),
        Ok(Piece { id, size, position, bytes }) => {
            let id =
                fetch_snapshot_response::SnapshotId::default().with_end_offset(id.end).with_epoch(id.epoch.0);
            partition
                .with_snapshot_id(id)
                .with_size(size as i64)
                .with_position(position as i64)
                .with_unaligned_records(bytes)
        }
    };
    let topic = fetch_snapshot_response::TopicSnapshot::default()
        .with_name(topic_name())
        .with_partitions(vec![partition]);
    let response = FetchSnapshotResponse::default().with_topics(vec![topic]);
    match leadership.endpoint.filter(|_| version >= 1) {
        Some((host, port)) => {
            let node = NodeEndpoint::default()
                .with_node_id(leader)
                .with_host(StrBytes::from_string(host))
                .with_port(port);
            response.with_node_endpoints(vec![node])
        }
        None => response,
    }
}

/// The answer that a response has. `None`: it is none to a fetch of a snapshot of the metadata.
pub(crate) fn of_response(response: FetchSnapshotResponse) -> Option<PieceAnswer> {
    if let Err(error) = said(response.error_code) {
        return Some(PieceAnswer { leadership: Leadership::unsaid(), piece: Err(error) });
    }
    let [topic] = response.topics.as_slice() else { return None };
    let [partition] = topic.partitions.as_slice() else { return None };
    if topic.name != topic_name() || partition.index != 0 {
        return None;
    }
    let leader = partition.current_leader.leader_id;
    let endpoint = response.node_endpoints.iter().find(|node| node.node_id == leader);
    let leadership = Leadership {
        epoch: LeaderEpoch(partition.current_leader.leader_epoch),
        leader: (leader.0 >= 0).then_some(NodeId(leader.0)),
        endpoint: endpoint.map(|node| (node.host.as_str().to_owned(), node.port)),
    };
    let piece = said(partition.error_code).and_then(|()| {
        let (end, epoch) = (partition.snapshot_id.end_offset, LeaderEpoch(partition.snapshot_id.epoch));
        let number = |value: i64| u64::try_from(value).map_err(|_| ErrorCode::PositionOutOfRange);
        let (size, position) = (number(partition.size)?, number(partition.position)?);
        Ok(Piece {
            id: SnapshotId { end, epoch },
            size,
            position,
            bytes: partition.unaligned_records.clone(),
        })
    });
    Some(PieceAnswer { leadership, piece })
}
