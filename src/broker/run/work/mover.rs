//! Moves partitions from one log directory to another while clients write to them (KIP-113): it copies each log, and its
//! owner then replaces the log by the copy. `ottla_log::log` decides how a log is copied.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ottla_core::controller::Assignment;
use ottla_log::log::{AppendError, Log, LogError, NotMoved, Relocation};
use ottla_model::{TopicId, TopicPartition};
use ottla_node::lane::Input;
use ottla_protocol::Offset;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;
use tracing::{error, info, warn};
use uuid::Uuid;

use super::registrar::Registrar;
use crate::clock::now_ms;
use crate::run::owners::partition::{Location, Partition};
use crate::run::owners::partitions::Partitions;
use crate::run::owners::settings::Settings;
use crate::run::owners::storage::Storage;
use crate::run::owners::waiter::Mover;

/// How many bytes are copied between two checks of the throttle and of whether the move is still wanted.
const STEP_BYTES: usize = 1 << 20;
/// How many bytes are copied between two syncs.
const SYNC_BYTES: u64 = 256 << 20;
/// How long to wait before a move is tried again that found no room, or no log. The time doubles, up to a minute.
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
    state: Mutex<WantedMoves>,
    changed: Condvar,
}

#[derive(Default)]
struct WantedMoves {
    stopping: bool,
    wanted: BTreeMap<Key, Wanted>,
    threads: Vec<std::thread::JoinHandle<()>>,
    resting: usize,
}

impl WantedMoves {
    // A thread that was woken for another move counts as resting until it has taken that move.
    fn lacks_a_thread(&self, most: usize) -> bool {
        let waiting = self.wanted.values().filter(|wanted| !wanted.busy).count();
        self.resting < waiting && self.threads.len() < most
    }
}

/// A partition that is to move.
struct Wanted {
    id: TopicPartition,
    /// The log directory to which it moves.
    to: PathBuf,
    /// The folder of the copy. It exists from the beginning of the move, so that the next start knows of the move.
    folder: PathBuf,
    busy: bool,
    tries: u32,
    not_before: Option<Instant>,
    copy: Option<Copied>,
}

/// The progress of a copy.
#[derive(Clone, Debug)]
pub(crate) struct Copied {
    pub id: TopicPartition,
    pub topic_id: TopicId,
    /// The log directory with the copy.
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

    /// Begins to move a partition to another log directory, and stops a move of it to a different one. May wait for the
    /// disk.
    pub fn send(&self, partition: &Partition, to: &Path) -> std::io::Result<()> {
        self.send_by(partition, to, None)
    }

    /// Continues a move that the previous process has begun, and whose folder exists.
    pub fn resume(&self, partition: &Partition, folder: &Path) -> std::io::Result<()> {
        let to = folder.parent().unwrap_or(Path::new(""));
        self.send_by(partition, to, Some(folder))
    }

    fn send_by(&self, partition: &Partition, to: &Path, folder: Option<&Path>) -> std::io::Result<()> {
        let key = (partition.topic_id, partition.id.partition);
        let mut state = self.0.state.lock();
        if state.stopping || state.wanted.get(&key).is_some_and(|wanted| wanted.to == to) {
            return Ok(());
        }
        // A thread that is still copying it to the other directory will find that the move is not wanted any more.
        if let Some(other) = state.wanted.remove(&key).filter(|other| !other.busy) {
            self.0.storage.forget_copy(&other.folder);
        }
        if partition.place().folder.parent() != Some(to) {
            let (id, to) = (partition.id.clone(), to.to_owned());
            let folder = match folder {
                Some(folder) => folder.to_owned(),
                None => self.0.storage.new_copy(&id, &to)?,
            };
            info!(partition = %id, to = %to.display(), "moving the partition to another log directory");
            state
                .wanted
                .insert(key, Wanted { id, to, folder, busy: false, tries: 0, not_before: None, copy: None });
            self.add_thread(&mut state);
        }
        self.0.changed.notify_all();
        Ok(())
    }

    /// The copies in progress.
    pub fn copies(&self) -> Vec<Copied> {
        let state = self.0.state.lock();
        state.wanted.values().filter_map(|wanted| wanted.copy.clone()).collect()
    }

    /// Ends the moves. They begin again at the next start.
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

