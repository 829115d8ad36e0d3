//! The disk as the storage engine sees it: files read and written at positions, folders, syncs that are
//! submitted and completed. Two implementors: the operating system's (`RealDisk`) and the simulator's twin
//! (`MemoryDisk`). Must never know what the bytes mean.
//!
//! Every error names the operation and the path and keeps the `io::ErrorKind` it came with, so that callers can
//! tell a full disk (`StorageFull`) from a missing file (`NotFound`) from a broken one (anything else).

mod handles;
mod memory;
mod real;
#[cfg(test)]
mod tests;
pub mod worker;
mod write_out;

pub use memory::{Fault, MemoryDisk, Operation};
pub use real::RealDisk;

use std::fmt::{self, Debug};
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Whether a write failed because the disk is full: it may succeed once there is room again.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Folders and names. A change to a folder (create, rename, remove) is sure to outlive a loss of power only
/// after `sync_dir` of that folder; a new folder also needs `sync_dir` of its parent.
pub trait Disk: Send + Sync + Debug {
    fn open(&self, path: &Path, how: OpenHow) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens an existing file to read and write. An implementor may put off the opening until the first use.
    fn open_later(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.open(path, OpenHow::Write)
    }
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Sorted by name. Fails with `NotFound` if `dir` is not there.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;
    /// Atomic; replaces a file (or an empty folder by a folder) that has the name `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()>;
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    fn exists(&self, path: &Path) -> bool;
    /// Bytes that this process may still write on the file system of `dir`.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;
    /// Creates the file if absent and locks it against other processes (Apache Kafka's too) until the guard is dropped.
    /// Fails with `WouldBlock` if another process holds the lock.
    fn lock(&self, path: &Path) -> io::Result<LockGuard>;

    fn read_to_vec(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path, OpenHow::Read)?;
        let len = usize::try_from(file.len()?).map_err(io::Error::other)?;
        let mut bytes = vec![0; len];
        // If the file has become shorter since its length was read, the shorter contents are returned.
        let read = file.read_full_at(&mut bytes, 0)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Replaces the whole file: after a crash at any moment it holds either its old contents or all of `bytes`, and after
    /// the return it durably holds `bytes`. Steps: write `<path>.tmp`, sync it, rename it, sync the folder.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut name = path.as_os_str().to_owned();
        name.push(".tmp");
        let tmp = PathBuf::from(name);
        let file = self.open(&tmp, OpenHow::CreateEmpty)?;
        if let Err(e) = file.write_at(bytes, 0) {
            // On a full disk the room is needed, and a half-written file is useless.
            let _ = self.remove_file(&tmp);
            return Err(e);
        }
        file.sync()?;
        drop(file);
        self.rename(&tmp, path)?;
        self.sync_dir(path.parent().unwrap_or(Path::new("")))
    }
}

