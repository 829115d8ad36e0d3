//! Combining ownership of one partition. A task that finds the partition free runs its lane; one that finds it busy
//! leaves the input in the queue for the task that is running it, and goes on. `submit` never waits for the lane's lock;
//! `close` and `with_log` do.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use ottla_core::partition::Leader;
use ottla_core::session::FetchKey;
use ottla_log::disk::worker;
use ottla_log::log::{Log, LogReader};
use ottla_model::config::TopicConfig;
use ottla_model::{TopicId, TopicPartition};
use ottla_node::fetching::Place;
use ottla_node::lane::{Input, Lane, Output};
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::error;

use super::proposals::Proposals;
use super::publisher::Notice;
use super::volume::Volume;
use super::waiter::{Waiting, tell};
use crate::clock::now_ms;
use crate::run::serve::watch::{Watch, Watcher};
use crate::run::work::flusher::Flushers;

/// A longer turn means that the disk stalls: the next turns run on a thread that may block.
const SLOW_TURN: Duration = Duration::from_millis(20);
/// For how long after its last slow turn a partition counts as stalled.
const SLOW_FOR_MS: i64 = 1_000;

/// Where a partition's log is. It may move.
pub(crate) struct Location {
    pub folder: PathBuf,
    pub volume: Arc<Volume>,
    pub reader: Arc<LogReader>,
}

/// What a partition's owner asks others to do.
#[derive(Clone)]
pub(crate) struct Outlets {
    pub flushers: Flushers,
    pub failures: Sender<Notice>,
    pub proposals: Proposals,
}

/// A replica that lives on this broker, which leads the partition or follows another broker.
pub(crate) struct Partition {
    pub id: TopicPartition,
    pub topic_id: TopicId,
    place: ArcSwap<Location>,
    /// The configuration that producers' batches are checked against.
    pub config: ArcSwap<TopicConfig>,
    leader_epoch: AtomicI32,
    resigned: AtomicBool,
    /// The epoch in which the lane leads, as of its last turn; -1: it follows.
    leading: AtomicI32,
    /// Where that epoch began in the log; -1: it follows.
    epoch_start: AtomicI64,
    queue: Mutex<VecDeque<Input<Waiting>>>,
    /// `None`: the partition is closed or deleted, or its lane has panicked.
    lane: Mutex<Option<Lane<Waiting>>>,
    waiting: Mutex<[Vec<Arc<Notify>>; 2]>,
    /// Sessions of other replicas.
    watchers: Mutex<Vec<Watcher>>,
    slow_until_ms: AtomicI64,
    /// A thread that may wait for the disk is going to take a turn.
    handed_over: AtomicBool,
    failed: AtomicBool,
    outlets: Outlets,
}

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    /// A move of the high watermark.
    HighWatermark = 0,
    /// A move of the log end, which only other replicas may see.
    LogEnd = 1,
}

impl Partition {
    pub fn new(
        id: TopicPartition,
        topic_id: TopicId,
        lane: Lane<Waiting>,
        volume: Arc<Volume>,
        outlets: Outlets,
    ) -> Partition {
        Partition {
            id,
            topic_id,
            place: ArcSwap::from_pointee(Location::of(lane.log(), volume)),
            config: ArcSwap::new(lane.config().clone()),
            leader_epoch: AtomicI32::new(lane.leader_epoch().0),
            resigned: AtomicBool::new(!lane.leads()),
            leading: AtomicI32::new(led_epoch(&lane).0),
            epoch_start: AtomicI64::new(epoch_start(&lane)),
            queue: Mutex::default(),
            lane: Mutex::new(Some(lane)),
            waiting: Mutex::default(),
            watchers: Mutex::default(),
            slow_until_ms: AtomicI64::new(0),
            handed_over: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            outlets,
        }
    }

    /// Where the log is now. It may move, so this must not be kept.
    pub fn place(&self) -> Guard<Arc<Location>> {
        self.place.load()
    }

    /// Whether the log has moved since: what was read there may already have been about to be removed.
    pub fn has_left(&self, place: &Arc<Location>) -> bool {
        !Arc::ptr_eq(&self.place.load(), place)
    }

    /// Its owner has panicked, so its state cannot be trusted.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Another broker leads the partition, or none.
    pub fn has_resigned(&self) -> bool {
        self.resigned.load(Ordering::Acquire)
    }

