//! Produce compared with `kafka-protocol` at every version, golden bytes, and what a hostile peer may send.

use bytes::BytesMut;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint as TheirEndpoint, PartitionProduceResponse,
    TopicProduceResponse,
};
use kafka_protocol::messages::{ProduceRequest as TheirRequest, ProduceResponse as TheirResponse};
use kafka_protocol::protocol::{Decodable, Encodable};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::LeaderEpoch;

fn text() -> impl Strategy<Value = StrBytes> {
    "[a-z0-9\u{e9}]{0,20}".prop_map(StrBytes::from)
}

fn topic(version: i16) -> impl Strategy<Value = TopicRef> {
    (text(), any::<u128>()).prop_map(move |(name, id)| match version {
        13.. => TopicRef::Id(Uuid::from_u128(id)),
        _ => TopicRef::Name(name),
    })
}

fn request(version: i16) -> impl Strategy<Value = ProduceRequest> {
    let records = option::of(vec(any::<u8>(), 0..40).prop_map(Bytes::from));
    let partition = (any::<i32>(), records).prop_map(|(index, records)| ProducePartition { index, records });
    let topic = (topic(version), vec(partition, 0..4))
        .prop_map(|(topic, partitions)| ProduceTopic { topic, partitions });
    (option::of(text()), any::<i16>(), any::<i32>(), vec(topic, 0..4)).prop_map(
        |(transactional_id, acks, timeout_ms, topics)| ProduceRequest {
            transactional_id,
            acks,
            timeout_ms,
            topics,
        },
    )
}

/// A response with only the fields of that version, so that it is the same after a round trip.
fn response(version: i16) -> impl Strategy<Value = ProduceResponse> {
    let record_error = (any::<i32>(), option::of(text()))
        .prop_map(|(batch_index, message)| RecordError { batch_index, message });
    let leader = (0..100, 0..100)
        .prop_map(|(leader_id, epoch)| CurrentLeader { leader_id, leader_epoch: LeaderEpoch(epoch) });
    let endpoint = (any::<i32>(), text(), any::<i32>(), option::of(text()))
        .prop_map(|(node_id, host, port, rack)| NodeEndpoint { node_id, host, port, rack });
    let partition = (
        (any::<i32>(), -1..=136i16, any::<[i64; 3]>()),
        (vec(record_error, 0..3), option::of(text()), option::of(leader)),
    )
        .prop_map(move |((index, code, numbers), (record_errors, error_message, current_leader))| {
            let mut partition = ProducePartitionResponse::failed(index, ErrorCode::from_code(code));
            [partition.base_offset, partition.log_append_time_ms, _] = numbers;
            if version >= 5 {
                partition.log_start_offset = numbers[2];
            }
            if version >= 8 {
                (partition.record_errors, partition.error_message) = (record_errors, error_message);
            }
            partition.current_leader = current_leader.filter(|_| version >= 10);
            partition
        });
    let topic = (topic(version), vec(partition, 0..4))
        .prop_map(|(topic, partitions)| ProduceTopicResponse { topic, partitions });
    (vec(topic, 0..4), any::<i32>(), vec(endpoint, 0..3)).prop_map(
        move |(topics, throttle_time_ms, endpoints)| ProduceResponse {
            topics,
            throttle_time_ms,
            node_endpoints: if version >= 10 { endpoints } else { Vec::new() },
        },
    )
}

fn their_request(request: &ProduceRequest) -> TheirRequest {
    TheirRequest::default()
        .with_transactional_id(request.transactional_id.clone().map(Into::into))
        .with_acks(request.acks)
        .with_timeout_ms(request.timeout_ms)
        .with_topic_data(
            request
                .topics
                .iter()
                .map(|topic| {
                    TopicProduceData::default()
                        .with_name(topic.topic.name().cloned().unwrap_or_default().into())
                        .with_topic_id(topic.topic.id().unwrap_or_default())
                        .with_partition_data(
                            topic
                                .partitions
                                .iter()
                                .map(|partition| {
                                    PartitionProduceData::default()
                                        .with_index(partition.index)
                                        .with_records(partition.records.clone())
                                })
                                .collect(),
                        )
                })
                .collect(),
        )
}

fn their_partition(partition: &ProducePartitionResponse) -> PartitionProduceResponse {
    let leader = partition.current_leader.map_or_else(LeaderIdAndEpoch::default, |leader| {
        LeaderIdAndEpoch::default()
            .with_leader_id(leader.leader_id.into())
            .with_leader_epoch(leader.leader_epoch.0)
    });
    let errors = partition.record_errors.iter().map(|error| {
        BatchIndexAndErrorMessage::default()
            .with_batch_index(error.batch_index)
            .with_batch_index_error_message(error.message.clone())
    });
    PartitionProduceResponse::default()
        .with_index(partition.index)
        .with_error_code(partition.error.code())
        .with_base_offset(partition.base_offset)
        .with_log_append_time_ms(partition.log_append_time_ms)
        .with_log_start_offset(partition.log_start_offset)
        .with_record_errors(errors.collect())
        .with_error_message(partition.error_message.clone())
        .with_current_leader(leader)
}

