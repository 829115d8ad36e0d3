//! The node's log directories, used as the broker's shell uses them: formatted once, swept, checkpointed while it runs,
//! marked clean when it stops. It must never know who leads what.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ottla_log::Disk;
use ottla_log::dirs::{
    Arrival, Checkpoint, Checkpoints, CleanShutdown, DirError, Expected, Folder, LogDir, MetaProperties,
    Offsets, format,
};
use ottla_log::log::{GoLive, Log, LogError, LogReader, Opening, Recovery, Relocation, Settled};
use ottla_log::moves::{self, Unfinished};
use ottla_model::config::{BrokerConfig, TopicConfig};
use ottla_model::{BrokerEpoch, DirectoryId, TopicId, TopicPartition, fresh_id};
use ottla_node::replicas;
use ottla_protocol::Offset;
use uuid::Uuid;

use crate::dice::Dice;
use crate::marks::{mark, mark_if};
use crate::mutation::Mutation;

/// The directories, locked for as long as this lives.
pub(crate) struct Storage {
    pub disk: Arc<dyn Disk>,
    /// The metadata log is in the first one.
    dirs: Vec<Arc<Dir>>,
    /// What the process before this one has not finished.
    pub unfinished_moves: Vec<Unfinished>,
    producer_id_expiration_ms: i64,
    leaving: Vec<(PathBuf, i64)>,
    mutation: Option<Mutation>,
}

struct Dir {
    held: LogDir,
    id: DirectoryId,
    clean: bool,
    /// What the directory says of that.
    mark: Option<CleanShutdown>,
    checkpoints: Mutex<Checkpoints>,
    /// A log that is here could not be opened.
    damaged: AtomicBool,
}

impl Storage {
    pub fn open(
        disk: Arc<dyn Disk>,
        config: &BrokerConfig,
        dice: &mut Dice,
        mutation: Option<Mutation>,
    ) -> Result<Storage, DirError> {
        let mut random = || (u128::from(dice.number()) << 64) | u128::from(dice.number());
        let mut dirs = Vec::new();
        for path in &config.log_dirs {
            if MetaProperties::read(&*disk, path)?.is_none() {
                let directory_id = Some(fresh_id(&mut random));
                let (cluster_id, node_id) = ("simulated".into(), config.node_id);
                format(&*disk, path, &MetaProperties { cluster_id, node_id, directory_id })?;
            }
            let expected = Expected { cluster_id: Some("simulated"), node_id: config.node_id };
            let mut held = LogDir::open(disk.clone(), path, expected)?;
            let id = held.adopt_id(fresh_id(&mut random))?;
            held.sweep(&held.folders()?)?;
            let checkpoints = Mutex::new(Checkpoints::read(&held));
            let mark = held.take_clean()?;
            let clean = mark.is_some();
            mark_if(clean, "a start after a clean stop");
            let clean = clean || mutation == Some(Mutation::TrustEveryStop);
            dirs.push(Arc::new(Dir { held, id, clean, mark, checkpoints, damaged: AtomicBool::new(false) }));
        }
        let held: Vec<&LogDir> = dirs.iter().map(|dir| &dir.held).collect();
        if mutation == Some(Mutation::BelieveHalfACopy) {
            believe_copies(&*disk, &held, &mut || fresh_id(&mut random));
        }
        let unfinished_moves = match mutation {
            Some(Mutation::ForgetMoves) => Vec::new(),
            _ => moves::recover(&*disk, &held, &mut || fresh_id(&mut random)),
        };
        let (leaving, producer_id_expiration_ms) = (Vec::new(), PRODUCER_ID_EXPIRATION_MS);
        Ok(Storage { disk, dirs, unfinished_moves, producer_id_expiration_ms, leaving, mutation })
    }

    /// The id of the metadata log's directory.
    pub fn metadata_dir(&self) -> DirectoryId {
        self.dirs[0].id
    }

    pub fn directory_ids(&self) -> Vec<DirectoryId> {
        self.dirs.iter().map(|dir| dir.id).collect()
    }

    /// Of the directory that a log is in.
    pub fn directory_of(&self, log: &Path) -> Option<DirectoryId> {
        self.holder(log).map(|dir| dir.id)
    }

