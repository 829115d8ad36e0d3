//! Moving a log to another log directory while clients write to it (KIP-113): a copy is made beside it, and takes its
//! place once it is complete. At every moment at least one of the two is complete under the live name. It must never know
//! which directory is which, or who asked for the move.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla_protocol::{LeaderEpoch, Offset};

use super::epochs::Epochs;
use super::error::{AppendError, LogError, ReadError, io as io_error};
use super::files::{Kind, Name, Stage};
use super::scan::{Scan, WALK_BYTES};
use super::{Isolation, Log, LogReader, Opening};
use crate::Disk;
use crate::disk::{OpenHow, is_full};

/// Gives the copy's folder the live name, once the checkpoints of its directory have its log start and recovery point.
/// Both are durable when this returns.
pub type GoLive = Box<dyn FnOnce(Settled) -> io::Result<()> + Send>;

/// The checkpoint entries of a log that has moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    pub recovery_point: Offset,
    pub log_start: Offset,
}

/// A copy in progress. Until it ends, the log is not compacted: if compaction removed a tombstone before it was copied,
/// the copy would bring back the record that it had deleted.
pub struct Relocation {
    log: Log,
    source: Source,
    /// How to open the log at its new place.
    opening: Opening,
    go_live: GoLive,
}

/// The log that is copied.
struct Source(Arc<LogReader>);

/// Why a log did not move.
#[derive(Debug)]
pub enum NotMoved {
    /// Too much was appended in the meantime: the copying goes on.
    Behind(Box<Relocation>),
    /// The log is unchanged, and the copy is useless.
    Failed(LogError),
    /// The log is unchanged. The copy's directory has failed.
    There(LogError),
    /// The copy's directory has failed, and it is not known which of the two has the live name: the log is offline, and
    /// the next start decides.
    Torn(LogError),
}

impl Relocation {
    /// Starts a copy in `folder`. `opening` says how to open the log at its new place, where there must be nothing of that
    /// name yet.
    pub fn begin(
        opening: Opening,
        folder: PathBuf,
        source: Arc<LogReader>,
        go_live: GoLive,
    ) -> Result<Relocation, LogError> {
        if opening.disk.exists(&opening.dir) {
            let (path, what) = (opening.dir, "there is a folder of that name already".to_owned());
            return Err(LogError::Corrupt { path, position: 0, offset: 0, what });
        }
        let source = Source::of(source);
        let new = Opening { dir: folder, clean_shutdown: false, recovery_point: 0, ..opening.clone() };
        let now_ms = new.now_ms;
        let (mut log, _) = Log::open(new)?;
        log.truncate_fully(source.0.offsets().log_start, now_ms)?;
        Ok(Relocation { log, source, opening, go_live })
    }

    pub fn folder(&self) -> &Path {
        &self.log.dir
    }

    /// Where the copy ends.
    pub fn log_end_offset(&self) -> Offset {
        self.log.log_end
    }

    /// Bytes of the copy on disk.
    pub fn size(&self) -> u64 {
        self.log.size()
    }

    /// Copies about `bytes_max` bytes at most, but at least one batch. Returns how many; 0: the copy has caught up.
    pub fn step(&mut self, bytes_max: usize, now_ms: i64) -> Result<u64, AppendError> {
        self.agree(now_ms)?;
        let slice = match self.source.0.read(self.log.log_end, bytes_max, Isolation::LogEnd, true) {
            Ok(slice) => slice,
            // Retention was faster. The next step begins at the log start.
            Err(ReadError::OutOfRange(_)) => return Ok(1),
            Err(ReadError::Io(error)) => return Err(error.into()),
        };
        let Some(range) = slice.range else { return Ok(0) };
        let bytes = range.read().map_err(io_error("reading a log to copy it"))?;
        let copied = bytes.len() as u64;
        let taken = self.log.append_as_follower(bytes.into(), LeaderEpoch(i32::MAX), now_ms)?;
        match taken {
            Ok(_) => Ok(copied),
            Err(refused) => Err(self.corrupt(refused.message).into()),
        }
    }

