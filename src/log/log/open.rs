//! Opening: what is in the folder becomes a log again, whatever stopped the process that wrote it. What was flushed is
//! believed, what came after is read again and cut at the first batch that is not whole.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ottla_model::config::TopicConfig;
use ottla_model::{TopicId, TopicPartition};
use ottla_protocol::Offset;

use super::active::{Active, jitter_ms};
use super::epochs::Epochs;
use super::error::{LogError, io as io_error};
use super::files::{Kind, Name, Stage};
use super::flush::Unflushed;
use super::leftovers::tidy;
use super::lowered::Lowered;
use super::partition_metadata;
use super::producers::Producers;
use super::recovery::{Replay, Walk, epochs_of, reindex, remove_if_there};
use super::scan::{LOOKUP_BYTES, Scan};
use super::segment::{IndexBytes, Segment};
use super::snapshot::Snapshots;
use super::{Log, LogReader, Mark, Position, State, txn_index};
use crate::Disk;
use crate::disk::OpenHow;

/// What [`Log::open`] needs to know. Times are ms since 1970.
#[derive(Clone, Debug)]
pub struct Opening {
    pub disk: Arc<dyn Disk>,
    /// The partition's own folder, created if absent.
    pub dir: PathBuf,
    pub partition: TopicPartition,
    /// Written to `partition.metadata`, or compared with what is there. None: taken from there.
    pub topic_id: Option<TopicId>,
    pub config: Arc<TopicConfig>,
    /// The log directory's clean-shutdown marker was there: nothing is scanned.
    pub clean_shutdown: bool,
    /// From the checkpoint files; 0 where they say nothing.
    pub recovery_point: Offset,
    pub log_start: Offset,
    pub now_ms: i64,
    pub producer_id_expiration_ms: i64,
    /// Draws this log's `segment.jitter.ms`.
    pub jitter_seed: u64,
}

/// What opening had to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Bytes of segments that were read again, being past the recovery point.
    pub scanned_bytes: u64,
    /// Bytes cut off behind the last valid batch, dropped segments not counted.
    pub truncated_bytes: u64,
    /// Where the log ends now, if something was cut off or dropped at its end.
    pub truncated_to: Option<Offset>,
    /// Base offsets of segments that were behind the first invalid batch or a hole.
    pub dropped_segments: Vec<Offset>,
    /// Base offsets of segments below the recovery point whose indexes were made anew.
    pub rebuilt_indexes: Vec<Offset>,
}

pub(super) fn open(opening: Opening) -> Result<(Log, Recovery), LogError> {
    let (disk, dir) = (&opening.disk, &opening.dir);
    let mut unflushed = Unflushed::since(opening.now_ms);
    if !opening.clean_shutdown || !disk.exists(dir) {
        // Nobody knows whether the names that an earlier process left are there for good.
        unflushed.folder_changed();
        unflushed.parent_changed();
    }
    disk.create_dir_all(dir).map_err(io_error("creating a partition's folder"))?;
    let topic_id = partition_metadata::settle(disk.as_ref(), dir, opening.topic_id)?;
    tidy(disk.as_ref(), dir)?;
    let mut inventory = Inventory::read(disk.as_ref(), dir)?;
    let starts = Epochs::read(disk.as_ref(), dir).map_err(io_error("reading the leader epochs"))?;
    if let Some(first) = starts.as_ref().and_then(|starts| starts.first()).filter(|_| !opening.clean_shutdown)
    {
        inventory.drop_retired(disk.as_ref(), dir, first.offset)?;
    }
    let reading = io_error("reading a lowered recovery point");
    let lowered = Lowered::read(disk.as_ref(), dir, opening.recovery_point).map_err(reading)?;
    let mut loading = Loading {
        lowered,
        epochs_known: starts.is_some(),
        epochs: Epochs::new(dir, starts.unwrap_or_default()),
        snapshots: Snapshots::new(disk.clone(), dir, inventory.snapshots),
        segments: Vec::new(),
        current: None,
        producers: Producers::new(opening.log_start, opening.producer_id_expiration_ms),
        unflushed,
        recovery: Recovery::default(),
        opening: &opening,
    };
    match opening.clean_shutdown {
        true => loading.load_clean(&inventory.segments)?,
        false => loading.load_unclean(&inventory.segments)?,
    }
    loading.finish(topic_id)
}

