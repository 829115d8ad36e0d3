//! A segment: a log file, its indexes, and lookups in them. It is only appended to, from its creation until it is
//! retired; truncating makes another `Segment` over the same file. It must never know the log around it or who may read
//! what: every lookup is told where to stop.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use ottla_protocol::batch::{self, BatchHeader, DecompressLimit};
use ottla_protocol::{LeaderEpoch, Offset};

use super::TimestampedOffset;
use super::error::{LogError, io};
use super::files::{Kind, Stage};
use super::index::{Index, IndexEntry, OffsetEntry, TimeEntry};
use super::published::Timestamped;
use super::scan::{FoundBatch, LOOKUP_BYTES, Scan, Stopped, WALK_BYTES};
use super::txn_index::TxnIndex;
use crate::disk::OpenHow;
use crate::{Disk, DiskFile};

#[derive(Debug)]
pub(super) struct Segment {
    pub base: Offset,
    pub path: PathBuf,
    pub log: Arc<dyn DiskFile>,
    pub offset_index: Index<OffsetEntry>,
    pub time_index: Index<TimeEntry>,
    pub txn_index: TxnIndex,
    /// Set when the segment is sealed, that is, when the next segment becomes the active one.
    sealed_bytes: OnceLock<u64>,
    largest: OnceLock<Timestamped>,
    /// A lookup found a wrong entry, so the indexes are not used any more.
    index_damaged: AtomicBool,
}

/// Sizes of the files beside a log file, as the folder lists them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct IndexBytes {
    pub offset: u64,
    pub time: u64,
    pub txn: u64,
}

impl Segment {
    /// Creates a segment. Files with its names are replaced.
    pub fn create(disk: &Arc<dyn Disk>, dir: &Path, base: Offset) -> Result<Segment, LogError> {
        let path = Kind::Log.path(dir, base);
        let txn = Kind::TxnIndex.path(dir, base);
        if disk.exists(&txn) {
            disk.remove_file(&txn).map_err(io("removing an old transaction index"))?;
        }
        let log = disk.open(&path, OpenHow::CreateEmpty).map_err(io("creating a segment"))?;
        Segment::with_new_indexes(disk, dir, base, log)
    }

    /// A segment over an existing log file, with empty indexes for the caller to fill.
    pub fn with_new_indexes(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        base: Offset,
        log: Arc<dyn DiskFile>,
    ) -> Result<Segment, LogError> {
        let creating = || io("creating an index");
        let offset_index =
            Index::create(disk.clone(), Kind::OffsetIndex.path(dir, base)).map_err(creating())?;
        let time_index = Index::create(disk.clone(), Kind::TimeIndex.path(dir, base)).map_err(creating())?;
        let txn_index = TxnIndex::existing(disk.clone(), Kind::TxnIndex.path(dir, base), 0);
        let path = Kind::Log.path(dir, base);
        Ok(Segment::over(base, path, log, offset_index, time_index, txn_index))
    }

    /// Creates a cleaner's output, in `.cleaned` files.
    pub fn create_cleaned(disk: &Arc<dyn Disk>, dir: &Path, base: Offset) -> Result<Segment, LogError> {
        let creating = || io("creating a cleaned segment");
        let path = |kind: Kind| kind.staged(dir, base, Stage::Cleaned);
        let log = disk.open(&path(Kind::Log), OpenHow::CreateEmpty).map_err(creating())?;
        let offset = Index::create(disk.clone(), path(Kind::OffsetIndex)).map_err(creating())?;
        let time = Index::create(disk.clone(), path(Kind::TimeIndex)).map_err(creating())?;
        let txn = TxnIndex::existing(disk.clone(), path(Kind::TxnIndex), 0);
        Ok(Segment::over(base, path(Kind::Log), log, offset, time, txn))
    }