    /// The folders with live names.
    pub fn live(&self) -> Vec<(TopicPartition, PathBuf)> {
        let live = |dir: &Arc<Dir>| dir.held.folders().map_or(Vec::new(), |folders| folders.live);
        self.dirs.iter().flat_map(live).map(|folder| (folder.partition, folder.path)).collect()
    }

    /// The copies that are being made, or were.
    pub fn copies(&self) -> Vec<PathBuf> {
        let copies = |dir: &Arc<Dir>| dir.held.folders().map_or(Vec::new(), |folders| folders.future);
        self.dirs.iter().flat_map(copies).map(|folder| folder.path).collect()
    }

    pub fn paths(&self) -> Vec<PathBuf> {
        self.dirs.iter().map(|dir| dir.held.path().to_owned()).collect()
    }

    /// Opens a partition's log where its folder is, or makes one where there are the fewest.
    pub fn open_log(
        &mut self,
        opening: &replicas::Opening,
        now_ms: i64,
        jitter_seed: u64,
    ) -> Result<Log, LogError> {
        let id = &opening.id;
        let here = self.dirs.iter().find(|dir| self.disk.exists(&dir.held.path().join(id.to_string())));
        let dir = here.unwrap_or_else(|| self.emptiest()).clone();
        if here.is_none() {
            let source = std::io::Error::other("a checkpoint cannot be written");
            let forgotten = dir.checkpoints().forget(&dir.held, id);
            forgotten.map_err(|_| LogError::Io { doing: "forgetting an earlier topic", source })?;
        }
        let forgets = self.mutation == Some(Mutation::ForgetProducers);
        let folder = dir.held.path().join(id.to_string());
        mark_if(holds(&*self.disk, &folder, ".snapshot"), "producers were read from a snapshot");
        let unknown = self.opening(id, opening.topic, opening.config.clone(), folder, now_ms, jitter_seed);
        let (log, recovery) = Log::open(Opening {
            clean_shutdown: opening.last_owner.left_it_clean(dir.clean),
            recovery_point: dir.says(Checkpoint::RecoveryPoint, id).unwrap_or(0),
            log_start: dir.says(Checkpoint::LogStart, id).unwrap_or(0),
            producer_id_expiration_ms: if forgets { -1 } else { self.producer_id_expiration_ms },
            ..unknown
        })?;
        mark_recovery(&recovery);
        Ok(log)
    }

    // Of a log of which nothing is known.
    fn opening(
        &self,
        id: &TopicPartition,
        topic: TopicId,
        config: Arc<TopicConfig>,
        dir: PathBuf,
        now_ms: i64,
        jitter_seed: u64,
    ) -> Opening {
        Opening {
            disk: self.disk.clone(),
            dir,
            partition: id.clone(),
            topic_id: Some(topic),
            config,
            clean_shutdown: false,
            recovery_point: 0,
            log_start: 0,
            now_ms,
            producer_id_expiration_ms: self.producer_id_expiration_ms,
            jitter_seed,
        }
    }

    fn emptiest(&self) -> &Arc<Dir> {
        let count = |dir: &&Arc<Dir>| dir.held.folders().map_or(usize::MAX, |f| f.live.len());
        match self.dirs.as_slice() {
            [only] => only,
            several => several.iter().min_by_key(count).unwrap_or(&self.dirs[0]),
        }
    }

    /// Nothing where that partition's log may be is clean.
    pub fn could_not_open(&mut self, id: &TopicPartition) {
        let holds = |dir: &&Arc<Dir>| self.disk.exists(&dir.held.path().join(id.to_string()));
        let nowhere = !self.dirs.iter().any(|dir| holds(&dir));
        for dir in self.dirs.iter().filter(|dir| nowhere || holds(dir)) {
            dir.damaged.store(true, Ordering::Relaxed);
        }
    }

    /// For the logs that are opened from now on.
    pub fn expire_producers_after(&mut self, ms: i64) {
        self.producer_id_expiration_ms = ms;
    }

