//! Batches, requests and a log that scenarios are made of. The same bytes in each run.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ottla_log::CheckedBatch;
use ottla_log::check::{Origin, Rules, check};
use ottla_log::log::{Log, Opening};
use ottla_model::config::TopicConfig;
use ottla_model::{TopicId, TopicPartition};
use ottla_protocol::api::ApiKey;
use ottla_protocol::batch::{BatchBuilder, Compression, increment_sequence};
use ottla_protocol::header::{RequestHeader, write_request_header};
use ottla_protocol::{LeaderEpoch, ProducerEpoch, ProducerId, StrBytes, TopicRef};

use crate::count::{TIMES, WARM_UP};
use crate::disk::CountedDisk;

/// As many operations as there are.
pub const ALL: usize = WARM_UP + TIMES;
pub const EPOCH: LeaderEpoch = LeaderEpoch(3);
pub const NOW_MS: i64 = 1_700_000_000_000;

/// Records of so many bytes of value, with keys, as an idempotent producer sends them.
#[derive(Clone, Copy)]
pub struct Shape {
    pub records: i32,
    pub value_bytes: usize,
    pub codec: Compression,
}

pub const LARGE: Shape = Shape { records: 63, value_bytes: 1024, codec: Compression::None };
pub const LZ4: Shape = Shape { codec: Compression::Lz4, ..LARGE };
pub const SMALL: Shape = Shape { records: 1, value_bytes: 100, codec: Compression::None };

impl Shape {
    pub fn batch(self) -> Bytes {
        let mut noise = Noise(1);
        let mut builder =
            BatchBuilder::new(self.codec).producer(ProducerId(7), ProducerEpoch(0), FIRST_SEQUENCE);
        for record in 0..self.records {
            let value = noise.text(self.value_bytes);
            builder.append(NOW_MS + i64::from(record), Some(b"key-0001"), Some(&value), &[]);
        }
        builder.build(0, LeaderEpoch::NONE)
    }

    pub fn checked(self) -> CheckedBatch {
        let (partition, topic) = (partition(), TopicConfig::default());
        check(self.batch(), &rules(&partition, &topic)).expect("a good batch").remove(0)
    }

    /// Batches as one producer sends them, one after the other. A log does not look at their checksums.
    pub fn stream(self, batches: usize) -> Vec<CheckedBatch> {
        let first = self.checked();
        let mut sequence = FIRST_SEQUENCE;
        let next = |_| {
            let mut batch = first.clone();
            batch.header.base_sequence = sequence;
            sequence = increment_sequence(sequence, self.records);
            batch
        };
        (0..batches).map(next).collect()
    }
}

pub fn rules<'a>(partition: &'a TopicPartition, topic: &'a TopicConfig) -> Rules<'a> {
    Rules { partition, topic, origin: Origin::Client, now_ms: NOW_MS, produce_version: PRODUCE_VERSION }
}

pub fn partition() -> TopicPartition {
    TopicPartition::new("orders", 0)
}

pub fn topic_ref() -> TopicRef {
    TopicRef::Id(TopicId::from_u128(0x1234_5678_9abc_def0))
}

pub fn empty_log(config: &Arc<TopicConfig>) -> Log {
    let opening = Opening {
        disk: Arc::new(CountedDisk::new()),
        dir: PathBuf::from("/data/orders-0"),
        partition: partition(),
        topic_id: None,
        config: config.clone(),
        clean_shutdown: false,
        recovery_point: 0,
        log_start: 0,
        now_ms: NOW_MS,
        producer_id_expiration_ms: i64::MAX,
        jitter_seed: 0,
    };
    Log::open(opening).expect("an empty log").0
}

/// A request without its size in front.
pub fn frame(api: ApiKey, version: i16, body: impl FnOnce(&mut BytesMut)) -> Bytes {
    let client_id = Some(StrBytes::from("producer-1"));
    let header = RequestHeader { api_key: api as i16, api_version: version, correlation_id: 77, client_id };
    let mut frame = BytesMut::new();
    write_request_header(&mut frame, &header);
    body(&mut frame);
    frame.freeze()
}

/// As newest clients ask.
pub const PRODUCE_VERSION: i16 = 13;
pub const FETCH_VERSION: i16 = 18;
pub const PARTITIONS: i32 = 16;
const FIRST_SEQUENCE: i32 = 0;

/// Numbers that look random (xorshift).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Of sixteen letters, so that a codec has something to do.
    fn text(&mut self, bytes: usize) -> Vec<u8> {
        (0..bytes).map(|_| b'a' + (self.next() >> 40) as u8 % 16).collect()
    }
}
