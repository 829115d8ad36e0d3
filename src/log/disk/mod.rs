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

/// Whether a write failed for want of room: it may succeed when there is room again.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Folders and names. A change to a folder (create, rename, remove) is sure to outlive a loss of power only
/// after `sync_dir` of that folder; a new folder also needs `sync_dir` of its parent.
pub trait Disk: Send + Sync + Debug {
    fn open(&self, path: &Path, how: OpenHow) -> io::Result<Arc<dyn DiskFile>>;
    /// A file that is there, to read and write; opened when it is first used, where that makes a difference.
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
    /// Creates the file if absent and holds it against other processes (Apache Kafka's too) until the guard is
    /// dropped. Held by another: `WouldBlock`.
    fn lock(&self, path: &Path) -> io::Result<LockGuard>;

    fn read_to_vec(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path, OpenHow::Read)?;
        let len = usize::try_from(file.len()?).map_err(io::Error::other)?;
        let mut bytes = vec![0; len];
        // The file may have become shorter meanwhile; what is there is the answer.
        let read = file.read_full_at(&mut bytes, 0)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// The file holds either what it held before or all of `bytes`, whatever happens when; on return it is `bytes`
    /// for good: write `<path>.tmp`, sync it, rename it, sync the folder.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut name = path.as_os_str().to_owned();
        name.push(".tmp");
        let tmp = PathBuf::from(name);
        let file = self.open(&tmp, OpenHow::CreateEmpty)?;
        if let Err(e) = file.write_at(bytes, 0) {
            // A full disk needs the room, and half a file is worth nothing.
            let _ = self.remove_file(&tmp);
            return Err(e);
        }
        file.sync()?;
        drop(file);
        self.rename(&tmp, path)?;
        self.sync_dir(path.parent().unwrap_or(Path::new("")))
    }
}

/// One open file. It stays readable after its name was removed or changed, until the last handle goes.
pub trait DiskFile: Send + Sync + Debug {
    /// May return fewer bytes than asked for; zero only at or past the end of the file.
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize>;
    /// The same for who may not wait for the device: `WouldBlock` where the bytes, or the file itself, would have to be
    /// fetched from there.
    fn read_cached_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.read_at(buf, at)
    }
    /// All of it, or an error after which any part of it may have been written. Writing past the end fills the
    /// gap with zeros.
    fn write_vectored_at(&self, bufs: &[IoSlice<'_>], at: u64) -> io::Result<()>;
    fn len(&self) -> io::Result<u64>;
    /// Sets the length, both ways; a longer file is filled with zeros.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// Submits a sync: it covers the writes that have returned so far, and promises nothing about later ones.
    fn sync_begin(&self) -> SyncMark;
    /// Completes it. After an error what it covered may be lost though it still reads back, and a further sync
    /// would succeed without saving it: never retry.
    fn sync_end(&self, mark: SyncMark) -> io::Result<()>;
    /// Sets room aside for `len` bytes from `at` on without changing the length: writing them cannot find the disk full.
    /// A file system that cannot promise says `Unsupported`.
    fn reserve(&self, at: u64, len: u64) -> io::Result<()>;

    /// Has the kernel begin to write these bytes to the device, so that little is left for a later sync. It may wait for the
    /// device's queue, and promises nothing: an error shows with the next sync.
    fn write_out(&self, _at: u64, _len: u64) {}

    /// Has the kernel begin to read these bytes into memory. It may wait for the device's queue, and promises nothing.
    fn read_ahead(&self, _at: u64, _len: u64) {}

    /// How many of these bytes are in memory before the first that are not, as far as one byte in each [`PROBED_BYTES`] tells.
    /// It is the middle one: whoever looked up where to read has just read what is at both ends. What cannot be read at all
    /// counts, and is found out by whoever reads it.
    fn cached_bytes(&self, at: u64, len: usize) -> usize {
        let cold = |from: &usize| {
            let middle = from + (len - from).min(PROBED_BYTES) / 2;
            let probed = self.read_cached_at(&mut [0], at + middle as u64);
            probed.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        };
        (0..len).step_by(PROBED_BYTES).find(cold).unwrap_or(len)
    }

    /// Has the kernel copy at most `len` bytes from `at` on into a socket, and says how many: zero only at the end of the
    /// file, `WouldBlock` where the socket takes none. None: this file cannot, and must be read.
    fn send(&self, _to: BorrowedFd<'_>, _at: u64, _len: usize) -> io::Result<Option<usize>> {
        Ok(None)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_end(self.sync_begin())
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_vectored_at(&[IoSlice::new(bytes)], at)
    }

    /// Reads until `buf` is full or the file ends, and says how much that was.
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

/// Each probe costs a microsecond at most, and what lies between two of them is seldom where they are not.
const PROBED_BYTES: usize = 256 << 10;

/// All but `Read` open for reading and writing.
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

/// What a submitted sync covers. Good for the file that gave it only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncMark(u64);

/// Holds a lock file; dropping it lets go.
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

/// The inside of every `io::Error` of a disk.
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
