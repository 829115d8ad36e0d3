//! The owner of one shard: when it loads its log, what it takes next, and what follows when an append fails. Its shell reads,
//! appends, sends replies and lets time pass: the broker's task, or the simulator.
//! It must never wait, and never know what the shard's machine decides about.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use ottla_core::coordinator::Machine;
use ottla_log::check::{CheckedBatch, Origin, Rules, check};
use ottla_log::log::Offsets;
use ottla_model::TopicPartition;
use ottla_model::config::TopicConfig;
use ottla_model::image::Image;
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset};

use super::loading::Loading;
use super::{Input, Linger, LoadError, Output, Shard, ShardBatch, ShardSettings};

/// How long until a log that could not be loaded is looked at again.
pub const RETRY_MS: i64 = 1_000;

/// What a shard is sent.
pub type Sent<M> = Input<<M as Machine>::Token, <M as Machine>::Command>;

/// The partition whose log is the shard's memory, as it is now.
#[derive(Clone, Debug)]
pub struct ShardLog {
    /// As it was when the offsets had been read, or later: so that they are not of another leader if the epoch is the same as before.
    pub leader_epoch: LeaderEpoch,
    pub offsets: Offsets,
    pub config: Arc<TopicConfig>,
}

/// What the shell does.
pub enum KeeperOutput<M: Machine> {
    Reply {
        token: M::Token,
        reply: M::Reply,
    },
    /// Read the log to its end, then call [`Keeper::loaded`].
    Load(Box<Loading<M>>),
    /// Have this done elsewhere, and tell the machine by a command what it came to. If nobody tells, the machine waits
    /// for ever.
    Errand(M::Errand),
    /// Append this batch, then call [`Keeper::appended`]. The answer is wanted when it is in the log, not when it is safe.
    Append {
        batch: CheckedBatch,
        checked_against: Arc<TopicConfig>,
    },
    Note(KeeperNote),
}

/// Something that an operator may want to know.
#[derive(Debug)]
pub enum KeeperNote {
    Machine(String),
    NotLoaded(LoadError),
    /// A write may or may not be in the log.
    InDoubt,
}

/// The owner of one shard.
pub struct Keeper<M: Machine> {
    partition: TopicPartition,
    terms: ShardSettings,
    empty_machine: Box<dyn Fn(LeaderEpoch) -> M + Send>,
    state: State<M>,
    /// What has come and was not taken yet.
    waiting: VecDeque<Sent<M>>,
}

enum State<M: Machine> {
    /// No shard is in memory, and none is loaded before then.
    Away {
        until_ms: i64,
    },
    Loading {
        leader_epoch: LeaderEpoch,
    },
    Serving(Box<Serving<M>>),
}

struct Serving<M: Machine> {
    shard: Shard<M>,
    /// The partition was led under this epoch when the shard was loaded.
    leader_epoch: LeaderEpoch,
    /// The offset of the metadata that the shard has been shown.
    shown: Option<Offset>,
    appending: Option<Appending>,
    /// Of those that wait, how many had come when the shard began to gather: their records may share its batch, and what came
    /// later does not hold it up.
    companions: usize,
    /// Time was let pass since somebody's input was taken.
    ticked: bool,
}

/// A batch that is on its way to the log.
struct Appending {
    batch: ShardBatch,
    checked_against: Option<Arc<TopicConfig>>,
}

/// What a turn takes next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Sent,
    Tick,
    Idle,
}

/// For the shell.
impl<M: Machine> Keeper<M> {
    /// `empty_machine` makes a machine for a partition that is led under this epoch.
    pub fn new(
        partition: TopicPartition,
        terms: ShardSettings,
        empty_machine: impl Fn(LeaderEpoch) -> M + Send + 'static,
    ) -> Keeper<M> {
        Keeper {
            partition,
            terms,
            empty_machine: Box::new(empty_machine),
            state: State::Away { until_ms: i64::MIN },
            waiting: VecDeque::new(),
        }
    }

    /// Somebody sends something: it waits for a turn, or is refused.
    pub fn send(&mut self, now_ms: i64, sent: Sent<M>, out: &mut Vec<KeeperOutput<M>>) {
        match &self.state {
            State::Away { until_ms } if now_ms < *until_ms => refuse(sent, ErrorCode::NotCoordinator, out),
            State::Loading { .. } if !outlasts_loading::<M>(&sent) => {
                refuse(sent, ErrorCode::CoordinatorLoadInProgress, out);
            }
            _ => self.waiting.push_back(sent),
        }
    }

    /// Takes a turn: whatever can be done now is. `here` is the partition; `None`: it is not led here, or it was closed
    /// since the last turn, and whoever waits looks for the coordinator again. While the shell loads or appends, a turn does
    /// nothing.
    pub fn turn(
        &mut self,
        now_ms: i64,
        here: Option<&ShardLog>,
        image: &Arc<Image>,
        out: &mut Vec<KeeperOutput<M>>,
    ) {
        if self.is_busy() {
            return;
        }
        let Some(here) = here else { return self.resign(now_ms, out) };
        if let State::Serving(serving) = &self.state
            && serving.leader_epoch != here.leader_epoch
        {
            self.leave(now_ms, out);
        }
        if let State::Away { until_ms } = self.state
            && until_ms <= now_ms
        {
            self.load(now_ms, here, out);
        }
        self.serve(now_ms, here, image, out);
    }

