//! Builds a log from the files in its folder, segment by segment: flushed segments are trusted, later ones are read and
//! cut at the first batch that is not whole. It must never serve a reader before it is done.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ottla_model::TopicId;
use ottla_model::config::TopicConfig;
use ottla_protocol::Offset;

use super::active::{Active, jitter_ms};
use super::epochs::{EpochStart, Epochs};
use super::error::{LogError, io as io_error};
use super::files::Kind;
use super::flush::Unflushed;
use super::inventory::SegmentFiles;
use super::lowered::Lowered;
use super::producers::Producers;
use super::recovery::{Replay, Walk, epochs_of, reindex, remove_if_there};
use super::segment::Segment;
use super::snapshot::Snapshots;
use super::{Bounds, Log, LogReader, Mark, Opening, Position, Recovery};
use crate::disk::is_full;

/// The state of a log while it is loaded from its files.
pub(super) struct Loading<'a> {
    pub opening: &'a Opening,
    pub segments: Vec<Arc<Segment>>,
    /// The newest segment so far and the offset after its last batch. It is not in the list yet.
    pub current: Option<(Active, Offset)>,
    pub producers: Producers,
    pub snapshots: Snapshots,
    pub epochs: Epochs,
    pub epochs_known: bool,
    pub unflushed: Unflushed,
    pub lowered: Lowered,
    pub recovery: Recovery,
}

