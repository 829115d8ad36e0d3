//! A disk in memory whose work counts for nothing, but for being called.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use ottla_log::disk::{Entry, LockGuard, MemoryDisk, OpenHow, SyncMark};
use ottla_log::{Disk, DiskFile};

use crate::count::disk_call;

#[derive(Debug)]
pub struct CountedDisk(MemoryDisk);

#[derive(Debug)]
struct CountedFile(Arc<dyn DiskFile>);

impl CountedDisk {
    pub fn new() -> CountedDisk {
        CountedDisk(MemoryDisk::new(1))
    }
}

impl Disk for CountedDisk {
    fn open(&self, path: &Path, how: OpenHow) -> io::Result<Arc<dyn DiskFile>> {
        disk_call(|| Ok(Arc::new(CountedFile(self.0.open(path, how)?)) as Arc<dyn DiskFile>))
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        disk_call(|| self.0.create_dir_all(dir))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        disk_call(|| self.0.list(dir))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        disk_call(|| self.0.rename(from, to))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        disk_call(|| self.0.remove_file(path))
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        disk_call(|| self.0.remove_dir_all(dir))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        disk_call(|| self.0.sync_dir(dir))
    }

    fn exists(&self, path: &Path) -> bool {
        disk_call(|| self.0.exists(path))
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        disk_call(|| self.0.free_bytes(dir))
    }

    fn lock(&self, path: &Path) -> io::Result<LockGuard> {
        disk_call(|| self.0.lock(path))
    }
}

impl DiskFile for CountedFile {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        disk_call(|| self.0.read_at(buf, at))
    }

    fn write_vectored_at(&self, bufs: &[IoSlice<'_>], at: u64) -> io::Result<()> {
        disk_call(|| self.0.write_vectored_at(bufs, at))
    }

    fn len(&self) -> io::Result<u64> {
        disk_call(|| self.0.len())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        disk_call(|| self.0.truncate(len))
    }

    fn sync_begin(&self) -> SyncMark {
        disk_call(|| self.0.sync_begin())
    }

    fn sync_end(&self, mark: SyncMark) -> io::Result<()> {
        disk_call(|| self.0.sync_end(mark))
    }

    fn reserve(&self, at: u64, len: u64) -> io::Result<()> {
        disk_call(|| self.0.reserve(at, len))
    }
}