    /// A cleaner's output once its files have their live names.
    pub fn settled(&self, disk: &Arc<dyn Disk>, dir: &Path) -> Segment {
        let path = |kind: Kind| kind.path(dir, self.base);
        let bytes = |entries: usize, entry: usize| (entries * entry) as u64;
        let offset_bytes = bytes(self.offset_index.len(), OffsetEntry::BYTES);
        let offset = Index::existing(disk.clone(), path(Kind::OffsetIndex), offset_bytes);
        let time_bytes = bytes(self.time_index.len(), TimeEntry::BYTES);
        let time = Index::existing(disk.clone(), path(Kind::TimeIndex), time_bytes);
        let txn = TxnIndex::existing(disk.clone(), path(Kind::TxnIndex), self.txn_index.bytes());
        let settled = Segment::over(self.base, path(Kind::Log), self.log.clone(), offset, time, txn);
        settled.seal(self.sealed_bytes().unwrap_or(0), self.largest.get().copied());
        settled
    }

    /// The same log file and transaction index, with empty indexes that are not on disk yet.
    pub fn without_indexes(&self, disk: &Arc<dyn Disk>, dir: &Path) -> Segment {
        let offset = Index::existing(disk.clone(), Kind::OffsetIndex.path(dir, self.base), 0);
        let time = Index::existing(disk.clone(), Kind::TimeIndex.path(dir, self.base), 0);
        let txn = self.txn_index.again();
        Segment::over(self.base, self.path.clone(), self.log.clone(), offset, time, txn)
    }

    /// The same segment, with its indexes read again from disk.
    pub fn renewed(&self, disk: &Arc<dyn Disk>, dir: &Path) -> Segment {
        let bytes = |entries: usize, entry: usize| (entries * entry) as u64;
        let offset_bytes = bytes(self.offset_index.len(), OffsetEntry::BYTES);
        let time_bytes = bytes(self.time_index.len(), TimeEntry::BYTES);
        let offset = Index::existing(disk.clone(), Kind::OffsetIndex.path(dir, self.base), offset_bytes);
        let time = Index::existing(disk.clone(), Kind::TimeIndex.path(dir, self.base), time_bytes);
        let (path, log, txn) = (self.path.clone(), self.log.clone(), self.txn_index.again());
        Segment::over(self.base, path, log, offset, time, txn)
    }

    pub fn existing(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        base: Offset,
        index_bytes: IndexBytes,
    ) -> Result<Segment, LogError> {
        let path = Kind::Log.path(dir, base);
        let log = disk.open_later(&path).map_err(io("opening a segment"))?;
        let offset = Index::existing(disk.clone(), Kind::OffsetIndex.path(dir, base), index_bytes.offset);
        let time = Index::existing(disk.clone(), Kind::TimeIndex.path(dir, base), index_bytes.time);
        let txn = TxnIndex::existing(disk.clone(), Kind::TxnIndex.path(dir, base), index_bytes.txn);
        Ok(Segment::over(base, path, log, offset, time, txn))
    }

    /// The same log file, with indexes that have only entries below `offset`: what a truncated segment becomes.
    pub fn cut(&self, offset: Offset) -> Result<Segment, LogError> {
        let cutting = || io("truncating an index");
        let relative = self.relative_below(offset);
        let offset_index = self.offset_index.cut(|e| e.relative < relative).map_err(cutting())?;
        let time_index = self.time_index.cut(|e| e.relative < relative).map_err(cutting())?;
        let txn_index = self.txn_index.cut(offset).map_err(cutting())?;
        let log = self.log.clone();
        Ok(Segment::over(self.base, self.path.clone(), log, offset_index, time_index, txn_index))
    }

    fn over(
        base: Offset,
        path: PathBuf,
        log: Arc<dyn DiskFile>,
        offset_index: Index<OffsetEntry>,
        time_index: Index<TimeEntry>,
        txn_index: TxnIndex,
    ) -> Segment {
        let (sealed_bytes, largest) = (OnceLock::new(), OnceLock::new());
        let index_damaged = AtomicBool::new(false);
        Segment { base, path, log, offset_index, time_index, txn_index, sealed_bytes, largest, index_damaged }
    }

