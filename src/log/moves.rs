//! What a kill leaves of moves between log directories (KIP-113), put in order by the next start, and folders that are set
//! aside. It must never write to a log, or know why one was to be moved.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ottla_model::{FolderSuffix, PartitionFolder, TopicPartition};
use tracing::{error, warn};
use uuid::Uuid;

use crate::Disk;
use crate::dirs::{Folder, Folders, LogDir};
use crate::log::extent;

/// A move that the process before this one began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    pub partition: TopicPartition,
    /// Of the copy, which is empty: the copy begins anew.
    pub folder: PathBuf,
}

/// Puts in order what a kill has left. Copies that were being made begin anew, and of two logs that have the live name the one
/// that was written to last counts; the other one is set aside. What cannot be put in order is left alone.
pub fn recover(disk: &dyn Disk, dirs: &[&LogDir], unique: &mut dyn FnMut() -> Uuid) -> Vec<Unfinished> {
    let listed: Vec<(&LogDir, Folders)> =
        dirs.iter().filter_map(|dir| Some((*dir, dir.folders().ok()?))).collect();
    let mut live: BTreeMap<TopicPartition, &LogDir> = BTreeMap::new();
    for (dir, folders) in &listed {
        for Folder { partition: id, .. } in &folders.live {
            let kept = match live.get(id) {
                Some(other) => choose(disk, other, dir, id, unique()),
                None => *dir,
            };
            live.insert(id.clone(), kept);
        }
    }
    let mut unfinished = Vec::new();
    for (dir, folders) in &listed {
        for Folder { partition: id, path } in &folders.future {
            let Some(home) = live.get(id) else {
                warn!(folder = %path.display(), "a copy of a log that is not there; it is left alone");
                continue;
            };
            let wanted = home.path() != dir.path();
            let emptied = disk.remove_dir_all(path).and_then(|()| match wanted {
                true => disk.create_dir_all(path),
                false => Ok(()),
            });
            match emptied {
                Ok(()) if wanted => {
                    unfinished.push(Unfinished { partition: id.clone(), folder: path.clone() });
                }
                Ok(()) => {}
                Err(error) => warn!(folder = %path.display(), %error, "cannot remove half a copy"),
            }
        }
    }
    unfinished
}

// A move was cut short: the copy has gone live, and what it was made of was not renamed yet.
fn choose<'a>(
    disk: &dyn Disk,
    one: &'a LogDir,
    other: &'a LogDir,
    id: &TopicPartition,
    unique: Uuid,
) -> &'a LogDir {
    let of = |dir: &LogDir| extent(disk, &dir.path().join(id.to_string())).ok();
    let (keeps, goes) = if of(other) > of(one) { (other, one) } else { (one, other) };
    let (kept, aside) = (keeps.path().display(), set_aside(disk, goes.path(), id, unique));
    match aside {
        Ok(to) => warn!(
            partition = %id, %kept, aside = %to.display(),
            "found in two log directories: a move was cut short; the one that was written to last is kept"
        ),
        Err(error) => {
            error!(partition = %id, %kept, %error, "found in two log directories; cannot set one aside")
        }
    }
    keeps
}

/// Renames a partition's folder, for somebody to look at, as Kafka does. Returns its new path.
pub fn set_aside(disk: &dyn Disk, dir: &Path, id: &TopicPartition, unique: Uuid) -> std::io::Result<PathBuf> {
    let to = dir.join(PartitionFolder::marked(id, FolderSuffix::Stray, unique));
    disk.rename(&dir.join(id.to_string()), &to)?;
    disk.sync_dir(dir)?;
    Ok(to)
}

/// Makes the folder of a copy, which is durable on return: that is how the next start knows of the move.
pub fn new_copy(disk: &dyn Disk, dir: &Path, id: &TopicPartition, unique: Uuid) -> std::io::Result<PathBuf> {
    let folder = dir.join(PartitionFolder::marked(id, FolderSuffix::Future, unique));
    disk.create_dir_all(&folder)?;
    disk.sync_dir(dir)?;
    Ok(folder)
}

/// Removes a copy that nobody wants any more.
pub fn forget_copy(disk: &dyn Disk, folder: &Path) {
    match disk.remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            warn!(folder = %folder.display(), %error, "cannot remove a copy; the next start makes it anew");
        }
        _ => {}
    }
}
