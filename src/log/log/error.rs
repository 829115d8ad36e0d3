//! Errors of the disk, and refusals of a client's request. The code that answers the request chooses its error code,
//! except where Kafka names one.

use std::io;
use std::path::PathBuf;

use ottla_model::TopicId;
use ottla_protocol::{ErrorCode, Offset};

/// An error of the disk: the log is offline, or could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("{doing}: {source}")]
    Io {
        doing: &'static str,
        #[source]
        source: io::Error,
    },
    /// Flushed bytes are not what was written.
    #[error("{} is corrupt at byte {position}, offset {offset}: {what}", path.display())]
    Corrupt { path: PathBuf, position: u64, offset: Offset, what: String },
    #[error("{} belongs to topic {found}, not to {expected}", path.display())]
    TopicId { path: PathBuf, found: TopicId, expected: TopicId },
    /// An earlier write or sync failed: nothing is appended until the log has been opened again.
    #[error("{} is offline since an earlier write or sync failed", dir.display())]
    Offline { dir: PathBuf },
}

/// Why nothing of a call was appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The disk is full. The log stays usable: reads and deletes go on, and a later append may find room again.
    /// `waits_for_flush`: it was full before, and what it cut off then is not flushed yet; there may be room by now.
    #[error("no space left in {}", dir.display())]
    DiskFull { dir: PathBuf, waits_for_flush: bool },
    /// The log is offline until it is opened again.
    #[error(transparent)]
    Io(#[from] LogError),
}

impl AppendError {
    pub fn code(&self) -> ErrorCode {
        ErrorCode::KafkaStorageError
    }
}

/// The client was wrong or must try again. The log is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", code.name())]
pub struct Refused {
    pub code: ErrorCode,
    pub message: String,
}

impl Refused {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Refused {
        Refused { code, message: message.into() }
    }
}

/// Why a read has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The offset is below the log start or above the log end. A consumer continues from the offsets in here (KIP-320).
    #[error("offset out of range, the log has {0:?}")]
    OutOfRange(super::Offsets),
    #[error(transparent)]
    Io(#[from] LogError),
}

impl LogError {
    /// Whether the read failed because the bytes are not in memory (`disk::worker::cached_only`).
    pub fn is_cold(&self) -> bool {
        matches!(self, LogError::Io { source, .. } if source.kind() == io::ErrorKind::WouldBlock)
    }

    /// Whether the disk, or this user's share of it, is full.
    pub fn is_full(&self) -> bool {
        matches!(self, LogError::Io { source, .. } if crate::disk::is_full(source))
    }
}

impl ReadError {
    /// Whether the read failed because the bytes are not in memory (`disk::worker::cached_only`).
    pub fn is_cold(&self) -> bool {
        matches!(self, ReadError::Io(error) if error.is_cold())
    }
}

pub(super) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> LogError {
    move |source| LogError::Io { doing, source }
}