    /// The shell has read the log to its end, or could not.
    pub fn loaded(
        &mut self,
        now_ms: i64,
        outcome: Result<Box<Loading<M>>, LoadError>,
        out: &mut Vec<KeeperOutput<M>>,
    ) {
        let State::Loading { leader_epoch } = self.state else { return };
        match outcome {
            Ok(loading) => self.begin_to_serve(loading.finish(now_ms), leader_epoch),
            Err(why) => {
                out.push(KeeperOutput::Note(KeeperNote::NotLoaded(why)));
                self.state = State::Away { until_ms: now_ms + RETRY_MS };
                self.refuse_waiting(ErrorCode::NotCoordinator, out);
            }
        }
    }

    /// What the append came to: the offsets of its first and last record. `here` is the partition that was to append, as it
    /// is now, also when it is closed by now.
    pub fn appended(
        &mut self,
        now_ms: i64,
        outcome: Result<(Offset, Offset), ErrorCode>,
        here: &ShardLog,
        out: &mut Vec<KeeperOutput<M>>,
    ) {
        let State::Serving(serving) = &mut self.state else { return };
        let Some(appending) = serving.appending.take() else { return };
        if serving.leader_epoch != here.leader_epoch {
            // What was appended may have been replaced since, however long the log is now.
            return self.leave(now_ms, out);
        }
        let is_stale = |against: &Arc<TopicConfig>| !Arc::ptr_eq(against, &here.config);
        if outcome == Err(ErrorCode::NotLeaderOrFollower)
            && appending.checked_against.as_ref().is_some_and(is_stale)
        {
            // The topic's configuration changed in between: the batch is checked anew.
            serving.appending = Some(appending);
            return self.append(now_ms, here, out);
        }
        if !serving.shard.is_in_step(&outcome, here.offsets.log_end) {
            out.push(KeeperOutput::Note(KeeperNote::InDoubt));
            return self.leave(now_ms, out);
        }
        self.feed(now_ms, Input::Appended(outcome), out);
        self.feed(now_ms, Input::Replicated(here.offsets.high_watermark), out);
        self.append(now_ms, here, out);
    }

    /// Nobody is served any longer: everybody is told so.
    pub fn resign(&mut self, now_ms: i64, out: &mut Vec<KeeperOutput<M>>) {
        self.leave(now_ms, out);
        self.refuse_waiting(ErrorCode::NotCoordinator, out);
    }

    /// Whether the shell has something to do first: to load, or to append.
    pub fn is_busy(&self) -> bool {
        match &self.state {
            State::Away { .. } => false,
            State::Loading { .. } => true,
            State::Serving(serving) => serving.appending.is_some(),
        }
    }

    /// When a turn is wanted, if nothing happens before.
    pub fn next_deadline_ms(&self) -> Option<i64> {
        match &self.state {
            State::Away { until_ms } => Some(*until_ms),
            State::Serving(serving) if serving.appending.is_none() => serving.shard.next_deadline_ms(),
            State::Loading { .. } | State::Serving(_) => None,
        }
    }
}

/// The steps.
impl<M: Machine> Keeper<M> {
    // An empty log, as of a topic that was just created, has nothing to read: nobody has to hear that it is being loaded.
    fn load(&mut self, now_ms: i64, here: &ShardLog, out: &mut Vec<KeeperOutput<M>>) {
        let loading = Loading::new((self.empty_machine)(here.leader_epoch), self.terms, here.offsets);
        let leader_epoch = here.leader_epoch;
        if loading.is_done() {
            return self.begin_to_serve(loading.finish(now_ms), leader_epoch);
        }
        self.state = State::Loading { leader_epoch };
        for sent in std::mem::take(&mut self.waiting) {
            self.send(now_ms, sent, out);
        }
        out.push(KeeperOutput::Load(Box::new(loading)));
    }

    fn begin_to_serve(&mut self, shard: Shard<M>, leader_epoch: LeaderEpoch) {
        self.state = State::Serving(Box::new(Serving {
            shard,
            leader_epoch,
            shown: None,
            appending: None,
            companions: 0,
            ticked: false,
        }));
    }

