//! The operating system's disk. Must never decide anything: each method is one system call, or a loop that repeats it
//! until it is complete. [`Handles`] decides which files are open.

use super::handles::{Handles, Kept};
use super::worker::{may_only_read_cached, must_not_wait};
use super::{Disk, DiskFile, Entry, LockGuard, OpenHow, SyncMark, failed, write_out};
use rustix::fs::{Advice, FallocateFlags, FlockOperation};
use rustix::io::{Errno, ReadWriteFlags};
use std::fs::{self, File};
use std::io::{self, IoSlice, IoSliceMut};
use std::num::NonZeroU64;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub struct RealDisk {
    pub(super) handles: Arc<Handles>,
}

impl RealDisk {
    /// Keeps at most `most` files open, not counting removed files that are still being read.
    pub fn with_open_files(most: usize) -> RealDisk {
        RealDisk { handles: Arc::new(Handles::new(most)) }
    }
}

impl Default for RealDisk {
    /// Few enough for the limit of any usual shell, with some left for sockets.
    fn default() -> RealDisk {
        RealDisk::with_open_files(200)
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, how: OpenHow) -> io::Result<Arc<dyn DiskFile>> {
        if !matches!(how, OpenHow::Read | OpenHow::Write) {
            must_not_wait("create", path);
        }
        let mut options = File::options();
        options.read(true).write(how != OpenHow::Read);
        match how {
            OpenHow::Read | OpenHow::Write => &mut options,
            OpenHow::Create => options.create(true).truncate(false),
            OpenHow::CreateNew => options.create_new(true),
            OpenHow::CreateEmpty => options.create(true).truncate(true),
        };
        let file = self.handles.open_file(&options, path).map_err(|e| failed("open", path, e))?;
        Ok(self.handles.keep(path, how != OpenHow::Read, Some(file)))
    }

    fn open_later(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.handles.keep(path, true, None))
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        must_not_wait("create folder", dir);
        fs::create_dir_all(dir).map_err(|e| failed("create folder", dir, e))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let wrong = |e| failed("list", dir, e);
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir).map_err(wrong)? {
            let entry = entry.map_err(wrong)?;
            let meta = match fs::metadata(entry.path()) {
                // The entry was removed since the folder was read, or it is a link to nothing.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                meta => meta.map_err(wrong)?,
            };
            let name = entry.file_name().to_string_lossy().into_owned();
            let len = if meta.is_dir() { 0 } else { meta.len() };
            entries.push(Entry { name, is_dir: meta.is_dir(), len });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        must_not_wait("rename", from);
        self.handles.rename(from, to).map_err(|e| failed("rename", from, e))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        must_not_wait("remove", path);
        self.handles.hold_on_to(path);
        fs::remove_file(path).map_err(|e| failed("remove", path, e))
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        must_not_wait("remove folder", dir);
        self.handles.hold_on_to(dir);
        fs::remove_dir_all(dir).map_err(|e| failed("remove folder", dir, e))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        must_not_wait("sync folder", dir);
        // The parent of a bare file name is the empty path.
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        File::open(dir).and_then(|folder| folder.sync_all()).map_err(|e| failed("sync folder", dir, e))
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(dir).map_err(|e| failed("statvfs", dir, e))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    // Two locks, because Linux has two kinds that do not see each other. `flock` belongs to this open file, and so also
    // keeps out a second broker in this process. The record lock is the kind that Java takes.
    fn lock(&self, path: &Path) -> io::Result<LockGuard> {
        let wrong = |e: io::Error| failed("lock", path, e);
        let file = File::options().write(true).create(true).truncate(false).open(path).map_err(wrong)?;
        let op = FlockOperation::NonBlockingLockExclusive;
        rustix::fs::flock(&file, op).map_err(|e| wrong(busy(e)))?;
        rustix::fs::fcntl_lock(&file, op).map_err(|e| wrong(busy(e)))?;
        Ok(LockGuard { _held: Box::new(file) })
    }
}

// POSIX allows either of two error codes if another process holds the record lock.
fn busy(errno: Errno) -> io::Error {
    if errno == Errno::ACCESS { Errno::AGAIN.into() } else { errno.into() }
}

impl Kept {
    fn on<T>(&self, doing: &'static str, act: impl FnOnce(&File) -> io::Result<T>) -> io::Result<T> {
        let file = self.file()?;
        let Some(file) = file.as_deref() else { return Err(io::ErrorKind::NotFound.into()) };
        act(file).map_err(|error| failed(doing, &self.path(), error))
    }
}

