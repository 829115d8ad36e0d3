//! Record batches of magic 2: the header, its checksum, the records in it, and how to build them. A view of bytes: it
//! must never know which offsets a log assigns or what a partition accepts.

mod builder;
pub mod control;
mod crc;
mod error;
mod header;
mod records;
mod split;
#[cfg(test)]
mod tests;
mod walk;

pub use crate::compression::{Compression, DecompressLimit};
pub use builder::{BatchBuilder, empty_batch, recompress};
pub use crc::{crc_of, crc_of_parts, verify_crc};
pub use error::{BatchError, RecordProblem};
pub use header::{BatchHeader, TimestampType, decrement_sequence, increment_sequence};
pub use records::{Record, Records, records};
pub use split::{Batches, batches};
pub use walk::{RecordMeta, Visit, walk};

/// Bytes before the first record.
pub const HEADER_BYTES: usize = 61;
/// Bytes that `batch_length` does not count: the base offset and the length itself.
pub const LENGTH_PREFIX_BYTES: usize = 12;
/// The only batch format that is accepted (KIP-98); the two older ones are refused.
pub const MAGIC: i8 = 2;
/// Where the checksummed bytes start. Bytes before it can change without a new checksum.
pub const CRC_FROM: usize = 21;
/// The timestamp of a record without one, and of an empty batch.
pub const NO_TIMESTAMP: i64 = -1;
/// The sequence of a batch without a producer id, and of control batches.
pub const NO_SEQUENCE: i32 = -1;
