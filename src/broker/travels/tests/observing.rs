//! What an observer asks, and what it is told.

use bytes::{Bytes, BytesMut};
use ottla_client::Request;
use ottla_log::metadata::SnapshotId;
use ottla_model::NodeId;
use ottla_node::quorum::{
    Fetch, FetchAnswer, FetchSnapshot, Fetched, Leadership, Piece, PieceAnswer, ReplicaKey,
};
use ottla_protocol::fetch::{self, Part};
use ottla_protocol::messages::{FetchRequest, FetchSnapshotRequest, FetchSnapshotResponse};
use ottla_protocol::{Decodable, Encodable, ErrorCode, LeaderEpoch, codec};
use uuid::Uuid;

use super::super::{metadata_fetch, metadata_snapshot};

const DIRECTORY: Uuid = Uuid::from_u128(7);

fn asked() -> Fetch {
    Fetch {
        cluster_id: Some("cluster".into()),
        replica: Some(ReplicaKey { id: NodeId(5), directory_id: DIRECTORY }),
        epoch: LeaderEpoch(4),
        offset: 100,
        last_epoch: LeaderEpoch(3),
        high_watermark: Some(-1),
        max_bytes: 1000,
    }
}

fn leadership() -> Leadership {
    Leadership { epoch: LeaderEpoch(4), leader: Some(NodeId(1)), endpoint: Some(("there".into(), 9093)) }
}

fn encoded<M: Encodable>(message: &M, version: i16) -> Bytes {
    let mut bytes = BytesMut::new();
    codec::encode(message, version, &mut bytes).expect("it can be encoded");
    bytes.freeze()
}

fn decoded<M: Decodable>(mut bytes: Bytes, version: i16) -> M {
    let message = M::decode(&mut bytes, version).expect("it can be decoded");
    assert!(bytes.is_empty(), "version {version} has bytes left");
    message
}

#[test]
fn a_fetch_of_the_metadata_log_arrives_as_it_was_asked() {
    for version in 12..=18 {
        let body = encoded(&metadata_fetch::request(&asked(), 500, version), version);
        let request = fetch::FetchRequest::read(version, body).expect("it can be read");
        let mut expected = asked();
        if version < 17 {
            expected.replica = Some(ReplicaKey { id: NodeId(5), directory_id: Uuid::nil() });
        }
        if version < 18 {
            expected.high_watermark = None;
        }
        assert_eq!(metadata_fetch::of_request(&request), Ok((expected, 500)), "version {version}");
    }
}

#[test]
fn a_fetch_of_something_else_is_no_fetch_of_the_metadata_log() {
    let change = |change: fn(&mut fetch::FetchRequest)| {
        let body = encoded(&metadata_fetch::request(&asked(), 500, 18), 18);
        let mut request = fetch::FetchRequest::read(18, body).expect("it can be read");
        change(&mut request);
        metadata_fetch::of_request(&request).map(|(fetch, _)| fetch)
    };
    assert_eq!(change(|_| {}), Ok(asked()));
    assert_eq!(change(|request| request.topics.clear()), Err(ErrorCode::InvalidRequest));
    assert_eq!(change(|request| request.topics[0].partitions.clear()), Err(ErrorCode::InvalidRequest));
    assert_eq!(change(|request| request.topics[0].partitions[0].index = 1), Err(ErrorCode::InvalidRequest));
    let another = change(|request| request.topics[0].topic = fetch::TopicRef::Id(DIRECTORY));
    assert_eq!(another, Err(ErrorCode::InvalidRequest));
    // Whoever is no replica is none here, either.
    assert_eq!(change(|request| request.replica_id = -1), Ok(Fetch { replica: None, ..asked() }));
}

#[test]
fn an_answer_to_a_fetch_arrives_as_it_was_given() {
    let check = |fetched: Result<Fetched, ErrorCode>| {
        let answer =
            FetchAnswer { leadership: leadership(), fetched, high_watermark: Some(90), log_start: 8 };
        for version in 12..=18 {
            let parts = metadata_fetch::response(answer.clone(), version).write(version, Bytes::len);
            let bytes: Vec<u8> = parts
                .into_iter()
                .flat_map(|part| match part {
                    Part::Bytes(bytes) | Part::Records(bytes) => bytes.to_vec(),
                })
                .collect();
            let response = decoded::<<FetchRequest as Request>::Response>(bytes.into(), version);
            let mut expected = answer.clone();
            if version < 17 {
                expected.leadership.endpoint = None;
            }
            assert_eq!(metadata_fetch::of_response(response), Some(expected), "version {version}");
        }
    };
    check(Ok(Fetched::Records(Bytes::from_static(b"batches"))));
    check(Ok(Fetched::Records(Bytes::new())));
    check(Ok(Fetched::Diverging { epoch: LeaderEpoch(2), end: 50 }));
    check(Ok(Fetched::Snapshot(SnapshotId { end: 60, epoch: LeaderEpoch(3) })));
    check(Err(ErrorCode::FencedLeaderEpoch));
    let refused = Err(ErrorCode::InconsistentClusterId);
    let leadership = Leadership::unsaid();
    let answer = FetchAnswer { leadership, fetched: refused, high_watermark: None, log_start: -1 };
    let parts = metadata_fetch::response(answer.clone(), 18).write(18, Bytes::len);
    let bytes: Vec<u8> = parts
        .into_iter()
        .flat_map(|part| match part {
            Part::Bytes(bytes) | Part::Records(bytes) => bytes.to_vec(),
        })
        .collect();
    let response = decoded::<<FetchRequest as Request>::Response>(bytes.into(), 18);
    assert_eq!(metadata_fetch::of_response(response), Some(answer));
}

#[test]
fn a_piece_of_a_snapshot_is_asked_for_and_given() {
    let id = SnapshotId { end: 60, epoch: LeaderEpoch(3) };
    let question = FetchSnapshot {
        cluster_id: Some("cluster".into()),
        replica: asked().replica,
        epoch: LeaderEpoch(4),
        id,
        position: 300,
        max_bytes: 100,
    };
    let piece = Piece { id, size: 1000, position: 300, bytes: Bytes::from_static(b"a part of it") };
    for version in 0..=1 {
        let body = encoded(&metadata_snapshot::request(&question, version), version);
        let request = decoded::<FetchSnapshotRequest>(body, version);
        let mut expected = question.clone();
        if version < 1 {
            expected.replica = Some(ReplicaKey { id: NodeId(5), directory_id: Uuid::nil() });
        }
        assert_eq!(metadata_snapshot::of_request(&request), Ok(expected), "version {version}");
        for piece in [Ok(piece.clone()), Err(ErrorCode::SnapshotNotFound)] {
            let mut answer = PieceAnswer { leadership: leadership(), piece };
            let body = encoded(&metadata_snapshot::response(answer.clone(), version), version);
            if version < 1 {
                answer.leadership.endpoint = None;
            }
            let response = decoded::<FetchSnapshotResponse>(body, version);
            assert_eq!(metadata_snapshot::of_response(response), Some(answer), "version {version}");
        }
    }
}
