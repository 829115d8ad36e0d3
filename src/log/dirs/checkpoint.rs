//! The checkpoint files: an offset for each partition, as text. Version 0 is `0`, the number of entries, and a line
//! `topic partition offset` for each.

use super::{DirError, read_text};
use crate::disk::Disk;
use ottla_model::TopicPartition;
use ottla_protocol::Offset;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checkpoint {
    /// Up to where a log is flushed.
    RecoveryPoint,
    /// The high watermark.
    HighWatermark,
    LogStart,
    /// Up to where a log is compacted.
    Cleaner,
}

impl Checkpoint {
    pub(super) const ALL: [Checkpoint; 4] =
        [Checkpoint::RecoveryPoint, Checkpoint::LogStart, Checkpoint::HighWatermark, Checkpoint::Cleaner];

    /// Those that the owners of logs know the offsets of, in the order in which a stop writes them. The cleaner's is the
    /// cleaner's to know.
    pub const OF_OPEN_LOGS: [Checkpoint; 3] =
        [Checkpoint::RecoveryPoint, Checkpoint::LogStart, Checkpoint::HighWatermark];

    pub fn file(self) -> &'static str {
        match self {
            Checkpoint::RecoveryPoint => "recovery-point-offset-checkpoint",
            Checkpoint::HighWatermark => "replication-offset-checkpoint",
            Checkpoint::LogStart => "log-start-offset-checkpoint",
            Checkpoint::Cleaner => "cleaner-offset-checkpoint",
        }
    }
}

pub(super) fn read(disk: &dyn Disk, path: &Path) -> Result<BTreeMap<TopicPartition, Offset>, DirError> {
    match read_text(disk, path, BYTES_MAX)? {
        None => Ok(BTreeMap::new()),
        Some(text) => parse(&text).map_err(|(line, what)| DirError::malformed(path, line, what)),
    }
}

pub(super) fn write(
    disk: &dyn Disk,
    path: &Path,
    offsets: &BTreeMap<TopicPartition, Offset>,
) -> Result<(), DirError> {
    let mut text = format!("{VERSION}\n{}\n", offsets.len());
    for (TopicPartition { topic, partition }, offset) in offsets {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{topic} {partition} {offset}");
    }
    Ok(disk.replace(path, text.as_bytes())?)
}

/// The error is a line, counted from 1, and what is wrong with it.
fn parse(text: &str) -> Result<BTreeMap<TopicPartition, Offset>, (usize, String)> {
    let mut offsets = BTreeMap::new();
    let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    let mut entries = 0;
    match lines.next() {
        None => return Ok(offsets),
        Some((_, VERSION)) => {}
        Some((at, other)) => return Err((at, format!("version {other:.20} is not {VERSION}"))),
    }
    // Kafka creates the file empty; it may also have come no further than its version.
    let Some((_, count)) = lines.next() else { return Ok(offsets) };
    let count: u64 = count.parse().map_err(|_| (2, format!("{count:.20} is not a number of entries")))?;
    for (at, line) in lines.filter(|(_, line)| !line.is_empty()) {
        let (partition, offset) = entry(line)
            .ok_or_else(|| (at, format!("not a topic, a partition and an offset: {line:.300}")))?;
        offsets.insert(partition, offset);
        entries += 1;
    }
    if entries != count {
        return Err((2, format!("{count} entries are announced, {entries} are there")));
    }
    Ok(offsets)
}

fn entry(line: &str) -> Option<(TopicPartition, Offset)> {
    let mut words = line.split_ascii_whitespace();
    let (topic, partition, offset) = (words.next()?, words.next()?, words.next()?);
    let partition: i32 = partition.parse().ok().filter(|partition| *partition >= 0)?;
    let offset: Offset = offset.parse().ok().filter(|offset| *offset >= 0)?;
    words.next().is_none().then(|| (TopicPartition::new(topic, partition), offset))
}

const VERSION: &str = "0";
/// Some hundred thousand partitions.
const BYTES_MAX: u64 = 64 << 20;