/// One open file. It stays readable after its name was removed or changed, until the last handle is dropped.
pub trait DiskFile: Send + Sync + Debug {
    /// May return fewer bytes than asked for; zero only at or past the end of the file.
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize>;
    /// As `read_at`, for callers that may not wait for the device: fails with `WouldBlock` if the bytes are not in
    /// memory, or if the file is not open.
    fn read_cached_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.read_at(buf, at)
    }
    /// Writes all bytes; after an error any part of them may have been written. A write past the end fills the gap with
    /// zeros.
    fn write_vectored_at(&self, bufs: &[IoSlice<'_>], at: u64) -> io::Result<()>;
    fn len(&self) -> io::Result<u64>;
    /// Sets the length. A file that becomes longer is filled with zeros.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// Submits a sync: it covers the writes that have returned so far, and promises nothing about later ones.
    fn sync_begin(&self) -> SyncMark;
    /// Completes a sync. After an error the covered writes may be lost although they can still be read, and another sync
    /// would succeed without saving them: never retry.
    fn sync_end(&self, mark: SyncMark) -> io::Result<()>;
    /// Reserves disk space for `len` bytes from `at` on without changing the length, so that writing them cannot fail
    /// because the disk is full. Fails with `Unsupported` on a file system that cannot promise this.
    fn reserve(&self, at: u64, len: u64) -> io::Result<()>;

    /// Asks the kernel to begin writing these bytes to the device, so that a later sync has little left to do. The call
    /// may wait for the device's queue. It promises nothing, and a write error is reported by the next sync.
    fn write_out(&self, _at: u64, _len: u64) {}

    /// Asks the kernel to begin reading these bytes into memory. The call may wait for the device's queue. It promises
    /// nothing.
    fn read_ahead(&self, _at: u64, _len: u64) {}

    /// How many of these bytes, from the first one on, are in memory. One byte in each [`PROBED_BYTES`] is probed: the
    /// middle one, since the caller has just read the bytes at both ends to find its place. Bytes that cannot be read at
    /// all count as in memory: the error shows when they are read.
    fn cached_bytes(&self, at: u64, len: usize) -> usize {
        let cold = |from: &usize| {
            let middle = from + (len - from).min(PROBED_BYTES) / 2;
            let probed = self.read_cached_at(&mut [0], at + middle as u64);
            probed.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        };
        (0..len).step_by(PROBED_BYTES).find(cold).unwrap_or(len)
    }

    /// Lets the kernel copy at most `len` bytes from `at` on into a socket, and returns how many it copied: zero only at
    /// the end of the file. Fails with `WouldBlock` if the socket is full. `None`: this file does not support it; read it
    /// instead.
    fn send(&self, _to: BorrowedFd<'_>, _at: u64, _len: usize) -> io::Result<Option<usize>> {
        Ok(None)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_end(self.sync_begin())
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_vectored_at(&[IoSlice::new(bytes)], at)
    }

    /// Reads until `buf` is full or the file ends, and returns the number of bytes.
    fn read_full_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match self.read_at(&mut buf[done..], at + done as u64)? {
                0 => break,
                read => done += read,
            }
        }
        Ok(done)
    }

    /// As `read_full_at`, but a file that ends too early is an error (`UnexpectedEof`).
    fn read_exact_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        let read = self.read_full_at(buf, at)?;
        if read == buf.len() {
            return Ok(());
        }
        let what = format!("wanted {} bytes at {at} of {self:?}, it ends after {read} of them", buf.len());
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, what))
    }

    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// A probe costs a microsecond at most. Bytes between two probes that are in memory are nearly always in memory too.
const PROBED_BYTES: usize = 256 << 10;

/// Every mode except `Read` opens for reading and writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenHow {
    Read,
    /// The file must exist.
    Write,
    /// Creates it if absent, keeps what it holds.
    Create,
    /// Fails with `AlreadyExists`.
    CreateNew,
    /// Creates it if absent, empties it otherwise.
    CreateEmpty,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub is_dir: bool,
    /// Bytes; zero for a folder.
    pub len: u64,
}

/// What a submitted sync covers. Valid only for the file that returned it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncMark(u64);

/// Holds a lock file. Dropping the guard releases the lock.
#[derive(Debug)]
pub struct LockGuard {
    _held: Box<dyn Debug + Send + Sync>,
}

/// Part of a file on its way to a socket.
#[derive(Clone, Debug)]
pub struct FileRange {
    pub file: Arc<dyn DiskFile>,
    pub position: u64,
    pub len: usize,
}

impl FileRange {
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.len];
        self.file.read_exact_at(&mut bytes, self.position)?;
        Ok(bytes)
    }
}

/// What every `io::Error` of a disk wraps.
#[derive(Debug)]
struct Failed {
    doing: &'static str,
    path: PathBuf,
    cause: io::Error,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.doing, self.path.display(), self.cause)
    }
}

impl std::error::Error for Failed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

fn failed(doing: &'static str, path: &Path, cause: impl Into<io::Error>) -> io::Error {
    let cause = cause.into();
    io::Error::new(cause.kind(), Failed { doing, path: path.to_owned(), cause })
}