    /// Makes way for a topic whose name an earlier one had. A crash after the earlier one's deletion was agreed on, and
    /// before its folder was renamed, leaves that folder behind. As in Kafka it is kept, for somebody to look at.
    pub fn set_aside(&mut self, id: &TopicPartition, unique: Uuid) -> std::io::Result<()> {
        let here = self.dirs.iter().find(|dir| self.disk.exists(&dir.held.path().join(id.to_string())));
        let dir = here.unwrap_or(&self.dirs[0]).held.path();
        moves::set_aside(&*self.disk, dir, id, unique).map(drop)
    }

    /// Puts away what the metadata does not give to this node, once it is read whole.
    pub fn set_strays_aside(
        &mut self,
        assigned: impl Fn(&TopicPartition) -> bool,
        mut unique: impl FnMut() -> Uuid,
    ) -> Result<(), DirError> {
        for dir in &self.dirs {
            let folders = dir.held.folders()?;
            for copy in folders.future.iter().filter(|copy| !assigned(&copy.partition)) {
                moves::forget_copy(&*self.disk, &copy.path);
            }
            for stray in folders.live.iter().filter(|stray| !assigned(&stray.partition)) {
                mark("a stray folder was set aside");
                // What cannot be set aside is found by the next start.
                let _ = moves::set_aside(&*self.disk, dir.held.path(), &stray.partition, unique());
            }
        }
        Ok(())
    }

    /// Where the folders of partitions are.
    pub fn found(&self) -> Result<Vec<(TopicPartition, DirectoryId)>, DirError> {
        let mut found = Vec::new();
        for dir in &self.dirs {
            found.extend(dir.held.folders()?.live.into_iter().map(|folder| (folder.partition, dir.id)));
        }
        Ok(found)
    }

    /// Begins a copy of a log in another directory.
    pub fn begin_move(
        &self,
        from: &Arc<LogReader>,
        topic: TopicId,
        config: Arc<TopicConfig>,
        errand: &ottla_node::moving::Errand,
        now_ms: i64,
        jitter_seed: u64,
    ) -> Result<Relocation, LogError> {
        let id = from.partition().clone();
        let opening = self.opening(&id, topic, config, errand.to.join(id.to_string()), now_ms, jitter_seed);
        let (dirs, copy) = (self.dirs.clone(), errand.folder.clone());
        let go_live: GoLive = Box::new(move |settled: Settled| go_live(&dirs, &copy, &id, settled));
        Relocation::begin(opening, errand.folder.clone(), from.clone(), go_live)
    }

    pub fn new_copy(&self, to: &Path, id: &TopicPartition, unique: Uuid) -> std::io::Result<PathBuf> {
        moves::new_copy(&*self.disk, to, id, unique)
    }

    pub fn remove_later(&mut self, folder: PathBuf, due_ms: i64) {
        self.leaving.push((folder, due_ms));
    }

    pub fn remove_due(&mut self, now_ms: i64) {
        let (due, later): (Vec<_>, Vec<_>) =
            self.leaving.drain(..).partition(|(_, due_ms)| *due_ms <= now_ms);
        self.leaving = later;
        for (folder, _) in due {
            // The next start sweeps what cannot be removed now.
            let _ = self.disk.remove_dir_all(&folder);
        }
    }

    /// Up to where a log was compacted, if it ever was.
    pub fn cleaned(&self, log: &Path, id: &TopicPartition) -> Option<Offset> {
        self.holder(log)?.says(Checkpoint::Cleaner, id)
    }

    /// False when the file could not be written.
    pub fn set_cleaned(&mut self, log: &Path, id: &TopicPartition, up_to: Offset) -> bool {
        let news = Offsets::from([(id.clone(), up_to)]);
        let write = |dir: &Arc<Dir>| dir.checkpoints().write(&dir.held, Checkpoint::Cleaner, news).is_ok();
        self.holder(log).is_some_and(write)
    }

