//! The threads that move partitions from one log directory to another while they are written to (KIP-113): they copy each
//! log, and have its owner put the copy in its place. It must never decide: `node::moving` does, and how a log is copied is
//! decided in `ottla_log::log`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ottla_core::controller::Assignment;
use ottla_log::log::{LogError, NotMoved, Relocation};
use ottla_node::lane::{Input, LeftBehind};
pub(crate) use ottla_node::moving::Copied;
use ottla_node::moving::{Answered, Carrying, Ended, Errand, Folder, Here, Moves, Step};
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
    /// What the times of the moves count from.
    began: Instant,
}

#[derive(Default)]
struct WantedMoves {
    stopping: bool,
    moves: Moves,
    threads: Vec<std::thread::JoinHandle<()>>,
    resting: usize,
}

impl WantedMoves {
    // A thread that was woken for another move counts as resting until it has taken that move.
    fn lacks_a_thread(&self, most: usize) -> bool {
        self.resting < self.moves.waiting() && self.threads.len() < most
    }
}

impl Movers {
    pub fn new(
        partitions: Arc<Partitions>,
        settings: Arc<Settings>,
        storage: Arc<Storage>,
        registrar: Arc<Registrar>,
    ) -> Movers {
        let ((state, changed), began) = (Default::default(), Instant::now());
        Movers(Arc::new(Shared { partitions, settings, storage, registrar, state, changed, began }))
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
        if state.stopping {
            return Ok(());
        }
        let wish = state.moves.wish(key, partition.place().folder.parent(), to);
        if let Some(unwanted) = wish.forget {
            self.0.storage.forget_copy(&unwanted);
        }
        if wish.begins {
            let (id, to) = (partition.id.clone(), to.to_owned());
            let folder = match folder {
                Some(folder) => folder.to_owned(),
                None => self.0.storage.new_copy(&id, &to)?,
            };
            info!(partition = %id, to = %to.display(), "moving the partition to another log directory");
            state.moves.begin(key, id, to, folder);
            self.add_thread(&mut state);
        }
        self.0.changed.notify_all();
        Ok(())
    }

