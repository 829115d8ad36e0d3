//! What has been written and not synced, and tickets for syncing it. A ticket runs on any thread while its log goes on;
//! the recovery point moves only over what a ticket has brought down. It must never sync a file of its own accord.

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

/// The owner's books. A file stays in them until a flush that covers it is known to have succeeded.
#[derive(Debug, Default)]
pub(super) struct Unflushed {
    sealed: Vec<Sealed>,
    snapshots: Vec<Snapshot>,
    /// Counts sealed segments and snapshots.
    files: u64,
    /// Files created or renamed so far in the partition's folder, and how many of these are sure to last.
    folder_changes: u64,
    folder_synced: u64,
    /// The partition's own folder is new.
    parent_changed: bool,
    /// Batches that a full disk refused and that were cut off again, and how many of these cuts are sure to last.
    cuts: u64,
    cuts_synced: u64,
    tickets: Vec<Outstanding>,
    pub last_flush_ms: i64,
    /// Appended since the last flush began.
    pub bytes: u64,
    /// A segment was rolled since the last flush began.
    pub rolled: bool,
}

#[derive(Debug)]
struct Sealed {
    /// The offset behind its last batch.
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
    /// Less than `up_to` if the log was truncated meanwhile.
    covers: Offset,
    /// Those counted later are not in it, whatever their offsets.
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

    /// A batch was refused for want of room, and cut off.
    pub fn cut(&mut self) {
        self.cuts += 1;
    }

    /// Whether a cut might still be lost with the power. What is appended in its place meanwhile could be lost too, and the
    /// refused batch be found there, under the same leader epoch: nobody could tell.
    pub fn cut_pending(&self) -> bool {
        self.cuts > self.cuts_synced
    }

    pub fn folder_pending(&self) -> bool {
        self.folder_changes > self.folder_synced || self.parent_changed
    }

    pub fn parent_pending(&self) -> bool {
        self.parent_changed
    }

    /// The folder was synced on the spot.
    pub fn folder_synced(&mut self) {
        self.folder_synced = self.folder_changes;
        self.parent_changed = false;
    }

    /// Has every snapshot so far outlive a loss of power, apart from its name. Whether there was one to sync.
    pub fn sync_snapshots(&self) -> io::Result<bool> {
        self.snapshots.iter().try_for_each(|snapshot| snapshot.handle.sync())?;
        Ok(!self.snapshots.is_empty())
    }

    /// What is above `end` is not in the log any more; what will be there is not what a ticket took along.
    pub fn truncated(&mut self, end: Offset) {
        self.tickets.iter_mut().for_each(|ticket| ticket.covers = ticket.covers.min(end));
        self.sealed.retain(|sealed| sealed.end <= end);
        self.snapshots.retain(|snapshot| snapshot.offset <= end);
    }

    /// These have given way to one that is synced.
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
    /// Gathers what no flush has covered. Costs no sync: that is what the ticket's `run` does.
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
        // The active segment's indexes are made anew after a crash: only their log matters.
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

    /// Moves the recovery point, after the `run` of the ticket with this `up_to` has succeeded: all below is durable.
    pub fn flush_end(&mut self, up_to: Offset) {
        let unflushed = &mut self.unflushed;
        // Two tickets may have the same end, one of them from before a truncation: the one that covers less counts.
        let same = unflushed.tickets.iter().enumerate().filter(|(_, ticket)| ticket.up_to == up_to);
        let Some((at, _)) = same.min_by_key(|(_, ticket)| ticket.covers) else { return };
        let ticket = unflushed.tickets.remove(at);
        if self.offline.load(Ordering::Acquire) {
            return;
        }
        unflushed.folder_synced = unflushed.folder_synced.max(ticket.folder_changes);
        unflushed.cuts_synced = unflushed.cuts_synced.max(ticket.cuts);
        unflushed.parent_changed = false;
        // What stays is taken along by a later ticket, some of it once more.
        unflushed.sealed.retain(|sealed| sealed.end > ticket.covers || sealed.file > ticket.files);
        unflushed
            .snapshots
            .retain(|snapshot| snapshot.offset > ticket.covers || snapshot.file > ticket.files);
        // A segment that was sealed and is not synced may end at the recovery point, and not below it.
        let doubtful = unflushed.sealed.iter().map(|sealed| sealed.end).min().unwrap_or(Offset::MAX);
        self.recovery_point = self.recovery_point.max(ticket.covers.min(self.log_end).min(doubtful));
        unflushed.last_flush_ms = self.told_ms;
        self.reader.note_flushed(self.recovery_point);
        self.lowered.reached(self.disk.as_ref(), self.recovery_point);
    }

    /// What the kernel should begin to write now, if that is enough to be worth a call. Left to itself it lets dirty pages gather
    /// until it holds up whoever writes, and what is left for one sync holds up the journal for everybody.
    pub fn write_out(&mut self) -> Option<WriteOut> {
        let Active { segment, size, written_out, .. } = &mut self.active;
        let from = (*written_out).min(*size);
        // Not the end, which is being written to.
        let to = *size - *size % WRITE_OUT_BYTES;
        if to <= from {
            return None;
        }
        *written_out = to;
        Some(WriteOut { file: segment.log.clone(), at: from, len: to - from })
    }

    /// After an append was refused for want of room ([`AppendError::DiskFull`]) the next one needs a flush first.
    pub fn needs_flush_to_append(&self) -> bool {
        self.unflushed.cut_pending()
    }

    /// Bytes appended since the last flush began.
    pub fn unflushed_bytes(&self) -> u64 {
        self.unflushed.bytes
    }

    /// Whether the next flush opens files, of segments that were rolled, or the end of this one removes one.
    pub fn flush_waits(&self) -> bool {
        !self.unflushed.sealed.is_empty() || self.lowered.is_noted()
    }

    /// Records appended since the recovery point.
    pub fn unflushed_messages(&self) -> i64 {
        self.log_end - self.recovery_point
    }

    /// When the last flush ended, as far as this log was told the time.
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

/// A range of a file that the kernel should begin to write, on its way to a thread that may wait.
#[derive(Debug)]
pub struct WriteOut {
    file: Arc<dyn DiskFile>,
    pub at: u64,
    pub len: u64,
}

impl WriteOut {
    /// Without a result: what fails here fails the next flush.
    pub fn run(self) {
        self.file.write_out(self.at, self.len);
    }
}

/// Small enough that the device is never busy with one of these for long, large enough that the calls cost nothing.
const WRITE_OUT_BYTES: u64 = 512 << 10;

/// A group of syncs on its way to another thread.
#[derive(Debug)]
#[must_use = "nothing is durable before run() has returned Ok and flush_end was told"]
pub struct FlushTicket {
    /// What [`Log::flush_end`] is to be called with after `run`.
    pub up_to: Offset,
    files: Vec<(Arc<dyn DiskFile>, SyncMark)>,
    folders: Vec<PathBuf>,
    disk: Arc<dyn Disk>,
    offline: Arc<AtomicBool>,
}

impl FlushTicket {
    /// Syncs. After an error the log is offline for good, whether its owner is told or not: what the sync was to bring
    /// down may be lost although it reads back, and another sync would not save it.
    pub fn run(self) -> io::Result<()> {
        let files = self.files.iter().try_for_each(|(file, mark)| file.sync_end(*mark));
        let folder = |dir: &PathBuf| match self.disk.sync_dir(dir) {
            // The partition was deleted meanwhile, and nobody wants it.
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
