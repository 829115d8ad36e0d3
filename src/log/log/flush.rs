//! What was written and not synced yet, and tickets for syncing it. A ticket runs on any thread while its log goes on.
//! The recovery point moves only over what a ticket has synced. It must never sync a file of its own accord.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ottla_protocol::Offset;

use super::Log;
use super::active::Active;
use super::error::LogError;
use super::segment::Segment;
use crate::disk::SyncMark;
use crate::{Disk, DiskFile};

/// What the owner has to sync. A file stays in here until a flush that covers it has succeeded.
#[derive(Debug, Default)]
pub(super) struct Unflushed {
    sealed: Vec<Sealed>,
    snapshots: Vec<Snapshot>,
    /// Numbers the sealed segments and snapshots, in order.
    files: u64,
    /// How many files were created, renamed or removed in the partition's folder so far, and how many of these changes
    /// are durable.
    folder_changes: u64,
    folder_synced: u64,
    /// The partition's own folder is new, so its parent has to be synced.
    parent_changed: bool,
    /// How many times a refused write was cut off again on a full disk, and how many of these cuts are durable.
    cuts: u64,
    cuts_synced: u64,
    tickets: Vec<Outstanding>,
    pub last_flush_ms: i64,
    /// Bytes appended since the last flush began.
    pub bytes: u64,
    /// A segment was rolled since the last flush began.
    pub rolled: bool,
}

#[derive(Debug)]
struct Sealed {
    /// The offset after its last batch.
    end: Offset,
    segment: Arc<Segment>,
    file: u64,
}

#[derive(Debug)]
struct Snapshot {
    offset: Offset,
    handle: Arc<dyn DiskFile>,
    file: u64,
}

#[derive(Clone, Copy, Debug)]
struct Outstanding {
    up_to: Offset,
    /// Below `up_to` if the log was truncated since.
    covers: Offset,
    /// Files with a higher number are not in the ticket, whatever their offsets.
    files: u64,
    folder_changes: u64,
    cuts: u64,
}

impl Unflushed {
    pub fn since(now_ms: i64) -> Unflushed {
        Unflushed { last_flush_ms: now_ms, ..Unflushed::default() }
    }

    pub fn sealed(&mut self, end: Offset, segment: Arc<Segment>) {
        self.files += 1;
        self.sealed.push(Sealed { end, segment, file: self.files });
        self.rolled = true;
    }

    pub fn snapshot(&mut self, offset: Offset, handle: Arc<dyn DiskFile>) {
        self.files += 1;
        self.snapshots.push(Snapshot { offset, handle, file: self.files });
    }

    pub fn folder_changed(&mut self) {
        self.folder_changes += 1;
    }

    pub fn parent_changed(&mut self) {
        self.parent_changed = true;
    }

    /// Notes that a batch was refused because the disk was full, and was cut off.
    pub fn cut(&mut self) {
        self.cuts += 1;
    }

    /// Whether a loss of power could still undo a cut. If it undid the cut and also lost what was appended in its place,
    /// the refused batch would be back, under the same leader epoch, and nobody could tell that it had been refused.
    pub fn cut_pending(&self) -> bool {
        self.cuts > self.cuts_synced
    }

    pub fn folder_pending(&self) -> bool {
        self.folder_changes > self.folder_synced || self.parent_changed
    }

    pub fn parent_pending(&self) -> bool {
        self.parent_changed
    }

    /// Notes that the folder was synced outside of a flush.
    pub fn folder_synced(&mut self) {
        self.folder_synced = self.folder_changes;
        self.parent_changed = false;
    }

    /// Makes the contents of every snapshot so far durable; their names need a sync of the folder. Returns whether there
    /// were any.
    pub fn sync_snapshots(&self) -> io::Result<bool> {
        self.snapshots.iter().try_for_each(|snapshot| snapshot.handle.sync())?;
        Ok(!self.snapshots.is_empty())
    }

