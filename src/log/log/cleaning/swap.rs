//! The owner's part in a cleaning: it gives out the log's state at the beginning, and puts the output in the place of the
//! old segments. It must never wait for a cleaning, and never accept one if the log has changed under it.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use ottla_model::config::TopicConfig;
use ottla_protocol::Offset;

use super::Cleaning;
use super::dirt::Dirt;
use super::group::Group;
use super::job::{Job, LastRecord, floor};
use super::offset_map::OffsetMap;
use super::output;
use crate::log::error::{LogError, io};
use crate::log::files::{Kind, Stage};
use crate::log::published::Mark;
use crate::log::segment::Segment;
use crate::log::{Log, Retired};

/// A finished output, for [`Log::swap_cleaned`].
#[derive(Debug)]
pub struct Swap {
    config: Arc<TopicConfig>,
    old: Vec<Arc<Segment>>,
    /// Segments that the output depends on: they may have the newer records of keys that are missing in the output.
    relies_on: Vec<Arc<Segment>>,
    made: Arc<Segment>,
    end: Offset,
}

/// Why a log did not take an output.
#[derive(Debug, thiserror::Error)]
pub enum NotSwapped {
    /// The log is unchanged, the output is removed; the cleaning has to be abandoned.
    #[error("{0}")]
    Refused(&'static str),
    /// The log is offline.
    #[error(transparent)]
    Io(#[from] LogError),
}

impl Swap {
    pub(super) fn new(job: &Job, group: Group, made: Arc<Segment>) -> Result<Swap, LogError> {
        let old = job.segments[group.segments.clone()].to_vec();
        // Opened before the renames: a reader with the old list of segments could not open them by their names later, or
        // would open the new files.
        let opening = || io("opening an index");
        for segment in &old {
            segment.offset_index.file().map_err(opening())?;
            segment.time_index.file().map_err(opening())?;
            if !segment.txn_index.is_empty() {
                segment.txn_index.file().map_err(opening())?;
            }
        }
        let relies_on = job.segments[group.segments.end..job.count].to_vec();
        Ok(Swap { config: job.config.clone(), old, relies_on, made, end: group.end })
    }
}

impl Log {
    /// Gives a cleaning what it needs. `None`: there is nothing to clean any more.
    pub fn begin_cleaning(
        &self,
        dirt: &Dirt,
        map: OffsetMap,
        now_ms: i64,
    ) -> Result<Option<Cleaning>, LogError> {
        self.check_online()?;
        let unclean = self.last_stable_offset().min(self.recovery_point).min(dirt.end);
        let sealed = self.segments.len() - 1;
        let count = floor(&self.segments, unclean).min(sealed);
        let end = self.segments[count].base;
        if !self.config.cleanup_policy.compact || count == 0 || end <= dirt.first_dirty {
            return Ok(None);
        }
        let job = Job {
            disk: self.disk.clone(),
            dir: self.dir.clone(),
            config: self.config.clone(),
            segments: self.segments.clone(),
            first_dirty: dirt.first_dirty.max(self.log_start),
            count,
            end,
            producers: self.last_records(),
            now_ms,
            offline: self.offline.clone(),
            reader: self.reader.clone(),
            lowest_cut: self.reader.lowest_cut(),
        };
        Cleaning::new(job, map).map(Some)
    }

    /// Puts a cleaning's output in the place of the segments that it was made from. A crash at any step leaves either all
    /// of the old segments on disk, or all of the new one.
    pub fn swap_cleaned(&mut self, swap: Swap, now_ms: i64) -> Result<Vec<Retired>, NotSwapped> {
        self.check_online()?;
        self.told(now_ms);
        let at = self.place_of(&swap).map_err(|why| {
            output::abandon(self.disk.as_ref(), &self.dir, swap.made.base);
            NotSwapped::Refused(why)
        })?;
        match self.put_in_place(&swap, now_ms) {
            Ok(retired) => {
                self.replace_cleaned(at, &swap);
                Ok(retired)
            }
            Err(e) => {
                self.go_offline();
                Err(e.into())
            }
        }
    }

    fn place_of(&self, swap: &Swap) -> Result<usize, &'static str> {
        if *self.config != *swap.config {
            return Err("the log's config has changed");
        }
        if self.reader.is_copied() {
            return Err("the log is being moved to another directory");
        }
        let same = |(a, b): (&Arc<Segment>, &Arc<Segment>)| Arc::ptr_eq(a, b);
        let at = self.segments.iter().position(|segment| Arc::ptr_eq(segment, &swap.old[0]));
        let at = at.ok_or("the log's segments have changed")?;
        let wanted = swap.old.iter().chain(&swap.relies_on);
        let needed = swap.old.len() + swap.relies_on.len();
        // The active segment is never among them.
        if at + needed >= self.segments.len() || !self.segments[at..].iter().zip(wanted).all(same) {
            return Err("the log's segments have changed");
        }
        if self.recovery_point < swap.end {
            return Err("the log's recovery point has gone back");
        }
        Ok(at)
    }

    /// The steps are in Kafka's order. Where a loss of power must not undo a step and keep a later one, the folder is
    /// synced between them.
    fn put_in_place(&mut self, swap: &Swap, now_ms: i64) -> Result<Vec<Retired>, LogError> {
        let base = swap.made.base;
        let [log, indexes @ ..] = Kind::OF_SEGMENT;
        self.rename_stage(&indexes, base, Stage::Cleaned, Stage::Swap)?;
        self.rename_stage(&[log], base, Stage::Cleaned, Stage::Swap)?;
        self.sync_folder()?;
        let mut retired = Vec::new();
        for old in &swap.old {
            let snapshot = if old.base == base { None } else { self.snapshots.forget(old.base) };
            retired.push(self.rename_deleted(old, snapshot, now_ms)?);
        }
        self.sync_folder()?;
        // As long as the `.swap` log is there, recovery knows that the live files at its base offset are old.
        self.rename_stage(&[log], base, Stage::Swap, Stage::Live)?;
        self.sync_folder()?;
        self.rename_stage(&indexes, base, Stage::Swap, Stage::Live)?;
        self.unflushed.folder_changed();
        Ok(retired)
    }

    fn rename_stage(&self, kinds: &[Kind], base: Offset, from: Stage, to: Stage) -> Result<(), LogError> {
        let path = |kind: &Kind, stage| -> PathBuf { kind.staged(&self.dir, base, stage) };
        kinds.iter().try_for_each(|kind| match self.disk.rename(&path(kind, from), &path(kind, to)) {
            Err(e) if e.kind() == ErrorKind::NotFound && *kind == Kind::TxnIndex => Ok(()),
            outcome => outcome.map_err(io("renaming a cleaned segment")),
        })
    }

    fn replace_cleaned(&mut self, at: usize, swap: &Swap) {
        self.generation += 1;
        self.publish();
        let made = Arc::new(swap.made.settled(&self.disk, &self.dir));
        self.segments.splice(at..at + swap.old.len(), [made]);
        self.unflushed.replaced(&swap.old);
        // The positions are in segments that are gone: the same offsets are elsewhere now.
        self.boundaries.retain(|boundary| boundary.offset >= swap.end);
        if self.high_watermark.position.base < swap.end {
            let offset = self.high_watermark.offset;
            match self.position_of(offset) {
                Ok(position) => self.high_watermark = Mark { offset, position },
                Err(e) => {
                    tracing::error!(log = %self.dir.display(), "looking up high watermark {offset}: {e}");
                    self.go_offline();
                }
            }
        }
        self.unstable = self.unstable.filter(|unstable| unstable.position.base >= swap.end);
        self.publish_segments();
        self.generation += 1;
        self.publish();
    }

    fn last_records(&self) -> HashMap<i64, LastRecord> {
        let last = |(id, producer): (i64, crate::log::producers::Producer)| {
            let data_offset = producer.last_seen().map(|seen| seen.last_offset);
            let last = data_offset.unwrap_or(self.log_end - 1);
            let may_be_lost = last >= self.recovery_point;
            (id, LastRecord { data_offset, epoch: producer.epoch, may_be_lost })
        };
        self.producers.all().into_iter().map(last).collect()
    }
}
