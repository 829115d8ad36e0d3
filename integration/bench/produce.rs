//! Produce: the same batch over and over, prepared once with its checksum, one partition to a request.

use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use ottla_protocol::api::ApiKey;
use ottla_protocol::batch::{BatchBuilder, Compression};
use ottla_protocol::header::{
    RequestHeader, read_response_header, write_request_header, write_response_header,
};
use ottla_protocol::produce::{
    ProducePartition, ProducePartitionResponse, ProduceRequest, ProduceResponse, ProduceTopic,
    ProduceTopicResponse,
};
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset, TopicRef};

use crate::engine::Load;
use crate::setup::{CLIENT_ID, Topic};

/// What one request carries.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub records: usize,
    pub record_bytes: usize,
    /// 1: the leader has it; -1: every in-sync replica.
    pub acks: i16,
}

/// 63 records of 1 KiB are what a producer puts in a batch of 64 KiB.
pub const BATCHES: Shape = Shape { records: 63, record_bytes: 1024, acks: -1 };
pub const SINGLE_RECORDS: Shape = Shape { records: 1, record_bytes: 100, acks: -1 };

/// Connections in turn take partitions in turn; a partition belongs to one connection, unless there are fewer.
pub struct Producing {
    /// One for each partition; the correlation id is the partition.
    frames: Vec<Bytes>,
    batch_bytes: usize,
    turns: Vec<Turn>,
    /// Where an answer has its error code; the first offset follows.
    error_at: usize,
    records: usize,
    /// Where each partition's next batch must land; empty where partitions are shared.
    next_offsets: Vec<Offset>,
}

/// The partition that a connection sends to next, and the one whose answer it expects next.
#[derive(Clone, Copy)]
struct Turn {
    sends: usize,
    expects: usize,
}

impl Producing {
    pub fn new(topic: &Topic, shape: Shape, connections: usize) -> Producing {
        let batch = batch_of(shape);
        let turn = |connection| Turn {
            sends: connection % topic.partitions,
            expects: connection % topic.partitions,
        };
        Producing {
            frames: (0..topic.partitions).map(|index| frame(&topic.id, index, &batch, shape.acks)).collect(),
            batch_bytes: batch.len(),
            turns: (0..connections).map(turn).collect(),
            error_at: place_of_error(&topic.id),
            records: shape.records,
            next_offsets: Vec::new(),
        }
    }

    /// Nobody else writes to these partitions, which end here: every batch must land behind the one before.
    pub fn alone_from(mut self, ends: Vec<Offset>) -> Producing {
        assert!(self.turns.len() <= ends.len(), "a partition belongs to one connection");
        self.next_offsets = ends;
        self
    }

    /// Where the partitions end after what has been acknowledged.
    pub fn ends(&self) -> Vec<Offset> {
        self.next_offsets.clone()
    }

    pub fn batch_bytes(&self) -> usize {
        self.batch_bytes
    }

    fn after(&self, connection: usize, partition: usize) -> usize {
        match partition + self.turns.len() {
            next if next < self.frames.len() => next,
            _ => connection % self.frames.len(),
        }
    }
}

impl Load for Producing {
    fn request(&mut self, connection: usize) -> Option<Bytes> {
        let partition = self.turns[connection].sends;
        self.turns[connection].sends = self.after(connection, partition);
        Some(self.frames[partition].clone())
    }

    fn answer(&mut self, connection: usize, answer: &[u8]) -> Result<()> {
        let expected = self.turns[connection].expects;
        self.turns[connection].expects = self.after(connection, expected);
        let correlation_id = answer.first_chunk().map(|id| i32::from_be_bytes(*id));
        let error = answer.get(self.error_at..self.error_at + 2);
        if correlation_id != Some(expected as i32) || error != Some(&[0, 0]) {
            let answer = read_answer(Bytes::copy_from_slice(answer));
            bail!("partition {expected}: correlation id {correlation_id:?}, {answer:?}");
        }
        if let Some(next) = self.next_offsets.get_mut(expected) {
            let landed = answer.get(self.error_at + 2..).and_then(|rest| rest.first_chunk());
            let landed = landed.map(|offset| i64::from_be_bytes(*offset));
            if landed != Some(*next) {
                bail!("partition {expected}: a batch is at {landed:?} where {next} is next");
            }
            *next += self.records as i64;
        }
        Ok(())
    }
}

/// A whole Produce request that needs no more work.
pub fn frame(topic: &TopicRef, partition: usize, batch: &Bytes, acks: i16) -> Bytes {
    let index = partition as i32;
    let partitions = vec![ProducePartition { index, records: Some(batch.clone()) }];
    let topics = vec![ProduceTopic { topic: topic.clone(), partitions }];
    let request = ProduceRequest { transactional_id: None, acks, timeout_ms: 30_000, topics };
    frame_of(ApiKey::Produce, PRODUCE_VERSION, index, |buf| request.write(PRODUCE_VERSION, buf))
}

/// A whole request frame.
pub fn frame_of(api: ApiKey, version: i16, correlation_id: i32, body: impl FnOnce(&mut BytesMut)) -> Bytes {
    let client_id = Some(CLIENT_ID.into());
    let mut buf = BytesMut::from(&[0; 4][..]);
    let header = RequestHeader { api_key: api.code(), api_version: version, correlation_id, client_id };
    write_request_header(&mut buf, &header);
    body(&mut buf);
    let size = (buf.len() - 4) as u32;
    buf[..4].copy_from_slice(&size.to_be_bytes());
    buf.freeze()
}

pub fn batch_of(shape: Shape) -> Bytes {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
    // Some bytes that do not repeat: nothing may gain from records being alike.
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    let mut batch = BatchBuilder::new(Compression::None);
    for _ in 0..shape.records {
        let value: Vec<u8> = (0..shape.record_bytes).map(|_| byte()).collect();
        batch.append(now, None, Some(&value), &[]);
    }
    batch.build(0, LeaderEpoch::NONE)
}

/// The first partition's error.
pub fn read_answer(mut answer: Bytes) -> Result<ErrorCode> {
    read_response_header(&mut answer, ApiKey::Produce.row(), PRODUCE_VERSION)?;
    let response = ProduceResponse::read(PRODUCE_VERSION, answer)?;
    let partition = response.topics.first().and_then(|topic| topic.partitions.first());
    Ok(partition.context("the answer names no partition")?.error)
}

// An answer about one partition has its error code always in the same place: where two such answers differ.
fn place_of_error(topic: &TopicRef) -> usize {
    let answer = |error| {
        let partitions = vec![ProducePartitionResponse::failed(0, error)];
        let topics = vec![ProduceTopicResponse { topic: topic.clone(), partitions }];
        let mut buf = BytesMut::new();
        write_response_header(&mut buf, ApiKey::Produce.row(), PRODUCE_VERSION, 0);
        ProduceResponse { topics, ..ProduceResponse::default() }.write(PRODUCE_VERSION, &mut buf);
        buf
    };
    // -1 differs from 0 in both bytes.
    let (right, wrong) = (answer(ErrorCode::None), answer(ErrorCode::UnknownServerError));
    right.iter().zip(&wrong).position(|(a, b)| a != b).expect("they differ")
}

pub const PRODUCE_VERSION: i16 = 13;
