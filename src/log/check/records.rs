//! The rules about each record: keys and timestamps. Walks a batch once, without allocating for a record that is
//! right.

use super::{Rejected, Rules, decompressed_bytes_max};
use ottla_model::TopicPartition;
use ottla_protocol::ErrorCode;
use ottla_protocol::batch::{
    BatchError, BatchHeader, Compression, NO_TIMESTAMP, RecordMeta, TimestampType, walk,
};
use ottla_protocol::compression::CompressionError;

/// Returns the largest timestamp of the records.
pub(super) fn check(header: &BatchHeader, batch: &[u8], rules: &Rules<'_>) -> Result<i64, Rejected> {
    let mut max_timestamp = NO_TIMESTAMP;
    let mut errors = Errors::default();
    let mut largest = 0;
    let look = |record: RecordMeta| {
        // The timestamp that readers will see after the batch is stamped, whatever timestamp type the client has set.
        let timestamp = header.base_timestamp.wrapping_add(record.timestamp_delta);
        max_timestamp = max_timestamp.max(timestamp);
        largest = largest.max(body_bytes(record.size_in_bytes));
        if record.key_is_null && rules.topic.cleanup_policy.compact {
            errors.add(ErrorCode::InvalidRecord, record.index, || keyless(rules.partition));
        } else if let Some(said) = wrong_timestamp(header, timestamp, rules) {
            errors.add(ErrorCode::InvalidTimestamp, record.index, || said(timestamp, rules));
        }
    };
    walk(batch, decompressed_bytes_max(rules.topic), look).map_err(|e| unreadable(e, rules.partition))?;
    let max = rules.topic.max_decompressed_message_bytes;
    if header.compression() != Compression::None && largest > usize::try_from(max).unwrap_or(0) {
        let message = format!(
            "a record of {largest} bytes in the batch for {}, and max.decompressed.message.bytes is {max}",
            rules.partition
        );
        return Err(Rejected::new(ErrorCode::InvalidRecord, message));
    }
    errors.into_result(rules.partition)?;
    Ok(max_timestamp)
}

/// The checksum is right and the records cannot be read, so it is the client that made them wrong.
pub(super) fn unreadable(error: BatchError, partition: &TopicPartition) -> Rejected {
    let code = match error {
        BatchError::Compression(CompressionError::TooLarge { .. }) => ErrorCode::MessageTooLarge,
        _ => ErrorCode::InvalidRecord,
    };
    Rejected::new(code, format!("batch for {partition}: {error}"))
}

// The size without the length in front, which takes one to five bytes.
fn body_bytes(size_in_bytes: usize) -> usize {
    let behind = |length_bytes: usize| size_in_bytes.saturating_sub(length_bytes);
    let fits = |length_bytes: usize| behind(length_bytes) < 1 << (7 * length_bytes - 1);
    (1..=5).find(|length_bytes| fits(*length_bytes)).map_or(size_in_bytes, behind)
}

fn keyless(partition: &TopicPartition) -> String {
    format!("Compacted topic cannot accept message without key in topic partition {partition}.")
}

type Say = fn(i64, &Rules<'_>) -> String;

fn wrong_timestamp(header: &BatchHeader, timestamp: i64, rules: &Rules<'_>) -> Option<Say> {
    let topic = rules.topic;
    let ranged = topic.message_timestamp_type == TimestampType::CreateTime && timestamp != NO_TIMESTAMP;
    if ranged {
        let age = rules.now_ms.saturating_sub(timestamp);
        let ahead = timestamp.saturating_sub(rules.now_ms);
        let outside =
            age > topic.message_timestamp_before_max_ms || ahead > topic.message_timestamp_after_max_ms;
        return outside.then_some(out_of_range);
    }
    // Kafka refuses a batch that claims append time only here, where no range is checked. Where the range is checked,
    // such a batch is accepted, and its timestamp type is corrected.
    (header.timestamp_type() == TimestampType::LogAppendTime).then_some(marked)
}

fn out_of_range(timestamp: i64, rules: &Rules<'_>) -> String {
    let earliest = rules.now_ms.saturating_sub(rules.topic.message_timestamp_before_max_ms);
    let latest = rules.now_ms.saturating_add(rules.topic.message_timestamp_after_max_ms);
    format!("timestamp {timestamp} is outside of what {} accepts, {earliest} to {latest}", rules.partition)
}

fn marked(_: i64, rules: &Rules<'_>) -> String {
    format!("a producer may not mark its batch with an append time, as the one for {}", rules.partition)
}

#[derive(Default)]
struct Errors {
    count: usize,
    any_timestamp: bool,
    first: Vec<(i32, String)>,
}

impl Errors {
    fn add(&mut self, code: ErrorCode, index: usize, say: impl FnOnce() -> String) {
        self.count += 1;
        self.any_timestamp |= code == ErrorCode::InvalidTimestamp;
        if self.first.len() < RECORD_ERRORS_MAX {
            self.first.push((index as i32, say()));
        }
    }

    fn into_result(self, partition: &TopicPartition) -> Result<(), Rejected> {
        let Some((_, first)) = self.first.first() else { return Ok(()) };
        let code = if self.any_timestamp { ErrorCode::InvalidTimestamp } else { ErrorCode::InvalidRecord };
        let message = format!(
            "{} records of the batch for {partition} are refused, the first because: {first}",
            self.count
        );
        Err(Rejected { code, message, record_errors: self.first })
    }
}

/// A reply must not grow to many times the request that it answers.
const RECORD_ERRORS_MAX: usize = 1000;
