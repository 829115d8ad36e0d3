//! What is removed at the end of a log: a follower that has diverged truncates (KIP-101), or starts anew. It must never
//! decide where to truncate.

use std::sync::Arc;

use ottla_protocol::Offset;

use super::active::{Active, jitter_ms};
use super::error::{LogError, io};
use super::files::Kind;
use super::published::{Mark, Position};
use super::recovery::{Replay, reindex, remove_if_there};
use super::segment::Segment;
use super::{Bounds, Log};
use crate::disk::is_full;

impl Log {
    /// Truncates the log to `offset`, or, if that is inside a batch, to the start of the batch. The high watermark and
    /// the recovery point are lowered with it. Returns whether anything was removed.
    pub fn truncate_to(&mut self, offset: Offset, now_ms: i64) -> Result<bool, LogError> {
        self.check_online()?;
        self.told(now_ms);
        if offset >= self.log_end {
            self.epochs.truncate_end(self.log_end);
            return Ok(false);
        }
        if offset < self.segments[0].base {
            self.truncate_fully(offset, now_ms)?;
            return Ok(true);
        }
        let outcome = self.cut(offset, now_ms);
        self.after_cutting(outcome).map(|()| true)
    }

    /// Removes everything and starts again at `new_start`, also with the high watermark (KAFKA-9491).
    pub fn truncate_fully(&mut self, new_start: Offset, now_ms: i64) -> Result<(), LogError> {
        self.check_online()?;
        self.told(now_ms);
        let outcome = self.restart_at(new_start, now_ms);
        self.after_cutting(outcome)
    }

    fn after_cutting(&mut self, outcome: Result<(), LogError>) -> Result<(), LogError> {
        if outcome.is_err() {
            self.go_offline();
            // The truncation will not be finished, and readers must not wait for it.
            self.generation += self.generation % 2;
            self.publish();
        }
        outcome
    }

    fn cut(&mut self, offset: Offset, now_ms: i64) -> Result<(), LogError> {
        let keep = self.segments.partition_point(|segment| segment.base <= offset);
        let target = self.segments[keep - 1].clone();
        let size = self.size_of(&target);
        let (end, position) = match target.locate(offset, size)? {
            Some(found) => (offset.min(found.header.base_offset), found.position),
            None => (offset, size),
        };
        let lowering = || io("lowering the recovery point");
        self.lowered.lower(self.disk.as_ref(), end).map_err(lowering())?;
        // Readers must not read the bytes that are about to be removed, so the new log end is published first.
        self.generation += 1;
        self.lower_to(Position { offset: end, base: target.base, at: position });
        let dropped = self.segments.split_off(keep);
        self.reader.publish(&Bounds {
            log_end: Position { offset: end, base: target.base, at: position },
            ..self.state()
        });
        self.remove(&dropped)?;
        let cut = target.cut(end)?;
        cut.log.truncate(position).map_err(io("truncating a segment"))?;
        // Synced, so that after a loss of power the removed bytes cannot be back behind what is appended next.
        cut.log.sync().map_err(io("truncating a segment"))?;
        let jitter = jitter_ms(self.jitter_seed, cut.base, &self.config);
        self.active = match Active::resume(cut, position, now_ms, jitter) {
            Ok((active, _)) => active,
            Err(LogError::Corrupt { .. }) => {
                // The target may have been sealed, with the size that it had before.
                let rebuilt = reindex(&self.disk, &self.dir, &target, position, &self.config)?;
                let rebuilt = rebuilt.renewed(&self.disk, &self.dir);
                Active::resume(rebuilt, position, now_ms, jitter)?.0
            }
            Err(e) => return Err(e),
        };
        self.segments[keep - 1] = self.active.segment.clone();
        self.ended_at(end, now_ms)
    }

    fn restart_at(&mut self, base: Offset, now_ms: i64) -> Result<(), LogError> {
        let lowering = || io("lowering the recovery point");
        self.lowered.lower(self.disk.as_ref(), base).map_err(lowering())?;
        self.generation += 1;
        self.publish();
        let dropped = std::mem::take(&mut self.segments);
        self.remove(&dropped)?;
        // What was rolled and not flushed goes too, where the new start is above it: its files are not there to be synced.
        self.unflushed.retired(base);
        let segment = Segment::create(&self.disk, &self.dir, base)?;
        self.active = Active::new(segment, now_ms, jitter_ms(self.jitter_seed, base, &self.config));
        self.segments = vec![self.active.segment.clone()];
        self.log_start = base;
        self.recovery_point = base;
        self.reader.note_flushed(base);
        self.reader.note_cut(base);
        self.lowered.reached(self.disk.as_ref(), base);
        self.boundaries.clear();
        self.unstable = None;
        self.high_watermark = Mark { offset: base, position: self.active.end(base) };
        self.epochs.clear();
        match self.epochs.write(self.disk.as_ref()) {
            // What was removed may be kept by readers for a moment yet. The list is written before anything is appended.
            Err(e) if is_full(&e) => {}
            written => written.map_err(io("writing the leader epochs"))?,
        }
        self.sync_folder()?;
        self.ended_at(base, now_ms)
    }

    /// Lowers the offsets and forgets the positions that are above `end`.
    fn lower_to(&mut self, end: Position) {
        if self.high_watermark.offset >= end.offset {
            self.high_watermark = Mark { offset: end.offset, position: end };
        }
        self.log_start = self.log_start.min(end.offset);
        self.recovery_point = self.recovery_point.min(end.offset);
        self.reader.note_flushed(self.recovery_point);
        self.reader.note_cut(end.offset);
        self.boundaries.retain(|boundary| boundary.offset < end.offset);
        self.unstable = self.unstable.filter(|unstable| unstable.offset < end.offset);
    }

    /// Brings the rest of the state to the new end, after the files were truncated, and publishes it.
    fn ended_at(&mut self, end: Offset, now_ms: i64) -> Result<(), LogError> {
        self.log_end = end;
        self.unflushed.truncated(end);
        self.epochs.truncate_end(end);
        self.snapshots.remove_if(|offset| offset > end).map_err(io("removing a producer snapshot"))?;
        self.rebuild_producers(end, now_ms)?;
        self.generation += 1;
        self.publish_segments();
        self.publish();
        Ok(())
    }

    fn rebuild_producers(&mut self, end: Offset, now_ms: i64) -> Result<(), LogError> {
        let fresh = self.producers.afresh(end);
        // If there were no producers before, there are none now; most partitions never have any.
        self.producers = match self.producers.is_empty() {
            true => fresh,
            false => {
                let replay = Replay { end, log_start: self.log_start, now_ms };
                replay.producers(fresh, &self.segments, self.active.size, &mut self.snapshots)?
            }
        };
        self.producers.replicated(self.high_watermark.offset);
        Ok(())
    }

    /// Removes segments that readers do not see any more, the newest first. The removal is durable when this returns.
    fn remove(&mut self, segments: &[Arc<Segment>]) -> Result<(), LogError> {
        for segment in segments.iter().rev() {
            for path in segment.paths() {
                remove_if_there(self.disk.as_ref(), path)?;
            }
            let snapshot = Kind::Snapshot.path(&self.dir, segment.base);
            self.snapshots.remove(segment.base).map_err(io("removing a producer snapshot"))?;
            remove_if_there(self.disk.as_ref(), &snapshot)?;
        }
        self.sync_folder()
    }
}
