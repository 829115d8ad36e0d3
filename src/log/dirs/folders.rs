//! Which partitions a log directory holds, by the names of its folders.

use super::DirError;
use crate::disk::Disk;
use ottla_model::{CLUSTER_METADATA_TOPIC, PartitionFolder, TopicPartition};
use std::path::{Path, PathBuf};

/// Sorted by name. The metadata log is not among them: it has its own owner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folders {
    pub live: Vec<Folder>,
    /// Copies on their way from another directory of this broker (KIP-113).
    pub future: Vec<Folder>,
    /// Kept, but no longer ours by the metadata (KIP-858): worth a warning.
    pub stray: Vec<Folder>,
    /// Renamed to be deleted when the process ended; see `LogDir::sweep`.
    pub deleted: Vec<Folder>,
    /// No partition's. Kafka refuses to start over one; `lost+found` is no reason to.
    pub unknown: Vec<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    pub partition: TopicPartition,
    pub path: PathBuf,
}

pub(super) fn list(disk: &dyn Disk, dir: &Path) -> Result<Folders, DirError> {
    let mut folders = Folders::default();
    for entry in disk.list(dir)?.into_iter().filter(|entry| entry.is_dir && entry.name != REMOTE_INDEX_CACHE)
    {
        let path = dir.join(&entry.name);
        let (kind, partition) = match PartitionFolder::parse(&entry.name) {
            Some(PartitionFolder::Live(partition)) if &*partition.topic == CLUSTER_METADATA_TOPIC => continue,
            Some(PartitionFolder::Live(partition)) => (&mut folders.live, partition),
            Some(PartitionFolder::Future(partition)) => (&mut folders.future, partition),
            Some(PartitionFolder::Stray(partition)) => (&mut folders.stray, partition),
            Some(PartitionFolder::Deleted(partition)) => (&mut folders.deleted, partition),
            None => {
                folders.unknown.push(path);
                continue;
            }
        };
        kind.push(Folder { partition, path });
    }
    Ok(folders)
}

/// Kafka's tiered storage keeps copies of remote indexes here.
const REMOTE_INDEX_CACHE: &str = "remote-log-index-cache";
