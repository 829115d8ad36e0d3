//! Requests read and responses written, for the two APIs whose codecs are ours.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use ottla_protocol::api::ApiKey;
use ottla_protocol::fetch::{
    FetchPartition, FetchPartitionResponse, FetchRequest, FetchResponse, FetchTopic, FetchTopicResponse,
};
use ottla_protocol::header::{read_request_header, write_response_header};
use ottla_protocol::produce::{
    ProducePartition, ProducePartitionResponse, ProduceRequest, ProduceResponse, ProduceTopic,
    ProduceTopicResponse,
};
use ottla_protocol::{ErrorCode, LeaderEpoch};

use super::fixtures::{ALL, FETCH_VERSION, LARGE, PARTITIONS, PRODUCE_VERSION, frame, topic_ref};
use crate::count::Operation;

pub fn decode_produce() -> Operation {
    let partitions = vec![ProducePartition { index: 3, records: Some(LARGE.batch()) }];
    let topics = vec![ProduceTopic { topic: topic_ref(), partitions }];
    let request = ProduceRequest { transactional_id: None, acks: -1, timeout_ms: 30_000, topics };
    let frame = frame(ApiKey::Produce, PRODUCE_VERSION, |body| request.write(PRODUCE_VERSION, body));
    decode(frame, |version, body| {
        drop(black_box(ProduceRequest::read(version, body).expect("a good request")))
    })
}

pub fn decode_fetch() -> Operation {
    let partition = |index| FetchPartition {
        current_leader_epoch: LeaderEpoch(3),
        ..FetchPartition::new(index, 1_000_000, 1 << 20)
    };
    let partitions = (0..PARTITIONS).map(partition).collect();
    let topics = vec![FetchTopic { topic: topic_ref(), partitions }];
    let request = FetchRequest { topics, ..FetchRequest::default() };
    let frame = frame(ApiKey::Fetch, FETCH_VERSION, |body| request.write(FETCH_VERSION, body));
    decode(frame, |version, body| drop(black_box(FetchRequest::read(version, body).expect("a good request"))))
}

fn decode(frame: Bytes, read: impl Fn(i16, Bytes) + 'static) -> Operation {
    Box::new(move |_| {
        let mut frame = black_box(&frame).clone();
        let header = read_request_header(&mut frame).expect("a good header");
        read(header.api_version, frame);
        black_box(header);
    })
}

pub fn encode_produce() -> Operation {
    let partition = ProducePartitionResponse {
        base_offset: 1_000_000,
        log_start_offset: 0,
        ..ProducePartitionResponse::failed(3, ErrorCode::None)
    };
    let topics = vec![ProduceTopicResponse { topic: topic_ref(), partitions: vec![partition] }];
    let response = ProduceResponse { topics, throttle_time_ms: 0, node_endpoints: Vec::new() };
    Box::new(move |_| {
        let mut buf = BytesMut::new();
        write_response_header(&mut buf, ApiKey::Produce.row(), PRODUCE_VERSION, 77);
        black_box(&response).write(PRODUCE_VERSION, &mut buf);
        black_box(buf.freeze());
    })
}

pub fn encode_fetch() -> Operation {
    let partition = |index| FetchPartitionResponse {
        high_watermark: 1_000_064,
        last_stable_offset: 1_000_064,
        log_start_offset: 0,
        records: Some(64 << 10),
        ..FetchPartitionResponse::failed(index, ErrorCode::None)
    };
    let topics =
        vec![FetchTopicResponse { topic: topic_ref(), partitions: (0..PARTITIONS).map(partition).collect() }];
    let response: FetchResponse<usize> = FetchResponse { session_id: 5, topics, ..FetchResponse::default() };
    let mut responses = vec![response; ALL].into_iter();
    Box::new(move |_| {
        let mut buf = BytesMut::new();
        write_response_header(&mut buf, ApiKey::Fetch.row(), FETCH_VERSION, 77);
        let response = responses.next().expect("one for each operation");
        black_box((response.write(FETCH_VERSION, |len| *len), buf.freeze()));
    })
}
