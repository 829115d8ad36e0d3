//! The threads that compact logs (`log.cleaner.*`): each finds the log that has most to clean, cleans it beside its
//! owner and its readers, and rests. Which log that is, is decided in `node::cleaning`; what is kept of it, in
//! `ottla_log::log`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use ottla_log::log::{Cleaned, Dirt, OffsetMap, Step};
use ottla_node::cleaning::{Claims, Search};
use ottla_node::lane::Input;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;
use tracing::{debug, error, info};

use crate::clock::now_ms;
use crate::run::owners::partition::Partition;
use crate::run::owners::partitions::Partitions;
use crate::run::owners::settings::Settings;
use crate::run::owners::storage::Storage;

/// How much is read or written between two checks whether the broker stops.
const STEP_BYTES: u64 = 1 << 20;

/// The cleaner's threads.
pub(crate) struct Cleaners(Arc<Shared>);

struct Shared {
    partitions: Arc<Partitions>,
    settings: Arc<Settings>,
    storage: Arc<Storage>,
    state: Mutex<Cleanings>,
    stopping: Condvar,
}

#[derive(Default)]
struct Cleanings {
    stopping: bool,
    threads: Vec<JoinHandle<()>>,
    claims: Claims,
}

impl Cleaners {
    /// Starts the first thread, which starts the others. Without `log.cleaner.enable` there are none.
    pub fn start(
        partitions: Arc<Partitions>,
        settings: Arc<Settings>,
        storage: Arc<Storage>,
    ) -> std::io::Result<Cleaners> {
        let enabled = settings.now().log_cleaner_enable;
        let (state, stopping) = Default::default();
        let shared = Arc::new(Shared { partitions, settings, storage, state, stopping });
        if enabled {
            shared.add_thread(&mut shared.state.lock())?;
        }
        Ok(Cleaners(shared))
    }

    /// Ends the threads. Cleanings in progress are abandoned.
    pub fn stop(self) {
        let threads = {
            let mut state = self.0.state.lock();
            state.stopping = true;
            std::mem::take(&mut state.threads)
        };
        self.0.stopping.notify_all();
        for thread in threads {
            if thread.join().is_err() {
                error!("a cleaner thread failed");
            }
        }
    }
}

impl Shared {
    fn add_thread(self: &Arc<Self>, state: &mut Cleanings) -> std::io::Result<()> {
        let (shared, index) = (self.clone(), state.threads.len());
        let thread = std::thread::Builder::new()
            .name(format!("cleaner-{index}"))
            .spawn(move || shared.serve(index))?;
        state.threads.push(thread);
        Ok(())
    }

    // Each thread does its own cleanings. The first one also makes sure that there are `log.cleaner.threads` threads; if
    // that number has been lowered, the surplus threads rest.
    fn serve(self: Arc<Self>, index: usize) {
        let mut map = None;
        while !self.state.lock().stopping {
            let wanted = self.settings.now().log_cleaner_threads.max(0) as usize;
            if index == 0 {
                self.add_threads(wanted);
            }
            let Some((partition, dirt)) = (index < wanted).then(|| self.dirtiest()).flatten() else {
                // An idle broker does not need the memory of the map.
                map = None;
                self.rest(Duration::from_millis(self.settings.now().log_cleaner_backoff_ms.max(1) as u64));
                continue;
            };
            let key = (partition.topic_id, partition.id.partition);
            let map_now = map.take().unwrap_or_else(|| self.new_map());
            // A panic must not end the compaction of all other logs.
            let cleaned = catch_unwind(AssertUnwindSafe(|| self.clean(&partition, &dirt, map_now)));
            match cleaned.unwrap_or_else(|_| Err("the cleaner panicked".into())) {
                Ok(used) => map = used,
                Err(why) => {
                    error!(partition = %partition.id, "cannot compact the log, and leaves it alone: {why}");
                    self.state.lock().claims.give_up(key);
                }
            }
            self.state.lock().claims.ended(key);
        }
    }

    fn add_threads(self: &Arc<Self>, wanted: usize) {
        let mut state = self.state.lock();
        while !state.stopping && state.threads.len() < wanted {
            if let Err(error) = self.add_thread(&mut state) {
                error!(%error, "cannot start another cleaner thread");
                return;
            }
        }
    }

