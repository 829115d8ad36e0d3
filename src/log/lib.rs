//! The storage engine: one partition's log, in the files that Apache Kafka would write.
//!
//! A [`log::Log`] has one owner, who appends, flushes, deletes and truncates; any number of readers
//! ([`log::LogReader`]) read beside it without a lock, up to the offsets that the owner has published. A log is a folder of
//! segments with their indexes, snapshots of producer state and the history of leader epochs. A batch has to pass
//! [`mod@check`] before a log takes it; that check runs before the owner is involved.
//!
//! [`dirs`] is a log directory: which cluster and node it belongs to, its lock file, its checkpoint files, the
//! clean-shutdown marker. [`disk`] is the trait below all of it, with two implementors: the operating system's files, and
//! a disk in memory that forgets what was not synced, for tests and the simulator.
//!
//! Everything is synchronous, and the time is an argument. The crate never knows who calls it or why: no sockets, no
//! clocks, no cluster. Only [`survey`] and [`metadata`], which read existing directories of a stopped broker, and
//! [`bootstrap`], which founds a new metadata log, look into the records of the metadata log.

pub mod bootstrap;
pub mod check;
pub mod dirs;
pub mod disk;
pub mod log;
pub mod metadata;
pub mod moves;
pub mod survey;

pub use check::{CheckedBatch, Origin, Rejected, Rules, check};
pub use disk::{Disk, DiskFile, FileRange};
