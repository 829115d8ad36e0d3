//! The operating system's disk. Must never decide anything: each method is one system call or the loop that
//! finishes it.

use super::{Disk, DiskFile, Entry, LockGuard, OpenHow, SyncMark, failed};
use rustix::fs::{FallocateFlags, FlockOperation};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn open(&self, path: &Path, how: OpenHow) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = File::options();
        options.read(true).write(how != OpenHow::Read);
        match how {
            OpenHow::Read | OpenHow::Write => &mut options,
            OpenHow::Create => options.create(true).truncate(false),
            OpenHow::CreateNew => options.create_new(true),
            OpenHow::CreateEmpty => options.create(true).truncate(true),
        };
        let file = options.open(path).map_err(|e| failed("open", path, e))?;
        Ok(Arc::new(RealFile { file, path: path.to_owned() }))
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir).map_err(|e| failed("create folder", dir, e))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let wrong = |e| failed("list", dir, e);
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir).map_err(wrong)? {
            let entry = entry.map_err(wrong)?;
            let meta = match fs::metadata(entry.path()) {
                // Removed since the folder was read, or a link that leads nowhere.
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
        fs::rename(from, to).map_err(|e| failed("rename", from, e))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path).map_err(|e| failed("remove", path, e))
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir_all(dir).map_err(|e| failed("remove folder", dir, e))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        // The parent of a bare file name is spelled "".
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

    // Two locks, because Linux keeps two books that do not know of each other: `flock` belongs to this open file
    // and so also stops a second broker inside this process; the record lock is the one that Java takes.
    fn lock(&self, path: &Path) -> io::Result<LockGuard> {
        let wrong = |e: io::Error| failed("lock", path, e);
        let file = File::options().write(true).create(true).truncate(false).open(path).map_err(wrong)?;
        let op = FlockOperation::NonBlockingLockExclusive;
        rustix::fs::flock(&file, op).map_err(|e| wrong(busy(e)))?;
        rustix::fs::fcntl_lock(&file, op).map_err(|e| wrong(busy(e)))?;
        Ok(LockGuard { _held: Box::new(file) })
    }
}

// POSIX lets the record lock say either of two things when it is taken.
fn busy(errno: Errno) -> io::Error {
    if errno == Errno::ACCESS { Errno::AGAIN.into() } else { errno.into() }
}

#[derive(Debug)]
struct RealFile {
    file: File,
    path: PathBuf,
}

impl DiskFile for RealFile {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        loop {
            match self.file.read_at(buf, at) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                read => return read.map_err(|e| failed("read", &self.path, e)),
            }
        }
    }

    fn write_vectored_at(&self, bufs: &[IoSlice<'_>], at: u64) -> io::Result<()> {
        let wrong = |e: io::Error| failed("write", &self.path, e);
        let mut at = at;
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
                match rustix::io::pwritev(&self.file, left, at) {
                    Ok(0) => return Err(wrong(io::ErrorKind::WriteZero.into())),
                    Ok(written) => {
                        at += written as u64;
                        IoSlice::advance_slices(&mut left, written);
                    }
                    Err(Errno::INTR) => {}
                    Err(e) => return Err(wrong(e.into())),
                }
            }
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata().map_err(|e| failed("stat", &self.path, e))?.len())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len).map_err(|e| failed("truncate", &self.path, e))
    }

    fn reserve(&self, at: u64, len: u64) -> io::Result<()> {
        let reserved = rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, at, len);
        reserved.map_err(|e| failed("reserve room in", &self.path, e))
    }

    fn sync_begin(&self) -> SyncMark {
        SyncMark(0)
    }

    fn sync_end(&self, _: SyncMark) -> io::Result<()> {
        self.file.sync_data().map_err(|e| failed("sync", &self.path, e))
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.file.as_fd())
    }
}

/// Linux takes at most this many buffers in one call.
const IOV_MAX: usize = 1024;
/// Up to this many the list of buffers is copied on the stack.
const FEW: usize = 16;
