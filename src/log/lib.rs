//! The storage engine: one partition's log in Apache Kafka's on-disk layout. Synchronous, over a small `Disk`.
//! It must never know who asks: no sockets, no clocks, no cluster. Only `survey` and `metadata`, which read what somebody
//! else left, look into the records of the metadata log.

pub mod check;
pub mod dirs;
pub mod disk;
pub mod log;
pub mod metadata;
pub mod survey;

pub use check::{CheckedBatch, Origin, Rejected, Rules, check};
pub use disk::{Disk, DiskFile, FileRange};