impl DiskFile for Kept {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        if may_only_read_cached() {
            return self.read_cached_at(buf, at);
        }
        self.on("read", |file| read(file, buf, at))
    }

    fn read_cached_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        // Opening the file might read from the device, too.
        let file = self.file_if_open();
        let Some(file) = file.as_deref() else { return Err(io::ErrorKind::WouldBlock.into()) };
        let outcome = match read_cached(file, buf, at) {
            Err(Errno::AGAIN) => return Err(io::ErrorKind::WouldBlock.into()),
            // On a file system without this kind of read, all bytes are treated as if they were in memory.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => read(file, buf, at),
            outcome => outcome.map_err(io::Error::from),
        };
        outcome.map_err(|error| failed("read", &self.path(), error))
    }

    fn read_ahead(&self, at: u64, len: u64) {
        must_not_wait("read ahead", &self.path());
        // This reports no error: the read that follows reports it.
        if let (Ok(file), Some(len)) = (self.file(), NonZeroU64::new(len))
            && let Some(file) = file.as_deref()
        {
            let _ = rustix::fs::fadvise(file, at, Some(len), Advice::WillNeed);
        }
    }

    fn write_vectored_at(&self, bufs: &[IoSlice<'_>], at: u64) -> io::Result<()> {
        self.on("write", |file| write_all(file, bufs, at))
    }

    fn len(&self) -> io::Result<u64> {
        self.on("stat", |file| Ok(file.metadata()?.len()))
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.on("truncate", |file| file.set_len(len))
    }

    fn reserve(&self, at: u64, len: u64) -> io::Result<()> {
        self.on("reserve room in", |file| {
            Ok(rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, at, len)?)
        })
    }

    fn send(&self, to: BorrowedFd<'_>, mut at: u64, len: usize) -> io::Result<Option<usize>> {
        // A full socket is no error of the file, and is frequent, so it gets no message of its own.
        let file = self.file()?;
        let Some(file) = file.as_deref() else { return Ok(None) };
        match rustix::fs::sendfile(to, file, Some(&mut at), len) {
            Ok(sent) => Ok(Some(sent)),
            Err(Errno::AGAIN) => Err(io::ErrorKind::WouldBlock.into()),
            Err(Errno::INVAL | Errno::NOSYS) => Ok(None),
            Err(error) => Err(failed("send", &self.path(), error)),
        }
    }

    fn write_out(&self, at: u64, len: u64) {
        must_not_wait("write out", &self.path());
        // If the file cannot be opened again, the next sync reports it.
        if let Ok(Some(file)) = self.file().as_deref().map(Option::as_deref) {
            write_out::begin(file, at, len);
        }
    }

    fn sync_begin(&self) -> SyncMark {
        SyncMark(0)
    }

    fn sync_end(&self, _: SyncMark) -> io::Result<()> {
        must_not_wait("sync", &self.path());
        self.on("sync", File::sync_data)
    }
}

fn read(file: &File, buf: &mut [u8], at: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buf, at) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

fn read_cached(file: &File, buf: &mut [u8], at: u64) -> Result<usize, Errno> {
    loop {
        match rustix::io::preadv2(file, &mut [IoSliceMut::new(buf)], at, ReadWriteFlags::NOWAIT) {
            Err(Errno::INTR) => {}
            read => return read,
        }
    }
}

fn write_all(file: &File, bufs: &[IoSlice<'_>], mut at: u64) -> io::Result<()> {
    for group in bufs.chunks(IOV_MAX) {
        let mut owned: [IoSlice<'_>; FEW] = [IoSlice::new(&[]); FEW];
        let mut many;
        let mut left: &mut [IoSlice<'_>] = if group.len() <= FEW {
            owned[..group.len()].copy_from_slice(group);
            &mut owned[..group.len()]
        } else {
            many = group.to_vec();
            &mut many
        };
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            match rustix::io::pwritev(file, left, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    at += written as u64;
                    IoSlice::advance_slices(&mut left, written);
                }
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
    Ok(())
}

/// Linux takes at most this many buffers in one call.
const IOV_MAX: usize = 1024;
/// Up to this many buffers, the list of buffers is copied on the stack.
const FEW: usize = 16;
