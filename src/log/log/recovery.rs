//! Reading a log again: segments that may be damaged, batch by batch; the segments of damaged indexes; producer state
//! since its last snapshot. It must never decide what is trusted: it is told up to which offset everything was flushed.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use ottla_model::config::TopicConfig;
use ottla_protocol::batch::verify_crc;
use ottla_protocol::{LeaderEpoch, Offset};

use super::active::{Active, jitter_ms};
use super::epochs::{EpochStart, Epochs};
use super::error::{LogError, io as io_error};
use super::files::Kind;
use super::marker::marker;
use super::producers::Producers;
use super::published::Position;
use super::scan::{FoundBatch, RECOVERY_BYTES, Scan, Stopped, WALK_BYTES};
use super::segment::Segment;
use super::snapshot::Snapshots;
use super::txn_index::AbortedTxn;
use crate::Disk;
use crate::disk::OpenHow;

/// Reads a segment from its first batch on, and rebuilds everything that follows from the batches.
pub(super) struct Walk<'a> {
    pub disk: &'a Arc<dyn Disk>,
    pub dir: &'a Path,
    pub config: &'a TopicConfig,
    pub now_ms: i64,
    pub jitter_seed: u64,
    /// Everything below was flushed: checksums are not computed there, and damage is reported instead of cut off.
    pub flushed: Offset,
    pub producers: &'a mut Producers,
    pub epochs: &'a mut Epochs,
}

pub(super) struct Walked {
    pub active: Active,
    /// The offset after the last valid batch.
    pub next: Offset,
    pub bytes: u64,
    /// Why the bytes after the last valid batch are not a batch. `None`: there are no such bytes.
    pub invalid: Option<String>,
}

impl Walk<'_> {
    pub fn segment(&mut self, base: Offset) -> Result<Walked, LogError> {
        let reading = || io_error("opening a segment to recover it");
        let log = self.disk.open(&Kind::Log.path(self.dir, base), OpenHow::Write).map_err(reading())?;
        let bytes = log.len().map_err(reading())?;
        remove_if_there(self.disk.as_ref(), &Kind::TxnIndex.path(self.dir, base))?;
        let segment = Segment::with_new_indexes(self.disk, self.dir, base, log)?;
        let jitter = jitter_ms(self.jitter_seed, base, self.config);
        let mut active = Active::new(segment, self.now_ms, jitter);
        let segment = active.segment.clone();
        let mut scan = segment.scan(0, bytes, RECOVERY_BYTES);
        let mut next = base;
        let invalid = loop {
            let found = match scan.next() {
                Ok(Some(found)) => found,
                Ok(None) => break None,
                Err(Stopped::Invalid { what, .. }) => break Some(what),
                Err(e) => return Err(segment.corrupt(next, e)),
            };
            if let Some(what) = self.doubt(&segment, next, &found, &mut scan)? {
                break Some(what);
            }
            self.take(&active, &found, &mut scan)?;
            active.took(&found.header, self.config.index_interval_bytes);
            active.write_groups().map_err(io_error("writing an index"))?;
            next = found.header.next_offset();
        };
        match invalid {
            Some(what) if next < self.flushed => {
                Err(segment.corrupt(next, Stopped::Invalid { position: active.size, what }))
            }
            invalid => Ok(Walked { active, next, bytes, invalid }),
        }
    }

    /// Why a batch cannot be the next one. `None`: it can.
    fn doubt(
        &self,
        segment: &Segment,
        next: Offset,
        found: &FoundBatch,
        scan: &mut Scan<'_>,
    ) -> Result<Option<String>, LogError> {
        let header = &found.header;
        if header.base_offset < next || !segment.can_index(header.last_offset()) {
            let (base, last) = (header.base_offset, header.last_offset());
            return Ok(Some(format!("a batch with offsets {base} to {last} where {next} comes next")));
        }
        if header.last_offset() >= self.flushed
            && !verify_crc(scan.batch(found).map_err(io_error("reading a segment"))?)
        {
            return Ok(Some("a batch whose checksum is wrong".to_owned()));
        }
        Ok(None)
    }

    fn take(&mut self, active: &Active, found: &FoundBatch, scan: &mut Scan<'_>) -> Result<(), LogError> {
        let header = found.header;
        let epoch = LeaderEpoch(header.partition_leader_epoch);
        self.epochs.found(EpochStart { epoch, offset: header.base_offset });
        let position = Position { offset: header.base_offset, base: active.base(), at: found.position };
        let marker = match header.is_control() {
            true => marker(&header, &bytes_of(found, scan)?, 0),
            false => None,
        };
        if let Some((ended, last_stable)) = self.producers.replay(header, position, marker)
            && ended.aborted
        {
            let (producer_id, first_offset) = (ended.producer_id, ended.first_offset);
            let txn = AbortedTxn { producer_id, first_offset, last_offset: ended.marker_offset, last_stable };
            active.segment.txn_index.append(txn).map_err(io_error("writing a transaction index"))?;
        }
        Ok(())
    }
}