    // Removes from the copy what the log has lost since it was copied.
    fn agree(&mut self, now_ms: i64) -> Result<(), AppendError> {
        let source = &self.source.0;
        if let Some(epoch) = self.log.last_epoch() {
            let (known, end) = source.epoch_end_offset(epoch);
            if known.is_some() && end < self.log.log_end {
                self.log.truncate_to(end, now_ms)?;
            }
        }
        let offsets = source.offsets();
        if !(offsets.log_start..=offsets.log_end).contains(&self.log.log_end) {
            self.log.truncate_fully(offsets.log_start, now_ms)?;
        }
        Ok(())
    }

    /// Syncs what was copied so far, so that the last sync, for which producers wait, is short.
    pub fn flush(&mut self) -> Result<(), LogError> {
        let ticket = self.log.flush_begin()?;
        let up_to = ticket.up_to;
        ticket.run().map_err(io_error("syncing a copy"))?;
        self.log.flush_end(up_to);
        Ok(())
    }

    /// Whether the copy has to be given up because a write or sync in its directory has failed.
    pub fn has_failed(&self) -> bool {
        self.log.is_offline()
    }

    /// Removes what was copied.
    pub fn abandon(self) {
        let (disk, dir) = (self.log.disk.clone(), self.log.dir.clone());
        // Its files are closed first. While they are in use, removing them would open them, for readers.
        drop(self);
        if let Err(error) = disk.remove_dir_all(&dir) {
            tracing::warn!(folder = %dir.display(), %error, "cannot remove a copy; the next start does");
        }
    }

    fn corrupt(&self, what: String) -> LogError {
        let path = self.log.dir.clone();
        LogError::Corrupt { path, position: self.log.size(), offset: self.log.log_end, what }
    }
}

impl Log {
    /// Completes the copy and replaces this log by it. Returns the old log, which has to be deleted; its readers may go
    /// on with what they have.
    pub fn relocate(&mut self, mut copy: Box<Relocation>, now_ms: i64) -> Result<Log, NotMoved> {
        if !Arc::ptr_eq(&copy.source.0, &self.reader) {
            let dir = copy.log.dir.clone();
            copy.abandon();
            // The log was opened again since the copy was begun.
            return Err(NotMoved::Failed(LogError::Offline { dir }));
        }
        let missing = self.log_end - copy.log.log_end;
        if missing > 0 && self.bytes_behind(copy.log.log_end) > LACKS_BYTES_MAX {
            return Err(NotMoved::Behind(copy));
        }
        if let Err(error) = self.complete(&mut copy, now_ms) {
            let failed = if copy.has_failed() { NotMoved::There(error) } else { NotMoved::Failed(error) };
            copy.abandon();
            return Err(failed);
        }
        let closed = self.check_online().map_err(NotMoved::Failed);
        if let Err(failed) = closed.and_then(|()| copy.log.close().map_err(NotMoved::There)) {
            copy.abandon();
            return Err(failed);
        }
        let mut moved = self.gone_live(*copy, now_ms)?;
        moved.advance_high_watermark(self.high_watermark.offset);
        // A full disk may have had no room for the snapshot.
        moved.producers.take_over(&self.producers);
        moved.producers.verifications = std::mem::take(&mut self.producers.verifications);
        Ok(std::mem::replace(self, moved))
    }

    // Closes the copy, gives it the live name, and opens it again. For a while both directories may have a folder of that
    // name.
    fn gone_live(&self, copy: Relocation, now_ms: i64) -> Result<Log, NotMoved> {
        let Relocation { log, opening, go_live, source } = copy;
        let (folder, live) = (log.dir.clone(), opening.dir.clone());
        let Settled { recovery_point, log_start } =
            Settled { recovery_point: log.log_end, log_start: log.log_start };
        // The files are opened again under their new name.
        drop((log, source));
        let config = self.config.clone();
        let opening = Opening { clean_shutdown: true, recovery_point, log_start, now_ms, config, ..opening };
        let named = go_live(Settled { recovery_point, log_start });
        let opened = named.map_err(io_error("giving a moved log its name")).and_then(|()| Log::open(opening));
        let error = match opened {
            Ok((moved, _)) => return Ok(moved),
            Err(error) => error,
        };
        let parent = live.parent().unwrap_or(Path::new(""));
        let back = || self.disk.rename(&live, &folder).and_then(|()| self.disk.sync_dir(parent));
        if self.disk.exists(&live) && back().is_err() {
            self.go_offline();
            return Err(NotMoved::Torn(error));
        }
        // If this fails, the next start removes the folder.
        let _ = self.disk.remove_dir_all(&folder);
        Err(NotMoved::There(error))
    }

