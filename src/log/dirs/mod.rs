//! One log directory: who it belongs to, that nobody else uses it, which partitions it holds and the files beside
//! them. Must never look into a partition's folder.

mod checkpoint;
mod checkpoints;
mod clean;
mod error;
mod folders;
mod meta;
#[cfg(test)]
mod tests;

pub use checkpoint::Checkpoint;
pub use checkpoints::{Arrival, Checkpoints, Offsets};
pub use clean::CleanShutdown;
pub use error::DirError;
pub use folders::{Folder, Folders};
pub use meta::MetaProperties;

use crate::disk::{Disk, LockGuard, OpenHow};
use ottla_model::{BrokerEpoch, DirectoryId, NodeId, TopicPartition};
use ottla_protocol::Offset;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A formatted directory, held against other processes for as long as this lives.
#[derive(Debug)]
pub struct LogDir {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    meta: MetaProperties,
    _lock: LockGuard,
}

/// Whose directory it must be.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// None: any; the caller compares its directories with each other.
    pub cluster_id: Option<&'a str>,
    pub node_id: NodeId,
}

impl LogDir {
    /// Opens a directory that has been formatted.
    pub fn open(disk: Arc<dyn Disk>, path: &Path, expected: Expected<'_>) -> Result<LogDir, DirError> {
        if MetaProperties::read(&*disk, path)?.is_none() {
            return Err(DirError::NotFormatted { dir: path.to_owned() });
        }
        LogDir::open_or_format(disk, path, expected, || None)
    }