/// From which batches the producer state is rebuilt: those below `end` that no snapshot covers.
pub(super) struct Replay {
    pub end: Offset,
    pub log_start: Offset,
    pub now_ms: i64,
}

impl Replay {
    /// Starts with the newest snapshot that can be read, and applies the headers since.
    pub fn producers(
        &self,
        fresh: Producers,
        segments: &[Arc<Segment>],
        active_bytes: u64,
        snapshots: &mut Snapshots,
    ) -> Result<Producers, LogError> {
        let mut producers = fresh;
        // A snapshot below the oldest segment is not used: the batches between the two are gone.
        let oldest = segments.first().map_or(self.end, |first| first.base);
        let reading = io_error("reading a producer snapshot");
        let from = match snapshots.load(oldest..=self.end).map_err(reading)? {
            Some(snapshot) => {
                snapshot
                    .producers
                    .into_iter()
                    .for_each(|(id, producer)| producers.load(id, producer, self.now_ms));
                snapshot.offset
            }
            None => self.log_start,
        };
        let first = segments.partition_point(|segment| segment.base <= from).saturating_sub(1);
        for segment in &segments[first..] {
            let size = segment.sealed_bytes().unwrap_or(active_bytes);
            if from >= self.end || segment.base >= self.end {
                break;
            }
            let Some(start) = segment.locate(from, size)? else { continue };
            let mut scan = segment.scan(start.position, size, WALK_BYTES);
            while let Some(found) = scan.next().map_err(|e| segment.corrupt(from, e))? {
                let header = found.header;
                if header.base_offset >= self.end {
                    break;
                }
                let position =
                    Position { offset: header.base_offset, base: segment.base, at: found.position };
                let marker = match header.is_control() {
                    true => marker(&header, &bytes_of(&found, &mut scan)?, 0),
                    false => None,
                };
                producers.replay(header, position, marker);
            }
        }
        producers.end = self.end;
        Ok(producers)
    }
}

/// Rebuilds the indexes of a segment from its first `size` bytes. The old index files are replaced when this returns.
pub(super) fn reindex(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    old: &Segment,
    size: u64,
    config: &TopicConfig,
) -> Result<Segment, LogError> {
    let sealed = old.sealed_bytes();
    let mut active = Active::new(old.without_indexes(disk, dir), 0, 0);
    let segment = active.segment.clone();
    let mut scan = segment.scan(0, size, WALK_BYTES);
    let mut next = segment.base;
    while let Some(found) = scan.next().map_err(|e| segment.corrupt(next, e))? {
        active.took(&found.header, config.index_interval_bytes);
        next = found.header.next_offset();
    }
    active.push_time();
    let replacing = || io_error("replacing an index");
    segment.offset_index.replace_file().map_err(replacing())?;
    segment.time_index.replace_file().map_err(replacing())?;
    let rebuilt = segment.renewed(disk, dir);
    if let Some(bytes) = sealed {
        rebuilt.seal(bytes, Some(active.largest));
    }
    Ok(rebuilt)
}

/// Collects the epochs from all batches of a segment, for a log without a usable list of epochs.
pub(super) fn epochs_of(segment: &Segment, size: u64, epochs: &mut Epochs) -> Result<(), LogError> {
    let mut scan = segment.scan(0, size, WALK_BYTES);
    while let Some(found) = scan.next().map_err(|e| segment.corrupt(segment.base, e))? {
        let epoch = LeaderEpoch(found.header.partition_leader_epoch);
        if epochs.latest().is_none_or(|latest| latest.epoch < epoch) {
            epochs.assign(EpochStart { epoch, offset: found.header.base_offset });
        }
    }
    Ok(())
}

pub(super) fn remove_if_there(disk: &dyn Disk, path: &Path) -> Result<(), LogError> {
    match disk.remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome.map_err(io_error("removing a file")),
    }
}

fn bytes_of(found: &FoundBatch, scan: &mut Scan<'_>) -> Result<Bytes, LogError> {
    scan.batch(found).map(Bytes::copy_from_slice).map_err(io_error("reading a batch"))
}