    /// False when a file could not be written.
    pub fn checkpoint<'a>(&mut self, which: Checkpoint, logs: impl Iterator<Item = &'a Log>) -> bool {
        let logs: Vec<&Log> = logs.collect();
        self.dirs.iter().fold(true, |all, dir| self.checkpoint_one(dir, which, &logs) & all)
    }

    fn checkpoint_one(&self, dir: &Dir, which: Checkpoint, logs: &[&Log]) -> bool {
        let lies = self.mutation == Some(Mutation::CheckpointLogEnd) && which == Checkpoint::RecoveryPoint;
        let at = |log: &Log| if lies { Some(log.log_end_offset()) } else { log.checkpoint(which) };
        let mine = logs.iter().filter(|log| log.dir().parent() == Some(dir.held.path()));
        let offsets = mine.filter_map(|log| Some((log.partition().clone(), at(log)?))).collect();
        dir.checkpoints().write(&dir.held, which, offsets).is_ok()
    }

    /// The epoch of the previous process, if that stopped cleanly.
    pub fn previous_epoch(&self) -> Option<BrokerEpoch> {
        CleanShutdown::epoch_of_all(self.dirs.iter().map(|dir| dir.mark))
    }

    /// The end of a clean stop. `failed`: the folders of logs that could not be closed.
    pub fn close(&mut self, closed: &[Log], failed: &[PathBuf], epoch: BrokerEpoch) {
        let closed: Vec<&Log> = closed.iter().collect();
        for dir in &self.dirs {
            let here = |folder: &PathBuf| folder.parent() == Some(dir.held.path());
            let mut whole = !dir.damaged.load(Ordering::Relaxed) && !failed.iter().any(here);
            for which in Checkpoint::OF_OPEN_LOGS {
                whole &= self.checkpoint_one(dir, which, &closed);
            }
            if whole {
                // Without the mark the next start reads more.
                let _ = dir.held.mark_clean(epoch);
            }
        }
    }

    fn holder(&self, log: &Path) -> Option<&Arc<Dir>> {
        self.dirs.iter().find(|dir| log.parent() == Some(dir.held.path()))
    }
}

impl Dir {
    // A panic ends the process, and all that it knew.
    fn checkpoints(&self) -> MutexGuard<'_, Checkpoints> {
        self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn says(&self, which: Checkpoint, id: &TopicPartition) -> Option<Offset> {
        self.checkpoints().says(which, id)
    }
}

fn go_live(dirs: &[Arc<Dir>], copy: &Path, id: &TopicPartition, settled: Settled) -> std::io::Result<()> {
    let Settled { recovery_point, log_start } = settled;
    let to = dirs.iter().find(|dir| copy.parent() == Some(dir.held.path()));
    let to = to.ok_or_else(|| std::io::Error::other("it is no log directory"))?;
    let others = dirs.iter().filter(|dir| !Arc::ptr_eq(dir, to));
    let cleaned = others.filter_map(|dir| dir.says(Checkpoint::Cleaner, id)).next();
    to.checkpoints().go_live(&to.held, copy, id, Arrival { recovery_point, log_start, cleaned })
}

// The mistake of a start that takes a copy for a whole log.
fn believe_copies(disk: &dyn Disk, dirs: &[&LogDir], unique: &mut dyn FnMut() -> Uuid) {
    for dir in dirs {
        let copies = dir.folders().map_or(Vec::new(), |folders| folders.future);
        for Folder { partition: id, path } in copies {
            dirs.iter().for_each(|other| drop(moves::set_aside(disk, other.path(), &id, unique())));
            let _ = disk.rename(&path, &dir.path().join(id.to_string()));
        }
    }
}

/// Whether a file with such an end of its name is there.
pub(super) fn holds(disk: &dyn Disk, dir: &Path, suffix: &str) -> bool {
    let entries = if disk.exists(dir) { disk.list(dir).unwrap_or_default() } else { Vec::new() };
    entries.iter().any(|entry| entry.name.ends_with(suffix))
}

/// For the marks: what opening had to do.
pub(crate) fn mark_recovery(recovery: &Recovery) {
    mark_if(recovery.truncated_bytes > 0, "a torn tail was cut off");
    mark_if(!recovery.dropped_segments.is_empty(), "segments behind a damaged one were dropped");
}

/// Longer than any run: what a producer sent is known for as long as it matters.
const PRODUCER_ID_EXPIRATION_MS: i64 = 7 * 24 * 3_600_000;