    fn bytes_behind(&self, from: Offset) -> u64 {
        self.reader.bytes_available(from, Isolation::LogEnd)
    }

    fn complete(&self, copy: &mut Relocation, now_ms: i64) -> Result<(), LogError> {
        let failed = |error| match error {
            AppendError::Io(error) => error,
            AppendError::DiskFull { dir, .. } => LogError::Io {
                doing: "completing a copy",
                source: io::Error::new(io::ErrorKind::StorageFull, dir.display().to_string()),
            },
        };
        while copy.step(STEP_BYTES, now_ms).map_err(failed)? > 0 {}
        let log = &mut copy.log;
        log.producers.take_over(&self.producers);
        self.note_ended(log)?;
        // One that was written when the copy came to that offset does not know what was taken over.
        log.snapshots.remove(log.log_end).map_err(io_error("removing a producer snapshot"))?;
        if log.log_end < self.log_end {
            // Compaction has removed the last records, so the log ends in an empty segment, and the copy has to end in
            // one, too.
            log.roll_at(self.log_end, now_ms).map_err(failed)?;
            log.log_end = self.log_end;
        }
        if let Some(latest) = self.epochs.latest() {
            log.assign_epoch(latest.epoch, latest.offset)?;
        }
        log.advance_high_watermark(self.high_watermark.offset);
        // This is never refused: the copy has the same high watermark.
        let _ = log.advance_log_start(self.log_start);
        Ok(())
    }
}

impl Log {
    // Puts the producers that have nothing in the copy into the snapshot with which a recovery of it begins, if the process does
    // not stop cleanly: the one where its last records do.
    fn note_ended(&self, copy: &mut Log) -> Result<(), LogError> {
        let failed = || io_error("writing a producer snapshot");
        let mut bases = copy.segments.iter().map(|segment| segment.base);
        let ended = self.producers.ended_before(copy.segments[0].base);
        let Some(base) = bases.rfind(|base| *base < copy.log_end).filter(|_| !ended.is_empty()) else {
            return Ok(());
        };
        let there = copy.snapshots.load(base..=base).map_err(failed())?;
        let mut known = there.map_or_else(Vec::new, |there| there.producers);
        known.retain(|(id, _)| ended.iter().all(|(other, _)| other != id));
        known.extend(ended);
        match copy.snapshots.write(base, &known) {
            Err(e) if is_full(&e) => return Ok(()),
            written => copy.unflushed.snapshot(base, written.map_err(failed())?),
        }
        copy.unflushed.folder_changed();
        Ok(())
    }
}

impl Source {
    fn of(log: Arc<LogReader>) -> Source {
        log.begin_copy();
        Source(log)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.0.end_copy();
    }
}

impl fmt::Debug for Relocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Relocation({} to {})", self.log.dir.display(), self.log.log_end)
    }
}

/// How much a copy may lack before the log's owner completes it. Producers wait in the meantime.
const LACKS_BYTES_MAX: u64 = 4 << 20;
const STEP_BYTES: usize = 1 << 20;

/// How far the log in a folder goes: its newest leader epoch, and where its last segment ends. Of two folders of the same
/// name, this tells which one was written to last.
pub fn extent(disk: &dyn Disk, folder: &Path) -> io::Result<(i32, Offset)> {
    let starts = Epochs::read(disk, folder)?.unwrap_or_default();
    let epoch = starts.last().map_or(LeaderEpoch::NONE, |start| start.epoch);
    let entries = disk.list(folder)?.into_iter();
    let logs = entries.filter_map(|entry| Some((Name::parse(&entry.name)?, entry)));
    let mut logs = logs.filter(|(name, _)| name.kind == Kind::Log && name.stage == Stage::Live);
    // The list is sorted by name, which is also by offset.
    let last = logs.next_back();
    let Some((Name { offset, .. }, entry)) = last else { return Ok((epoch.0, 0)) };
    let file = disk.open(&folder.join(entry.name), OpenHow::Read)?;
    let mut scan = Scan::new(&*file, 0, entry.len, WALK_BYTES);
    let mut end = offset;
    // Bytes after the last whole batch do not count.
    while let Ok(Some(found)) = scan.next() {
        end = found.header.next_offset();
    }
    Ok((epoch.0, end))
}
