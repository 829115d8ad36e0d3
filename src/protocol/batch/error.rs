//! What can be wrong with a batch. The caller decides which error code a client gets.

use crate::compression::CompressionError;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("{have} bytes where a batch header has {need}")]
    ShortHeader { have: usize, need: usize },
    #[error("batch length {0} is below what the header alone takes")]
    Length(i32),
    #[error("{have} bytes of a batch of {need}")]
    Truncated { have: usize, need: usize },
    #[error("batch format (magic) {0} is not supported, only 2 is")]
    Magic(i8),
    #[error("unknown compression codec {0}")]
    Codec(u8),
    #[error("checksum {computed:#010x} differs from the stored {stored:#010x}")]
    Crc { stored: u32, computed: u32 },
    #[error(transparent)]
    Compression(#[from] CompressionError),
    #[error("invalid record count {count} for {bytes} bytes of records")]
    RecordCount { count: i32, bytes: usize },
    #[error("{0} bytes after the last record")]
    Leftover(usize),
    #[error("record {index}: {problem}")]
    Record { index: usize, problem: RecordProblem },
}

impl BatchError {
    /// Whether the batch may only be cut off: a Fetch response may end with such a batch.
    pub fn is_incomplete(&self) -> bool {
        matches!(self, BatchError::ShortHeader { .. } | BatchError::Truncated { .. })
    }
}

/// What is wrong with one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordProblem {
    #[error("the batch ends inside the record")]
    Truncated,
    #[error("invalid size {size}, of {remaining} bytes that remain in the batch")]
    Size { size: i32, remaining: usize },
    #[error("a field runs past the end of the record, or a varint is too long")]
    Structure,
    #[error("found invalid number of record headers {count}, {remaining} bytes remain in the record")]
    HeaderCount { count: i32, remaining: usize },
    #[error("invalid negative header key size {0}")]
    NullHeaderKey(i32),
    #[error("{0} bytes left at the end of the record")]
    Leftover(usize),
    #[error("offset delta {delta} does not follow {previous:?} within the batch's last delta {last}")]
    OffsetDelta { delta: i32, previous: Option<i32>, last: i32 },
}