    /// The copies in progress.
    pub fn copies(&self) -> Vec<Copied> {
        self.0.state.lock().moves.copies()
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

impl Shared {
    fn serve(&self) {
        while let Some(errand) = self.next() {
            // A panic must not end all other moves.
            let carried = catch_unwind(AssertUnwindSafe(|| self.carry(&errand)));
            let panicked = |_| Ended::Failed { why: "the mover panicked".into(), there: false };
            self.close(&errand, &carried.unwrap_or_else(panicked));
        }
    }

    fn close(&self, errand: &Errand, ended: &Ended) {
        let mut state = self.state.lock();
        let folder = state.moves.ended(self.now_ms(), errand, ended);
        let (folder_path, to) = (errand.folder.display(), errand.to.display());
        match ended {
            Ended::Moved => info!(folder = %folder_path, %to, "moved"),
            Ended::Failed { why, there } => {
                error!(folder = %folder_path, %to, "cannot move the partition: {why}");
                if *there && let Some(volume) = self.storage.volume(&errand.to) {
                    volume.fail(why);
                }
            }
            Ended::Unwanted | Ended::Stopped | Ended::Later => {}
        }
        match folder {
            Folder::Leave => {}
            Folder::Forget => self.storage.forget_copy(&errand.folder),
            Folder::Keep => {
                if let Err(error) = self.storage.keep_copy(&errand.folder) {
                    warn!(folder = %folder_path, %error, "a move would be forgotten by the next start");
                }
                // Others rest until something changes, and do not know when this one is tried again.
                self.changed.notify_all();
            }
        }
    }

    // Waits for something to do. `None`: the broker is stopping.
    fn next(&self) -> Option<Errand> {
        let mut state = self.state.lock();
        loop {
            if state.stopping {
                return None;
            }
            if let Some(errand) = state.moves.next(self.now_ms()) {
                return Some(errand);
            }
            let later = state.moves.next_at_ms().map(|at| Duration::from_millis(at.max(0) as u64));
            state.resting += 1;
            match later {
                Some(later) => {
                    self.changed.wait_until(&mut state, self.began + later);
                }
                None => self.changed.wait(&mut state),
            }
            state.resting -= 1;
        }
    }

    fn now_ms(&self) -> i64 {
        self.began.elapsed().as_millis() as i64
    }

    fn carry(&self, errand: &Errand) -> Ended {
        self.try_to_carry(errand).unwrap_or_else(|ended| ended)
    }

    fn try_to_carry(&self, errand: &Errand) -> Result<Ended, Ended> {
        let Errand { key, to, folder } = errand;
        let partition = self.partitions.get(key.0, key.1).filter(|p| !p.has_failed());
        let place = partition.as_ref().map(|partition| partition.place().clone());
        let here = match (&partition, &place) {
            (Some(partition), Some(place)) => {
                let size = partition.with_log(|log| (!log.is_offline()).then(|| log.size())).flatten();
                Here::Open { folder: &place.folder, size }
            }
            _ if self.partitions.is_offline(key.0, key.1) => Here::Offline,
            _ => Here::Gone,
        };
        let has_room = |size| {
            let has_room = self.storage.has_room(to, size);
            if !has_room {
                warn!(folder = %folder.display(), to = %to.display(), "no room to move the partition");
            }
            has_room
        };
        errand.may_begin(here, has_room)?;
        let (Some(partition), Some(place)) = (partition, place) else { return Ok(Ended::Unwanted) };
        let mut carrying = Carrying::begin(self.storage.begin_move(&partition, to, folder))?;
        loop {
            let copy = self.catch_up(errand, &partition, carrying)?;
            match Carrying::answered(self.settle(&partition, copy)) {
                Answered::Moved(left) => {
                    self.moved(&partition, &place, left, to);
                    return Ok(Ended::Moved);
                }
                Answered::GoOn(behind) => carrying = behind,
                Answered::Over(ended) => return Err(ended),
            }
        }
    }

    fn catch_up(
        &self,
        errand: &Errand,
        partition: &Arc<Partition>,
        mut carrying: Carrying,
    ) -> Result<Box<Relocation>, Ended> {
        loop {
            match self.look(errand, partition, &carrying) {
                None => {}
                // The copy stays, and shows the next start that there is a move.
                Some(Ended::Stopped) => return Err(Ended::Stopped),
                Some(ended) => {
                    carrying.abandon();
                    return Err(ended);
                }
            }
            match carrying.step(STEP_BYTES, now_ms()) {
                Step::Copied(goes_on, bytes) => {
                    carrying = goes_on;
                    self.throttle(bytes);
                }
                Step::CaughtUp(copy) => return Ok(copy),
                Step::Over(ended) => return Err(ended),
            }
        }
    }

    // Shows how far it has come. None: the move goes on.
    fn look(&self, errand: &Errand, partition: &Arc<Partition>, carrying: &Carrying) -> Option<Ended> {
        let mut state = self.state.lock();
        if state.stopping {
            return Some(Ended::Stopped);
        }
        if !state.moves.goes_on(errand, carrying) {
            return Some(Ended::Unwanted);
        }
        let now = self.partitions.get(errand.key.0, errand.key.1);
        let same = now.is_some_and(|now| Arc::ptr_eq(&now, partition)) && !partition.has_failed();
        // The log may have been opened again. The next look finds that, or that it was removed.
        (!same).then_some(Ended::Later)
    }

    fn settle(&self, partition: &Arc<Partition>, copy: Box<Relocation>) -> Result<LeftBehind, NotMoved> {
        let volume = copy.folder().parent().and_then(|dir| self.storage.volume(dir));
        let (waiting, answer) = oneshot::channel();
        let token = Mover { waiting, volume };
        partition.submit_from_thread(Input::Relocate { token, copy, unique: Uuid::new_v4() });
        let closed = || LogError::Offline { dir: partition.place().folder.clone() };
        answer.blocking_recv().unwrap_or_else(|_| Err(NotMoved::Failed(closed())))
    }

    fn moved(&self, partition: &Partition, from: &Location, left: LeftBehind, to: &Path) {
        match left {
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
        let busy = state.moves.busy().max(1) as f64;
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
    use ottla_model::{TopicId, TopicPartition};

    use super::*;

    #[test]
    fn moves_that_come_together_get_a_thread_each() {
        let rows: [(usize, usize, usize, bool); 5] =
            [(1, 0, 0, true), (1, 0, 1, false), (2, 0, 1, true), (2, 1, 1, false), (2, 2, 0, false)];
        for (wanted, busy, resting, lacks) in rows {
            let mut moves = Moves::default();
            for index in 0..wanted {
                let key = (TopicId::from_u128(1), index as i32);
                moves.begin(key, TopicPartition::new("t", index as i32), "/b".into(), "/b/copy".into());
            }
            (0..busy).for_each(|_| drop(moves.next(0)));
            let state = WantedMoves { resting, moves, ..WantedMoves::default() };
            assert_eq!(state.lacks_a_thread(2), lacks, "{busy} of {wanted} are carried, {resting} rest");
            assert!(!state.lacks_a_thread(0), "no more than there may be");
        }
    }
}
