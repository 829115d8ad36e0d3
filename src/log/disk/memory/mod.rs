//! The simulator's disk: in memory, deterministic from a seed, and able to lose power. Must never sleep, read a clock or
//! depend on the order of a hash map.
//!
//! What a loss of power (`crash`) does:
//! * Bytes: of each 512-byte sector, some first part of the writes since the last sync survives, independently of other
//!   sectors: writes are lost in any order, and torn. The length is one that the file had since the sync, so the end of
//!   the file may read as zeros. If a truncation is lost, so are the later writes behind it, except inside the block of 4
//!   KiB that it cut, as on a file system that does not reuse blocks before it commits.
//! * Names: each creation, rename and removal that no `sync_dir` of its folder has covered survives or not, independently
//!   of the others; only changes of the same name keep their order, and a rename is atomic. This allows more than ext4
//!   does, whose journal keeps a global order: POSIX promises no more. A file whose bytes were synced but whose name was
//!   not is lost.
//! * Failed syncs: what a failed sync covered survives only by the same chances, and no later sync saves it (fsyncgate).
//!
//! `kill` ends the process and keeps everything that was written. Both invalidate all open files and free all locks.

mod content;
mod tree;

use super::worker::must_not_wait;
use super::{Disk, DiskFile, Entry, LockGuard, OpenHow, SyncMark, failed};
use ottla_model::dice::Dice;
use parking_lot::{Mutex, MutexGuard};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tree::{NodeId, Tree};

/// Clones are the same disk.
#[derive(Clone)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

/// The operations that a fault can be set for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Opening without creating.
    Open,
    /// Of files and folders.
    Create,
    Read,
    Write,
    Truncate,
    Sync,
    SyncDir,
    Rename,
    Remove,
    List,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// EIO.
    Broken,
    /// ENOSPC.
    Full,
    /// Calling the disk here would be a bug of ours, so the thread panics.
    Panic,
}

impl MemoryDisk {
    pub fn new(seed: u64) -> MemoryDisk {
        let state = State {
            dice: Dice(seed),
            tree: Tree::new(),
            locks: BTreeSet::new(),
            life: 0,
            faults: Vec::new(),
            short_reads: false,
            capacity: None,
            changes: 0,
            power_cut_at: None,
        };
        MemoryDisk { state: Arc::new(Mutex::new(state)) }
    }

    /// The same disk under another name and seed, to see what else might have happened from here on.
    pub fn fork(&self, seed: u64) -> MemoryDisk {
        let state = self.state.lock();
        let (tree, locks) = (state.tree.fork(), state.locks.clone());
        let faults = state.faults.clone();
        let state = State { dice: Dice(seed), tree, locks, faults, ..*state };
        MemoryDisk { state: Arc::new(Mutex::new(state)) }
    }

    /// Power is lost and comes back.
    pub fn crash(&self) {
        let state = &mut *self.state.lock();
        state.tree.crash(&mut state.dice);
        state.end_process();
    }

    /// The process dies. The machine keeps running, and its page cache keeps everything that was written.
    pub fn kill(&self) {
        self.state.lock().end_process();
    }

    /// What the kernel does by itself about every 30 seconds: everything written so far becomes durable.
    pub fn write_back(&self) {
        self.state.lock().tree.write_back();
    }

    pub fn fail_next(&self, operation: Operation, fault: Fault) {
        self.fail_nth(operation, 1, fault);
    }

    /// `n` counts from 1. A write that fails has been done in part.
    pub fn fail_nth(&self, operation: Operation, n: u64, fault: Fault) {
        self.state.lock().faults.push(Planned {
            operation,
            after: n.saturating_sub(1),
            fault,
            lasting: false,
        });
    }

    /// Lets the operation fail each time until `heal`.
    pub fn fail_always(&self, operation: Operation, fault: Fault) {
        self.state.lock().faults.push(Planned { operation, after: 0, fault, lasting: true });
    }

    pub fn heal(&self) {
        self.state.lock().faults.clear();
    }

    /// Room for this many bytes of file contents. `None`: no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.lock().capacity = bytes;
    }

    /// From now on a read may return fewer bytes than asked for, but at least one.
    pub fn set_short_reads(&self, on: bool) {
        self.state.lock().short_reads = on;
    }

    /// After `n` more operations that change something, every operation fails until `crash`.
    pub fn cut_power_after(&self, n: u64) {
        let mut state = self.state.lock();
        state.power_cut_at = Some(state.changes + n);
    }

    /// How many operations have changed something so far: the bound for `cut_power_after`.
    pub fn changes(&self) -> u64 {
        self.state.lock().changes
    }
}