impl Loading<'_> {
    pub fn load_clean(&mut self, found: &[(Offset, SegmentFiles)]) -> Result<(), LogError> {
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

    pub fn load_unclean(&mut self, found: &[(Offset, SegmentFiles)]) -> Result<(), LogError> {
        let point = self.lowered.recovery_point();
        // A segment is trusted if something after it was flushed, since that flush covered all of the segment: its names,
        // its indexes, and its length, which a write on a full disk may have made too large for a moment.
        let first = found.partition_point(|(base, _)| *base < point).saturating_sub(1);
        let (flushed, rest) = found.split_at(first);
        self.load_flushed(flushed)?;
        let Some((base, _)) = rest.first() else { return Ok(()) };
        self.replay_producers(*base)?;
        // Snapshots above this offset may describe batches that are not in the log any more.
        self.snapshots
            .remove_if(|offset| offset > *base)
            .map_err(io_error("removing a producer snapshot"))?;
        for (at, (base, _)) in rest.iter().enumerate() {
            if self.current.as_ref().is_some_and(|(_, next)| !joined(*next, *base, point)) {
                return self.drop_rest(&rest[at..]);
            }
            self.seal_current()?;
            let (active, next, cut) = self.walk(*base, point)?;
            let size = active.size;
            let log = active.segment.log.clone();
            self.current = Some((active, next));
            match rest.get(at + 1) {
                // Nothing is missing between the two segments: what was cut off is part of a batch that was refused
                // because the disk was full.
                Some((base, _)) if cut && *base == next => {
                    log.truncate(size).map_err(io_error("cutting a segment"))?;
                }
                _ if cut => return self.drop_rest(&rest[at + 1..]),
                _ => {}
            }
        }
        Ok(())
    }

    /// Loads trusted segments. Only obvious damage of their indexes is looked for here; lookups check each entry that
    /// they use.
    fn load_flushed(&mut self, found: &[(Offset, SegmentFiles)]) -> Result<(), LogError> {
        let Opening { disk, dir, config, .. } = self.opening;
        for (base, files) in found {
            let size = files.log.unwrap_or(0);
            if files.txn_damaged() {
                self.recovery.rebuilt_indexes.push(*base);
                self.replay_producers(*base)?;
                let (active, next, _) = self.walk(*base, Offset::MAX)?;
                let segment = active.segment.clone();
                self.current = Some((active, next));
                self.seal_current()?;
                // Synced here, because the next opening trusts it.
                segment.sync_indexes()?;
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

    /// Reads a whole segment and cuts it after its last valid batch. Also returns whether anything was cut off.
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

    /// Seals the newest segment so far, because another one follows.
    fn seal_current(&mut self) -> Result<(), LogError> {
        let Some((mut active, next)) = self.current.take() else { return Ok(()) };
        active.push_time();
        active.write_indexes().map_err(io_error("writing an index"))?;
        active.segment.seal(active.size, Some(active.largest));
        self.unflushed.sealed(next, active.segment.clone());
        self.segments.push(active.segment);
        if self.snapshots.newest().is_none_or(|newest| newest < next) {
            match self.snapshots.write(next, &self.producers.all()) {
                Ok(file) => self.unflushed.snapshot(next, file),
                // If the disk is full the snapshot is left out, and the next recovery reads more.
                Err(e) if is_full(&e) => {}
                Err(e) => return Err(io_error("writing a producer snapshot")(e)),
            }
        }
        Ok(())
    }

    /// Removes all segments so far, which are below the log start.
    fn drop_all(&mut self) -> Result<(), LogError> {
        let current = self.current.take().map(|(active, _)| active.segment);
        let all = self.segments.drain(..).chain(current).collect::<Vec<_>>();
        for segment in &all {
            self.remove(segment.base)?;
        }
        // A flush does not have to sync the removed segments.
        self.unflushed.retired(Offset::MAX);
        self.sync_folder()
    }

    /// Removes the segments behind damage or a hole: they were never flushed, and do not continue what is before the
    /// damage.
    fn drop_rest(&mut self, rest: &[(Offset, SegmentFiles)]) -> Result<(), LogError> {
        let Some((active, next)) = &self.current else { return Ok(()) };
        let (log, size, next) = (active.segment.log.clone(), active.size, *next);
        // The last one first, so that another crash leaves no hole; and made durable before anything is appended.
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

    /// Brings the producer state to `end`, from the segments loaded so far.
    fn replay_producers(&mut self, end: Offset) -> Result<(), LogError> {
        let replay = Replay { end, log_start: self.opening.log_start, now_ms: self.opening.now_ms };
        let active_bytes = self.current.as_ref().map_or(0, |(active, _)| active.size);
        let current = self.current.as_ref().map(|(active, _)| active.segment.clone());
        let segments = self.segments.iter().cloned().chain(current).collect::<Vec<_>>();
        let fresh = self.producers.afresh(end);
        self.producers = replay.producers(fresh, &segments, active_bytes, &mut self.snapshots)?;
        Ok(())
    }

    // The file of the epochs may begin above the log start: a log start that DeleteRecords had moved was in it, and a crash
    // came before the checkpoint of the log start. Without the epochs of what is there again, a leader would say that an
    // earlier epoch goes on to where the file begins, and a follower would keep records of it that others have replaced. `first` is
    // the first epoch of the file. If it begins at the log end, the list is empty by now.
    fn find_first_epochs(
        &mut self,
        first: Option<EpochStart>,
        log_start: Offset,
        active_bytes: u64,
    ) -> Result<(), LogError> {
        let known = self.epochs.starts();
        let Some(first) = first.filter(|first| first.offset > log_start) else { return Ok(()) };
        let mut found = Epochs::new(&self.opening.dir, Vec::new());
        for segment in self.segments.iter().take_while(|segment| segment.base < first.offset) {
            epochs_of(segment, segment.sealed_bytes().unwrap_or(active_bytes), &mut found)?;
        }
        let mut starts = (*found.starts()).clone();
        starts.retain(|start| start.epoch <= first.epoch && start.offset < first.offset);
        let has_first = starts.last().is_some_and(|last| last.epoch == first.epoch);
        starts.extend(known.iter().skip(usize::from(has_first)));
        self.epochs.restore(&starts);
        Ok(())
    }

    pub fn finish(mut self, topic_id: Option<TopicId>) -> Result<(Log, Recovery), LogError> {
        let Opening { disk, dir, config, now_ms, .. } = self.opening;
        let checkpointed = self.opening.log_start;
        if self.current.as_ref().is_some_and(|(_, next)| *next < checkpointed) {
            tracing::warn!(dir = %dir.display(), "the log ends below its start, {checkpointed}: starting anew there");
            self.drop_all()?;
            self.producers = self.producers.afresh(checkpointed);
        }
        let (mut active, log_end) = match self.current.take() {
            Some(current) => current,
            None => {
                self.unflushed.folder_changed();
                let segment = Segment::create(disk, dir, checkpointed)?;
                (Active::new(segment, *now_ms, self.jitter(checkpointed)), checkpointed)
            }
        };
        active.unsynced = !self.opening.clean_shutdown;
        self.segments.push(active.segment.clone());
        let log_start = checkpointed.max(self.segments[0].base);
        self.keep_snapshots(log_end)?;
        if self.opening.clean_shutdown {
            let replay = Replay { end: log_end, log_start, now_ms: *now_ms };
            let fresh = self.producers.afresh(log_end);
            self.producers = replay.producers(fresh, &self.segments, active.size, &mut self.snapshots)?;
        }
        self.producers.end = log_end;
        let first_epoch = self.epochs.starts().first().copied();
        self.epochs.truncate_end(log_end);
        self.find_first_epochs(first_epoch, log_start, active.size)?;
        self.epochs.truncate_start(log_start);
        if !self.epochs_known && log_end > log_start {
            self.epochs.write(disk.as_ref()).map_err(io_error("writing the leader epochs"))?;
        }
        let recovery_point = match self.opening.clean_shutdown {
            true => log_end,
            false => self.lowered.recovery_point().min(log_end),
        };
        // The checkpoint claims more than is there, and what is appended now is not what it covered.
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

    /// Keeps only the snapshots that can be used later: those at the start of a segment or at the end of the log.
    fn keep_snapshots(&mut self, log_end: Offset) -> Result<(), LogError> {
        let bases = self.segments.iter().map(|segment| segment.base).collect::<BTreeSet<_>>();
        // The newest one stays wherever it is: a replay starts there.
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
        // The caller raises it later, to what the checkpoint or the leader says.
        let first = Position { offset: log_start, base: self.segments[0].base, at: 0 };
        let high_watermark = Mark { offset: log_start, position: first };
        let state = Bounds {
            log_start,
            last_stable: high_watermark,
            high_watermark,
            log_end: active.end(log_end),
            largest: active.largest,
            generation: 0,
        };
        let partition = self.opening.partition.clone();
        let reader = LogReader::new(partition, &state, self.segments.clone(), self.epochs.shared());
        reader.note_flushed(recovery_point);
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

/// Whether a segment at `base` may follow one that ends at `next`. Otherwise a loss of power has taken the end of the
/// first one. Rolling leaves no hole, unless the offsets jump too far for one segment; compaction leaves holes, but only
/// in flushed segments.
fn joined(next: Offset, base: Offset, recovery_point: Offset) -> bool {
    let leap = base.saturating_sub(next);
    leap == 0 || (leap > 0 && next < recovery_point) || leap > i32::MAX.into()
}
