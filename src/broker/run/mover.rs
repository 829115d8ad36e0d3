//! Moves partitions from one log directory to another while they are written to (KIP-113): copies each log, and has its
//! owner put the copy in its place. How a log is copied is decided in `ottla_log::log`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ottla_core::controller::Assignment;
use ottla_log::log::{AppendError, LogError, NotMoved, Relocation};
use ottla_model::{TopicId, TopicPartition};
use ottla_node::lane::Input;
use ottla_protocol::Offset;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::partition::{Partition, Place};
use super::partitions::Partitions;
use super::registrar::Registrar;
use super::settings::Settings;
use super::storage::Storage;
use super::waiter::Waiter;
use crate::broker::now_ms;

/// Bytes between two looks at the throttle, and at whether the move is still wanted.
const STEP_BYTES: usize = 1 << 20;
/// How long until a move that found no room, or no log, is tried again.
const RETRY: Duration = Duration::from_secs(1);

type Key = (TopicId, i32);

/// Clones share the moves.
#[derive(Clone)]
pub(crate) struct Movers(Arc<Shared>);

struct Shared {
    partitions: Arc<Partitions>,
    settings: Arc<Settings>,
    storage: Arc<Storage>,
    registrar: Arc<Registrar>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    stopping: bool,
    wanted: BTreeMap<Key, Wanted>,
    threads: Vec<std::thread::JoinHandle<()>>,
    resting: usize,
}

/// A partition that is to live elsewhere.
struct Wanted {
    id: TopicPartition,
    /// A log directory.
    to: PathBuf,
    /// Of the copy. It is there from the beginning: that is how the next start knows of the move.
    folder: PathBuf,
    busy: bool,
    copy: Option<Copied>,
}

/// How far a copy has come.
#[derive(Clone, Debug)]
pub(crate) struct Copied {
    pub id: TopicPartition,
    pub topic_id: TopicId,
    /// The log directory that it is in.
    pub dir: PathBuf,
    pub size: u64,
    pub log_end: Offset,
}

impl Movers {
    pub fn new(
        partitions: Arc<Partitions>,
        settings: Arc<Settings>,
        storage: Arc<Storage>,
        registrar: Arc<Registrar>,
    ) -> Movers {
        let (state, changed) = Default::default();
        Movers(Arc::new(Shared { partitions, settings, storage, registrar, state, changed }))
    }

    /// Begins to move a partition to another log directory, or stops a move that goes elsewhere. May wait for the disk.
    pub fn send(&self, partition: &Partition, to: &Path) -> std::io::Result<()> {
        let key = (partition.topic_id, partition.id.partition);
        let mut state = self.0.state.lock();
        if state.stopping || state.wanted.get(&key).is_some_and(|wanted| wanted.to == to) {
            return Ok(());
        }
        // Whoever carries it elsewhere finds that it is not wanted there any more.
        if let Some(other) = state.wanted.remove(&key).filter(|other| !other.busy) {
            self.0.storage.forget_copy(&other.folder);
        }
        if partition.place().folder.parent() != Some(to) {
            let (id, to) = (partition.id.clone(), to.to_owned());
            let folder = self.0.storage.new_copy(&id, &to)?;
            info!(partition = %id, to = %to.display(), "moving the partition to another log directory");
            state.wanted.insert(key, Wanted { id, to, folder, busy: false, copy: None });
            self.add_thread(&mut state);
        }
        self.0.changed.notify_all();
        Ok(())
    }

    /// What is on its way.
    pub fn copies(&self) -> Vec<Copied> {
        let state = self.0.state.lock();
        state.wanted.values().filter_map(|wanted| wanted.copy.clone()).collect()
    }

    /// Ends the moves. They begin again with the next start.
    pub fn stop(&self) {
        let threads = {
            let mut state = self.0.state.lock();
            state.stopping = true;
            std::mem::take(&mut state.threads)
        };
        self.0.changed.notify_all();
        for thread in threads {
            if thread.join().is_err() {
                error!("a thread that moves partitions failed");
            }
        }
    }

    // As many as `num.replica.alter.log.dirs.threads` says, one for each log directory without it.
    fn add_thread(&self, state: &mut State) {
        let config = self.0.settings.now();
        let asked = config.get("num.replica.alter.log.dirs.threads").and_then(|found| found.value);
        let asked =
            asked.and_then(|value| value.as_whole()).and_then(|threads| usize::try_from(threads).ok());
        let most = asked.unwrap_or(config.log_dirs.len()).max(1);
        if state.resting > 0 || state.threads.len() >= most {
            return;
        }
        let shared = self.0.clone();
        let name = format!("mover-{}", state.threads.len());
        match std::thread::Builder::new().name(name).spawn(move || shared.serve()) {
            Ok(thread) => state.threads.push(thread),
            Err(error) => error!(%error, "cannot start a thread that moves partitions"),
        }
    }
}

/// How a move ended.
enum Ended {
    Moved,
    /// It is to go elsewhere, or nowhere.
    Unwanted,
    /// The broker stops; the next one goes on.
    Stopped,
    /// Its directory has no room, or its log is being opened anew.
    Later,
    Failed(String),
}

impl Shared {
    fn serve(&self) {
        while let Some((key, to, folder)) = self.next() {
            let ended = self.carry(key, &to, &folder);
            let mut state = self.state.lock();
            // Somebody may have sent it elsewhere meanwhile.
            let Some(wanted) = state.wanted.get_mut(&key).filter(|wanted| wanted.to == to) else { continue };
            (wanted.busy, wanted.copy) = (false, None);
            let id = wanted.id.clone();
            match ended {
                Ended::Unwanted => {}
                Ended::Stopped => continue,
                Ended::Later => {
                    self.changed.wait_for(&mut state, RETRY);
                    continue;
                }
                Ended::Moved => info!(partition = %id, to = %to.display(), "moved"),
                Ended::Failed(why) => {
                    error!(partition = %id, to = %to.display(), "cannot move the partition: {why}");
                    self.storage.forget_copy(&folder);
                }
            }
            state.wanted.remove(&key);
        }
    }

