//! What is thrown at everything that reads bytes of others: one ordinary function for each kind of bytes, and bytes to
//! begin with, written by our own encoders. `cargo test` runs them with a seeded generator (`tests/rounds.rs`),
//! `cargo fuzz` with coverage (`protocol-tests/fuzz`). It must never know which of the two calls.
//!
//! A body panics when what it was given did harm: a panic below it, an answer that cannot be, a second reading that
//! differs from the first. An error is an answer.

mod batches;
mod chance;
mod directories;
mod folders;
mod groups;
mod metadata;
mod quorum;
mod requests;

pub use chance::{Chance, mutate};

/// One kind of bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub name: &'static str,
    pub body: fn(&[u8]),
    /// What is whole, for a mutation to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// How often a test damages it: about a second's worth.
    pub rounds: u64,
    /// What one run may take at once, for inputs of at most `BYTES_MAX`.
    pub peak_bytes_max: usize,
}

/// Longer inputs only take longer.
pub const BYTES_MAX: usize = 8 << 10;

const MIB: usize = 1 << 20;

pub const TARGETS: &[Target] = &[
    // The limit of decompression is a mebibyte there; vectors grow by doubling, and both ways to read hold one.
    target("batches", batches::body, batches::seeds, 4000, 8 * MIB),
    target("segment", folders::segment, folders::segments, 800, 4 * MIB),
    target("indexes", folders::indexes, folders::index_files, 300, 4 * MIB),
    target("snapshots", folders::snapshots, folders::snapshot_files, 300, 4 * MIB),
    target("epochs", folders::texts, folders::text_files, 600, 4 * MIB),
    target("directories", directories::body, directories::seeds, 8000, MIB),
    target("metadata", metadata::body, metadata::seeds, 8000, 4 * MIB),
    target("checkpoint", quorum::checkpoint, quorum::checkpoints, 1000, 8 * MIB),
    target("quorum", quorum::log, quorum::logs, 1000, 8 * MIB),
    target("groups", groups::body, groups::seeds, 50000, MIB),
    target("requests", requests::body, requests::seeds, 20000, 4 * MIB),
];

const fn target(
    name: &'static str,
    body: fn(&[u8]),
    seeds: fn() -> Vec<Vec<u8>>,
    rounds: u64,
    peak_bytes_max: usize,
) -> Target {
    Target { name, body, seeds, rounds, peak_bytes_max }
}

/// The target of that name; for the entries of `cargo fuzz`.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of the table");
    (target.body)(&bytes[..bytes.len().min(BYTES_MAX)]);
}
