//! The log directories of this broker: opened and locked once, identified by their contents, checkpointed while the
//! broker runs, and marked clean when it stops. It must never know which broker leads what.

mod moves;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc::Sender;

use ottla_log::Disk;
use ottla_log::dirs::{
    Checkpoint, Checkpoints, CleanShutdown, DirError, Expected, LogDir, MetaProperties, Offsets,
};
use ottla_log::disk::is_full;
use ottla_log::log::{Log, LogError, Opening};
use ottla_log::moves::{forget_copy, set_aside};
use ottla_model::config::{BrokerConfig, TopicConfig};
use ottla_model::image::Image;
use ottla_model::{BrokerEpoch, DirectoryId, NodeId, TopicId, TopicPartition, fresh_id, uuid_to_base64};
use ottla_node::lifecycle::is_assigned;
use ottla_node::replicas::{self, LastOwner};
use ottla_protocol::Offset;
use parking_lot::Mutex;
use tracing::{debug, error, warn};
use uuid::Uuid;

use self::moves::Moves;
use super::partition::Partition;
use super::partitions::Partitions;
use super::publisher::Notice;
use super::volume::Volume;
use crate::clock::now_ms;

/// Whether a directory takes no new replicas (KIP-1066).
pub(crate) fn is_cordoned(cordoned: &[String], dir: &Path) -> bool {
    cordoned == ["*"] || cordoned.iter().any(|c| dir.as_os_str() == c.as_str())
}

/// The directories. They stay locked for as long as this exists.
pub(crate) struct Storage {
    disk: Arc<dyn Disk>,
    /// The cluster id, which all directories have.
    pub cluster_id: String,
    dirs: Vec<Dir>,
    /// Directories that could not be opened when this process started.
    unopened: Vec<PathBuf>,
    /// The directories of partitions, and the one of the metadata log, which may be one of them.
    log_dirs: Vec<PathBuf>,
    metadata_dir: PathBuf,
    producer_id_expiration_ms: AtomicI64,
    /// `cordoned.log.dirs`
    cordoned: Mutex<Vec<String>>,
    leaving: Mutex<Vec<(PathBuf, i64)>>,
    checkpointing: Mutex<()>,
    moves: Moves,
}

struct Dir {
    held: LogDir,
    volume: Arc<Volume>,
    id: DirectoryId,
    clean: Option<CleanShutdown>,
    /// A log in this directory could not be opened. The next start has to check it again, so the shutdown does not count
    /// as clean.
    damaged: AtomicBool,
    /// Locked while a file is written: one writer at a time.
    checkpoints: Mutex<Checkpoints>,
}