    // At most `num.replica.alter.log.dirs.threads` threads, or, if that is not set, one for each log directory.
    fn add_thread(&self, state: &mut WantedMoves) {
        let config = self.0.settings.now();
        let asked = config.num_replica_alter_log_dirs_threads;
        let asked = asked.and_then(|threads| usize::try_from(threads).ok());
        let most = asked.unwrap_or(config.log_dirs.len()).max(1);
        if !state.lacks_a_thread(most) {
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

/// How a move has ended.
enum Ended {
    Moved,
    /// It is to move to another directory, or not at all.
    Unwanted,
    /// The broker is stopping; the next start continues.
    Stopped,
    /// Its directory has no room, or its log is being opened again.
    Later,
    Failed(String),
}

/// What a thread has to move, and where to.
struct Errand {
    key: Key,
    to: PathBuf,
    folder: PathBuf,
}

impl Shared {
    fn serve(&self) {
        while let Some(errand) = self.next() {
            // A panic must not end all other moves.
            let carried = catch_unwind(AssertUnwindSafe(|| self.carry(&errand)));
            self.close(&errand, carried.unwrap_or_else(|_| Ended::Failed("the mover panicked".into())));
        }
    }

    fn close(&self, errand: &Errand, ended: Ended) {
        let mut state = self.state.lock();
        // It may have been sent to another directory in the meantime.
        let Some(wanted) = state.wanted.get_mut(&errand.key).filter(|w| w.folder == errand.folder) else {
            return;
        };
        (wanted.busy, wanted.copy) = (false, None);
        let (id, to) = (wanted.id.clone(), errand.to.display());
        match ended {
            Ended::Stopped => return,
            Ended::Later => {
                wanted.tries += 1;
                wanted.not_before = Some(Instant::now() + RETRY * 2u32.pow(wanted.tries.min(6)));
                // If the process is killed now, the next start has to find that there is a move.
                if let Err(error) = self.storage.keep_copy(&errand.folder) {
                    warn!(partition = %id, %error, "a move would be forgotten by the next start");
                }
                // Other threads wait for a change, and do not know this new time.
                self.changed.notify_all();
                return;
            }
            Ended::Unwanted => {}
            Ended::Moved => info!(partition = %id, %to, "moved"),
            Ended::Failed(why) => {
                error!(partition = %id, %to, "cannot move the partition: {why}");
                self.storage.forget_copy(&errand.folder);
            }
        }
        state.wanted.remove(&errand.key);
    }

    // Waits for something to do. `None`: the broker is stopping.
    fn next(&self) -> Option<Errand> {
        let mut state = self.state.lock();
        loop {
            if state.stopping {
                return None;
            }
            let now = Instant::now();
            let due = |wanted: &Wanted| !wanted.busy && wanted.not_before.is_none_or(|at| at <= now);
            if let Some((key, wanted)) = state.wanted.iter_mut().find(|(_, wanted)| due(wanted)) {
                wanted.busy = true;
                return Some(Errand { key: *key, to: wanted.to.clone(), folder: wanted.folder.clone() });
            }
            let later =
                state.wanted.values().filter(|wanted| !wanted.busy).filter_map(|w| w.not_before).min();
            state.resting += 1;
            match later {
                Some(at) => {
                    self.changed.wait_until(&mut state, at);
                }
                None => self.changed.wait(&mut state),
            }
            state.resting -= 1;
        }
    }

    fn carry(&self, errand: &Errand) -> Ended {
        let Errand { key, to, folder } = errand;
        let Some(partition) = self.partitions.get(key.0, key.1).filter(|p| !p.has_failed()) else {
            if self.partitions.is_offline(key.0, key.1) {
                return Ended::Later;
            }
            self.storage.forget_copy(folder);
            return Ended::Unwanted;
        };
        let place = partition.place().clone();
        if place.folder.parent() == Some(to) {
            self.storage.forget_copy(folder);
            return Ended::Unwanted;
        }
        let size = partition.with_log(|log| (!log.is_offline()).then(|| log.size())).flatten();
        let Some(size) = size else { return Ended::Failed("its log is offline".into()) };
        if !self.storage.has_room(to, size) {
            warn!(partition = %partition.id, to = %to.display(), "no room to move the partition");
            return Ended::Later;
        }
        let mut copy = match self.storage.begin_move(&partition, to, folder) {
            Ok(copy) => Box::new(copy),
            Err(error) => return self.failed(to, &error, true),
        };
        loop {
            copy = match self.catch_up(errand, &partition, copy) {
                Ok(copy) => copy,
                Err(ended) => return ended,
            };
            match self.settle(&partition, copy) {
                Ok(left) => {
                    self.moved(&partition, &place, *left, to);
                    return Ended::Moved;
                }
                Err(NotMoved::Behind(behind)) => copy = behind,
                // The log is being opened again, or the broker is stopping.
                Err(NotMoved::Failed(LogError::Offline { .. })) => return Ended::Later,
                Err(NotMoved::Failed(error)) => return self.failed(to, &error, false),
                Err(NotMoved::There(error) | NotMoved::Torn(error)) => return self.failed(to, &error, true),
            }
        }
    }

    // Copies until nothing is missing, and syncs the copy.
    fn catch_up(
        &self,
        errand: &Errand,
        partition: &Arc<Partition>,
        mut copy: Box<Relocation>,
    ) -> Result<Box<Relocation>, Ended> {
        let mut unsynced = 0;
        loop {
            match self.look(errand, partition, &copy) {
                None => {}
                // The copy stays, and shows the next start that there is a move.
                Some(Ended::Stopped) => return Err(Ended::Stopped),
                Some(ended) => {
                    copy.abandon();
                    return Err(ended);
                }
            }
            let stepped = copy.step(STEP_BYTES, now_ms()).and_then(|bytes| {
                unsynced += bytes;
                if bytes == 0 || unsynced > SYNC_BYTES {
                    copy.flush()?;
                    unsynced = 0;
                }
                Ok(bytes)
            });
            match stepped {
                Ok(0) => return Ok(copy),
                Ok(bytes) => self.throttle(bytes),
                Err(error) => {
                    let broken = copy.has_failed();
                    copy.abandon();
                    return Err(match error {
                        AppendError::DiskFull { .. } => Ended::Later,
                        AppendError::Io(error) => self.failed(&errand.to, &error, broken),
                    });
                }
            }
        }
    }

    // `there`: the error is that of the directory to which it was to move.
    fn failed(&self, to: &Path, error: &LogError, there: bool) -> Ended {
        if error.is_full() {
            return Ended::Later;
        }
        if there
            && matches!(error, LogError::Io { .. })
            && let Some(volume) = self.storage.volume(to)
        {
            volume.fail(&error.to_string());
        }
        Ended::Failed(error.to_string())
    }

    // Publishes the progress. `None`: the move goes on.
    fn look(&self, errand: &Errand, partition: &Arc<Partition>, copy: &Relocation) -> Option<Ended> {
        let mut state = self.state.lock();
        if state.stopping {
            return Some(Ended::Stopped);
        }
        let Some(wanted) = state.wanted.get_mut(&errand.key).filter(|w| w.folder == errand.folder) else {
            return Some(Ended::Unwanted);
        };
        wanted.copy = Some(Copied {
            id: partition.id.clone(),
            topic_id: partition.topic_id,
            dir: errand.to.clone(),
            size: copy.size(),
            log_end: copy.log_end_offset(),
        });
        let now = self.partitions.get(errand.key.0, errand.key.1);
        let same = now.is_some_and(|now| Arc::ptr_eq(&now, partition)) && !partition.has_failed();
        // The log may have been opened again. The next look finds that, or that it was removed.
        (!same).then_some(Ended::Later)
    }

    fn settle(&self, partition: &Arc<Partition>, copy: Box<Relocation>) -> Result<Box<Log>, NotMoved> {
        let volume = copy.folder().parent().and_then(|dir| self.storage.volume(dir));
        let (waiting, answer) = oneshot::channel();
        let token = Mover { waiting, volume };
        partition.submit_from_thread(Input::Relocate { token, copy });
        let closed = || LogError::Offline { dir: partition.place().folder.clone() };
        answer.blocking_recv().unwrap_or_else(|_| Err(NotMoved::Failed(closed())))
    }

    fn moved(&self, partition: &Partition, from: &Location, left: Log, to: &Path) {
        if partition.has_failed() {
            // Its owner has panicked in the same turn, and the log is opened again from one of the two folders. The next
            // start keeps the one that was written to last.
            warn!(partition = %partition.id, folder = %left.dir().display(), "left where it was: its owner failed");
            return;
        }
        match left.delete(Uuid::new_v4()) {
            Ok(folder) => self.storage.remove_later(folder, partition.config.load().file_delete_delay_ms),
            // Probably the log was moved away from a failing disk.
            Err(error) => from.volume.fail(&error.to_string()),
        }
        if let Some(directory) = self.storage.directory_id(to) {
            let (topic, partition) = (partition.topic_id, partition.id.partition);
            self.registrar.assign(vec![Assignment { directory, topic, partition }]);
        }
    }

    // The threads share the rate.
    fn throttle(&self, bytes: u64) {
        let mut state = self.state.lock();
        let busy = state.wanted.values().filter(|wanted| wanted.busy).count().max(1) as f64;
        let per_second = self.settings.now().replica_alter_log_dirs_io_max_bytes_per_second;
        let pause = bytes as f64 * busy / per_second.max(1) as f64;
        // Less than a millisecond is not worth a sleep.
        if pause < 0.001 {
            return;
        }
        let until = Instant::now() + Duration::from_secs_f64(pause.min(60.0));
        while !state.stopping && !self.changed.wait_until(&mut state, until).timed_out() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_that_come_together_get_a_thread_each() {
        let wanted = |busy| Wanted {
            id: TopicPartition::new("t", 0),
            to: PathBuf::new(),
            folder: PathBuf::new(),
            busy,
            tries: 0,
            not_before: None,
            copy: None,
        };
        let rows: [(&[bool], usize, bool); 5] = [
            (&[false], 0, true),
            (&[false], 1, false),
            (&[false, false], 1, true),
            (&[true, false], 1, false),
            (&[true, true], 0, false),
        ];
        for (busy, resting, lacks) in rows {
            let moves = (0..).zip(busy).map(|(index, busy)| ((TopicId::from_u128(1), index), wanted(*busy)));
            let state = WantedMoves { resting, wanted: moves.collect(), ..WantedMoves::default() };
            assert_eq!(state.lacks_a_thread(2), lacks, "{busy:?}, {resting} rest");
            assert!(!state.lacks_a_thread(0), "no more than there may be");
        }
    }
}
