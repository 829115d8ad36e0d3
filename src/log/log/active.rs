//! The active segment as its owner sees it: how full it is, what its indexes get, when it is to be rolled. Fed by
//! appends and by recovery alike, batch by batch. It must never write the log file.

use std::io;
use std::sync::Arc;

use ottla_model::config::TopicConfig;
use ottla_model::dice;
use ottla_protocol::Offset;
use ottla_protocol::batch::{BatchHeader, NO_TIMESTAMP};

use super::error::{LogError, io as io_error};
use super::index::{IndexEntry, OffsetEntry, TimeEntry};
use super::published::{Position, Timestamped};
use super::scan::{Stopped, WALK_BYTES};
use super::segment::Segment;
use crate::disk::is_full;

#[derive(Debug)]
pub(super) struct Active {
    pub segment: Arc<Segment>,
    pub size: u64,
    pub largest: Timestamped,
    pub created_ms: i64,
    /// The largest timestamp of the segment's first batch, once there is one; `segment.ms` counts from it.
    first_timestamp: Option<i64>,
    /// Bytes from the batch that the last index entry points at to the end of the file, that batch included.
    since_index: u64,
    last_time: Option<TimeEntry>,
    jitter_ms: i64,
    /// The file may need a sync although nothing was appended: it is not known how much of it an earlier process has
    /// synced.
    pub unsynced: bool,
    /// The kernel was asked to write the file out up to here, or a flush covers it.
    pub written_out: u64,
}

/// What decides about rolling. An append counts its batches on a copy of this before it writes anything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fill {
    pub size: u64,
    first_timestamp: Option<i64>,
    created_ms: i64,
    /// At least as many entries as the indexes have.
    entries: usize,
    jitter_ms: i64,
}

impl Active {
    /// Over a new, empty segment.
    pub fn new(segment: Segment, now_ms: i64, jitter_ms: i64) -> Active {
        let largest = Timestamped { timestamp: NO_TIMESTAMP, offset: segment.base };
        Active {
            segment: Arc::new(segment),
            size: 0,
            largest,
            created_ms: now_ms,
            first_timestamp: None,
            since_index: 0,
            last_time: None,
            jitter_ms,
            unsynced: false,
            written_out: 0,
        }
    }

    /// Continues a segment of `size` bytes whose indexes are trusted. Also returns the offset after its last batch. Fails
    /// with `Corrupt` if the indexes turn out to be wrong.
    pub fn resume(
        segment: Segment,
        size: u64,
        now_ms: i64,
        jitter_ms: i64,
    ) -> Result<(Active, Offset), LogError> {
        let reading = || io_error("reading an index");
        let last = segment.offset_index.last().map_err(reading())?;
        let last_time = segment.time_index.last().map_err(reading())?;
        let mut active = Active::new(segment, now_ms, jitter_ms);
        let segment = active.segment.clone();
        let from = last.map_or(0, |entry| u64::from(entry.position));
        let mut next = segment.base;
        let mut scan = segment.scan(from.min(size), size, WALK_BYTES);
        if let Some(entry) = last_time {
            active.last_time = Some(entry);
            active.largest = segment.timestamped(entry);
        }
        while let Some(found) = scan.next().map_err(|e| segment.corrupt(next, e))? {
            let offset = found.header.last_offset();
            let indexed = last.is_some_and(|entry| segment.base + i64::from(entry.relative) != offset);
            if offset < next || (found.position == from && indexed) {
                let what = "not what its index says".to_owned();
                return Err(segment.corrupt(next, Stopped::Invalid { position: from, what }));
            }
            next = found.header.next_offset();
            active.largest.include(&found.header);
        }
        let told = match last_time {
            Some(entry) => segment.batch_of(entry, size)?.is_some(),
            None => true,
        };
        // An index entry points at the start of a batch, so it may not point at the end of the file.
        if (last.is_some() && from >= size) || !told {
            let what = "not what its index says".to_owned();
            return Err(segment.corrupt(next, Stopped::Invalid { position: size, what }));
        }
        if size > 0 {
            let first =
                segment.scan(0, size, WALK_BYTES).next().map_err(|e| segment.corrupt(segment.base, e))?;
            active.first_timestamp = first.map(|found| found.header.max_timestamp);
        }
        (active.size, active.since_index) = (size, size - from);
        Ok((active, next))
    }

