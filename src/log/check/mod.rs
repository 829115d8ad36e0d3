//! What a batch must be before a log takes it: the rules of Kafka's produce validation, as pure code that runs outside
//! the lane. Must never know the offsets of a log or the state of a producer: the lane checks those.
//!
//! Stricter than Kafka in three places that no correct client notices: offset deltas inside an uncompressed batch are
//! checked too; a producer id needs an epoch, and a transactional batch needs a producer id; a batch that decompresses to
//! more than `decompressed_bytes_max` is refused.

mod envelope;
mod records;
#[cfg(test)]
mod tests;

use bytes::{Bytes, BytesMut};
use ottla_model::config::{CompressionType, TopicConfig};
use ottla_model::{TopicPartition, VerificationGuard};
use ottla_protocol::ErrorCode;
use ottla_protocol::batch::{
    BatchHeader, Compression, DecompressLimit, HEADER_BYTES, TimestampType, batches, recompress,
};

/// What to check against.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    pub partition: &'a TopicPartition,
    pub topic: &'a TopicConfig,
    pub origin: Origin,
    pub now_ms: i64,
    /// Version of the Produce request. It has no meaning for other origins.
    pub produce_version: i16,
}

/// Who made the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Exactly one batch.
    Client,
    /// The broker itself: any number of batches, which may be control batches.
    Coordinator,
    /// A leader, which has checked and stamped the batches. Only their checksums are checked. There may be any number of
    /// batches; if a fetch limit has cut the last one, it is left out.
    Replication,
}

/// A batch that may be appended. Only `check` makes one, so its checksum and its records are known to be right.
#[derive(Clone, Debug)]
pub struct CheckedBatch {
    /// The header as it goes to disk, except for the base offset and the leader epoch, which the checksum does not cover.
    /// With `message.timestamp.type=LogAppendTime` it is stamped with `Rules::now_ms`; its checksum is right for `body`.
    pub header: BatchHeader,
    /// Who made the batch. A client's batch must have the next sequence number; a leader's batch is taken as it is.
    pub origin: Origin,
    /// From [`crate::log::Log::start_verification`], for the first batch of a transaction. `None` as it is checked.
    pub guard: Option<VerificationGuard>,
    /// For markers: the transaction version of WriteTxnMarkers (KIP-1228). 0 as it is checked.
    pub transaction_version: i16,
    body: Bytes,
}

impl CheckedBatch {
    fn new(header: BatchHeader, origin: Origin, body: Bytes) -> CheckedBatch {
        CheckedBatch { header, origin, guard: None, transaction_version: 0, body }
    }

    /// What follows the header: the records, compressed if the header says so.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    pub fn size_in_bytes(&self) -> usize {
        self.header.size_in_bytes()
    }

    /// Header and records in one buffer, copied.
    pub fn to_bytes(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(self.size_in_bytes());
        bytes.extend_from_slice(&self.header.to_bytes());
        bytes.extend_from_slice(&self.body);
        bytes.freeze()
    }
}

/// Why a batch is refused, for the reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    pub code: ErrorCode,
    pub message: String,
    /// Index of a record in the batch, and what is wrong with that record (KIP-467). Only the first wrong records are
    /// listed.
    pub record_errors: Vec<(i32, String)>,
}

impl Rejected {
    fn new(code: ErrorCode, message: impl Into<String>) -> Rejected {
        Rejected { code, message: message.into(), record_errors: Vec::new() }
    }
}

pub fn check(records: Bytes, rules: &Rules<'_>) -> Result<Vec<CheckedBatch>, Rejected> {
    match rules.origin {
        Origin::Client => {
            let (header, batch) = envelope::only_batch(&records, rules)?;
            Ok(vec![check_batch(header, batch, rules)?])
        }
        Origin::Coordinator => {
            let each = batches(&records).map(|next| {
                let (header, batch) = next.map_err(envelope::damaged)?;
                check_batch(header, batch, rules)
            });
            each.collect()
        }
        Origin::Replication => replicated(&records, rules),
    }
}