    fn serve(&mut self, now_ms: i64, here: &ShardLog, image: &Arc<Image>, out: &mut Vec<KeeperOutput<M>>) {
        let mut may_tick = true;
        while let State::Serving(serving) = &mut self.state
            && serving.appending.is_none()
        {
            // A log takes no batch that is larger than a segment.
            let bytes_max = here.config.max_message_bytes.min(here.config.segment_bytes);
            serving.shard.limit_batches(usize::try_from(bytes_max).unwrap_or(usize::MAX));
            let high_watermark = here.offsets.high_watermark;
            if serving.shard.awaits().is_some_and(|offset| offset <= high_watermark) {
                self.feed(now_ms, Input::Replicated(high_watermark), out);
                continue;
            }
            let Some(next) = serving.next(now_ms, self.terms.linger, self.waiting.len(), may_tick) else {
                return;
            };
            // Metadata changes more often than a machine needs it: it is shown when something is decided.
            let input = if serving.shown.replace(image.offset) != Some(image.offset) {
                Input::Image(image.clone())
            } else {
                may_tick &= next != Next::Tick;
                match next {
                    Next::Tick => {
                        serving.ticked = true;
                        Input::Tick
                    }
                    Next::Idle => Input::Idle,
                    Next::Sent => serving.take(&mut self.waiting),
                }
            };
            self.feed(now_ms, input, out);
            self.append(now_ms, here, out);
        }
    }

    // One step of the shard. The batch that it wants appended, if any, is left in `appending`.
    fn feed(&mut self, now_ms: i64, input: Sent<M>, out: &mut Vec<KeeperOutput<M>>) {
        let State::Serving(serving) = &mut self.state else { return };
        let mut outputs = Vec::new();
        serving.shard.step(now_ms, input, &mut outputs);
        for output in outputs {
            match output {
                Output::Reply { token, reply } => out.push(KeeperOutput::Reply { token, reply }),
                Output::Note(note) => out.push(KeeperOutput::Note(KeeperNote::Machine(note))),
                Output::Append(batch) => {
                    serving.appending = Some(Appending { batch, checked_against: None });
                }
            }
        }
        out.extend(serving.shard.take_errands().into_iter().map(KeeperOutput::Errand));
    }

    // Has the batch appended that waits for it. One that the topic does not take is refused here.
    fn append(&mut self, now_ms: i64, here: &ShardLog, out: &mut Vec<KeeperOutput<M>>) {
        let State::Serving(serving) = &mut self.state else { return };
        let Some(appending) = &mut serving.appending else { return };
        let rules = Rules {
            partition: &self.partition,
            topic: &here.config,
            origin: Origin::Coordinator,
            now_ms,
            produce_version: -1,
        };
        let checked = check(appending.batch.bytes.clone(), &rules).map_err(|rejected| rejected.code);
        match checked.and_then(|mut batches| batches.pop().ok_or(ErrorCode::UnknownServerError)) {
            Ok(mut batch) => {
                batch.guard = appending.batch.guard;
                batch.transaction_version = appending.batch.transaction_version;
                appending.checked_against = Some(here.config.clone());
                out.push(KeeperOutput::Append { batch, checked_against: here.config.clone() });
            }
            Err(code) => {
                appending.checked_against = None;
                self.appended(now_ms, Err(code), here, out);
            }
        }
    }

    // The shard's state is of no use any more. Whoever it was serving looks for the coordinator again.
    fn leave(&mut self, now_ms: i64, out: &mut Vec<KeeperOutput<M>>) {
        self.feed(now_ms, Input::Resign(ErrorCode::NotCoordinator), out);
        self.state = State::Away { until_ms: now_ms };
    }

    fn refuse_waiting(&mut self, code: ErrorCode, out: &mut Vec<KeeperOutput<M>>) {
        self.waiting.drain(..).for_each(|sent| refuse(sent, code, out));
    }
}

impl<M: Machine> Serving<M> {
    // Whoever came and the time take turns: a long piece of work that goes on with each tick holds nobody up.
    fn next(&self, now_ms: i64, linger: Linger, waiting: usize, may_tick: bool) -> Option<Next> {
        if self.shard.is_gathering() && linger == Linger::Adaptive {
            let more = waiting > 0 && self.companions > 0;
            return Some(if more { Next::Sent } else { Next::Idle });
        }
        let is_due = self.shard.next_deadline_ms().is_some_and(|due_ms| due_ms <= now_ms);
        if is_due && may_tick && (waiting == 0 || !self.ticked) {
            return Some(Next::Tick);
        }
        (waiting > 0).then_some(Next::Sent)
    }

    fn take(&mut self, waiting: &mut VecDeque<Sent<M>>) -> Sent<M> {
        let begins = !self.shard.is_gathering();
        let sent = waiting.pop_front().expect("somebody waits");
        self.companions = if begins { waiting.len() } else { self.companions.saturating_sub(1) };
        self.ticked = false;
        sent
    }
}

fn outlasts_loading<M: Machine>(sent: &Sent<M>) -> bool {
    matches!(sent, Input::Ask { command, .. } if M::outlasts_loading(command))
}

fn refuse<M: Machine>(sent: Sent<M>, code: ErrorCode, out: &mut Vec<KeeperOutput<M>>) {
    if let Some(Output::Reply { token, reply }) = sent.refused::<M>(code) {
        out.push(KeeperOutput::Reply { token, reply });
    }
}

impl fmt::Display for KeeperNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeeperNote::Machine(note) => f.write_str(note),
            KeeperNote::NotLoaded(why) => write!(f, "cannot load the coordinator's shard: {why}"),
            KeeperNote::InDoubt => f.write_str("it is not known what was written; loading the shard again"),
        }
    }
}
