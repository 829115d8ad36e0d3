//! Everything else in a log directory: its partitions, their segments and bytes, files of unfinished work, and what the
//! checkpoints say. For `ottla storage check`, which may take long; a start never waits for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ottla_model::image::Image;
use ottla_model::{NodeId, TopicPartition};
use ottla_protocol::Offset;

use crate::dirs::{Checkpoint, DirError, checkpoint_in, folders_in, is_clean};
use crate::disk::Disk;
use crate::log::files::{Kind as FileKind, Name, Stage};
use crate::log::partition_metadata;

/// One log directory.
#[derive(Clone, Debug)]
pub struct Content {
    /// The last shutdown was clean, so a start scans nothing.
    pub clean: bool,
    pub folders: Vec<Folder>,
    /// Folders and files that belong to no partition.
    pub unknown: Vec<PathBuf>,
    /// Checkpoint files that cannot be parsed; a start ignores them.
    pub checkpoints: Vec<String>,
}

/// One folder of a partition.
#[derive(Clone, Debug)]
pub struct Folder {
    pub path: PathBuf,
    pub partition: TopicPartition,
    pub segments: usize,
    pub bytes: u64,
    pub kind: Kind,
    /// Offset up to which the partition was flushed, from the checkpoint; 0 if that has no entry.
    pub recovery_point: Offset,
}

/// What the folder is, by its name and by the metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Live,
    /// The name is that of a partition, but this broker has no such partition.
    Unassigned,
    /// A folder of a deleted topic, while another topic has the name now.
    OldNamesake,
    Future,
    Stray,
    Deleted,
}

impl Content {
    pub fn read(disk: &dyn Disk, dir: &Path, me: NodeId, image: Option<&Image>) -> Result<Content, DirError> {
        let found = folders_in(disk, dir)?;
        let all =
            [Checkpoint::RecoveryPoint, Checkpoint::LogStart, Checkpoint::HighWatermark, Checkpoint::Cleaner];
        let read = all.map(|which| checkpoint_in(disk, dir, which));
        let points = read[0].as_ref().cloned().unwrap_or_default();
        let checkpoints =
            read.iter().filter_map(|read| read.as_ref().err()).map(ToString::to_string).collect();
        let mut folders = Vec::new();
        let kinds = [
            (found.live, Kind::Live),
            (found.future, Kind::Future),
            (found.stray, Kind::Stray),
            (found.deleted, Kind::Deleted),
        ];
        for (of_kind, kind) in kinds {
            for crate::dirs::Folder { partition, path } in of_kind {
                let kind = match kind {
                    Kind::Live => kind_of(disk, &path, &partition, me, image),
                    other => other,
                };
                folders.push(folder(disk, path, partition, kind, &points)?);
            }
        }
        Ok(Content { clean: is_clean(disk, dir), folders, unknown: found.unknown, checkpoints })
    }

    /// Number of folders, segments and bytes of the partitions that are served.
    pub fn totals(&self) -> (usize, usize, u64) {
        let live = self.folders.iter().filter(|folder| folder.kind == Kind::Live);
        live.fold((0, 0, 0), |(folders, segments, bytes), folder| {
            (folders + 1, segments + folder.segments, bytes + folder.bytes)
        })
    }
}

fn kind_of(disk: &dyn Disk, path: &Path, id: &TopicPartition, me: NodeId, image: Option<&Image>) -> Kind {
    let Some(image) = image else { return Kind::Live };
    let Some(topic) = image.topic(&id.topic) else { return Kind::Unassigned };
    if !topic.partitions.get(&id.partition).is_some_and(|p| p.replicas.contains(&me)) {
        return Kind::Unassigned;
    }
    match partition_metadata::read(disk, path) {
        Some(of) if of != topic.id => Kind::OldNamesake,
        _ => Kind::Live,
    }
}

fn folder(
    disk: &dyn Disk,
    path: PathBuf,
    partition: TopicPartition,
    kind: Kind,
    points: &BTreeMap<TopicPartition, Offset>,
) -> Result<Folder, DirError> {
    let (mut segments, mut bytes) = (0, 0);
    for entry in disk.list(&path)?.iter().filter(|entry| !entry.is_dir) {
        let name = Name::parse(&entry.name);
        segments += usize::from(name.is_some_and(|n| n.stage == Stage::Live && n.kind == FileKind::Log));
        bytes += entry.len;
    }
    let recovery_point = points.get(&partition).copied().unwrap_or(0);
    Ok(Folder { path, partition, segments, bytes, kind, recovery_point })
}