impl Storage {
    /// Opens every directory. New ones are formatted, with the cluster id of the others, or else with `cluster_id`, or
    /// else with a new one.
    pub fn open(
        disk: Arc<dyn Disk>,
        config: &BrokerConfig,
        cluster_id: Option<&str>,
    ) -> Result<Storage, DirError> {
        let paths = all_paths(config);
        let mut known = None;
        for path in &paths {
            match MetaProperties::read(&*disk, path) {
                Ok(meta) => known = known.or(meta.map(|meta| meta.cluster_id)),
                // It is opened below, where the error is reported.
                Err(DirError::Io(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let cluster_id = known
            .or(cluster_id.map(str::to_owned))
            .unwrap_or_else(|| ottla_model::uuid_to_base64(fresh_id(random)));
        let mut dirs: Vec<Dir> = Vec::new();
        let mut unopened = Vec::new();
        let mut left = config.log_dirs.len();
        for path in &paths {
            let expected = Expected { cluster_id: Some(&cluster_id), node_id: config.node_id };
            let new = || {
                Some(MetaProperties {
                    cluster_id: cluster_id.clone(),
                    node_id: config.node_id,
                    directory_id: Some(fresh_id(random)),
                })
            };
            match LogDir::open_or_format(disk.clone(), path, expected, new).and_then(Dir::open) {
                Ok(dir) => dirs.push(dir),
                // The other directories go on, as in Kafka (KIP-112). Without the metadata log, or without any directory,
                // the start fails.
                Err(DirError::Io(error)) if *path != config.metadata_log_dir && left > 1 => {
                    left -= 1;
                    error!(dir = %path.display(), %error, "the log directory cannot be used; it is offline until the next start");
                    unopened.push(path.clone());
                }
                Err(error) => return Err(error),
            }
        }
        let moves = Moves::recover(&*disk, &dirs);
        Ok(Storage {
            disk,
            moves,
            cluster_id,
            dirs,
            unopened,
            log_dirs: config.log_dirs.clone(),
            metadata_dir: config.metadata_log_dir.clone(),
            producer_id_expiration_ms: AtomicI64::new(config.producer_id_expiration_ms.into()),
            cordoned: Mutex::new(config.cordoned_log_dirs.clone()),
            leaving: Mutex::default(),
            checkpointing: Mutex::default(),
        })
    }

    /// Whether a directory says already which cluster it belongs to.
    pub fn is_formatted(disk: &dyn Disk, config: &BrokerConfig) -> bool {
        all_paths(config).iter().any(|path| matches!(MetaProperties::read(disk, path), Ok(Some(_))))
    }

    pub fn directory_id(&self, path: &Path) -> Option<DirectoryId> {
        self.dirs.iter().find(|dir| dir.held.path() == path).map(|dir| dir.id)
    }

    /// Sets where the failure of a directory is reported, so that its partitions are taken offline.
    pub fn report_to(&self, publisher: &Sender<Notice>) {
        self.dirs.iter().for_each(|dir| dir.volume.report_to(publisher.clone()));
    }

    /// Whether a directory cannot be used until the next start.
    pub fn has_failed(&self, path: &Path) -> bool {
        let failed = |dir: &Dir| dir.held.path() == path && dir.volume.has_failed();
        self.unopened.iter().any(|dir| dir == path) || self.dirs.iter().any(failed)
    }

    /// Why this process has to end. `None`: it can go on.
    pub fn cannot_go_on(&self) -> Option<String> {
        if self.log_dirs.iter().all(|dir| self.has_failed(dir)) {
            return Some("every log directory has failed".to_owned());
        }
        let dir = self.metadata_dir.display();
        self.has_failed(&self.metadata_dir)
            .then(|| format!("the directory of the metadata log has failed: {dir}"))
    }

    /// The directories that have no room.
    pub fn full(&self) -> Vec<DirectoryId> {
        self.healthy().filter(|dir| dir.volume.is_full()).map(|dir| dir.id).collect()
    }

    /// Looks for room where there was none. Whether some was found.
    pub fn look_for_room(&self) -> bool {
        let looks = |dir: &Dir| dir.volume.looks_for_room(&*self.disk);
        self.dirs.iter().fold(false, |found, dir| looks(dir) | found)
    }

    fn healthy(&self) -> impl Iterator<Item = &Dir> {
        self.dirs.iter().filter(|dir| !dir.volume.has_failed())
    }

    /// For logs that are opened from now on.
    pub fn set_producer_id_expiration_ms(&self, ms: i64) {
        self.producer_id_expiration_ms.store(ms, Ordering::Relaxed);
    }

    /// The ids of the directories that partitions are in.
    pub fn directory_ids(&self) -> Vec<DirectoryId> {
        let partitions = |dir: &&Dir| self.log_dirs.iter().any(|path| path == dir.held.path());
        self.dirs.iter().filter(partitions).map(|dir| dir.id).collect()
    }

    /// These directories take no new replicas from now on (KIP-1066). The ids of those that there are.
    pub fn cordon(&self, cordoned: &[String]) -> Vec<DirectoryId> {
        *self.cordoned.lock() = cordoned.to_vec();
        let named = self.dirs.iter().filter(|dir| is_cordoned(cordoned, dir.held.path()));
        let ids: Vec<DirectoryId> = named.map(|dir| dir.id).collect();
        self.directory_ids().into_iter().filter(|id| ids.contains(id)).collect()
    }

    /// Opens a partition's log where its folder is. If it has none, one is created, as a rule in the directory with the
    /// fewest.
    pub fn open_log(&self, opening: &replicas::Opening) -> Result<(Log, Arc<Volume>), LogError> {
        let id = &opening.id;
        let opened = self.open_folder(opening);
        let Err(LogError::TopicId { path, found, .. }) = &opened else { return opened };
        warn!(folder = %path.display(), topic_id = %uuid_to_base64(*found), "a deleted topic of that name is set aside");
        if let Some(dir) =
            self.dirs.iter().find(|dir| self.disk.exists(&dir.held.path().join(id.to_string())))
        {
            let aside = set_aside(&*self.disk, dir.held.path(), id, Uuid::new_v4());
            aside
                .map_err(|source| LogError::Io { doing: "setting a deleted topic's folder aside", source })?;
        }
        self.open_folder(opening)
    }

    fn open_folder(&self, opening: &replicas::Opening) -> Result<(Log, Arc<Volume>), LogError> {
        let replicas::Opening { topic: topic_id, id, config, last_owner, directory, .. } = opening;
        let folder = id.to_string();
        let here = self.healthy().find(|dir| self.disk.exists(&dir.held.path().join(&folder)));
        let new = here.is_none();
        let Some(dir) = here.or_else(|| self.place_for(id, *last_owner, *directory)) else {
            return Err(LogError::Io {
                doing: "looking for its folder",
                source: std::io::Error::other("it is in none of the directories that can be used"),
            });
        };
        if new {
            dir.checkpoints.lock().forget(&dir.held, id).map_err(|error| LogError::Io {
                doing: "forgetting an earlier topic of that name",
                source: std::io::Error::other(error),
            })?;
        }
        let log_opening = Opening {
            clean_shutdown: last_owner.left_it_clean(dir.clean.is_some()),
            recovery_point: dir.says(Checkpoint::RecoveryPoint, id).unwrap_or(0),
            log_start: dir.says(Checkpoint::LogStart, id).unwrap_or(0),
            ..self.opening(id, *topic_id, config.clone(), dir.held.path().join(&folder))
        };
        let opened = Log::open(log_opening);
        if new && opened.as_ref().is_err_and(LogError::is_full) {
            // Another directory may have room for it.
            let _ = self.disk.remove_dir_all(&dir.held.path().join(&folder));
        }
        if opened.as_ref().is_err_and(|error| !matches!(error, LogError::TopicId { .. })) {
            dir.damaged.store(true, Ordering::Relaxed);
        }
        match &opened {
            Err(error) if error.is_full() => dir.volume.finds_no_room(id),
            Err(error @ LogError::Io { .. }) => dir.volume.fail(&error.to_string()),
            _ => {}
        }
        let (mut log, recovery) = opened?;
        // Below that offset the log is known to be replicated, whoever leads. A sole replica needs no word.
        if let Some(replicated) = dir.says(Checkpoint::HighWatermark, id).filter(|_| !new) {
            log.advance_high_watermark(replicated);
        }
        if recovery.scanned_bytes > 0 {
            debug!(partition = %id, scanned_bytes = recovery.scanned_bytes, "read again what may not have been flushed");
        }
        if recovery.truncated_bytes > 0 || !recovery.dropped_segments.is_empty() {
            warn!(
                partition = %id,
                truncated_bytes = recovery.truncated_bytes,
                dropped_segments = ?recovery.dropped_segments,
                log_end_offset = log.log_end_offset(),
                "what was not flushed before the crash is cut off"
            );
        }
        Ok((log, dir.volume.clone()))
    }

    // Where to make a log that is in none of the directories that can be used. Where one of them has failed, the log may be
    // in that one, and the other replicas need not hear that its records are gone. But if the metadata has the log in a
    // directory that can be used, it is gone from there, and a follower fills it again.
    fn place_for(
        &self,
        id: &TopicPartition,
        last_owner: LastOwner,
        on_record: Option<DirectoryId>,
    ) -> Option<&Dir> {
        let lost = !self.unopened.is_empty() || self.dirs.iter().any(|dir| dir.volume.has_failed());
        let recorded = || self.healthy().find(|dir| Some(dir.id) == on_record);
        match lost && last_owner != LastOwner::Nobody {
            true => recorded(),
            false => self.preferred(id).or_else(recorded).or_else(|| self.emptiest()),
        }
    }

    /// For a log of which nothing is known.
    fn opening(
        &self,
        id: &TopicPartition,
        topic_id: TopicId,
        config: Arc<TopicConfig>,
        dir: PathBuf,
    ) -> Opening {
        Opening {
            disk: self.disk.clone(),
            dir,
            partition: id.clone(),
            topic_id: Some(topic_id),
            config,
            clean_shutdown: false,
            recovery_point: 0,
            log_start: 0,
            now_ms: now_ms(),
            producer_id_expiration_ms: self.producer_id_expiration_ms.load(Ordering::Relaxed),
            jitter_seed: rand::random(),
        }
    }

    /// Renames the folders of partitions that this broker does not have by the metadata, once all of it is read: a crash
    /// came between a deletion and its rename. As in Kafka the folders are kept, for an operator to look at. `image`: what is
    /// carried out, and nothing may be made or deleted meanwhile.
    pub fn set_strays_aside(&self, me: NodeId, image: &Image) {
        let assigned = |id: &TopicPartition| is_assigned(me, image, id);
        for dir in self.healthy() {
            let Ok(folders) = dir.held.folders() else { continue };
            // A copy of a log that does not exist any more is not needed.
            for copy in folders.future.iter().filter(|folder| !assigned(&folder.partition)) {
                forget_copy(&*self.disk, &copy.path);
            }
            for stray in folders.live.iter().filter(|folder| !assigned(&folder.partition)) {
                match set_aside(&*self.disk, dir.held.path(), &stray.partition, Uuid::new_v4()) {
                    Ok(to) => warn!(folder = %to.display(), "set aside: no topic of this broker's any more"),
                    Err(error) => error!(folder = %stray.path.display(), %error, "cannot set a stray aside"),
                }
            }
        }
    }

    fn emptiest(&self) -> Option<&Dir> {
        let count = |dir: &&Dir| dir.held.folders().map_or(usize::MAX, |f| f.live.len());
        match self.dirs.as_slice() {
            [only] => Some(only),
            _ => {
                let cordoned = self.cordoned.lock();
                let usable =
                    || self.healthy().filter(|dir| self.log_dirs.iter().any(|d| d == dir.held.path()));
                let open = || usable().filter(|dir| !is_cordoned(&cordoned, dir.held.path()));
                let with_room = open().filter(|dir| !dir.volume.is_full());
                // The controller may have placed it here just before the last one was cordoned.
                with_room
                    .min_by_key(count)
                    .or_else(|| open().min_by_key(count))
                    .or_else(|| usable().min_by_key(count))
            }
        }
    }

    /// A renamed folder is removed once `file.delete.delay.ms` has passed, or at the next start.
    pub fn remove_later(&self, folder: PathBuf, delay_ms: i64) {
        self.leaving.lock().push((folder, now_ms() + delay_ms));
    }

    /// Removes the folders that are due.
    pub fn remove_due(&self) {
        let now = now_ms();
        let mut leaving = self.leaving.lock();
        let (due, later) = leaving.drain(..).partition(|(_, due_ms)| *due_ms <= now);
        *leaving = later;
        drop(leaving);
        let due: Vec<(PathBuf, i64)> = due;
        for (folder, _) in due {
            if let Err(error) = self.disk.remove_dir_all(&folder) {
                warn!(folder = %folder.display(), %error, "cannot remove a deleted partition");
            }
        }
    }

    /// Writes a checkpoint file in each directory, if it would change. Returns false if one of them could not be written.
    pub fn checkpoint(&self, which: Checkpoint, partitions: &Partitions) -> bool {
        // Taken before the offsets are collected: two calls at once could write offsets in the wrong order, and the older
        // ones would stay on disk.
        let _one_at_a_time = self.checkpointing.lock();
        let mut by_dir: Vec<Offsets> = self.dirs.iter().map(|_| Offsets::new()).collect();
        for partition in partitions.all() {
            let found = partition.with_log(|log| (log.dir().to_owned(), log.checkpoint(which)));
            let Some((folder, Some(offset))) = found else { continue };
            if let Some(index) = self.holder(&folder) {
                by_dir[index].insert(partition.id.clone(), offset);
            }
        }
        let written = self.dirs.iter().zip(by_dir).map(|(dir, offsets)| dir.write(which, offsets));
        written.fold(true, |all, one| all & one)
    }

    /// The offset up to which a log was compacted. `None`: it never was.
    pub fn cleaned(&self, folder: &Path, id: &TopicPartition) -> Option<Offset> {
        self.dirs[self.holder(folder)?].says(Checkpoint::Cleaner, id)
    }

    /// Writes the offsets up to which logs are compacted, each in its own directory. Returns false if that could not be
    /// written; then the next cleaning does some work again.
    pub fn set_cleaned(&self, cleaned: &[(Arc<Partition>, Offset)]) -> bool {
        let mut by_dir: Vec<Offsets> = self.dirs.iter().map(|_| Offsets::new()).collect();
        for (partition, up_to) in cleaned {
            if let Some(index) = self.holder(&partition.place().folder) {
                by_dir[index].insert(partition.id.clone(), *up_to);
            }
        }
        let news = self.dirs.iter().zip(by_dir).filter(|(_, offsets)| !offsets.is_empty());
        let written = news.map(|(dir, offsets)| dir.write(Checkpoint::Cleaner, offsets));
        written.fold(true, |all, one| all & one)
    }

    /// Whether the previous process marked every directory as clean.
    pub fn was_clean(&self) -> bool {
        self.dirs.iter().all(|dir| dir.clean.is_some())
    }

    /// The epoch of the previous process, if all log directories are here and prove that it stopped cleanly.
    pub fn previous_epoch(&self) -> Option<BrokerEpoch> {
        let mark = |path: &PathBuf| self.dirs.iter().find(|dir| dir.held.path() == path)?.clean;
        CleanShutdown::epoch_of_all(self.log_dirs.iter().map(mark))
    }

    /// Writes the checkpoints of closed logs, and marks those directories as clean in which everything succeeded.
    pub fn close(&self, closed: &[Log], failed: &[PathBuf], epoch: BrokerEpoch) {
        for (index, dir) in self.dirs.iter().enumerate() {
            let mine: Vec<&Log> = closed.iter().filter(|log| self.holder(log.dir()) == Some(index)).collect();
            let mut whole = !dir.damaged.load(Ordering::Relaxed)
                && !failed.iter().any(|folder| self.holder(folder) == Some(index));
            for which in Checkpoint::OF_OPEN_LOGS {
                let offset = |log: &&Log| Some((log.partition().clone(), log.checkpoint(which)?));
                whole &= dir.write(which, mine.iter().filter_map(offset).collect());
            }
            if whole && let Err(error) = dir.held.mark_clean(epoch) {
                error!(dir = %dir.held.path().display(), %error, "cannot mark the shutdown as clean");
            }
        }
    }

    fn holder(&self, folder: &Path) -> Option<usize> {
        self.dirs.iter().position(|dir| folder.parent() == Some(dir.held.path()))
    }
}

impl Dir {
    fn open(mut held: LogDir) -> Result<Dir, DirError> {
        let id = held.adopt_id(fresh_id(random))?;
        let folders = held.folders()?;
        held.sweep(&folders)?;
        for stray in &folders.stray {
            warn!(folder = %stray.path.display(), "a partition that belongs to no topic any more; it is left alone");
        }
        let checkpoints = Mutex::new(Checkpoints::read(&held));
        let clean = held.take_clean()?;
        let damaged = AtomicBool::new(false);
        let volume = Arc::new(Volume::new(held.path()));
        Ok(Dir { id, volume, clean, damaged, checkpoints, held })
    }

    fn says(&self, which: Checkpoint, id: &TopicPartition) -> Option<Offset> {
        self.checkpoints.lock().says(which, id)
    }

    // False when the file could not be written.
    fn write(&self, which: Checkpoint, offsets: Offsets) -> bool {
        if self.volume.has_failed() {
            return false;
        }
        let written = self.checkpoints.lock().write(&self.held, which, offsets);
        if let Err(error) = &written {
            error!(dir = %self.held.path().display(), %error, "cannot write a checkpoint");
            if let DirError::Io(error) = error
                && !is_full(error)
            {
                self.volume.fail(&error.to_string());
            }
        }
        written.is_ok()
    }
}

/// The log directories and the metadata log's directory, without duplicates.
fn all_paths(config: &BrokerConfig) -> Vec<PathBuf> {
    let mut paths = config.log_dirs.clone();
    if !paths.contains(&config.metadata_log_dir) {
        paths.push(config.metadata_log_dir.clone());
    }
    paths
}

fn random() -> u128 {
    Uuid::new_v4().as_u128()
}
