//! Fetch compared with `kafka-protocol` at every version, golden bytes, and what a hostile peer may send.

mod theirs;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{FetchRequest as TheirRequest, FetchResponse as TheirResponse};
use kafka_protocol::protocol::{Decodable, Encodable};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

fn text() -> impl Strategy<Value = StrBytes> {
    "[a-z0-9\u{e9}]{0,20}".prop_map(StrBytes::from)
}

fn topic(version: i16) -> impl Strategy<Value = TopicRef> {
    (text(), any::<u128>()).prop_map(move |(name, id)| match version {
        13.. => TopicRef::Id(Uuid::from_u128(id)),
        _ => TopicRef::Name(name),
    })
}

/// A request with only the fields of that version, so that it is the same after a round trip.
fn request(version: i16) -> impl Strategy<Value = FetchRequest> {
    let partition = (any::<[i32; 4]>(), any::<[i64; 3]>(), any::<u128>(), any::<bool>()).prop_map(
        move |([index, leader_epoch, last_epoch, max_bytes], offsets, directory, tells)| {
            let mut partition = FetchPartition::new(index, offsets[0], max_bytes);
            if version >= 5 {
                partition.log_start_offset = offsets[1];
            }
            if version >= 9 {
                partition.current_leader_epoch = LeaderEpoch(leader_epoch);
            }
            if version >= 12 {
                partition.last_fetched_epoch = LeaderEpoch(last_epoch);
            }
            if version >= 17 && tells {
                partition.replica_directory_id = Uuid::from_u128(directory);
            }
            if version >= 18 && tells {
                partition.high_watermark = offsets[2];
            }
            partition
        },
    );
    let fetched = (topic(version), vec(partition, 0..4))
        .prop_map(|(topic, partitions)| FetchTopic { topic, partitions });
    let forgotten = (topic(version), vec(any::<i32>(), 0..4))
        .prop_map(|(topic, partitions)| ForgottenTopic { topic, partitions });
    let ids = (option::of(text()), text(), any::<bool>(), any::<i64>());
    (ids, any::<[i32; 6]>(), vec(fetched, 0..4), vec(forgotten, 0..3)).prop_map(
        move |((cluster_id, rack_id, committed, replica_epoch), numbers, topics, forgotten_topics)| {
            let [replica_id, max_wait_ms, min_bytes, max_bytes, session_id, session_epoch] = numbers;
            let mut request = FetchRequest {
                cluster_id: cluster_id.filter(|_| version >= 12),
                replica_id,
                max_wait_ms,
                min_bytes,
                max_bytes,
                isolation_level: IsolationLevel::from_code(committed.into()).unwrap(),
                topics,
                ..FetchRequest::default()
            };
            if version >= 7 {
                (request.session_id, request.session_epoch) = (session_id, session_epoch);
                request.forgotten_topics = forgotten_topics;
            }
            if version >= 11 {
                request.rack_id = rack_id;
            }
            if version >= 15 {
                request.replica_epoch = replica_epoch;
            }
            request
        },
    )
}

fn endpoint() -> impl Strategy<Value = NodeEndpoint> {
    (any::<i32>(), text(), any::<i32>(), option::of(text()))
        .prop_map(|(node_id, host, port, rack)| NodeEndpoint { node_id, host, port, rack })
}

fn partition_response(version: i16) -> impl Strategy<Value = FetchPartitionResponse<Bytes>> {
    let aborted = (any::<i64>(), any::<i64>()).prop_map(|(producer_id, first_offset)| AbortedTransaction {
        producer_id: ProducerId(producer_id),
        first_offset,
    });
    let records = option::of(vec(any::<u8>(), 1..40).prop_map(Bytes::from));
    let tagged = option::of((0..100i32, 0..100i64));
    let numbers = (any::<i32>(), -1..=136i16, any::<[i64; 3]>(), any::<i32>());
    (numbers, option::of(vec(aborted, 0..3)), records, tagged.clone(), tagged.clone(), tagged).prop_map(
        move |((index, code, offsets, replica), aborted, records, diverging, leader, snapshot)| {
            let mut partition = FetchPartitionResponse::failed(index, ErrorCode::from_code(code));
            [partition.high_watermark, partition.last_stable_offset, _] = offsets;
            if version >= 5 {
                partition.log_start_offset = offsets[2];
            }
            if version >= 11 {
                partition.preferred_read_replica = replica;
            }
            if version >= 12 {
                partition.diverging_epoch = diverging
                    .map(|(epoch, end_offset)| EpochEndOffset { epoch: LeaderEpoch(epoch), end_offset });
                partition.current_leader = leader
                    .map(|(id, at)| CurrentLeader { leader_id: id, leader_epoch: LeaderEpoch(at as i32) });
                partition.snapshot_id =
                    snapshot.map(|(epoch, end_offset)| SnapshotId { end_offset, epoch: LeaderEpoch(epoch) });
            }
            FetchPartitionResponse { aborted_transactions: aborted, records, ..partition }
        },
    )
}