    /// Opens a directory, or makes it with what `new` says if nobody has yet. The lock comes first, so that of two
    /// that find it empty only one makes it.
    pub fn open_or_format(
        disk: Arc<dyn Disk>,
        path: &Path,
        expected: Expected<'_>,
        new: impl FnOnce() -> Option<MetaProperties>,
    ) -> Result<LogDir, DirError> {
        create_durably(&*disk, path)?;
        let lock = disk.lock(&path.join(LOCK)).map_err(|e| match e.kind() {
            ErrorKind::WouldBlock => DirError::Locked { dir: path.to_owned() },
            _ => DirError::Io(e),
        })?;
        let meta = match (MetaProperties::read(&*disk, path)?, new()) {
            (Some(meta), _) => meta,
            (None, None) => return Err(DirError::NotFormatted { dir: path.to_owned() }),
            (None, Some(meta)) => {
                meta.write(&*disk, path)?;
                meta
            }
        };
        if let Some(cluster_id) = expected.cluster_id.filter(|id| *id != meta.cluster_id) {
            let (dir, expected, found) = (path.to_owned(), cluster_id.to_owned(), meta.cluster_id);
            return Err(DirError::WrongCluster { dir, expected, found });
        }
        if expected.node_id != meta.node_id {
            let (dir, expected, found) = (path.to_owned(), expected.node_id, meta.node_id);
            return Err(DirError::WrongNode { dir, expected, found });
        }
        Ok(LogDir { disk, path: path.to_owned(), meta, _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn meta(&self) -> &MetaProperties {
        &self.meta
    }

    /// Gives a directory that was formatted before directories had ids (KIP-858) the one it lacks. One that has an
    /// id keeps it.
    pub fn adopt_id(&mut self, id: DirectoryId) -> Result<DirectoryId, DirError> {
        if let Some(id) = self.meta.directory_id {
            return Ok(id);
        }
        let meta = MetaProperties { directory_id: Some(id), ..self.meta.clone() };
        meta.write(&*self.disk, &self.path)?;
        self.meta = meta;
        Ok(id)
    }

    pub fn folders(&self) -> Result<Folders, DirError> {
        folders::list(&*self.disk, &self.path)
    }

    /// Removes the folders of deleted partitions for good.
    pub fn sweep(&self, folders: &Folders) -> Result<(), DirError> {
        for folder in &folders.deleted {
            self.disk.remove_dir_all(&folder.path)?;
        }
        if !folders.deleted.is_empty() {
            self.disk.sync_dir(&self.path)?;
        }
        Ok(())
    }

    /// Empty if the file is not there. A file that is damaged is an error that the caller may take for empty, at the
    /// price of a longer recovery or of what that file protects.
    pub fn checkpoint(&self, which: Checkpoint) -> Result<BTreeMap<TopicPartition, Offset>, DirError> {
        checkpoint::read(&*self.disk, &self.path.join(which.file()))
    }

    /// Replaces the whole file. Whoever keeps the checkpoints of a directory has [`Checkpoints`] for that.
    pub fn write_checkpoint(
        &self,
        which: Checkpoint,
        offsets: &BTreeMap<TopicPartition, Offset>,
    ) -> Result<(), DirError> {
        checkpoint::write(&*self.disk, &self.path.join(which.file()), offsets)
    }

    /// The last act of a clean shutdown: everything in this directory is flushed and checkpointed.
    pub fn mark_clean(&self, epoch: BrokerEpoch) -> Result<(), DirError> {
        clean::write(&*self.disk, &self.path, epoch)
    }

    /// Whether the last shutdown was clean. The mark is gone for good on return: if this start dies half way, the
    /// next one must not believe it (KAFKA-10471).
    pub fn take_clean(&self) -> Result<Option<CleanShutdown>, DirError> {
        clean::take(&*self.disk, &self.path)
    }
}

/// The partitions' folders of a directory that nobody holds; for looking only.
pub fn folders_in(disk: &dyn Disk, dir: &Path) -> Result<Folders, DirError> {
    folders::list(disk, dir)
}

/// A checkpoint of a directory that nobody holds; for looking only.
pub fn checkpoint_in(
    disk: &dyn Disk,
    dir: &Path,
    which: Checkpoint,
) -> Result<BTreeMap<TopicPartition, Offset>, DirError> {
    checkpoint::read(disk, &dir.join(which.file()))
}

/// Whether a clean shutdown's mark is there and counts. It stays.
pub fn is_clean(disk: &dyn Disk, dir: &Path) -> bool {
    clean::read(disk, dir).is_ok_and(|mark| mark.is_some())
}

/// Makes a directory ours, creating it if absent. Refuses one that is formatted already.
pub fn format(disk: &dyn Disk, dir: &Path, meta: &MetaProperties) -> Result<(), DirError> {
    if let Some(found) = MetaProperties::read(disk, dir)? {
        return Err(DirError::AlreadyFormatted { dir: dir.to_owned(), found });
    }
    create_durably(disk, dir)?;
    meta.write(disk, dir)
}

/// A new folder is a name in its parent, up to the first that was there.
fn create_durably(disk: &dyn Disk, dir: &Path) -> Result<(), DirError> {
    let missing: Vec<&Path> = dir.ancestors().take_while(|at| !disk.exists(at)).collect();
    disk.create_dir_all(dir)?;
    for made in missing {
        if let Some(parent) = made.parent() {
            disk.sync_dir(parent)?;
        }
    }
    Ok(())
}

/// The text of a small file, None if it is not there.
fn read_text(disk: &dyn Disk, path: &Path, bytes_max: u64) -> Result<Option<String>, DirError> {
    let Some(bytes) = read_bytes(disk, path, bytes_max)? else { return Ok(None) };
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(e) => {
            let good = &e.as_bytes()[..e.utf8_error().valid_up_to()];
            let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
            Err(DirError::malformed(path, line, "not text in UTF-8"))
        }
    }
}

/// The content of a small file, None if it is not there.
fn read_bytes(disk: &dyn Disk, path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, DirError> {
    let file = match disk.open(path, OpenHow::Read) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let len = file.len()?;
    if len > bytes_max {
        return Err(DirError::malformed(
            path,
            1,
            format!("the file has {len} bytes, at most {bytes_max} make sense"),
        ));
    }
    let mut bytes = vec![0; len as usize];
    let read = file.read_full_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(Some(bytes))
}

const LOCK: &str = ".lock";
