//! The disk between the node and the memory: it counts what went wrong, so that a node may fail only for a reason; it
//! ends the process inside an operation when told to; and it is where some mistakes are put back. It must never change
//! what an honest run does.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ottla_log::disk::{Entry, LockGuard, MemoryDisk, OpenHow, SyncMark, worker};
use ottla_log::{Disk, DiskFile};
use ottla_node::lane::{Input, Lane, Output, Waiters};

use crate::mutation::Mutation;

/// A watched disk.
#[derive(Debug)]
pub(crate) struct SimDisk {
    memory: MemoryDisk,
    watch: Arc<Watch>,
    mutation: Option<Mutation>,
}

#[derive(Debug)]
struct Watch {
    failures: AtomicU64,
    failed_syncs: AtomicU64,
    /// So many changes are made before the process ends.
    fuse: AtomicU64,
    /// Eighths of the last write that are made.
    torn: AtomicU64,
    /// What was changed, for the trace; `None` where nobody will read it.
    changes: Option<Mutex<Vec<String>>>,
}

/// The panic that ends a process where it stands: nothing of it runs any further, and no hook reports it.
pub(crate) struct Ended;

impl Watch {
    /// Before each change.
    fn burn(&self) {
        match self.fuse.load(Ordering::Relaxed) {
            UNLIT => {}
            0 => std::panic::resume_unwind(Box::new(Ended)),
            left => self.fuse.store(left - 1, Ordering::Relaxed),
        }
    }

    fn seen<T>(&self, outcome: io::Result<T>) -> io::Result<T> {
        let expected = |e: &io::Error| {
            matches!(e.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists | ErrorKind::WouldBlock)
        };
        if outcome.as_ref().is_err_and(|e| !expected(e)) {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }

    /// Notes a change for the trace.
    fn told<T>(&self, outcome: io::Result<T>, what: impl FnOnce() -> String) -> io::Result<T> {
        if let Some(changes) = &self.changes {
            let how = outcome.as_ref().err().map(|e| format!(": {e}")).unwrap_or_default();
            changes.lock().unwrap_or_else(PoisonError::into_inner).push(format!("disk: {}{how}", what()));
        }
        outcome
    }

    fn seen_sync<T>(&self, outcome: io::Result<T>) -> io::Result<T> {
        if outcome.is_err() {
            self.failed_syncs.fetch_add(1, Ordering::Relaxed);
        }
        self.seen(outcome)
    }
}

impl SimDisk {
    /// `traced`: changes are noted until [`SimDisk::take_changes`].
    pub fn new(memory: MemoryDisk, mutation: Option<Mutation>, traced: bool) -> SimDisk {
        let fuse = AtomicU64::new(UNLIT);
        let (failures, failed_syncs, torn) = Default::default();
        let changes = traced.then(Mutex::default);
        SimDisk { memory, watch: Arc::new(Watch { failures, failed_syncs, fuse, torn, changes }), mutation }
    }

