//! The rules about a batch as a whole: how many batches a request has for one partition, and the size, the checksum and
//! the header of each. Must never look at a record.

use super::{Rejected, Rules};
use bytes::Bytes;
use ottla_model::TopicPartition;
use ottla_protocol::ErrorCode;
use ottla_protocol::batch::{BatchError, BatchHeader, Compression, batches, crc_of};

/// Takes the one batch that a client may send for one partition. Trailing bytes that are too few for another batch are
/// dropped, as in Kafka.
pub(super) fn only_batch(records: &Bytes, rules: &Rules<'_>) -> Result<(BatchHeader, Bytes), Rejected> {
    let mut split = batches(records);
    let (header, batch) = match split.next() {
        None => return invalid("there is no record batch"),
        Some(Err(e)) if e.is_incomplete() => return invalid(format!("there is no whole record batch: {e}")),
        Some(next) => next.map_err(damaged)?,
    };
    if header.compression() == Compression::Zstd && rules.produce_version < ZSTD_SINCE {
        let message =
            format!("Produce version {} cannot carry zstd, {ZSTD_SINCE} can", rules.produce_version);
        return Err(Rejected::new(ErrorCode::UnsupportedCompressionType, message));
    }
    match split.next() {
        None => Ok((header, batch)),
        Some(Err(e)) if e.is_incomplete() => Ok((header, batch)),
        Some(Ok(_)) => invalid("there is more than one record batch for the partition"),
        Some(Err(e)) => Err(damaged(e)),
    }
}

/// What Kafka answers if the bytes are too damaged to tell where a batch ends.
pub(super) fn damaged(error: BatchError) -> Rejected {
    let code = match error {
        BatchError::Magic(0 | 1) => ErrorCode::InvalidRecord,
        BatchError::Codec(_) => ErrorCode::UnsupportedCompressionType,
        _ => ErrorCode::CorruptMessage,
    };
    Rejected::new(code, error.to_string())
}

pub(super) fn check_size(header: &BatchHeader, rules: &Rules<'_>) -> Result<(), Rejected> {
    let (size, max) = (header.size_in_bytes(), rules.topic.max_message_bytes);
    too_large(ErrorCode::MessageTooLarge, "max.message.bytes", size, max, rules.partition)
}

pub(super) fn check_fits_segment(header: &BatchHeader, rules: &Rules<'_>) -> Result<(), Rejected> {
    let (size, max) = (header.size_in_bytes(), rules.topic.segment_bytes);
    too_large(ErrorCode::RecordListTooLarge, "segment.bytes", size, max, rules.partition)
}

fn too_large(
    code: ErrorCode,
    key: &str,
    size: usize,
    max: i32,
    partition: &TopicPartition,
) -> Result<(), Rejected> {
    if size <= usize::try_from(max).unwrap_or(0) {
        return Ok(());
    }
    Err(Rejected::new(code, format!("the batch for {partition} has {size} bytes, {key} is {max}")))
}

pub(super) fn check_crc(
    header: &BatchHeader,
    batch: &[u8],
    partition: &TopicPartition,
) -> Result<(), Rejected> {
    let computed = crc_of(batch);
    if computed == header.crc {
        return Ok(());
    }
    let error = BatchError::Crc { stored: header.crc, computed };
    Err(Rejected::new(ErrorCode::CorruptMessage, format!("batch for {partition}: {error}")))
}

/// Refuses header fields that only the broker may set, control batches, and impossible numbers.
pub(super) fn check_client_fields(header: &BatchHeader, partition: &TopicPartition) -> Result<(), Rejected> {
    let BatchHeader { base_offset, last_offset_delta, record_count, base_sequence, .. } = *header;
    if base_offset != 0 {
        return invalid(format!("the batch for {partition} has base offset {base_offset}, not 0"));
    }
    if record_count <= 0
        || last_offset_delta < 0
        || i64::from(last_offset_delta) + 1 != i64::from(record_count)
    {
        return invalid(format!(
            "the batch for {partition} declares {record_count} records and a last offset of {last_offset_delta}"
        ));
    }
    if header.is_control() {
        return invalid(format!("clients may not write control records, as in the batch for {partition}"));
    }
    if header.has_producer_id() && (base_sequence < 0 || header.producer_epoch < 0) {
        let (id, epoch) = (header.producer_id, header.producer_epoch);
        return invalid(format!(
            "the batch for {partition} of producer {id} has epoch {epoch} and sequence {base_sequence}"
        ));
    }
    if header.is_transactional() && !header.has_producer_id() {
        return invalid(format!("the batch for {partition} is transactional and has no producer id"));
    }
    Ok(())
}

fn invalid<T>(message: impl Into<String>) -> Result<T, Rejected> {
    Err(Rejected::new(ErrorCode::InvalidRecord, message))
}

/// KIP-110: the Produce version that may carry zstd.
const ZSTD_SINCE: i16 = 7;
