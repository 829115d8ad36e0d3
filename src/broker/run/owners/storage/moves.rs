//! Logs that move from one directory of this broker to another (KIP-113), what a crash has left of such moves, and in
//! which directory the controller finds each log (KIP-858).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla_log::Disk;
use ottla_log::dirs::{Arrival, LogDir};
use ottla_log::log::{LogError, Opening, Relocation, Settled};
use ottla_log::moves::{self, Unfinished};
use ottla_model::{DirectoryId, TopicPartition};
use parking_lot::Mutex;
use tracing::info;
use uuid::Uuid;

use super::{Dir, Storage};
use crate::run::owners::partition::Partition;
use crate::run::owners::volume::Volume;

/// The most directories that are remembered for logs which do not exist yet.
const PREFERRED_MAX: usize = 10_000;

/// What is known of moves.
#[derive(Default)]
pub(super) struct Moves {
    /// Moves that the previous process has begun.
    unfinished: Vec<Unfinished>,
    /// In which directory to create logs that do not exist yet.
    preferred: Mutex<BTreeMap<TopicPartition, PathBuf>>,
}

impl Moves {
    pub fn recover(disk: &dyn Disk, dirs: &[Dir]) -> Moves {
        let dirs: Vec<&LogDir> = dirs.iter().map(|dir| &dir.held).collect();
        let unfinished = moves::recover(disk, &dirs, &mut Uuid::new_v4);
        Moves { unfinished, preferred: Mutex::default() }
    }
}

impl Storage {
    /// The moves that the previous process has not finished.
    pub fn unfinished_moves(&self) -> &[Unfinished] {
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
        moves::new_copy(&*self.disk, dir, id, Uuid::new_v4())
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
        moves::forget_copy(&*self.disk, folder);
    }

    /// Begins to copy a partition's log to another log directory.
    pub fn begin_move(
        self: &Arc<Self>,
        partition: &Partition,
        to: &Path,
        copy: &Path,
    ) -> Result<Relocation, LogError> {
        let (id, place) = (partition.id.clone(), partition.place());
        let config = partition.config.load_full();
        let opening = self.opening(&id, partition.topic_id, config, to.join(id.to_string()));
        let go_live = {
            let (storage, from, copy) = (self.clone(), place.folder.clone(), copy.to_owned());
            let opening: Opening = opening.clone();
            move |settled: Settled| storage.go_live(&from, &copy, &opening, settled)
        };
        Relocation::begin(opening, copy.to_owned(), place.reader.clone(), Box::new(go_live))
    }

    fn go_live(&self, from: &Path, copy: &Path, opening: &Opening, settled: Settled) -> std::io::Result<()> {
        let (id, live) = (&opening.partition, &opening.dir);
        let Settled { recovery_point, log_start } = settled;
        let arrival = Arrival { recovery_point, log_start, cleaned: self.cleaned(from, id) };
        let Some(dir) = self.holder(live).map(|index| &self.dirs[index]) else {
            return Err(std::io::Error::other("it is no log directory"));
        };
        dir.checkpoints.lock().go_live(&dir.held, copy, id, arrival)?;
        info!(partition = %id, to = %live.display(), "the copy takes the log's place");
        Ok(())
    }
}