    /// What was changed since the last time.
    pub fn take_changes(&self) -> Vec<String> {
        let Some(changes) = &self.watch.changes else { return Vec::new() };
        std::mem::take(&mut changes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The process ends before its next change but so many; if that is a write, inside it.
    pub fn light(&self, changes: u64, torn_eighths: u64) {
        self.watch.fuse.store(changes.min(UNLIT - 1), Ordering::Relaxed);
        self.watch.torn.store(torn_eighths, Ordering::Relaxed);
    }

    /// It has ended.
    pub fn put_out(&self) {
        self.watch.fuse.store(UNLIT, Ordering::Relaxed);
    }

    /// Operations that failed so far, and not because a name was there or was not.
    pub fn failures(&self) -> u64 {
        self.watch.failures.load(Ordering::Relaxed)
    }

    /// Syncs of files and folders among them.
    pub fn failed_syncs(&self) -> u64 {
        self.watch.failed_syncs.load(Ordering::Relaxed)
    }

    fn ignores_syncs_of(&self, path: &Path) -> bool {
        match self.mutation {
            Some(Mutation::IgnoreSync) => true,
            Some(Mutation::IgnoreMetadataSync) => path
                .components()
                .any(|part| part.as_os_str().to_string_lossy().starts_with("__cluster_metadata")),
            Some(Mutation::IgnoreCleanedSync) => path.to_string_lossy().ends_with(".cleaned"),
            _ => false,
        }
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, how: OpenHow) -> io::Result<Arc<dyn DiskFile>> {
        if !matches!(how, OpenHow::Read | OpenHow::Write) {
            self.watch.burn();
        }
        let opened = self.watch.seen(self.memory.open(path, how));
        let inner = match how {
            OpenHow::Read | OpenHow::Write => opened?,
            _ => self.watch.told(opened, || format!("{how:?} {}", path.display()))?,
        };
        let ignores_syncs = self.ignores_syncs_of(path);
        let of_aborted = path.to_string_lossy().ends_with(".txnindex");
        let forgets = of_aborted && self.mutation == Some(Mutation::ForgetAborted);
        let ignores_writes = self.mutation == Some(Mutation::IgnoreWriteErrors);
        let watch = self.watch.clone();
        Ok(Arc::new(SimFile { inner, watch, ignores_syncs, ignores_writes, forgets }))
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.watch.burn();
        self.watch
            .told(self.watch.seen(self.memory.create_dir_all(dir)), || format!("folder {}", dir.display()))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.watch.seen(self.memory.list(dir))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.watch.burn();
        let renamed = self.watch.seen(self.memory.rename(from, to));
        self.watch.told(renamed, || format!("rename {} to {}", from.display(), to.display()))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.watch.burn();
        self.watch
            .told(self.watch.seen(self.memory.remove_file(path)), || format!("remove {}", path.display()))
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.watch.burn();
        self.watch
            .told(self.watch.seen(self.memory.remove_dir_all(dir)), || format!("remove {}", dir.display()))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        if self.ignores_syncs_of(dir) {
            return Ok(());
        }
        self.watch.burn();
        self.watch.told(self.watch.seen_sync(self.memory.sync_dir(dir)), || format!("sync {}", dir.display()))
    }

    fn exists(&self, path: &Path) -> bool {
        self.memory.exists(path)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.memory.free_bytes(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<LockGuard> {
        self.watch.seen(self.memory.lock(path))
    }
}

#[derive(Debug)]
struct SimFile {
    inner: Arc<dyn DiskFile>,
    watch: Arc<Watch>,
    ignores_syncs: bool,
    ignores_writes: bool,
    /// What is written is zeros.
    forgets: bool,
}

impl DiskFile for SimFile {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.watch.seen(self.inner.read_at(buf, at))
    }

    fn write_vectored_at(&self, bufs: &[IoSlice<'_>], at: u64) -> io::Result<()> {
        if self.forgets {
            let zeros = vec![0; bufs.iter().map(|buf| buf.len()).sum()];
            return self.inner.write_at(&zeros, at);
        }
        if self.watch.fuse.load(Ordering::Relaxed) == 0 {
            let bytes: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
            let part = bytes.len() * self.watch.torn.load(Ordering::Relaxed) as usize / 8;
            // Nobody will hear how it went.
            let _ = self.inner.write_at(&bytes[..part], at);
        }
        self.watch.burn();
        let written = self.watch.seen(self.inner.write_vectored_at(bufs, at));
        let written = if self.ignores_writes { Ok(()) } else { written };
        let len = || bufs.iter().map(|buf| buf.len()).sum::<usize>();
        self.watch.told(written, || format!("write {} at {at} to {:?}", len(), self.inner))
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.watch.burn();
        let cut = self.watch.seen(self.inner.truncate(len));
        self.watch.told(cut, || format!("truncate {:?} to {len}", self.inner))
    }

    fn reserve(&self, at: u64, len: u64) -> io::Result<()> {
        self.watch.seen(self.inner.reserve(at, len))
    }

    fn sync_begin(&self) -> SyncMark {
        self.inner.sync_begin()
    }

    fn sync_end(&self, mark: SyncMark) -> io::Result<()> {
        if self.ignores_syncs {
            return Ok(());
        }
        self.watch.burn();
        let synced = self.watch.seen_sync(self.inner.sync_end(mark));
        self.watch.told(synced, || format!("sync {:?}", self.inner))
    }
}

/// One turn. If its lane says that it waits for nothing, it runs as on a thread that serves clients, where the disk panics
/// if it is asked for more than a write.
pub(crate) fn turn<W: Waiters>(
    lane: &mut Lane<W>,
    now_ms: i64,
    inputs: VecDeque<Input<W>>,
    out: &mut Vec<Output<W>>,
) {
    match lane.may_wait(now_ms, inputs.iter()) {
        true => lane.step(now_ms, inputs, out),
        false => worker::serving(|| lane.step(now_ms, inputs, out)),
    }
}

const UNLIT: u64 = u64::MAX;