fn response(version: i16) -> impl Strategy<Value = FetchResponse<Bytes>> {
    let topic = (topic(version), vec(partition_response(version), 0..4))
        .prop_map(|(topic, partitions)| FetchTopicResponse { topic, partitions });
    (any::<[i32; 2]>(), -1..=136i16, vec(topic, 0..4), vec(endpoint(), 0..3)).prop_map(
        move |([throttle_time_ms, session_id], code, topics, node_endpoints)| {
            let mut response = FetchResponse { throttle_time_ms, topics, ..FetchResponse::default() };
            if version >= 7 {
                (response.error, response.session_id) = (ErrorCode::from_code(code), session_id);
            }
            if version >= 16 {
                response.node_endpoints = node_endpoints;
            }
            response
        },
    )
}

fn joined(parts: Vec<Part<Bytes>>) -> Bytes {
    let mut all = BytesMut::new();
    for part in parts {
        match part {
            Part::Bytes(bytes) | Part::Records(bytes) => all.put(bytes),
        }
    }
    all.freeze()
}

fn written(write: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut buf = BytesMut::new();
    write(&mut buf);
    buf.freeze()
}

fn in_some_version<T: std::fmt::Debug, S: Strategy<Value = T>>(
    of: impl Fn(i16) -> S,
) -> impl Strategy<Value = (i16, T)> {
    VERSIONS.prop_flat_map(move |version| (Just(version), of(version)))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_agree_with_the_messages_crate((version, request) in in_some_version(request)) {
        let ours = written(|buf| request.write(version, buf));
        let theirs = theirs::request(&request, version);
        prop_assert_eq!(&ours, &written(|buf| theirs.encode(buf, version).unwrap()), "v{}", version);
        prop_assert_eq!(TheirRequest::decode(&mut ours.clone(), version).unwrap(), theirs);
        prop_assert_eq!(FetchRequest::read(version, ours.clone()).unwrap(), request);
        for cut in 0..ours.len() {
            prop_assert!(FetchRequest::read(version, ours.slice(..cut)).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn responses_agree_with_the_messages_crate((version, response) in in_some_version(response)) {
        let ours = joined(response.clone().write(version, Bytes::len));
        let theirs = theirs::response(&response);
        prop_assert_eq!(&ours, &written(|buf| theirs.encode(buf, version).unwrap()), "v{}", version);
        prop_assert_eq!(TheirResponse::decode(&mut ours.clone(), version).unwrap(), theirs);
        prop_assert_eq!(FetchResponse::read(version, ours.clone()).unwrap(), response);
        for cut in 0..ours.len() {
            prop_assert!(FetchResponse::read(version, ours.slice(..cut)).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn noise_never_panics(version in VERSIONS, body in any::<Vec<u8>>()) {
        let _ = FetchRequest::read(version, body.clone().into());
        let _ = FetchResponse::read(version, body.into());
    }
}

#[test]
fn golden_requests() {
    let consumer = FetchRequest {
        max_wait_ms: 500,
        max_bytes: 0x100,
        topics: vec![FetchTopic {
            topic: TopicRef::Name("t".into()),
            partitions: vec![FetchPartition::new(2, 7, 0x40)],
        }],
        ..FetchRequest::default()
    };
    let follower = FetchRequest {
        replica_id: 1,
        replica_epoch: 9,
        cluster_id: Some("c".into()),
        topics: vec![FetchTopic {
            topic: TopicRef::Id(Uuid::from_u128(1)),
            partitions: vec![FetchPartition { high_watermark: 5, ..FetchPartition::new(2, 7, 0x40) }],
        }],
        ..consumer.clone()
    };
    let rows: [(i16, &FetchRequest, &[u8]); 2] = [
        (
            4,
            &consumer,
            b"\xff\xff\xff\xff\0\0\x01\xf4\0\0\0\x01\0\0\x01\0\0\0\0\0\x01\0\x01t\0\0\0\x01\
              \0\0\0\x02\0\0\0\0\0\0\0\x07\0\0\0\x40",
        ),
        (
            18,
            &follower,
            b"\0\0\x01\xf4\0\0\0\x01\0\0\x01\0\0\0\0\0\0\xff\xff\xff\xff\
              \x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x02\
              \0\0\0\x02\xff\xff\xff\xff\0\0\0\0\0\0\0\x07\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\x40\
              \x01\x01\x08\0\0\0\0\0\0\0\x05\0\x01\x01\
              \x02\0\x02\x02c\x01\x0d\0\0\0\x01\0\0\0\0\0\0\0\x09\0",
        ),
    ];
    for (version, request, golden) in rows {
        assert_eq!(written(|buf| request.write(version, buf)), golden, "v{version}");
        assert_eq!(FetchRequest::read(version, Bytes::from_static(golden)).unwrap(), *request);
    }
}

#[test]
fn records_are_parts_of_their_own_and_nothing_takes_their_place() {
    let partition = |index, records| FetchPartitionResponse {
        records,
        ..FetchPartitionResponse::failed(index, ErrorCode::None)
    };
    let partitions = vec![partition(0, Some("long")), partition(1, None), partition(2, Some(""))];
    let topics = vec![FetchTopicResponse { topic: TopicRef::Name("t".into()), partitions }];
    let response = FetchResponse { topics, ..FetchResponse::default() };

    let parts = response.write(12, |text| text.len());
    let [Part::Bytes(before), Part::Records("long"), Part::Bytes(after)] = &parts[..] else {
        panic!("{parts:?}");
    };
    assert!(before.ends_with(&[0xff, 0xff, 0xff, 0xff, 5]), "preferred replica, length plus one");
    assert!(after.starts_with(&[0]), "no tagged fields after the records");

    let body = Bytes::from([&before[..], b"long", after].concat());
    let back = FetchResponse::read(12, body.clone()).expect("the parts in a row are the message");
    let records = back.topics[0].partitions.iter().map(|partition| partition.records.as_deref());
    assert_eq!(records.collect::<Vec<_>>(), [Some(&b"long"[..]), None, None]);
    let theirs = TheirResponse::decode(&mut body.clone(), 12).expect("for others too");
    assert_eq!(theirs.responses[0].partitions[1].records, Some(Bytes::new()), "empty, not null");
}

#[test]
fn fields_with_their_default_are_not_written() {
    let absent = FetchPartitionResponse::<Bytes>::failed(0, ErrorCode::None);
    let default = FetchPartitionResponse {
        diverging_epoch: Some(EpochEndOffset { epoch: LeaderEpoch::NONE, end_offset: -1 }),
        current_leader: Some(CurrentLeader { leader_id: -1, leader_epoch: LeaderEpoch::NONE }),
        snapshot_id: Some(SnapshotId { end_offset: -1, epoch: LeaderEpoch::NONE }),
        ..absent.clone()
    };
    let body = |partition| {
        let topic =
            FetchTopicResponse { topic: TopicRef::Id(Uuid::from_u128(1)), partitions: vec![partition] };
        joined(FetchResponse { topics: vec![topic], ..FetchResponse::default() }.write(18, Bytes::len))
    };
    assert_eq!(body(absent), body(default));
}

#[test]
fn a_hostile_request_is_refused_before_it_takes_memory() {
    let rows: [(&str, i16, &[u8], &str); 4] = [
        (
            "two thousand million topics",
            4,
            b"\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\0\0\0\0\x7f\xff\xff\xff",
            "an array of",
        ),
        ("an isolation level that is none", 4, b"\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\0\0\0\x02", "not allowed"),
        (
            "a tagged field of the wrong size",
            15,
            b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x01\x01\x01\x01\x0e\0\0\0\x01\0\0\0\0\0\0\0\x09\0\0",
            "1 bytes more",
        ),
        ("a version from before Kafka 0.11", 3, b"", "not served"),
    ];
    for (what, version, body, why) in rows {
        let malformed = FetchRequest::read(version, Bytes::from_static(body)).expect_err(what);
        assert!(malformed.to_string().contains(why), "{what}: {malformed}");
    }
}
