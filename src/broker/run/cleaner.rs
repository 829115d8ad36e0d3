//! The threads that compact logs (`log.cleaner.*`): each finds the log that has most to clean, cleans it beside its
//! owner and its readers, and rests. What is kept of a log is decided in `ottla_log::log`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ottla_log::log::{Cleaned, Cleaning, Dirt, OffsetMap, Step};
use ottla_model::TopicId;
use ottla_model::config::{BrokerConfig, Value};
use ottla_node::lane::Input;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;
use tracing::{debug, error, info};

use super::partition::Partition;
use super::partitions::Partitions;
use super::settings::Settings;
use super::storage::Storage;
use super::waiter::Waiter;
use crate::broker::now_ms;

/// Read or written between two looks at whether the broker stops.
const STEP_BYTES: u64 = 1 << 20;

/// The threads, while there are any.
pub(crate) struct Cleaners {
    shared: Arc<Shared>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

struct Shared {
    partitions: Arc<Partitions>,
    settings: Arc<Settings>,
    storage: Arc<Storage>,
    state: Mutex<State>,
    stopping: Condvar,
}

#[derive(Default)]
struct State {
    stopping: bool,
    /// Being cleaned by some thread.
    busy: BTreeSet<(TopicId, i32)>,
    /// Failed to be cleaned; left alone until the broker starts again.
    uncleanable: BTreeSet<(TopicId, i32)>,
}

impl Cleaners {
    /// Starts as many threads as `log.cleaner.threads` says.
    pub fn start(
        partitions: Arc<Partitions>,
        settings: Arc<Settings>,
        storage: Arc<Storage>,
    ) -> std::io::Result<Cleaners> {
        let count =
            if settings.now().log_cleaner_enable { settings.now().log_cleaner_threads.max(0) } else { 0 };
        let (state, stopping) = Default::default();
        let shared = Arc::new(Shared { partitions, settings, storage, state, stopping });
        let start = |n| {
            let shared = shared.clone();
            std::thread::Builder::new().name(format!("cleaner-{n}")).spawn(move || shared.serve())
        };
        let threads = (0..count).map(start).collect::<Result<Vec<_>, _>>()?;
        Ok(Cleaners { shared, threads })
    }

    /// Ends the threads; what was being cleaned is abandoned.
    pub fn stop(self) {
        self.shared.state.lock().stopping = true;
        self.shared.stopping.notify_all();
        for thread in self.threads {
            if thread.join().is_err() {
                error!("a cleaner thread failed");
            }
        }
    }
}

impl Shared {
    fn serve(&self) {
        let mut map = None;
        while !self.state.lock().stopping {
            let Some((partition, dirt)) = self.dirtiest() else {
                self.rest(Duration::from_millis(
                    self.settings.now().whole("log.cleaner.backoff.ms").max(1) as u64
                ));
                continue;
            };
            let key = (partition.topic_id, partition.id.partition);
            let map_now = map.take().unwrap_or_else(|| self.new_map());
            match self.clean(&partition, &dirt, map_now) {
                Ok(used) => map = used,
                Err(why) => {
                    error!(partition = %partition.id, "cannot compact the log, and leaves it alone: {why}");
                    self.state.lock().uncleanable.insert(key);
                }
            }
            self.state.lock().busy.remove(&key);
        }
    }

    fn rest(&self, pause: Duration) {
        let mut state = self.state.lock();
        if !state.stopping {
            self.stopping.wait_for(&mut state, pause);
        }
    }

    // As in Kafka the threads share the memory, so a change of their number counts from the next start.
    fn new_map(&self) -> OffsetMap {
        let config = self.settings.now();
        let threads = i64::from(config.log_cleaner_threads.max(1));
        let bytes = config.whole("log.cleaner.dedupe.buffer.size") / threads;
        let load = fraction(&config, "log.cleaner.io.buffer.load.factor");
        OffsetMap::new(bytes.max(0) as u64, load, rand::random())
    }

    // Of those that are due, the one with the largest dirty share; it is marked as busy.
    fn dirtiest(&self) -> Option<(Arc<Partition>, Dirt)> {
        let mut best: Option<(Arc<Partition>, Dirt)> = None;
        for partition in self.partitions.all() {
            let key = (partition.topic_id, partition.id.partition);
            let config = partition.config.load_full();
            let skipped = |state: &State| state.busy.contains(&key) || state.uncleanable.contains(&key);
            if !config.cleanup_policy.compact || skipped(&self.state.lock()) {
                continue;
            }
            let checkpoint = self.storage.cleaned(&partition.folder, &partition.id);
            match partition.reader.dirt(&config, checkpoint, now_ms()) {
                Ok(dirt) => {
                    if let Some(true_one) = dirt.checkpoint {
                        self.storage.set_cleaned(&partition.folder, &partition.id, true_one);
                    }
                    let dirtier = best.as_ref().is_none_or(|(_, other)| dirt.ratio() > other.ratio());
                    if dirt.due(&config) && dirtier {
                        best = Some((partition, dirt));
                    }
                }
                Err(error) => {
                    error!(partition = %partition.id, %error, "cannot tell what there is to compact");
                    self.state.lock().uncleanable.insert(key);
                }
            }
        }
        let (partition, dirt) = best?;
        // Somebody else may have been quicker.
        let key = (partition.topic_id, partition.id.partition);
        self.state.lock().busy.insert(key).then_some((partition, dirt))
    }

    // The map comes back for the next log, unless it went with this one.
    fn clean(
        &self,
        partition: &Arc<Partition>,
        dirt: &Dirt,
        map: OffsetMap,
    ) -> Result<Option<OffsetMap>, String> {
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
                    let (waiting, answer) = oneshot::channel();
                    let token = Waiter::Cleaner(waiting);
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
                    abandon(cleaning);
                    return Err(error.to_string());
                }
            }
        }
    }

    fn finish(&self, partition: &Partition, done: &Cleaned) {
        info!(
            partition = %partition.id,
            up_to = done.up_to,
            bytes_read = done.bytes_read,
            bytes_written = done.bytes_written,
            keys = done.keys,
            "compacted"
        );
        if self.storage.set_cleaned(&partition.folder, &partition.id, done.up_to) {
            partition.reader.forget_cut(done.lowest_cut);
        }
    }

    fn throttle(&self, bytes: u64) {
        let per_second = fraction(&self.settings.now(), "log.cleaner.io.max.bytes.per.second");
        let pause = bytes as f64 / per_second.max(1.0);
        // Less than a millisecond is not worth waking up for.
        if pause >= 0.001 {
            self.rest(Duration::from_secs_f64(pause.min(60.0)));
        }
    }
}

fn abandon(cleaning: Cleaning) {
    // Its map may have been half filled by what failed: the next log gets a new one.
    drop(cleaning.abandon());
}

fn fraction(config: &BrokerConfig, name: &str) -> f64 {
    match config.get(name).and_then(|found| found.value) {
        Some(Value::Double(value)) => value,
        other => panic!("{name} is no fraction but {other:?}"),
    }
}