    pub fn base(&self) -> Offset {
        self.segment.base
    }

    pub fn end(&self, offset: Offset) -> Position {
        Position { offset, base: self.segment.base, at: self.size }
    }

    pub fn fill(&self) -> Fill {
        Fill {
            size: self.size,
            first_timestamp: self.first_timestamp,
            created_ms: self.created_ms,
            entries: self.segment.offset_index.len().max(self.segment.time_index.len()),
            jitter_ms: self.jitter_ms,
        }
    }

    /// Notes that a batch was appended to the file.
    pub fn took(&mut self, header: &BatchHeader, index_interval_bytes: i32) {
        self.largest.include(header);
        if self.since_index > u64::try_from(index_interval_bytes).unwrap_or(0) {
            // Positions fit: segments are below 2 GiB, as their size is an `i32` in Kafka's config.
            let relative = self.segment.relative(header.last_offset());
            self.segment.offset_index.push(OffsetEntry { relative, position: self.size as u32 });
            self.push_time();
            self.since_index = 0;
        }
        self.first_timestamp.get_or_insert(header.max_timestamp);
        self.size += header.size_in_bytes() as u64;
        self.since_index += header.size_in_bytes() as u64;
    }

    /// Writes the newest entries once there are enough of them. If the disk is full they stay in memory for now.
    pub fn write_groups(&self) -> io::Result<()> {
        let due = self.segment.offset_index.unwritten() >= GROUP_ENTRIES;
        match if due { self.write_indexes() } else { Ok(()) } {
            Err(e) if is_full(&e) => Ok(()),
            outcome => outcome,
        }
    }

    pub fn write_indexes(&self) -> io::Result<()> {
        self.segment.offset_index.write_tail()?;
        self.segment.time_index.write_tail()
    }

    /// Adds an entry for the largest timestamp. The last entry of a rolled or closed segment says its largest timestamp.
    pub fn push_time(&mut self) {
        let Timestamped { timestamp, offset } = self.largest;
        if timestamp > self.last_time.map_or(NO_TIMESTAMP, |last| last.timestamp) {
            let entry = TimeEntry { timestamp, relative: self.segment.relative(offset) };
            self.segment.time_index.push(entry);
            self.last_time = Some(entry);
        }
    }
}

impl Fill {
    /// Whether a batch has to go into a new segment. An empty segment takes any batch.
    pub fn must_roll(&self, header: &BatchHeader, now_ms: i64, config: &TopicConfig) -> bool {
        let bytes = self.size + header.size_in_bytes() as u64;
        let waited = match self.first_timestamp.filter(|&first| first >= 0) {
            Some(first) => header.max_timestamp.saturating_sub(first),
            None => now_ms.saturating_sub(self.created_ms),
        };
        self.size > 0
            && (bytes > u64::try_from(config.segment_bytes).unwrap_or(0)
                || waited > config.segment_ms_max() - self.jitter_ms
                || self.entries >= entries_max(config))
    }

    /// Whether the segment has been open for longer than `segment.ms`, by the clock alone.
    pub fn overdue(&self, now_ms: i64, config: &TopicConfig) -> bool {
        self.size > 0 && now_ms.saturating_sub(self.created_ms) > config.segment_ms_max() - self.jitter_ms
    }

    /// Counts a batch as if it were written, with an index entry, which it may turn out not to need.
    pub fn take(&mut self, header: &BatchHeader) {
        self.first_timestamp.get_or_insert(header.max_timestamp);
        self.size += header.size_in_bytes() as u64;
        self.entries += 1;
    }
}

/// How much earlier than `segment.ms` this segment rolls, so that partitions created together do not roll together.
pub(super) fn jitter_ms(seed: u64, base: Offset, config: &TopicConfig) -> i64 {
    let most = config.segment_jitter_ms.min(config.segment_ms);
    if most <= 0 {
        return 0;
    }
    (dice::number(seed, base as u64) % most as u64) as i64
}

/// Both indexes get their entries at the same time; the time index keeps room for the last entry of the segment.
fn entries_max(config: &TopicConfig) -> usize {
    let bytes = usize::try_from(config.segment_index_bytes).unwrap_or(0);
    (bytes / OffsetEntry::BYTES).min((bytes / TimeEntry::BYTES).saturating_sub(1))
}

const GROUP_ENTRIES: usize = 128;