    fn rest(&self, pause: Duration) {
        let mut state = self.state.lock();
        if !state.stopping {
            self.stopping.wait_for(&mut state, pause);
        }
    }

    // The threads share the memory, as in Kafka.
    fn new_map(&self) -> OffsetMap {
        let config = self.settings.now();
        let threads = i64::from(config.log_cleaner_threads.max(1));
        let bytes = config.log_cleaner_dedupe_buffer_size / threads;
        let load = config.log_cleaner_io_buffer_load_factor;
        OffsetMap::new(bytes.max(0) as u64, load, rand::random())
    }

    // It is marked as busy.
    fn dirtiest(&self) -> Option<(Arc<Partition>, Dirt)> {
        let mut search = Search::begin();
        for partition in self.partitions.all() {
            let key = (partition.topic_id, partition.id.partition);
            if self.state.lock().claims.skips(key) {
                continue;
            }
            let (config, place) = (partition.config.load_full(), partition.place());
            let checkpoint = self.storage.cleaned(&place.folder, &partition.id);
            let looked = search.look(now_ms(), partition.clone(), &place.reader, &config, checkpoint);
            if let Err(error) = looked
                && !partition.has_left(&place)
            {
                error!(partition = %partition.id, %error, "cannot tell what there is to compact");
                self.state.lock().claims.give_up(key);
            }
        }
        // It has said why if it could not, and comes to the same the next time.
        self.storage.set_cleaned(&search.corrections);
        let (partition, dirt) = search.dirtiest?;
        let key = (partition.topic_id, partition.id.partition);
        self.state.lock().claims.begin(key).then_some((partition, dirt))
    }

    // Returns the map for the next log, unless this log's cleaning has consumed it.
    fn clean(
        &self,
        partition: &Arc<Partition>,
        dirt: &Dirt,
        map: OffsetMap,
    ) -> Result<Option<OffsetMap>, String> {
        let place = partition.place().clone();
        let begun = partition.with_log(|log| log.begin_cleaning(dirt, map, now_ms()));
        let Some(mut cleaning) = begun.transpose().map_err(|e| e.to_string())?.flatten() else {
            return Ok(None);
        };
        loop {
            if self.state.lock().stopping {
                cleaning.abandon();
                return Ok(None);
            }
            match cleaning.step(STEP_BYTES) {
                Ok(Step::Working { bytes }) => self.throttle(bytes),
                Ok(Step::Swap(swap)) => {
                    let (token, answer) = oneshot::channel();
                    partition.submit_from_thread(Input::SwapCleaned { token, swap });
                    if let Err(why) =
                        answer.blocking_recv().unwrap_or_else(|_| Err("it has been closed".into()))
                    {
                        debug!(partition = %partition.id, "the log has changed while it was compacted: {why}");
                        return Ok(Some(cleaning.abandon()));
                    }
                }
                Ok(Step::Done(done)) => {
                    self.finish(partition, &done);
                    return Ok(Some(cleaning.into_map()));
                }
                Err(error) => {
                    let gone = partition.has_left(&place) || partition.with_log(|_| ()).is_none();
                    let outdated = gone || cleaning.is_outdated();
                    // Its map may be half filled by what failed: the next log gets a new one.
                    cleaning.abandon();
                    if outdated {
                        debug!(partition = %partition.id, %error, "the log has changed while it was compacted");
                        return Ok(None);
                    }
                    return Err(error.to_string());
                }
            }
        }
    }

    fn finish(&self, partition: &Arc<Partition>, done: &Cleaned) {
        info!(
            partition = %partition.id,
            up_to = done.up_to,
            bytes_read = done.bytes_read,
            bytes_written = done.bytes_written,
            keys = done.keys,
            "compacted"
        );
        if self.storage.set_cleaned(&[(partition.clone(), done.up_to)]) {
            partition.place().reader.forget_cut(done.lowest_cut);
        }
    }

    fn throttle(&self, bytes: u64) {
        let per_second = self.settings.now().log_cleaner_io_max_bytes_per_second;
        // Not `max`: a rate that is no number is no limit, as in Kafka.
        let per_second = if per_second < 1.0 { 1.0 } else { per_second };
        let pause = bytes as f64 / per_second;
        // Less than a millisecond is not worth a sleep.
        if pause >= 0.001 {
            self.rest(Duration::from_secs_f64(pause.min(60.0)));
        }
    }
}