    /// Notes that nothing more is appended.
    pub fn seal(&self, bytes: u64, largest: Option<Timestamped>) {
        let _ = self.sealed_bytes.set(bytes);
        if let Some(largest) = largest {
            let _ = self.largest.set(largest);
        }
    }

    /// The size of a sealed segment. `None`: it is the active segment.
    pub fn sealed_bytes(&self) -> Option<u64> {
        self.sealed_bytes.get().copied()
    }

    pub fn index_damaged(&self) -> bool {
        self.index_damaged.load(Ordering::Relaxed)
    }

    /// Whether the segment's indexes can hold `offset`.
    pub fn can_index(&self, offset: Offset) -> bool {
        offset >= self.base && offset - self.base <= i32::MAX.into()
    }

    /// `offset` as the indexes store it.
    pub fn relative(&self, offset: Offset) -> u32 {
        debug_assert!(self.can_index(offset));
        (offset - self.base) as u32
    }

    /// Any offset in the form of the indexes, for comparisons with entries.
    fn relative_below(&self, offset: Offset) -> u32 {
        u32::try_from(offset - self.base).unwrap_or(if offset < self.base { 0 } else { u32::MAX })
    }

    pub fn scan(&self, from: u64, to: u64, piece_bytes: usize) -> Scan<'_> {
        Scan::new(self.log.as_ref(), from, to, piece_bytes)
    }

    /// The first batch whose last offset is at or above `offset`, within the first `limit` bytes.
    pub fn locate(&self, offset: Offset, limit: u64) -> Result<Option<FoundBatch>, LogError> {
        let relative = self.relative_below(offset);
        // Entries that point at or above the limit are not used, since there is nothing yet to check them with.
        let leads = |e: &OffsetEntry| e.relative <= relative && u64::from(e.position) < limit;
        let entry = match self.index_damaged() {
            true => None,
            false => self.offset_index.floor(leads).map_err(io("reading an offset index"))?,
        };
        if let Some(entry) = entry {
            match self.first_ending_at(offset, entry.position.into(), limit, Some(entry)) {
                Err(LogError::Corrupt { .. }) => self.distrust("offset index"),
                answer => return answer,
            }
        }
        self.first_ending_at(offset, 0, limit, None)
    }

    fn first_ending_at(
        &self,
        offset: Offset,
        from: u64,
        limit: u64,
        entry: Option<OffsetEntry>,
    ) -> Result<Option<FoundBatch>, LogError> {
        let mut scan = self.scan(from, limit, LOOKUP_BYTES);
        let mut next = self.base;
        while let Some(found) = self.next_of(&mut scan, from, next, entry)? {
            if found.header.last_offset() >= offset {
                return Ok(Some(found));
            }
            next = found.header.next_offset();
        }
        Ok(None)
    }

    /// The last batch boundary at or below byte `limit`, and the offset that follows it. The search starts at the batch
    /// `from`, which ends at or below `limit`, and reads only the first `visible` bytes.
    pub fn boundary(&self, from: &FoundBatch, limit: u64, visible: u64) -> Result<(u64, Offset), LogError> {
        let leads = |e: &OffsetEntry| u64::from(e.position) <= limit && u64::from(e.position) < visible;
        let entry = match self.index_damaged() {
            true => None,
            false => self.offset_index.floor(leads).map_err(io("reading an offset index"))?,
        };
        let entry = entry.filter(|entry| u64::from(entry.position) > from.position);
        if let Some(entry) = entry {
            match self.boundary_from(entry.position.into(), limit, visible, Some(entry)) {
                Err(LogError::Corrupt { .. }) => self.distrust("offset index"),
                answer => return answer,
            }
        }
        self.boundary_from(from.position, limit, visible, None)
    }

    fn boundary_from(
        &self,
        from: u64,
        limit: u64,
        visible: u64,
        entry: Option<OffsetEntry>,
    ) -> Result<(u64, Offset), LogError> {
        let mut scan = self.scan(from, visible, LOOKUP_BYTES);
        let mut next = self.base;
        while let Some(found) = self.next_of(&mut scan, from, next, entry)? {
            if found.end() > limit {
                return Ok((found.position, found.header.base_offset));
            }
            next = found.header.next_offset();
            if found.end() == limit {
                return Ok((limit, next));
            }
        }
        Ok((visible, next))
    }

    /// The next batch of a scan that began at byte `from`. If `entry` is what led there, the first batch has to match it.
    fn next_of(
        &self,
        scan: &mut Scan<'_>,
        from: u64,
        next: Offset,
        entry: Option<OffsetEntry>,
    ) -> Result<Option<FoundBatch>, LogError> {
        let found = scan.next().map_err(|e| self.corrupt(next, e))?;
        let expected = entry.map(|entry| self.base + i64::from(entry.relative));
        match (found, expected) {
            (Some(found), Some(expected))
                if found.position == from && found.header.last_offset() != expected =>
            {
                let what = format!("the index says that offset {expected} is here");
                Err(self.corrupt(next, Stopped::Invalid { position: from, what }))
            }
            _ => Ok(found),
        }
    }

    /// The largest timestamp of a sealed segment, from the last entry of its time index.
    pub fn largest(&self) -> Result<Timestamped, LogError> {
        if let Some(largest) = self.largest.get() {
            return Ok(*largest);
        }
        let largest = self.read_largest(self.sealed_bytes().unwrap_or(0))?;
        Ok(*self.largest.get_or_init(|| largest))
    }

    fn read_largest(&self, bytes: u64) -> Result<Timestamped, LogError> {
        if !self.index_damaged() {
            let entry = self.time_index.last().map_err(io("reading a time index"))?;
            if entry.is_none() && bytes == 0 {
                return Ok(Timestamped { timestamp: batch::NO_TIMESTAMP, offset: self.base });
            }
            if let Some(entry) = entry {
                if self.batch_of(entry, bytes)?.is_some() {
                    return Ok(self.timestamped(entry));
                }
                self.distrust("time index");
            }
        }
        self.largest_of(0, bytes)
    }

    /// The largest timestamp of the batches in a part of the file, from their headers.
    pub fn largest_of(&self, from: u64, to: u64) -> Result<Timestamped, LogError> {
        let mut largest = Timestamped { timestamp: batch::NO_TIMESTAMP, offset: self.base };
        let mut scan = self.scan(from, to, WALK_BYTES);
        while let Some(found) = scan.next().map_err(|e| self.corrupt(self.base, e))? {
            largest.include(&found.header);
        }
        Ok(largest)
    }

    pub fn timestamped(&self, entry: TimeEntry) -> Timestamped {
        Timestamped { timestamp: entry.timestamp, offset: self.base + i64::from(entry.relative) }
    }

    /// The batch that a time index entry refers to, if the entry is right.
    pub fn batch_of(&self, entry: TimeEntry, limit: u64) -> Result<Option<FoundBatch>, LogError> {
        let Timestamped { timestamp, offset } = self.timestamped(entry);
        let found = self.locate(offset, limit)?;
        Ok(found
            .filter(|found| (found.header.last_offset(), found.header.max_timestamp) == (offset, timestamp)))
    }

    /// The first record whose timestamp is at or after `timestamp` and whose offset is at or after `from`, within the
    /// first `limit` bytes.
    pub fn first_since(
        &self,
        timestamp: i64,
        from: Offset,
        limit: u64,
    ) -> Result<Option<TimestampedOffset>, LogError> {
        let start = self.start_of_search(timestamp, limit)?;
        let start = match self.locate(from.max(self.base), limit)? {
            Some(found) => found.position.max(start),
            None => return Ok(None),
        };
        let mut scan = self.scan(start, limit, WALK_BYTES);
        while let Some(found) = scan.next().map_err(|e| self.corrupt(self.base, e))? {
            if found.header.max_timestamp < timestamp {
                continue;
            }
            let bytes = scan.batch(&found).map_err(io("reading a batch"))?;
            let hit = self.record(&found, bytes, |offset, at| at >= timestamp && offset >= from)?;
            if hit.is_some() {
                return Ok(hit);
            }
        }
        Ok(None)
    }

    /// A byte position: no record before it has a timestamp of `timestamp` or later.
    fn start_of_search(&self, timestamp: i64, limit: u64) -> Result<u64, LogError> {
        if self.index_damaged() {
            return Ok(0);
        }
        let entry =
            self.time_index.floor(|e| e.timestamp <= timestamp).map_err(io("reading a time index"))?;
        let Some(entry) = entry else { return Ok(0) };
        if let Some(found) = self.batch_of(entry, limit)? {
            return Ok(found.position);
        }
        // A batch above a reader's limit does not make the entry wrong.
        if self.locate(self.timestamped(entry).offset, limit)?.is_some() {
            self.distrust("time index");
        }
        Ok(0)
    }

    /// The first record that has the largest timestamp, in the batch that ends at `largest.offset`.
    pub fn record_of(&self, largest: Timestamped, limit: u64) -> Result<Option<TimestampedOffset>, LogError> {
        let Some(found) = self.locate(largest.offset, limit)? else { return Ok(None) };
        let mut scan = self.scan(found.position, limit, WALK_BYTES);
        let bytes = scan.batch(&found).map_err(io("reading a batch"))?;
        self.record(&found, bytes, |_, timestamp| timestamp == largest.timestamp)
    }

    fn record(
        &self,
        found: &FoundBatch,
        bytes: &[u8],
        wanted: impl Fn(Offset, i64) -> bool,
    ) -> Result<Option<TimestampedOffset>, LogError> {
        let BatchHeader { base_offset, partition_leader_epoch, .. } = found.header;
        let mut hit = None;
        let walked = batch::walk(bytes, DECOMPRESSED_MAX, |record: batch::RecordMeta| {
            let (offset, timestamp) = (base_offset + i64::from(record.offset_delta), record.timestamp);
            if hit.is_none() && wanted(offset, timestamp) {
                let leader_epoch = LeaderEpoch(partition_leader_epoch);
                hit = Some(TimestampedOffset { offset, timestamp, leader_epoch });
            }
        });
        match walked {
            Ok(_) => Ok(hit),
            Err(e) => {
                let stopped = Stopped::Invalid { position: found.position, what: e.to_string() };
                Err(self.corrupt(base_offset, stopped))
            }
        }
    }

    pub fn sync_indexes(&self) -> Result<(), LogError> {
        for file in [self.offset_index.file(), self.time_index.file()] {
            file.and_then(|file| file.sync()).map_err(io("syncing an index"))?;
        }
        if !self.txn_index.is_empty() {
            self.txn_index.file().and_then(|file| file.sync()).map_err(io("syncing a transaction index"))?;
        }
        Ok(())
    }

    /// The paths of its files: the log, the indexes, and the transaction index if it exists.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let txn = Some(self.txn_index.path()).filter(|_| !self.txn_index.is_empty());
        [self.path.as_path(), self.offset_index.path(), self.time_index.path()].into_iter().chain(txn)
    }

    pub fn corrupt(&self, offset: Offset, stopped: Stopped) -> LogError {
        match stopped {
            Stopped::Io(source) => LogError::Io { doing: "reading a segment", source },
            Stopped::Invalid { position, what } => {
                LogError::Corrupt { path: self.path.clone(), position, offset, what }
            }
        }
    }

    fn distrust(&self, which: &str) {
        if !self.index_damaged.swap(true, Ordering::Relaxed) {
            tracing::warn!(segment = %self.path.display(), "the {which} does not match the log, reading without it");
        }
    }
}

impl Timestamped {
    /// Includes a batch, which comes after all batches so far.
    pub fn include(&mut self, header: &BatchHeader) {
        if header.max_timestamp > self.timestamp {
            *self = Timestamped { timestamp: header.max_timestamp, offset: header.last_offset() };
        }
    }
}

/// No accepted batch is larger when decompressed (see `check::decompressed_bytes_max`).
pub(super) const DECOMPRESSED_MAX: DecompressLimit = DecompressLimit(1 << 30);
