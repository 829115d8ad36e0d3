//! Logs that move from one directory of this broker to another (KIP-113), what a crash has left of such moves, and in
//! which directory the controller finds each log (KIP-858).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla_log::Disk;
use ottla_log::dirs::{Checkpoint, DirError, Folder, Folders};
use ottla_log::log::{LogError, Opening, Relocation, Settled, extent};
use ottla_model::{DirectoryId, FolderSuffix, PartitionFolder, TopicPartition};
use ottla_protocol::Offset;
use parking_lot::Mutex;
use tracing::{error, info, warn};
use uuid::Uuid;

use super::{Dir, Storage, set_aside, slot_of};
use crate::run::owners::partition::Partition;
use crate::run::owners::volume::Volume;

/// The most directories that are remembered for logs which do not exist yet.
const PREFERRED_MAX: usize = 10_000;

/// What is known of moves.
#[derive(Default)]
pub(super) struct Moves {
    /// Moves that the previous process has begun: the folders of the copies.
    unfinished: Vec<(TopicPartition, PathBuf)>,
    /// In which directory to create logs that do not exist yet.
    preferred: Mutex<BTreeMap<TopicPartition, PathBuf>>,
}

impl Moves {
    /// Cleans up after a crash: unfinished copies begin again, and of two folders with the live name, the one that was
    /// written to last counts. Everything else is left as it is.
    pub fn recover(disk: &dyn Disk, dirs: &[Dir]) -> Moves {
        let mut live: BTreeMap<TopicPartition, &Dir> = BTreeMap::new();
        let listed: Vec<(&Dir, Folders)> =
            dirs.iter().filter_map(|dir| Some((dir, dir.held.folders().ok()?))).collect();
        for (dir, folders) in &listed {
            for Folder { partition: id, .. } in &folders.live {
                let kept = match live.get(id) {
                    Some(other) => choose(disk, other, dir, id),
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
                let wanted = home.held.path() != dir.held.path();
                let emptied = disk.remove_dir_all(path).and_then(|()| match wanted {
                    true => disk.create_dir_all(path),
                    false => Ok(()),
                });
                match emptied {
                    Ok(()) if wanted => unfinished.push((id.clone(), path.clone())),
                    Ok(()) => {}
                    Err(error) => warn!(folder = %path.display(), %error, "cannot remove half a copy"),
                }
            }
        }
        Moves { unfinished, preferred: Mutex::default() }
    }
}

// A move was interrupted: the copy has the live name, and the original was not renamed yet.
fn choose<'a>(disk: &dyn Disk, one: &'a Dir, other: &'a Dir, id: &TopicPartition) -> &'a Dir {
    let of = |dir: &Dir| extent(disk, &dir.held.path().join(id.to_string())).ok();
    let (keeps, goes) = if of(other) > of(one) { (other, one) } else { (one, other) };
    let (kept, aside) = (keeps.held.path().display(), set_aside(disk, goes.held.path(), id));
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

impl Storage {
    /// The moves that the previous process has not finished: partitions, and the folder of each copy.
    pub fn unfinished_moves(&self) -> &[(TopicPartition, PathBuf)] {
        &self.moves.unfinished
    }

    /// The log directory with the absolute path that a client has sent.
    pub fn log_dir(&self, path: &str) -> Option<&Path> {
        let same = |dir: &&PathBuf| std::path::absolute(dir).is_ok_and(|dir| dir == Path::new(path));
        self.log_dirs.iter().find(same).map(PathBuf::as_path)
    }

    /// Remembers in which directory to create a log, until this process ends.
    pub fn prefer(&self, id: TopicPartition, dir: &Path) {
        let mut preferred = self.moves.preferred.lock();
        if preferred.len() < PREFERRED_MAX || preferred.contains_key(&id) {
            preferred.insert(id, dir.to_owned());
        }
    }

    pub(super) fn preferred(&self, id: &TopicPartition) -> Option<&Dir> {
        let path = self.moves.preferred.lock().remove(id)?;
        self.healthy().find(|dir| dir.held.path() == path)
    }

    pub fn volume(&self, dir: &Path) -> Option<Arc<Volume>> {
        self.dirs.iter().find(|d| d.held.path() == dir).map(|dir| dir.volume.clone())
    }

    /// The ids of directories that have failed since the start.
    pub fn lost(&self) -> Vec<DirectoryId> {
        self.dirs.iter().filter(|dir| dir.volume.has_failed()).map(|dir| dir.id).collect()
    }

    /// The directory of each partition's folder.
    pub fn found(&self) -> Vec<(TopicPartition, DirectoryId)> {
        let listed = self.healthy().filter_map(|dir| Some((dir.id, dir.held.folders().ok()?.live)));
        listed.flat_map(|(id, live)| live.into_iter().map(move |folder| (folder.partition, id))).collect()
    }

    /// Creates the folder for a copy. It is durable when this returns.
    pub fn new_copy(&self, id: &TopicPartition, dir: &Path) -> std::io::Result<PathBuf> {
        let folder = dir.join(PartitionFolder::marked(id, FolderSuffix::Future, Uuid::new_v4()));
        self.disk.create_dir_all(&folder)?;
        self.disk.sync_dir(dir)?;
        Ok(folder)
    }

    /// Makes sure that there is a folder for a copy that is to be tried again.
    pub fn keep_copy(&self, folder: &Path) -> std::io::Result<()> {
        self.disk.create_dir_all(folder)
    }

    /// Whether this many bytes fit into a log directory. If that is not known, true: copying will find out.
    pub fn has_room(&self, dir: &Path, bytes: u64) -> bool {
        self.disk.free_bytes(dir).map_or(true, |free| free > bytes)
    }

    /// Removes a copy that is not wanted any more.
    pub fn forget_copy(&self, folder: &Path) {
        match self.disk.remove_dir_all(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                warn!(folder = %folder.display(), %error, "cannot remove a copy; the next start makes it anew");
            }
            _ => {}
        }
    }

    /// Begins to copy a partition's log to another log directory.
    pub fn begin_move(
        self: &Arc<Self>,
        partition: &Partition,
        to: &Path,
        copy: &Path,
    ) -> Result<Relocation, LogError> {
        let (id, place) = (partition.id.clone(), partition.place());
        let live = to.join(id.to_string());
        if self.disk.exists(&live) {
            // This is no error of a disk.
            let (path, what) = (live, "there is a folder of that name already".to_owned());
            return Err(LogError::Corrupt { path, position: 0, offset: 0, what });
        }
        let config = partition.config.load_full();
        let opening = self.opening(&id, partition.topic_id, config, live);
        let go_live = {
            let (storage, from, copy) = (self.clone(), place.folder.clone(), copy.to_owned());
            let opening: Opening = opening.clone();
            move |settled: Settled| storage.go_live(&from, &copy, &opening, settled)
        };
        Relocation::begin(opening, copy.to_owned(), place.reader.clone(), Box::new(go_live))
    }

    // The checkpoints are written before the name: a crash between the two leaves a copy, and entries for a log that is
    // not there. The lock keeps out other checkpoint writes, which would omit these entries.
    fn go_live(&self, from: &Path, copy: &Path, opening: &Opening, settled: Settled) -> std::io::Result<()> {
        let (id, live) = (&opening.partition, &opening.dir);
        let known: [(Checkpoint, Option<Offset>); 3] = [
            (Checkpoint::RecoveryPoint, Some(settled.recovery_point)),
            (Checkpoint::LogStart, Some(settled.log_start)),
            (Checkpoint::Cleaner, self.cleaned(from, id)),
        ];
        let Some(dir) = self.holder(live).map(|index| &self.dirs[index]) else {
            return Err(std::io::Error::other("it is no log directory"));
        };
        let mut written = dir.written.lock();
        for (which, offset) in known {
            let offsets = &mut written[slot_of(which)];
            match offset {
                Some(offset) => offsets.insert(id.clone(), offset),
                None => offsets.remove(id),
            };
            dir.held.write_checkpoint(which, offsets).map_err(|error| match error {
                DirError::Io(error) => error,
                other => std::io::Error::other(other),
            })?;
        }
        self.disk.rename(copy, live)?;
        self.disk.sync_dir(dir.held.path())?;
        info!(partition = %id, to = %live.display(), "the copy takes the log's place");
        Ok(())
    }
}
