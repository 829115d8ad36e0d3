//! The storage engine: one partition's log in Apache Kafka's on-disk layout. Synchronous, over a small `Disk`.
//! It must never know who asks: no sockets, no clocks, no cluster.

pub mod check;
pub mod dirs;
pub mod disk;
pub mod log;

pub use check::{CheckedBatch, Origin, Rejected, Rules, check};
pub use disk::{Disk, DiskFile, FileRange};