/// How many bytes one batch may hold once it is decompressed. Kafka has no such bound. The walk over the records keeps
/// none of them in memory, so this bounds time here, and memory in consumers, which decompress a whole batch. 256 MiB is
/// eight times what a Java producer buffers in all; a topic that allows larger batches gets 64 times its limit for one
/// batch. A client with a larger batch is told that the batch is too large, and a producer that can split it does so.
pub fn decompressed_bytes_max(topic: &TopicConfig) -> DecompressLimit {
    DecompressLimit(scaled(topic).clamp(256 << 20, 1 << 30))
}

/// The bound for changing the codec of a batch, which does hold the records in memory.
fn recompressed_bytes_max(topic: &TopicConfig) -> DecompressLimit {
    DecompressLimit(scaled(topic).clamp(32 << 20, 1 << 30))
}

fn scaled(topic: &TopicConfig) -> usize {
    usize::try_from(topic.max_message_bytes).unwrap_or(0).saturating_mul(64)
}

fn check_batch(header: BatchHeader, batch: Bytes, rules: &Rules<'_>) -> Result<CheckedBatch, Rejected> {
    envelope::check_size(&header, rules)?;
    envelope::check_crc(&header, &batch, rules.partition)?;
    if rules.origin == Origin::Client {
        envelope::check_client_fields(&header, rules.partition)?;
    }
    let max_timestamp = records::check(&header, &batch, rules)?;
    let (mut header, batch) = in_topics_codec(header, batch, rules)?;
    let body = batch.slice(HEADER_BYTES..);
    stamp(&mut header, &body, max_timestamp, rules);
    envelope::check_fits_segment(&header, rules)?;
    Ok(CheckedBatch::new(header, rules.origin, body))
}

/// Applies a `compression.type` other than `producer`, which overrides the client's codec.
fn in_topics_codec(
    header: BatchHeader,
    batch: Bytes,
    rules: &Rules<'_>,
) -> Result<(BatchHeader, Bytes), Rejected> {
    let topic = rules.topic;
    let level = match topic.compression_type {
        CompressionType::Gzip => Some(topic.compression_gzip_level),
        CompressionType::Lz4 => Some(topic.compression_lz4_level),
        CompressionType::Zstd => Some(topic.compression_zstd_level),
        CompressionType::Producer | CompressionType::Uncompressed | CompressionType::Snappy => None,
    };
    let from = header.compression();
    let to = match topic.compression_type.codec() {
        Some(to) if to != from => to,
        _ => return Ok((header, batch)),
    };
    if header.is_control() && from == Compression::None {
        return Ok((header, batch));
    }
    let wrong = |e| records::unreadable(e, rules.partition);
    let batch = recompress(&batch, to, level, recompressed_bytes_max(topic)).map_err(wrong)?;
    let header = BatchHeader::parse(&batch).map_err(envelope::damaged)?;
    envelope::check_size(&header, rules)?;
    Ok((header, batch))
}

/// Corrects the largest timestamp in the header, which the client may have set wrongly. With append time the batch gets
/// the broker's time.
fn stamp(header: &mut BatchHeader, body: &[u8], max_timestamp: i64, rules: &Rules<'_>) {
    let before = *header;
    header.set_timestamp_type(rules.topic.message_timestamp_type);
    header.max_timestamp = match rules.topic.message_timestamp_type {
        TimestampType::CreateTime => max_timestamp,
        TimestampType::LogAppendTime => rules.now_ms,
    };
    if *header != before {
        header.crc = header.crc_with(body);
    }
}

fn replicated(records: &Bytes, rules: &Rules<'_>) -> Result<Vec<CheckedBatch>, Rejected> {
    let mut checked = Vec::new();
    for next in batches(records) {
        let (header, batch) = match next {
            Err(e) if e.is_incomplete() => break,
            next => next.map_err(envelope::damaged)?,
        };
        envelope::check_crc(&header, &batch, rules.partition)?;
        checked.push(CheckedBatch::new(header, rules.origin, batch.slice(HEADER_BYTES..)));
    }
    Ok(checked)
}