/// What one segment's files are.
#[derive(Clone, Copy, Debug, Default)]
struct SegmentFiles {
    log: Option<u64>,
    offset_index: Option<u64>,
    time_index: Option<u64>,
    txn_index: Option<u64>,
}

struct Inventory {
    /// Those with a log file.
    segments: Vec<(Offset, SegmentFiles)>,
    snapshots: BTreeSet<Offset>,
}

impl Inventory {
    /// Index files without a log are removed.
    fn read(disk: &dyn Disk, dir: &Path) -> Result<Inventory, LogError> {
        let mut segments = BTreeMap::<Offset, SegmentFiles>::new();
        let mut snapshots = BTreeSet::new();
        for entry in disk.list(dir).map_err(io_error("listing a partition's folder"))? {
            let Some(name) = Name::parse(&entry.name).filter(|n| n.stage == Stage::Live && !entry.is_dir)
            else {
                continue;
            };
            if name.kind == Kind::Snapshot {
                snapshots.insert(name.offset);
                continue;
            }
            let files = segments.entry(name.offset).or_default();
            let field = match name.kind {
                Kind::Log => &mut files.log,
                Kind::OffsetIndex => &mut files.offset_index,
                Kind::TimeIndex => &mut files.time_index,
                Kind::TxnIndex | Kind::Snapshot => &mut files.txn_index,
            };
            *field = Some(entry.len);
        }
        for (base, _) in segments.extract_if(.., |_, files| files.log.is_none()) {
            tracing::warn!(dir = %dir.display(), "removing an index without a log at offset {base}");
            for kind in Kind::OF_SEGMENT {
                remove_if_there(disk, &kind.path(dir, base))?;
            }
        }
        Ok(Inventory { segments: segments.into_iter().collect(), snapshots })
    }
}

impl Inventory {
    /// Segments that retention had renamed, and that came back with the power because nobody syncs a rename that only
    /// makes room. The first epoch's offset, which was on disk before, tells.
    fn drop_retired(&mut self, disk: &dyn Disk, dir: &Path, first_epoch: Offset) -> Result<(), LogError> {
        let next = self.segments.iter().skip(1).map(|(base, _)| *base);
        let below = next.take_while(|next| *next <= first_epoch).count();
        let mut gone = Vec::new();
        for (base, files) in &self.segments[..below] {
            let path = Kind::Log.path(dir, *base);
            let file = disk.open(&path, OpenHow::Read).map_err(io_error("opening a segment"))?;
            let first = Scan::new(file.as_ref(), 0, files.log.unwrap_or(0), LOOKUP_BYTES).next();
            // Batches from before there were epochs are in no list of epochs.
            if !matches!(first, Ok(Some(found)) if found.header.partition_leader_epoch < 0) {
                gone.push(*base);
            }
        }
        for base in &gone {
            tracing::info!(dir = %dir.display(), "removing segment {base}, which retention had retired");
            Kind::OF_SEGMENT
                .into_iter()
                .try_for_each(|kind| remove_if_there(disk, &kind.path(dir, *base)))?;
        }
        if !gone.is_empty() {
            self.segments.retain(|(base, _)| !gone.contains(base));
            disk.sync_dir(dir).map_err(io_error("syncing a partition's folder"))?;
        }
        Ok(())
    }
}

impl SegmentFiles {
    fn index_bytes(&self) -> IndexBytes {
        let bytes = |file: Option<u64>| file.unwrap_or(0);
        IndexBytes {
            offset: bytes(self.offset_index),
            time: bytes(self.time_index),
            txn: bytes(self.txn_index),
        }
    }

    /// Whether the lengths alone say that an index is not what was written.
    fn index_damaged(&self) -> bool {
        let whole = |file: Option<u64>, entry: u64| file.is_some_and(|bytes| bytes.is_multiple_of(entry));
        !whole(self.offset_index, 8) || !whole(self.time_index, 12)
    }

    fn txn_damaged(&self) -> bool {
        self.txn_index.is_some_and(|bytes| !bytes.is_multiple_of(txn_index::ENTRY_BYTES as u64))
    }
}