fn their_response(response: &ProduceResponse) -> TheirResponse {
    let topics = response.topics.iter().map(|topic| {
        TopicProduceResponse::default()
            .with_name(topic.topic.name().cloned().unwrap_or_default().into())
            .with_topic_id(topic.topic.id().unwrap_or_default())
            .with_partition_responses(topic.partitions.iter().map(their_partition).collect())
    });
    let endpoints = response.node_endpoints.iter().map(|endpoint| {
        TheirEndpoint::default()
            .with_node_id(endpoint.node_id.into())
            .with_host(endpoint.host.clone())
            .with_port(endpoint.port)
            .with_rack(endpoint.rack.clone())
    });
    TheirResponse::default()
        .with_responses(topics.collect())
        .with_throttle_time_ms(response.throttle_time_ms)
        .with_node_endpoints(endpoints.collect())
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
        let theirs = their_request(&request);
        prop_assert_eq!(&ours, &written(|buf| theirs.encode(buf, version).unwrap()), "v{}", version);
        prop_assert_eq!(TheirRequest::decode(&mut ours.clone(), version).unwrap(), theirs);
        prop_assert_eq!(ProduceRequest::read(version, ours.clone()).unwrap(), request);
        for cut in 0..ours.len() {
            prop_assert!(ProduceRequest::read(version, ours.slice(..cut)).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn responses_agree_with_the_messages_crate((version, response) in in_some_version(response)) {
        let ours = written(|buf| response.write(version, buf));
        let theirs = their_response(&response);
        prop_assert_eq!(&ours, &written(|buf| theirs.encode(buf, version).unwrap()), "v{}", version);
        prop_assert_eq!(TheirResponse::decode(&mut ours.clone(), version).unwrap(), theirs);
        prop_assert_eq!(ProduceResponse::read(version, ours.clone()).unwrap(), response);
        for cut in 0..ours.len() {
            prop_assert!(ProduceResponse::read(version, ours.slice(..cut)).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn noise_never_panics(version in VERSIONS, body in any::<Vec<u8>>()) {
        let _ = ProduceRequest::read(version, body.clone().into());
        let _ = ProduceResponse::read(version, body.into());
    }
}

/// A request with acks=all of a transaction: one batch of three bytes for "t"-2.
fn example(topic: TopicRef) -> ProduceRequest {
    let records = Some(Bytes::from_static(b"xyz"));
    ProduceRequest {
        transactional_id: Some("tx".into()),
        acks: -1,
        timeout_ms: 1500,
        topics: vec![ProduceTopic { topic, partitions: vec![ProducePartition { index: 2, records }] }],
    }
}

#[test]
fn golden_requests() {
    let id = TopicRef::Id(Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10));
    let rows: [(i16, TopicRef, &[u8]); 3] = [
        (3, TopicRef::Name("t".into()), b"\0\x02tx\xff\xff\0\0\x05\xdc\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x02\0\0\0\x03xyz"),
        (9, TopicRef::Name("t".into()), b"\x03tx\xff\xff\0\0\x05\xdc\x02\x02t\x02\0\0\0\x02\x04xyz\0\0\0"),
        (13, id, b"\x03tx\xff\xff\0\0\x05\xdc\x02\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x02\0\0\0\x02\x04xyz\0\0\0"),
    ];
    for (version, topic, golden) in rows {
        let request = example(topic);
        assert_eq!(written(|buf| request.write(version, buf)), golden, "v{version}");
        assert_eq!(ProduceRequest::read(version, Bytes::from_static(golden)).unwrap(), request);
    }
}

#[test]
fn records_are_slices_of_the_frame() {
    let body = written(|buf| example(TopicRef::Name("t".into())).write(9, buf));
    let request = ProduceRequest::read(9, body.clone()).unwrap();
    let records = request.topics[0].partitions[0].records.clone().unwrap();
    assert!(body.as_ptr_range().contains(&records.as_ptr()), "copied");
}

#[test]
fn a_hostile_request_is_refused_before_it_takes_memory() {
    let rows: [(&str, i16, &[u8], &str); 4] = [
        ("two thousand million topics", 3, b"\xff\xff\xff\xff\0\0\0\0\x7f\xff\xff\xff", "an array of"),
        (
            "a batch longer than the frame",
            3,
            b"\xff\xff\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\x01\0\0\0\0\x10\0\0\0",
            "needed",
        ),
        ("a topic without a name", 3, b"\xff\xff\0\x01\0\0\0\0\0\0\0\x01\xff\xff\0\0\0\0", "null where"),
        ("a version from before Kafka 0.11", 2, b"", "not served"),
    ];
    for (what, version, body, why) in rows {
        let malformed = ProduceRequest::read(version, Bytes::from_static(body)).expect_err(what);
        assert!(malformed.to_string().contains(why), "{what}: {malformed}");
    }
}

#[test]
fn an_error_message_too_long_for_a_string_is_cut() {
    let mut partition = ProducePartitionResponse::failed(0, ErrorCode::InvalidRecord);
    partition.error_message = Some(StrBytes::from("\u{20ac}".repeat(11_000)));
    let topic = ProduceTopicResponse { topic: TopicRef::Name("t".into()), partitions: vec![partition] };
    let response = ProduceResponse { topics: vec![topic], ..ProduceResponse::default() };
    for version in [8, 9] {
        let body = written(|buf| response.write(version, buf));
        let back = ProduceResponse::read(version, body).expect("a message that can be read");
        let message = back.topics[0].partitions[0].error_message.clone().expect("it is still there");
        assert_eq!(message.len(), 32_766, "three bytes a character");
    }
}