    // Waits for something to do. None: the broker stops.
    fn next(&self) -> Option<(Key, PathBuf, PathBuf)> {
        let mut state = self.state.lock();
        loop {
            if state.stopping {
                return None;
            }
            if let Some((key, wanted)) = state.wanted.iter_mut().find(|(_, wanted)| !wanted.busy) {
                wanted.busy = true;
                return Some((*key, wanted.to.clone(), wanted.folder.clone()));
            }
            state.resting += 1;
            self.changed.wait(&mut state);
            state.resting -= 1;
        }
    }

    fn carry(&self, key: Key, to: &Path, folder: &Path) -> Ended {
        let Some(partition) = self.partitions.get(key.0, key.1).filter(|p| !p.has_failed()) else {
            if self.partitions.is_offline(key.0, key.1) {
                return Ended::Later;
            }
            self.storage.forget_copy(folder);
            return Ended::Unwanted;
        };
        let place = partition.place();
        if place.folder.parent() == Some(to) {
            self.storage.forget_copy(folder);
            return Ended::Unwanted;
        }
        let volume = self.storage.volume(to);
        let failed = |error: LogError, broken: bool| {
            if error.is_full() {
                return Ended::Later;
            }
            if let Some(volume) = volume.as_ref().filter(|_| broken) {
                volume.fail(&error.to_string());
            }
            Ended::Failed(error.to_string())
        };
        let begun = self.storage.begin_move(&partition, to, folder);
        let mut copy = match begun {
            Ok(copy) => Box::new(copy),
            Err(error) => return failed(error, true),
        };
        loop {
            match self.look(key, to, &partition, &copy) {
                None => {}
                // The copy stays, and says that there is a move.
                Some(Ended::Stopped) => return Ended::Stopped,
                Some(ended) => {
                    copy.abandon();
                    return ended;
                }
            }
            match copy.step(STEP_BYTES, now_ms()) {
                Ok(0) => {}
                Ok(bytes) => {
                    self.throttle(bytes);
                    continue;
                }
                Err(error) => {
                    let broken = copy.has_failed();
                    copy.abandon();
                    return match error {
                        AppendError::DiskFull { .. } => {
                            warn!(partition = %partition.id, to = %to.display(), "no room to move the partition");
                            Ended::Later
                        }
                        AppendError::Io(error) => failed(error, broken),
                    };
                }
            }
            match self.settle(&partition, copy) {
                Ok(left) => {
                    self.moved(&partition, &place, left, to);
                    return Ended::Moved;
                }
                Err(NotMoved::Behind(behind)) => copy = behind,
                // The log is opened anew, or the broker stops.
                Err(NotMoved::Failed(LogError::Offline { .. })) => return Ended::Later,
                Err(NotMoved::Failed(error) | NotMoved::Torn(error)) => return failed(error, false),
            }
        }
    }

    // Shows how far it has come. None: the move goes on.
    fn look(&self, key: Key, to: &Path, partition: &Arc<Partition>, copy: &Relocation) -> Option<Ended> {
        let mut state = self.state.lock();
        if state.stopping {
            return Some(Ended::Stopped);
        }
        let Some(wanted) = state.wanted.get_mut(&key).filter(|wanted| wanted.to == to) else {
            return Some(Ended::Unwanted);
        };
        wanted.copy = Some(Copied {
            id: partition.id.clone(),
            topic_id: partition.topic_id,
            dir: to.to_owned(),
            size: copy.size(),
            log_end: copy.log_end_offset(),
        });
        let now = self.partitions.get(key.0, key.1);
        let same = now.is_some_and(|now| Arc::ptr_eq(&now, partition)) && !partition.has_failed();
        // It may have been opened anew: the next look finds that, or that it is gone.
        (!same).then_some(Ended::Later)
    }

    fn settle(&self, partition: &Arc<Partition>, copy: Box<Relocation>) -> Result<PathBuf, NotMoved> {
        let volume = copy.folder().parent().and_then(|dir| self.storage.volume(dir));
        let (waiting, answer) = oneshot::channel();
        let token = Waiter::Mover { waiting, volume };
        partition.submit_from_thread(Input::Relocate { token, copy });
        let closed = || LogError::Offline { dir: partition.place().folder.clone() };
        answer.blocking_recv().unwrap_or_else(|_| Err(NotMoved::Failed(closed())))
    }

    fn moved(&self, partition: &Partition, from: &Place, left: PathBuf, to: &Path) {
        from.volume.has_room(&partition.id);
        self.storage.remove_later(left, partition.config.load().file_delete_delay_ms);
        if let Some(directory) = self.storage.directory_id(to) {
            let (topic, partition) = (partition.topic_id, partition.id.partition);
            self.registrar.assign(vec![Assignment { directory, topic, partition }]);
        }
    }

    fn throttle(&self, bytes: u64) {
        let per_second = self.settings.now().whole("replica.alter.log.dirs.io.max.bytes.per.second");
        let pause = bytes as f64 / per_second.max(1) as f64;
        // Less than a millisecond is not worth waking up for.
        if pause >= 0.001 {
            let mut state = self.state.lock();
            if !state.stopping {
                self.changed.wait_for(&mut state, Duration::from_secs_f64(pause.min(60.0)));
            }
        }
    }
}