/// A log in the making.
struct Loading<'a> {
    opening: &'a Opening,
    segments: Vec<Arc<Segment>>,
    /// The newest segment so far and the offset behind it, not yet in the list.
    current: Option<(Active, Offset)>,
    producers: Producers,
    snapshots: Snapshots,
    epochs: Epochs,
    epochs_known: bool,
    unflushed: Unflushed,
    lowered: Lowered,
    recovery: Recovery,
}

impl Loading<'_> {
    fn load_clean(&mut self, found: &[(Offset, SegmentFiles)]) -> Result<(), LogError> {
        let Some(((base, files), flushed)) = found.split_last() else { return Ok(()) };
        self.load_flushed(flushed)?;
        let size = files.log.unwrap_or(0);
        let resumed = match files.index_damaged() || files.txn_damaged() {
            true => None,
            false => {
                let segment = self.existing(*base, files)?;
                let jitter = self.jitter(*base);
                match Active::resume(segment, size, self.opening.now_ms, jitter) {
                    Err(LogError::Corrupt { .. }) => None,
                    resumed => Some(resumed?),
                }
            }
        };
        self.current = Some(match resumed {
            Some(resumed) => resumed,
            None => {
                self.recovery.rebuilt_indexes.push(*base);
                self.replay_producers(*base)?;
                let walked = self.walk(*base, Offset::MAX)?;
                (walked.0, walked.1)
            }
        });
        if let Some((active, _)) = &self.current
            && !self.epochs_known
        {
            epochs_of(&active.segment, active.size, &mut self.epochs)?;
        }
        Ok(())
    }

    fn load_unclean(&mut self, found: &[(Offset, SegmentFiles)]) -> Result<(), LogError> {
        let point = self.lowered.recovery_point();
        let first = found.partition_point(|(base, _)| *base <= point).saturating_sub(1);
        let (flushed, rest) = found.split_at(first);
        self.load_flushed(flushed)?;
        let Some((base, _)) = rest.first() else { return Ok(()) };
        self.replay_producers(*base)?;
        // Those above are of a log that may not be what is there now.
        self.snapshots
            .remove_if(|offset| offset > *base)
            .map_err(io_error("removing a producer snapshot"))?;
        for (at, (base, _)) in rest.iter().enumerate() {
            if self.current.as_ref().is_some_and(|(_, next)| !joined(*next, *base, point)) {
                return self.drop_rest(&rest[at..]);
            }
            self.seal_current()?;
            let (active, next, cut) = self.walk(*base, point)?;
            self.current = Some((active, next));
            if cut {
                return self.drop_rest(&rest[at + 1..]);
            }
        }
        Ok(())
    }

    /// Segments that are believed. Of what is wrong with their indexes only the obvious is looked for: lookups check
    /// what they find.
    fn load_flushed(&mut self, found: &[(Offset, SegmentFiles)]) -> Result<(), LogError> {
        let Opening { disk, dir, config, .. } = self.opening;
        for (base, files) in found {
            let size = files.log.unwrap_or(0);
            if files.txn_damaged() {
                self.recovery.rebuilt_indexes.push(*base);
                self.replay_producers(*base)?;
                let (active, next, _) = self.walk(*base, Offset::MAX)?;
                self.current = Some((active, next));
                self.seal_current()?;
                continue;
            }
            let mut segment = self.existing(*base, files)?;
            segment.seal(size, None);
            if files.index_damaged() {
                self.recovery.rebuilt_indexes.push(*base);
                segment = reindex(disk, dir, &segment, size, config)?;
            }
            if !self.epochs_known {
                epochs_of(&segment, size, &mut self.epochs)?;
            }
            self.segments.push(Arc::new(segment));
        }
        Ok(())
    }

    fn existing(&self, base: Offset, files: &SegmentFiles) -> Result<Segment, LogError> {
        Segment::existing(&self.opening.disk, &self.opening.dir, base, files.index_bytes())
    }

    fn jitter(&self, base: Offset) -> i64 {
        jitter_ms(self.opening.jitter_seed, base, &self.opening.config)
    }

    /// Reads one segment whole and cuts it behind its last valid batch; whether anything was cut off.
    fn walk(&mut self, base: Offset, flushed: Offset) -> Result<(Active, Offset, bool), LogError> {
        let Opening { disk, dir, config, now_ms, jitter_seed, .. } = self.opening;
        let mut walk = Walk {
            disk,
            dir,
            config,
            now_ms: *now_ms,
            jitter_seed: *jitter_seed,
            flushed,
            producers: &mut self.producers,
            epochs: &mut self.epochs,
        };
        let walked = walk.segment(base)?;
        self.recovery.scanned_bytes += walked.bytes;
        let (active, next) = (walked.active, walked.next);
        let Some(what) = walked.invalid else { return Ok((active, next, false)) };
        let cut = walked.bytes - active.size;
        let segment = &active.segment;
        tracing::warn!(segment = %segment.path.display(), "cutting off {cut} bytes behind offset {next}: {what}");
        self.recovery.truncated_bytes += cut;
        self.recovery.truncated_to = Some(next);
        Ok((active, next, true))
    }

    /// The newest segment so far is not the last one.
    fn seal_current(&mut self) -> Result<(), LogError> {
        let Some((mut active, next)) = self.current.take() else { return Ok(()) };
        active.push_time();
        active.write_indexes().map_err(io_error("writing an index"))?;
        active.segment.seal(active.size, Some(active.largest));
        self.unflushed.sealed(next, active.segment.clone());
        self.segments.push(active.segment);
        if self.snapshots.newest().is_none_or(|newest| newest < next) {
            let snapshot = self.snapshots.write(next, &self.producers.all());
            self.unflushed.snapshot(next, snapshot.map_err(io_error("writing a producer snapshot"))?);
        }
        Ok(())
    }

    /// Everything so far is below the log start.
    fn drop_all(&mut self) -> Result<(), LogError> {
        let current = self.current.take().map(|(active, _)| active.segment);
        let all = self.segments.drain(..).chain(current).collect::<Vec<_>>();
        for segment in &all {
            self.remove(segment.base)?;
        }
        self.sync_folder()
    }

    /// What is behind damage or a hole was never flushed, and is not what came next.
    fn drop_rest(&mut self, rest: &[(Offset, SegmentFiles)]) -> Result<(), LogError> {
        let Some((active, next)) = &self.current else { return Ok(()) };
        let (log, size, next) = (active.segment.log.clone(), active.size, *next);
        // From the end, so that another crash finds no hole here; and for good before anything is appended.
        for (base, _) in rest.iter().rev() {
            tracing::warn!(dir = %self.opening.dir.display(), "dropping segment {base}, the log ends at {next}");
            self.remove(*base)?;
        }
        self.sync_folder()?;
        self.recovery.dropped_segments.extend(rest.iter().map(|(base, _)| *base));
        self.recovery.truncated_to = Some(next);
        let cutting = || io_error("cutting a segment");
        log.truncate(size).and_then(|()| log.sync()).map_err(cutting())
    }

    fn remove(&self, base: Offset) -> Result<(), LogError> {
        let Opening { disk, dir, .. } = self.opening;
        Kind::OF_SEGMENT
            .into_iter()
            .try_for_each(|kind| remove_if_there(disk.as_ref(), &kind.path(dir, base)))
    }

    fn sync_folder(&self) -> Result<(), LogError> {
        self.opening.disk.sync_dir(&self.opening.dir).map_err(io_error("syncing a partition's folder"))
    }

    /// Makes the producers what they were at `end`, from what is loaded so far.
    fn replay_producers(&mut self, end: Offset) -> Result<(), LogError> {
        let replay = Replay { end, log_start: self.opening.log_start, now_ms: self.opening.now_ms };
        let active_bytes = self.current.as_ref().map_or(0, |(active, _)| active.size);
        let current = self.current.as_ref().map(|(active, _)| active.segment.clone());
        let segments = self.segments.iter().cloned().chain(current).collect::<Vec<_>>();
        let fresh = self.producers.afresh(end);
        self.producers = replay.producers(fresh, &segments, active_bytes, &mut self.snapshots)?;
        Ok(())
    }

    fn finish(mut self, topic_id: Option<TopicId>) -> Result<(Log, Recovery), LogError> {
        let Opening { disk, dir, config, now_ms, .. } = self.opening;
        let checkpointed = self.opening.log_start;
        if self.current.as_ref().is_some_and(|(_, next)| *next < checkpointed) {
            tracing::warn!(dir = %dir.display(), "the log ends below its start, {checkpointed}: starting anew there");
            self.drop_all()?;
            self.producers = self.producers.afresh(checkpointed);
        }
        let (active, log_end) = match self.current.take() {
            Some(current) => current,
            None => {
                self.unflushed.folder_changed();
                let segment = Segment::create(disk, dir, checkpointed)?;
                (Active::new(segment, *now_ms, self.jitter(checkpointed)), checkpointed)
            }
        };
        self.segments.push(active.segment.clone());
        let log_start = checkpointed.max(self.segments[0].base);
        self.keep_snapshots(log_end)?;
        if self.opening.clean_shutdown && self.snapshots.newest().is_some() {
            let replay = Replay { end: log_end, log_start, now_ms: *now_ms };
            let fresh = self.producers.afresh(log_end);
            self.producers = replay.producers(fresh, &self.segments, active.size, &mut self.snapshots)?;
        }
        self.producers.end = log_end;
        self.epochs.truncate_end(log_end);
        self.epochs.truncate_start(log_start);
        if !self.epochs_known && log_end > log_start {
            self.epochs.write(disk.as_ref()).map_err(io_error("writing the leader epochs"))?;
        }
        let recovery_point = match self.opening.clean_shutdown {
            true => log_end,
            false => self.lowered.recovery_point().min(log_end),
        };
        // What is appended now is not what the checkpoint claims.
        let lowering = io_error("lowering the recovery point");
        self.lowered.lower(disk.as_ref(), recovery_point).map_err(lowering)?;
        self.lowered.reached(disk.as_ref(), recovery_point);
        let recovery = std::mem::take(&mut self.recovery);
        let mut log = self.into_log(active, log_start, log_end, recovery_point, topic_id, config);
        if log_end > log_start {
            log.snapshot(log_end)?;
        }
        log.publish();
        Ok((log, recovery))
    }

    /// Only those at the start of a segment, or at the end of the log, are of use later.
    fn keep_snapshots(&mut self, log_end: Offset) -> Result<(), LogError> {
        let bases = self.segments.iter().map(|segment| segment.base).collect::<BTreeSet<_>>();
        // The newest one is where a replay starts, wherever it is.
        let usable = self.segments[0].base..=log_end;
        let newest = self.snapshots.offsets().rfind(|offset| usable.contains(offset));
        let unwanted =
            |offset: Offset| !bases.contains(&offset) && offset != log_end && Some(offset) != newest;
        self.snapshots.remove_if(unwanted).map_err(io_error("removing a producer snapshot"))
    }

    fn into_log(
        self,
        active: Active,
        log_start: Offset,
        log_end: Offset,
        recovery_point: Offset,
        topic_id: Option<TopicId>,
        config: &Arc<TopicConfig>,
    ) -> Log {
        // Whoever opens the log raises it to what the checkpoint or the leader says.
        let first = Position { offset: log_start, base: self.segments[0].base, at: 0 };
        let high_watermark = Mark { offset: log_start, position: first };
        let state = State {
            log_start,
            last_stable: high_watermark,
            high_watermark,
            log_end: active.end(log_end),
            largest: active.largest,
            generation: 0,
        };
        let partition = self.opening.partition.clone();
        let reader = LogReader::new(partition, &state, self.segments.clone(), self.epochs.shared());
        Log {
            disk: self.opening.disk.clone(),
            dir: self.opening.dir.clone(),
            topic_id,
            config: config.clone(),
            jitter_seed: self.opening.jitter_seed,
            segments: self.segments,
            active,
            log_start,
            log_end,
            recovery_point,
            high_watermark,
            boundaries: VecDeque::new(),
            unstable: None,
            producers: self.producers,
            snapshots: self.snapshots,
            epochs: self.epochs,
            unflushed: self.unflushed,
            lowered: self.lowered,
            generation: 0,
            told_ms: self.opening.now_ms,
            offline: Arc::new(AtomicBool::new(false)),
            reader: Arc::new(reader),
        }
    }
}

/// Whether a segment at `base` may follow one that ends at `next`. Otherwise the tail of that one was lost with the
/// power. Rolling leaves no holes, unless offsets leap too far for one segment; compaction leaves some, but only in
/// what was flushed.
fn joined(next: Offset, base: Offset, recovery_point: Offset) -> bool {
    let leap = base.saturating_sub(next);
    leap == 0 || (leap > 0 && next < recovery_point) || leap > i32::MAX.into()
}