    /// The epoch of the leader that this broker is, or follows.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch(self.leader_epoch.load(Ordering::Acquire))
    }

    /// Whether the lane has begun to lead in its present epoch. Before that, records from the leader before may still be
    /// in its queue, so that another replica must not be told yet where the logs part.
    pub fn leads(&self) -> bool {
        !self.has_resigned() && self.leading.load(Ordering::Acquire) == self.leader_epoch().0
    }

    /// Passes an input to the lane. When this returns, the input was processed, or another task is going to process it.
    pub fn submit(self: &Arc<Self>, input: Input<Waiting>) {
        self.enqueue(input);
        if self.is_slow() {
            let this = self.clone();
            tokio::task::spawn_blocking(move || this.drive());
        } else {
            self.drive();
        }
    }

    // The last turns took so long that none runs on a thread that serves clients.
    fn is_slow(&self) -> bool {
        self.slow_until_ms.load(Ordering::Relaxed) > now_ms()
    }

    /// Registers a waiter for the next such move, another leader, or the removal of the partition. After registering,
    /// the caller has to check again before it waits: nothing wakes it for a change between its last check and the
    /// registration.
    pub fn wait(self: &Arc<Self>, what: For, who: &Arc<Notify>) -> Registration {
        self.waiting.lock()[what as usize].push(who.clone());
        Registration { partition: self.clone(), what, who: who.clone() }
    }

    /// Tells that session from now on whatever may concern it.
    pub fn watch(&self, watch: &Arc<Watch>, key: &FetchKey) {
        let mut watchers = self.watchers.lock();
        if !watchers.iter().any(|watcher| watcher.is_of(watch)) {
            watchers.retain(|watcher| watcher.watch.strong_count() > 0);
            watchers.push(Watcher::new(watch, key.clone()));
        }
    }

    // `wakes`: the session is not only told, but its request ends its waiting.
    fn tell_watchers(&self, wakes: bool) {
        for watcher in &*self.watchers.lock() {
            let Some(watch) = watcher.watch.upgrade() else { continue };
            watch.mark([watcher.key.clone()]);
            if wakes {
                watch.wake();
            }
        }
    }

    /// Ends the lane and returns its log. Later inputs are refused.
    pub fn close(self: &Arc<Self>) -> Option<Log> {
        let mut out = Vec::new();
        let log = self.lane.lock().take().map(|lane| lane.into_log(&mut out));
        self.carry_out(out);
        self.refuse_queued();
        self.wake_all();
        log
    }

    /// Calls `look` with the log, between two turns.
    pub fn with_log<R>(self: &Arc<Self>, look: impl FnOnce(&Log) -> R) -> Option<R> {
        self.with_lane(|lane| look(lane.log()))
    }

    /// Where the next fetch from the leader begins. `None`: there is none now, or the lane has still something to do. If the
    /// lane is busy, what was submitted waits in the queue, and where the log ends is not yet where the lane will have put
    /// its end. A fetcher that believed that would think that its leader knows the place, and would never name it.
    pub fn fetch_place(self: &Arc<Self>) -> Option<Place> {
        self.with_lane(|lane| self.place_in(lane))?
    }

    /// The same on a thread that serves clients. `None`: the lane is busy, or another thread is about to drive it, because its disk
    /// stalls.
    pub fn try_fetch_place(self: &Arc<Self>) -> Option<Option<Place>> {
        if self.is_slow() {
            return None;
        }
        let lane = self.lane.try_lock()?;
        let place = lane.as_ref().and_then(|lane| self.place_in(lane));
        drop(lane);
        self.drive();
        Some(place)
    }

    fn place_in(&self, lane: &Lane<Waiting>) -> Option<Place> {
        if !self.queue.lock().is_empty() {
            return None;
        }
        let position = lane.fetch_position()?;
        Some(Place { position, log_start: lane.log().log_start_offset() })
    }

    /// What the leader knows of the other replicas. `None`: this broker does not lead, or the lane is busy.
    pub fn try_leader<R>(self: &Arc<Self>, look: impl FnOnce(&Leader) -> R) -> Option<R> {
        let looked = self.lane.try_lock().and_then(|lane| Some(look(lane.as_ref()?.leadership().ok()?)));
        self.drive();
        looked
    }

    /// Where the present leadership began in the log. While the high watermark is below, nobody knows yet which records
    /// from before are committed (KIP-207). -1: this broker follows.
    pub fn epoch_start(&self) -> Offset {
        self.epoch_start.load(Ordering::Acquire)
    }

    fn with_lane<R>(self: &Arc<Self>, look: impl FnOnce(&Lane<Waiting>) -> R) -> Option<R> {
        let looked = AssertUnwindSafe(|| self.lane.lock().as_ref().map(look));
        let looked = catch_unwind(looked);
        // Inputs that arrived in the meantime found the lane taken and rely on this call, also if `look` panicked.
        self.drive();
        looked.unwrap_or_else(|panic| resume_unwind(panic))
    }

    // A task that finds the lane taken leaves its input in the queue and goes on. So nobody may release the lane without
    // looking at the queue afterwards. An input is queued before the lane is tried, and the queue is checked after the
    // lane was released: of an owner that leaves and a task that arrives, at least one sees the other.
    //
    // A thread that serves clients takes no turn that may wait for the disk: it puts the inputs back into the queue and
    // lets another thread drive. That thread resets `handed_over` before it looks at the queue, so an input that was
    // queued while the mark was set is found by it.
    fn drive(self: &Arc<Self>) {
        let serves = worker::is_marked();
        if serves && self.handed_over.load(Ordering::SeqCst) {
            return;
        }
        while !self.queue.lock().is_empty() {
            let Some(mut lane) = self.lane.try_lock() else { return };
            let Some(owned) = lane.as_mut() else {
                drop(lane);
                self.refuse_queued();
                return;
            };
            let began = Instant::now();
            let mut out = Vec::new();
            let mut waits = false;
            let led = self.leading.load(Ordering::Acquire);
            let log_start = owned.log().log_start_offset();
            let turned = catch_unwind(AssertUnwindSafe(|| {
                loop {
                    let inputs = std::mem::take(&mut *self.queue.lock());
                    if inputs.is_empty() {
                        break;
                    }
                    let now_ms = now_ms();
                    if serves && owned.may_wait(now_ms, inputs.iter()) {
                        let queue = &mut *self.queue.lock();
                        let later = std::mem::replace(queue, inputs);
                        queue.extend(later);
                        waits = true;
                        break;
                    }
                    owned.step(now_ms, inputs, &mut out);
                }
                self.epoch_start.store(epoch_start(owned), Ordering::Release);
                self.leading.store(led_epoch(owned).0, Ordering::Release);
                self.follow_moves(owned.log(), &out);
                if owned.log().log_start_offset() != log_start {
                    self.tell_watchers(false);
                }
            }));
            if turned.is_err() {
                // The lane's state may be changed only in part, so it must not be used again. The log is whole up to its
                // last append, and the publisher opens it again, as after a crash.
                error!(partition = %self.id, "the partition's owner failed; recovering its log");
                self.failed.store(true, Ordering::Release);
                *lane = None;
                // This fails only when the broker is stopping.
                let _ = self.outlets.failures.send(Notice::OwnerFailed(self.topic_id, self.id.partition));
            }
            // In this moment another task may find the lane still taken. Tests make the moment longer.
            #[cfg(test)]
            std::thread::yield_now();
            drop(lane);
            if serves && began.elapsed() > SLOW_TURN {
                self.slow_until_ms.store(now_ms() + SLOW_FOR_MS, Ordering::Relaxed);
            }
            if self.leading.load(Ordering::Acquire) != led {
                // Coordinators wait for it before they load their shards.
                self.wake(For::HighWatermark);
            }
            self.carry_out(out);
            if waits {
                return self.hand_over();
            }
        }
    }

    fn hand_over(self: &Arc<Self>) {
        if !self.handed_over.swap(true, Ordering::SeqCst) {
            let this = self.clone();
            tokio::task::spawn_blocking(move || {
                this.handed_over.store(false, Ordering::SeqCst);
                this.drive();
            });
        }
    }

    // A panic in one output must not lose the other outputs, nor end the loop that drives the lane.
    fn carry_out(self: &Arc<Self>, out: Vec<Output<Waiting>>) {
        for output in out {
            if catch_unwind(AssertUnwindSafe(|| self.carry_out_one(output))).is_err() {
                error!(partition = %self.id, "an output of the partition's owner could not be carried out");
            }
        }
    }

    fn carry_out_one(self: &Arc<Self>, output: Output<Waiting>) {
        match output {
            Output::Reply { token, outcome } => token.fill(outcome),
            Output::Deleted { token, outcome } => tell(token, outcome.map_err(|refused| refused.code)),
            Output::Swapped { token, outcome } => tell(token, outcome),
            Output::Flush(ticket) => {
                let this = self.clone();
                self.outlets.flushers.run(move || {
                    let up_to = ticket.up_to;
                    // The lane waits for the outcome in any case: without it, it would never flush again.
                    let result = catch_unwind(AssertUnwindSafe(|| ticket.run()));
                    let result = result.unwrap_or_else(|_| Err(io::Error::other("the flush panicked")));
                    this.submit_from_thread(Input::Flushed { up_to, result });
                });
            }
            Output::WriteOut(range) => self.place().volume.write_out(range),
            Output::Verifying { token, outcome } => tell(token, outcome),
            Output::Advanced => {
                self.wake(For::HighWatermark);
                self.tell_watchers(false);
            }
            Output::Grown => {
                self.wake(For::LogEnd);
                self.tell_watchers(true);
            }
            Output::Noted { token, outcome } => token.noted(outcome),
            Output::Followed { token, outcome } => token.followed(outcome),
            Output::Propose(proposal) => self.outlets.proposals.send(self, proposal),
            Output::Retire(retired) => self.outlets.flushers.retire(retired),
            Output::Offline { why, disk } => {
                error!(partition = %self.id, "{why}; the partition is offline");
                if disk {
                    self.place().volume.fail(&why);
                }
            }
            Output::Full => self.place().volume.finds_no_room(&self.id),
            Output::Relocated { token, outcome } => {
                self.wake_all();
                tell(token.waiting, outcome);
            }
        }
    }

    // Called before anything can be appended at the new place, so that readers and waiters go on there.
    fn follow_moves(&self, log: &Log, out: &[Output<Waiting>]) {
        for output in out {
            if let Output::Relocated { token, outcome: Ok(_) } = output
                && let Some(volume) = &token.volume
            {
                self.place.store(Arc::new(Location::of(log, volume.clone())));
                // The directory may have failed while this partition was not counted as one of its own.
                volume.fail_again();
            }
        }
    }

    // For threads outside the runtime, which may wait themselves and cannot hand over a slow turn.
    pub fn submit_from_thread(self: &Arc<Self>, input: Input<Waiting>) {
        self.enqueue(input);
        self.drive();
    }

    fn enqueue(&self, input: Input<Waiting>) {
        match &input {
            Input::Lead(leadership) => {
                self.leader_epoch.store(leadership.epoch.0, Ordering::Release);
                self.resigned.store(false, Ordering::Release);
            }
            Input::Follow(followership) => {
                self.resigned.store(true, Ordering::Release);
                self.leader_epoch.store(followership.epoch.0, Ordering::Release);
            }
            Input::Configure(config) => self.config.store(config.clone()),
            _ => {}
        }
        self.queue.lock().push_back(input);
    }

    /// Makes everybody who waits check again.
    pub fn wake_all(&self) {
        self.wake(For::HighWatermark);
        self.wake(For::LogEnd);
        self.tell_watchers(true);
    }

    fn wake(&self, what: For) {
        for waiting in std::mem::take(&mut self.waiting.lock()[what as usize]) {
            waiting.notify_one();
        }
    }

    fn refuse_queued(&self) {
        for input in std::mem::take(&mut *self.queue.lock()) {
            match input {
                Input::Append(append) => append.token.refuse(),
                Input::Verify { token, .. } => tell(token, Err(ErrorCode::NotLeaderOrFollower)),
                Input::DeleteRecords { token, .. } => tell(token, Err(ErrorCode::NotLeaderOrFollower)),
                Input::SwapCleaned { token, .. } => {
                    tell(token, Err("the partition does not live here".into()));
                }
                // The mover learns of it because its token is dropped here.
                Input::Relocate { copy, .. } => self.outlets.flushers.run(move || copy.abandon()),
                // Tokens of fetches tell their owners when they are dropped.
                _ => {}
            }
        }
    }
}

// -1: it follows.
fn led_epoch(lane: &Lane<Waiting>) -> LeaderEpoch {
    if lane.leads() { lane.leader_epoch() } else { LeaderEpoch::NONE }
}

fn epoch_start(lane: &Lane<Waiting>) -> Offset {
    lane.leadership().map_or(-1, Leader::epoch_start)
}

/// A waiter at a partition. Dropping it ends the waiting, also that of a client that has gone: otherwise an idle
/// partition would collect them.
#[must_use]
pub(crate) struct Registration {
    partition: Arc<Partition>,
    what: For,
    who: Arc<Notify>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut waiting = self.partition.waiting.lock();
        waiting[self.what as usize].retain(|waiting| !Arc::ptr_eq(waiting, &self.who));
    }
}

impl Location {
    fn of(log: &Log, volume: Arc<Volume>) -> Location {
        Location { folder: log.dir().to_owned(), volume, reader: log.reader() }
    }
}