    /// The log was truncated to `end`. A ticket that was made before does not cover what is appended above `end` from now
    /// on.
    pub fn truncated(&mut self, end: Offset) {
        self.tickets.iter_mut().for_each(|ticket| ticket.covers = ticket.covers.min(end));
        self.sealed.retain(|sealed| sealed.end <= end);
        self.snapshots.retain(|snapshot| snapshot.offset <= end);
    }

    /// Notes that these segments were replaced by one that is synced.
    pub fn replaced(&mut self, old: &[Arc<Segment>]) {
        self.sealed.retain(|sealed| !old.iter().any(|old| Arc::ptr_eq(old, &sealed.segment)));
    }

    /// Segments below `start` are not in the log any more.
    pub fn retired(&mut self, start: Offset) {
        self.sealed.retain(|sealed| sealed.segment.base >= start);
        self.snapshots.retain(|snapshot| snapshot.offset >= start);
    }
}

impl Log {
    /// Collects everything that no flush covers. This syncs nothing: the ticket's `run` does.
    pub fn flush_begin(&mut self) -> Result<FlushTicket, LogError> {
        self.check_online()?;
        let mut files = Vec::new();
        let mut add = |file: &Arc<dyn DiskFile>| files.push((file.clone(), file.sync_begin()));
        for Sealed { segment, .. } in &self.unflushed.sealed {
            add(&segment.log);
            let index = |e| LogError::Io { doing: "opening an index to sync it", source: e };
            add(segment.offset_index.file().map_err(index)?);
            add(segment.time_index.file().map_err(index)?);
            if !segment.txn_index.is_empty() {
                add(segment.txn_index.file().map_err(index)?);
            }
        }
        self.unflushed.snapshots.iter().for_each(|snapshot| add(&snapshot.handle));
        // The active segment's indexes are rebuilt after a crash, so only its log file is synced.
        if self.log_end > self.active.base() || self.active.unsynced || self.unflushed.cut_pending() {
            add(&self.active.segment.log);
        }
        self.active.written_out = self.active.size;
        let unflushed = &mut self.unflushed;
        unflushed.rolled = false;
        unflushed.bytes = 0;
        let folders = match (unflushed.folder_pending(), unflushed.parent_changed, self.dir.parent()) {
            (false, _, _) => vec![],
            (true, true, Some(parent)) => vec![self.dir.clone(), parent.to_owned()],
            (true, _, _) => vec![self.dir.clone()],
        };
        let up_to = self.log_end;
        let (folder_changes, counted) = (unflushed.folder_changes, unflushed.files);
        let cuts = unflushed.cuts;
        unflushed.tickets.push(Outstanding { up_to, covers: up_to, files: counted, folder_changes, cuts });
        let (disk, offline) = (self.disk.clone(), self.offline.clone());
        Ok(FlushTicket { up_to, files, folders, disk, offline })
    }

    /// Moves the recovery point. To be called after `run` of the ticket with this `up_to` has succeeded: everything below
    /// is durable.
    pub fn flush_end(&mut self, up_to: Offset) {
        let unflushed = &mut self.unflushed;
        // Two tickets may have the same end, one of them from before a truncation. The one that covers less is taken.
        let same = unflushed.tickets.iter().enumerate().filter(|(_, ticket)| ticket.up_to == up_to);
        let Some((at, _)) = same.min_by_key(|(_, ticket)| ticket.covers) else { return };
        let ticket = unflushed.tickets.remove(at);
        if self.offline.load(Ordering::Acquire) {
            return;
        }
        unflushed.folder_synced = unflushed.folder_synced.max(ticket.folder_changes);
        unflushed.cuts_synced = unflushed.cuts_synced.max(ticket.cuts);
        unflushed.parent_changed = false;
        // A later ticket covers what stays, and syncs some of it again.
        unflushed.sealed.retain(|sealed| sealed.end > ticket.covers || sealed.file > ticket.files);
        unflushed
            .snapshots
            .retain(|snapshot| snapshot.offset > ticket.covers || snapshot.file > ticket.files);
        // The recovery point may not be above the end of a sealed segment that is not synced yet.
        let doubtful = unflushed.sealed.iter().map(|sealed| sealed.end).min().unwrap_or(Offset::MAX);
        self.recovery_point = self.recovery_point.max(ticket.covers.min(self.log_end).min(doubtful));
        unflushed.last_flush_ms = self.told_ms;
        self.reader.note_flushed(self.recovery_point);
        self.lowered.reached(self.disk.as_ref(), self.recovery_point);
    }