impl Disk for MemoryDisk {
    fn open(&self, path: &Path, how: OpenHow) -> io::Result<Arc<dyn DiskFile>> {
        if !matches!(how, OpenHow::Read | OpenHow::Write) {
            must_not_wait("create", path);
        }
        let mut state = self.state.lock();
        let node = state.open(path, how).map_err(|e| failed("open", path, e))?;
        let file = MemoryFile {
            state: self.state.clone(),
            node,
            life: state.life,
            writable: how != OpenHow::Read,
            path: path.to_owned(),
            _open: state.tree.file(node).hold(),
        };
        Ok(Arc::new(file))
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        must_not_wait("create folder", dir);
        let mut state = self.state.lock();
        if state.tree.is_dir(dir) {
            return Ok(());
        }
        state.step(Operation::Create).map_err(|e| failed("create folder", dir, e))?;
        state.tree.create_dir_all(dir).map_err(|e| failed("create folder", dir, e))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut state = self.state.lock();
        state.step(Operation::List).map_err(|e| failed("list", dir, e))?;
        state.tree.list(dir).map_err(|e| failed("list", dir, e))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        must_not_wait("rename", from);
        let mut state = self.state.lock();
        state.step(Operation::Rename).map_err(|e| failed("rename", from, e))?;
        state.tree.rename(from, to).map_err(|e| failed("rename", from, e))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        must_not_wait("remove", path);
        let mut state = self.state.lock();
        state.step(Operation::Remove).map_err(|e| failed("remove", path, e))?;
        state.tree.remove_file(path).map_err(|e| failed("remove", path, e))
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        must_not_wait("remove folder", dir);
        let mut state = self.state.lock();
        state.step(Operation::Remove).map_err(|e| failed("remove folder", dir, e))?;
        state.tree.remove_dir_all(dir).map_err(|e| failed("remove folder", dir, e))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        must_not_wait("sync folder", dir);
        let mut state = self.state.lock();
        state.step(Operation::SyncDir).map_err(|e| failed("sync folder", dir, e))?;
        state.tree.sync_dir(dir).map_err(|e| failed("sync folder", dir, e))
    }

    fn exists(&self, path: &Path) -> bool {
        self.state.lock().tree.find(path).is_ok()
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let state = self.state.lock();
        state.tree.find(dir).map_err(|e| failed("statvfs", dir, e))?;
        Ok(state.free_bytes())
    }

    fn lock(&self, path: &Path) -> io::Result<LockGuard> {
        let mut state = self.state.lock();
        let node = state.open(path, OpenHow::Create).map_err(|e| failed("lock", path, e))?;
        if !state.locks.insert(node) {
            return Err(failed("lock", path, ErrorKind::WouldBlock));
        }
        let held = MemoryLock { state: self.state.clone(), node, life: state.life };
        Ok(LockGuard { _held: Box::new(held) })
    }
}

impl fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryDisk")
    }
}

struct State {
    dice: Dice,
    tree: Tree,
    locks: BTreeSet<NodeId>,
    /// Counts the processes so far. An open file of an earlier process cannot be used.
    life: u64,
    faults: Vec<Planned>,
    short_reads: bool,
    capacity: Option<u64>,
    changes: u64,
    power_cut_at: Option<u64>,
}

#[derive(Clone, Copy)]
struct Planned {
    operation: Operation,
    /// How many operations succeed before the first one that fails.
    after: u64,
    fault: Fault,
    lasting: bool,
}

impl State {
    /// Every operation calls this first, and may fail or panic here.
    fn step(&mut self, operation: Operation) -> io::Result<()> {
        if self.power_cut_at.is_some_and(|at| self.changes >= at) {
            return Err(Errno::IO.into());
        }
        if !matches!(operation, Operation::Open | Operation::Read | Operation::List) {
            self.changes += 1;
        }
        let mut struck = None;
        self.faults.retain_mut(|planned| {
            if planned.operation != operation {
                return true;
            }
            if planned.after > 0 {
                planned.after -= 1;
                return true;
            }
            struck = Some(planned.fault);
            planned.lasting
        });
        match struck {
            None => Ok(()),
            Some(Fault::Broken) => Err(Errno::IO.into()),
            Some(Fault::Full) => Err(Errno::NOSPC.into()),
            Some(Fault::Panic) => panic!("a panic that was asked for"),
        }
    }

    fn open(&mut self, path: &Path, how: OpenHow) -> io::Result<NodeId> {
        let found = match self.tree.find(path) {
            Ok(node) => Some(node),
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(e) => return Err(e),
        };
        match (found, how) {
            (Some(_), OpenHow::CreateNew) => Err(ErrorKind::AlreadyExists.into()),
            (Some(node), _) => {
                if self.tree.is_dir(path) {
                    return Err(ErrorKind::IsADirectory.into());
                }
                if how == OpenHow::CreateEmpty {
                    self.step(Operation::Create)?;
                    self.tree.file(node).truncate(0);
                } else {
                    self.step(Operation::Open)?;
                }
                Ok(node)
            }
            (None, OpenHow::Read | OpenHow::Write) => Err(ErrorKind::NotFound.into()),
            (None, _) => {
                self.step(Operation::Create)?;
                self.tree.create_file(path)
            }
        }
    }

