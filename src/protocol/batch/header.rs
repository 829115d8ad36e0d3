//! The 61 bytes in front of the records.

use crate::ids::Offset;

use super::crc::crc_of_parts;
use super::{BatchError, CRC_FROM, Compression, HEADER_BYTES, LENGTH_PREFIX_BYTES, MAGIC, NO_SEQUENCE};

/// A batch header as on the wire. [`BatchHeader::parse`] accepts only magic 2, a known codec and a possible length; the
/// other fields can have any value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    pub base_offset: Offset,
    /// The number of bytes after this field, with the rest of the header.
    pub batch_length: i32,
    pub partition_leader_epoch: i32,
    pub magic: i8,
    pub crc: u32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub record_count: i32,
}

/// Which time the timestamps of a batch are (KIP-32).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TimestampType {
    #[default]
    CreateTime,
    LogAppendTime,
}

impl BatchHeader {
    /// Parses the header at the start of `bytes`. The rest of the batch may be missing.
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        let Some(h) = bytes.first_chunk::<HEADER_BYTES>() else {
            // A batch of another format is reported as such, even if it is shorter than a header of magic 2.
            return Err(match bytes.get(16) {
                Some(&magic) if magic as i8 != MAGIC => BatchError::Magic(magic as i8),
                _ => BatchError::ShortHeader { have: bytes.len(), need: HEADER_BYTES },
            });
        };
        let header = BatchHeader {
            base_offset: i64::from_be_bytes(field(h, 0)),
            batch_length: i32::from_be_bytes(field(h, 8)),
            partition_leader_epoch: i32::from_be_bytes(field(h, 12)),
            magic: i8::from_be_bytes(field(h, 16)),
            crc: u32::from_be_bytes(field(h, 17)),
            attributes: i16::from_be_bytes(field(h, 21)),
            last_offset_delta: i32::from_be_bytes(field(h, 23)),
            base_timestamp: i64::from_be_bytes(field(h, 27)),
            max_timestamp: i64::from_be_bytes(field(h, 35)),
            producer_id: i64::from_be_bytes(field(h, 43)),
            producer_epoch: i16::from_be_bytes(field(h, 51)),
            base_sequence: i32::from_be_bytes(field(h, 53)),
            record_count: i32::from_be_bytes(field(h, 57)),
        };
        if header.magic != MAGIC {
            return Err(BatchError::Magic(header.magic));
        }
        if header.batch_length < (HEADER_BYTES - LENGTH_PREFIX_BYTES) as i32 {
            return Err(BatchError::Length(header.batch_length));
        }
        if Compression::from_id(header.codec()).is_none() {
            return Err(BatchError::Codec(header.codec()));
        }
        Ok(header)
    }

    pub fn write(&self, to: &mut [u8; HEADER_BYTES]) {
        to[0..8].copy_from_slice(&self.base_offset.to_be_bytes());
        to[8..12].copy_from_slice(&self.batch_length.to_be_bytes());
        to[12..16].copy_from_slice(&self.partition_leader_epoch.to_be_bytes());
        to[16..17].copy_from_slice(&self.magic.to_be_bytes());
        to[17..21].copy_from_slice(&self.crc.to_be_bytes());
        to[21..23].copy_from_slice(&self.attributes.to_be_bytes());
        to[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        to[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        to[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        to[43..51].copy_from_slice(&self.producer_id.to_be_bytes());
        to[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        to[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        to[57..61].copy_from_slice(&self.record_count.to_be_bytes());
    }

    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        self.write(&mut bytes);
        bytes
    }

    /// The size of the whole batch.
    pub fn size_in_bytes(&self) -> usize {
        LENGTH_PREFIX_BYTES + usize::try_from(self.batch_length).unwrap_or(0)
    }

    /// The size of the records, which may be compressed.
    pub fn body_bytes(&self) -> usize {
        self.size_in_bytes().saturating_sub(HEADER_BYTES)
    }

    // Offsets of a hostile header wrap around, as in Kafka. The log checks whether a range makes sense.
    pub fn last_offset(&self) -> Offset {
        self.base_offset.wrapping_add(self.last_offset_delta.into())
    }

    pub fn next_offset(&self) -> Offset {
        self.last_offset().wrapping_add(1)
    }

    pub fn compression(&self) -> Compression {
        Compression::from_id(self.codec()).expect("parse lets only known codecs through")
    }

    pub fn timestamp_type(&self) -> TimestampType {
        match self.attributes & LOG_APPEND_TIME {
            0 => TimestampType::CreateTime,
            _ => TimestampType::LogAppendTime,
        }
    }

    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    pub fn has_producer_id(&self) -> bool {
        self.producer_id > -1
    }

    /// The sequence number of the last record; -1 without sequences. Numbers wrap around from `i32::MAX` to 0.
    pub fn last_sequence(&self) -> i32 {
        match self.base_sequence {
            NO_SEQUENCE => NO_SEQUENCE,
            base => increment_sequence(base, self.last_offset_delta),
        }
    }

    /// When tombstones and markers in this batch may be removed, in ms. `None`: compaction has not set it (KIP-534).
    pub fn delete_horizon(&self) -> Option<i64> {
        (self.attributes & DELETE_HORIZON != 0).then_some(self.base_timestamp)
    }

    /// Changes the timestamp type. The checksum covers it, so call [`BatchHeader::crc_with`] afterwards.
    pub fn set_timestamp_type(&mut self, timestamp_type: TimestampType) {
        match timestamp_type {
            TimestampType::CreateTime => self.attributes &= !LOG_APPEND_TIME,
            TimestampType::LogAppendTime => self.attributes |= LOG_APPEND_TIME,
        }
    }

    pub(super) fn set_compression(&mut self, codec: Compression) {
        self.attributes = self.attributes & !CODEC | i16::from(codec.id());
    }

    /// The checksum of this header with `body`, for the `crc` field.
    pub fn crc_with(&self, body: &[u8]) -> u32 {
        crc_of_parts(&self.to_bytes()[CRC_FROM..], body)
    }

    fn codec(&self) -> u8 {
        (self.attributes & CODEC) as u8
    }
}

/// The sequence number `by` records after `sequence`.
pub fn increment_sequence(sequence: i32, by: i32) -> i32 {
    if sequence > i32::MAX.wrapping_sub(by) {
        by.wrapping_sub(i32::MAX.wrapping_sub(sequence)).wrapping_sub(1)
    } else {
        sequence.wrapping_add(by)
    }
}

/// The sequence number `by` records before `sequence`.
pub fn decrement_sequence(sequence: i32, by: i32) -> i32 {
    if sequence < by {
        i32::MAX.wrapping_sub(by.wrapping_sub(sequence)).wrapping_add(1)
    } else {
        sequence.wrapping_sub(by)
    }
}

fn field<const N: usize>(header: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&header[at..at + N]);
    bytes
}

const CODEC: i16 = 0x07;
const LOG_APPEND_TIME: i16 = 0x08;
pub(super) const TRANSACTIONAL: i16 = 0x10;
pub(super) const CONTROL: i16 = 0x20;
pub(super) const DELETE_HORIZON: i16 = 0x40;