    /// What the kernel should begin to write now, if that is enough to be worth a call. Without this the kernel gathers
    /// dirty pages until it makes writers wait, and a sync that has much to write delays the file system's journal for
    /// everybody.
    pub fn write_out(&mut self) -> Option<WriteOut> {
        let Active { segment, size, written_out, .. } = &mut self.active;
        let from = (*written_out).min(*size);
        // Not the last part of the file, since appends go on there.
        let to = *size - *size % WRITE_OUT_BYTES;
        if to <= from {
            return None;
        }
        *written_out = to;
        Some(WriteOut { file: segment.log.clone(), at: from, len: to - from })
    }

    /// Whether the next append has to wait for a flush, after one was refused because the disk was full
    /// ([`AppendError::DiskFull`]).
    pub fn needs_flush_to_append(&self) -> bool {
        self.unflushed.cut_pending()
    }

    /// Bytes appended since the last flush began.
    pub fn unflushed_bytes(&self) -> u64 {
        self.unflushed.bytes
    }

    /// Whether the next flush may wait for the disk outside of its syncs: it opens files of sealed segments, or its end
    /// removes the `recovery-point-lowered` file.
    pub fn flush_waits(&self) -> bool {
        !self.unflushed.sealed.is_empty() || self.lowered.is_noted()
    }

    /// Records appended since the recovery point.
    pub fn unflushed_messages(&self) -> i64 {
        self.log_end - self.recovery_point
    }

    /// When the last flush ended, by the latest time that a caller of this log has given.
    pub fn last_flush_ms(&self) -> i64 {
        self.unflushed.last_flush_ms
    }

    /// Whether `flush.messages`, `flush.ms` or a rolled segment asks for a flush.
    pub fn flush_due(&self, now_ms: i64) -> bool {
        let messages = self.unflushed_messages();
        let waited = now_ms.saturating_sub(self.unflushed.last_flush_ms);
        let config = &self.config;
        self.unflushed.rolled
            || self.unflushed.cut_pending()
            || messages >= config.flush_messages
            || (messages > 0 && waited >= config.flush_ms)
    }
}

/// A range of a file that the kernel should begin to write. It runs on a thread that may wait.
#[derive(Debug)]
pub struct WriteOut {
    file: Arc<dyn DiskFile>,
    pub at: u64,
    pub len: u64,
}

impl WriteOut {
    /// Returns no result: an error here shows again in the next flush.
    pub fn run(self) {
        self.file.write_out(self.at, self.len);
    }
}

/// Small enough that the device is never busy with one range for long, large enough that the calls cost next to nothing.
const WRITE_OUT_BYTES: u64 = 512 << 10;

/// A group of syncs, to be run on another thread.
#[derive(Debug)]
#[must_use = "nothing is durable before run() has returned Ok and flush_end was told"]
pub struct FlushTicket {
    /// The argument for [`Log::flush_end`] after `run`.
    pub up_to: Offset,
    files: Vec<(Arc<dyn DiskFile>, SyncMark)>,
    folders: Vec<PathBuf>,
    disk: Arc<dyn Disk>,
    offline: Arc<AtomicBool>,
}

impl FlushTicket {
    /// Runs the syncs. After an error the log is offline for good, whether its owner is told or not: the data may be lost
    /// although it can still be read, and another sync would not save it.
    pub fn run(self) -> io::Result<()> {
        let files = self.files.iter().try_for_each(|(file, mark)| file.sync_end(*mark));
        let folder = |dir: &PathBuf| match self.disk.sync_dir(dir) {
            // The partition was deleted since, and does not have to be durable.
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            synced => synced,
        };
        let synced = files.and_then(|()| self.folders.iter().try_for_each(folder));
        if synced.is_err() {
            self.offline.store(true, Ordering::Release);
        }
        synced
    }
}