    fn free_bytes(&self) -> u64 {
        // Without a capacity, the number of free bytes is finite all the same, so that sums do not overflow.
        self.capacity.map_or(1 << 50, |capacity| capacity.saturating_sub(self.tree.used_bytes()))
    }

    fn end_process(&mut self) {
        self.life += 1;
        self.locks.clear();
        self.power_cut_at = None;
    }
}

struct MemoryFile {
    state: Arc<Mutex<State>>,
    node: NodeId,
    life: u64,
    writable: bool,
    path: PathBuf,
    /// Keeps the contents after the name is removed.
    _open: Arc<()>,
}

impl MemoryFile {
    fn wrong(&self, doing: &'static str) -> impl Fn(io::Error) -> io::Error {
        move |e| failed(doing, &self.path, e)
    }

    fn alive(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state.lock();
        if state.life == self.life { Ok(state) } else { Err(Errno::BADF.into()) }
    }

    fn step(&self, operation: Operation) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.alive()?;
        if !self.writable && matches!(operation, Operation::Write | Operation::Truncate) {
            return Err(Errno::BADF.into());
        }
        state.step(operation)?;
        Ok(state)
    }

    fn write(&self, bufs: &[IoSlice<'_>], at: u64) -> io::Result<()> {
        let bytes: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
        let (bytes, outcome) = match self.step(Operation::Write) {
            Err(e) => {
                // A write that fails has been done in part: the kernel had already begun.
                let Ok(mut state) = self.alive() else { return Err(e) };
                if !self.writable || state.power_cut_at.is_some_and(|at| state.changes >= at) {
                    return Err(e);
                }
                let part = state.dice.below(bytes.len() + 1);
                (&bytes[..part], Err(e))
            }
            Ok(mut state) => {
                let len = state.tree.file(self.node).len();
                let growth = (at + bytes.len() as u64).saturating_sub(len);
                match growth.saturating_sub(state.free_bytes()) {
                    0 => (&bytes[..], Ok(())),
                    lacking => {
                        let part = (bytes.len() as u64).saturating_sub(lacking) as usize;
                        (&bytes[..part], Err(Errno::NOSPC.into()))
                    }
                }
            }
        };
        self.alive()?.tree.file(self.node).write(at, bytes);
        outcome
    }

    fn read(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let mut state = self.step(Operation::Read)?;
        let there = state.tree.file(self.node).available(at).min(buf.len());
        let len = match state.short_reads && there > 0 {
            true => 1 + state.dice.below(there),
            false => there,
        };
        state.tree.file(self.node).read(&mut buf[..len], at);
        Ok(len)
    }

    fn finish_sync(&self, mark: SyncMark) -> io::Result<()> {
        let outcome = self.step(Operation::Sync).map(drop);
        let mut state = self.alive()?;
        let State { tree, dice, .. } = &mut *state;
        match outcome {
            Ok(()) => tree.file(self.node).sync(mark.0),
            Err(_) => tree.file(self.node).fail_sync(mark.0, dice),
        }
        outcome
    }
}

impl DiskFile for MemoryFile {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.read(buf, at).map_err(self.wrong("read"))
    }

    fn write_vectored_at(&self, bufs: &[IoSlice<'_>], at: u64) -> io::Result<()> {
        self.write(bufs, at).map_err(self.wrong("write"))
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.alive().map_err(self.wrong("stat"))?.tree.file(self.node).len())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.step(Operation::Truncate).map_err(self.wrong("truncate"))?.tree.file(self.node).truncate(len);
        Ok(())
    }

    fn reserve(&self, at: u64, len: u64) -> io::Result<()> {
        let mut state = self.alive().map_err(self.wrong("reserve room in"))?;
        let missing = (at + len).saturating_sub(state.tree.file(self.node).len());
        if missing > state.free_bytes() {
            Err(self.wrong("reserve room in")(Errno::NOSPC.into()))
        } else {
            Ok(())
        }
    }

    fn sync_begin(&self) -> SyncMark {
        // The mark of a file that an earlier process opened covers nothing, and its `sync_end` fails.
        SyncMark(self.alive().map_or(0, |mut state| state.tree.file(self.node).mark()))
    }

    fn sync_end(&self, mark: SyncMark) -> io::Result<()> {
        must_not_wait("sync", &self.path);
        self.finish_sync(mark).map_err(self.wrong("sync"))
    }
}

impl fmt::Debug for MemoryFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryFile({})", self.path.display())
    }
}

struct MemoryLock {
    state: Arc<Mutex<State>>,
    node: NodeId,
    life: u64,
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        if state.life == self.life {
            state.locks.remove(&self.node);
        }
    }
}

impl fmt::Debug for MemoryLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryLock")
    }
}
