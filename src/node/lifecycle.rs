//! A broker's life in its cluster (KIP-631): it registers, catches up, says in which log directories its replicas are, asks
//! to be unfenced, tells the controller that it lives, and hands over what it leads before it stops. Questions for the
//! controller go out one at a time, answers and the time come in. It must never look at a disk or a clock.

#[cfg(test)]
mod stories;

use ottla_core::controller::{
    AssignReplicas, Assignment, Command, Heartbeat, HeartbeatAnswer, NotController, Refusal, Registration,
    Reply,
};
use ottla_core::question::Question;
use ottla_model::config::BrokerConfig;
use ottla_model::feature;
use ottla_model::image::{FeatureRange, Image};
use ottla_model::{BrokerEpoch, DirectoryId, NodeId, TopicPartition};
use ottla_protocol::ErrorCode;

/// What has happened.
#[derive(Debug)]
pub enum Input {
    /// It is [`Lifecycle::due_ms`], or later.
    Time,
    /// The reply to what was asked last. A question that nobody answers in time has failed like one that a node answers
    /// which is no controller.
    Answered(Result<Reply, NotController>),
    /// Another controller is known to lead.
    AnotherLeads,
    /// Log directories have failed, and will not be back before the next start.
    DirectoriesFailed(Vec<DirectoryId>),
    /// These directories have no room, of all that there are.
    DirectoriesFull(Vec<DirectoryId>),
    /// These directories take no new replicas, of all that there are (KIP-1066).
    Cordoned(Vec<DirectoryId>),
    /// The broker is to stop, at that time at the latest.
    Stop { deadline_ms: i64 },
}

/// What to do about it.
#[derive(Clone, Debug)]
pub enum Output {
    /// Ask the controller, and bring back its reply.
    Ask(Command),
    /// The controller knows this broker under that epoch from now on.
    Registered(BrokerEpoch),
    /// The controller has unfenced this broker for the first time: it serves.
    Joined(BrokerEpoch),
    /// It takes longer; why. This is for the operator, once for each reason.
    Waits(String),
    /// The broker cannot come into its cluster; why.
    Refused(String),
    /// Nobody needs this broker any more, or it has waited for long enough.
    StopNow,
}

/// What counts of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// `broker.heartbeat.interval.ms`
    pub heartbeat_interval_ms: i64,
    /// `initial.broker.registration.timeout.ms`
    pub registration_timeout_ms: i64,
    /// `controlled.shutdown.enable`
    pub controlled_shutdown: bool,
}

impl Timing {
    pub fn of(config: &BrokerConfig) -> Timing {
        Timing {
            heartbeat_interval_ms: config.broker_heartbeat_interval_ms.into(),
            registration_timeout_ms: config.initial_broker_registration_timeout_ms.into(),
            controlled_shutdown: config.controlled_shutdown_enable,
        }
    }
}

/// Kafka's states of a broker, as far as they differ here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not registered, or not caught up with its own registration.
    Starting,
    /// Caught up; fenced until the controller knows where the replicas are.
    Recovery,
    Running,
    /// Others take over what this broker leads.
    Stopping {
        deadline_ms: i64,
        /// When a controller answered last, or the stop began.
        heard_ms: i64,
    },
    Stopped,
}

/// What was asked, and is not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Registration,
    /// So many of the assignments that are left.
    Assignment(usize),
    /// With the first so many of the directories that have failed.
    Heartbeat,
}

/// One process of a broker.
#[derive(Debug)]
pub struct Lifecycle {
    registration: Registration,
    timing: Timing,
    /// Where the folders of this broker's partitions are.
    found: Vec<(TopicPartition, DirectoryId)>,
    /// What of that the controller has still to be told.
    assignments: Vec<Assignment>,
    failed: Vec<DirectoryId>,
    full: Vec<DirectoryId>,
    cordoned: Option<Vec<DirectoryId>>,
    state: State,
    epoch: Option<BrokerEpoch>,
    /// Whether it was registered at any time.
    was_registered: bool,
    give_up_ms: Option<i64>,
    asked: Option<Asked>,
    due_ms: i64,
    /// Do not wait until then: there is news.
    at_once: bool,
    retry_ms: i64,
    said: Option<String>,
}

impl Lifecycle {
    /// Whatever `registration` says of features, it is what this version of the broker supports that is registered.
    pub fn new(
        registration: Registration,
        found: Vec<(TopicPartition, DirectoryId)>,
        timing: Timing,
    ) -> Lifecycle {
        let features = feature::supported(false)
            .map(|(name, min, max)| FeatureRange { name: name.to_owned(), min, max })
            .collect();
        Lifecycle {
            registration: Registration { features, ..registration },
            timing,
            found,
            assignments: Vec::new(),
            failed: Vec::new(),
            full: Vec::new(),
            cordoned: None,
            state: State::Starting,
            epoch: None,
            was_registered: false,
            give_up_ms: None,
            asked: None,
            due_ms: i64::MIN,
            at_once: false,
            retry_ms: RETRY_MS,
            said: None,
        }
    }

    /// When [`Input::Time`] is due. `None`: an answer is awaited, or nothing will happen any more.
    pub fn due_ms(&self) -> Option<i64> {
        let deadline_ms = match self.state {
            State::Stopped => return None,
            State::Stopping { deadline_ms, heard_ms } => deadline_ms.min(heard_ms + SILENCE_MS),
            _ => i64::MAX,
        };
        let next_ms = if self.asked.is_some() { i64::MAX } else { self.due_ms };
        Some(next_ms.min(deadline_ms)).filter(|due_ms| *due_ms < i64::MAX)
    }

    /// The epoch under which this broker is registered.
    pub fn epoch(&self) -> Option<BrokerEpoch> {
        self.epoch
    }

    /// One turn. `image` is the one that is shown now.
    pub fn step(&mut self, now_ms: i64, input: Input, image: &Image) -> Vec<Output> {
        let mut out = Vec::new();
        if self.state == State::Stopped {
            return out;
        }
        let give_up_ms = *self.give_up_ms.get_or_insert(now_ms + self.timing.registration_timeout_ms);
        match input {
            Input::Time => {}
            Input::Answered(reply) => self.answered(now_ms, reply, image, &mut out),
            Input::AnotherLeads => self.ask_again(now_ms),
            Input::DirectoriesFailed(directories) => {
                let new = directories.into_iter().filter(|one| !self.failed.contains(one));
                let new: Vec<DirectoryId> = new.collect();
                self.failed.extend(new);
                self.hurry(now_ms);
            }
            Input::DirectoriesFull(directories) => {
                self.full = directories;
                self.hurry(now_ms);
            }
            Input::Cordoned(directories) => {
                self.cordoned = Some(directories);
                self.hurry(now_ms);
            }
            Input::Stop { deadline_ms } => self.stop(now_ms, deadline_ms, &mut out),
        }
        match self.state {
            State::Stopping { deadline_ms, heard_ms } if now_ms >= deadline_ms.min(heard_ms + SILENCE_MS) => {
                self.end(Output::StopNow, &mut out);
            }
            State::Starting if !self.was_registered && now_ms >= give_up_ms && self.asked.is_none() => {
                let why = self.said.take().unwrap_or_else(|| "no controller answers".into());
                self.end(Output::Refused(why), &mut out);
            }
            _ => {}
        }
        if self.state != State::Stopped && self.asked.is_none() && now_ms >= self.due_ms {
            self.ask(image, &mut out);
        }
        out
    }

    // There is something to tell: at once, or after the answer that is awaited.
    fn hurry(&mut self, now_ms: i64) {
        match self.asked {
            Some(_) => self.at_once = true,
            None if self.epoch.is_some() => self.due_ms = now_ms,
            None => {}
        }
    }

    // Whoever was asked in vain led no more. The one who leads now gives each broker one session to be heard of.
    fn ask_again(&mut self, now_ms: i64) {
        match self.asked {
            Some(_) => self.retry_ms = 0,
            None if self.said.is_some() => (self.retry_ms, self.due_ms) = (RETRY_MS, now_ms),
            None => {}
        }
    }

    fn stop(&mut self, now_ms: i64, deadline_ms: i64, out: &mut Vec<Output>) {
        match self.state {
            State::Running => {
                self.state = State::Stopping { deadline_ms, heard_ms: now_ms };
                self.retry_ms = RETRY_MS;
                self.hurry(now_ms);
            }
            State::Stopping { .. } | State::Stopped => {}
            State::Starting | State::Recovery => self.end(Output::StopNow, out),
        }
    }

    fn end(&mut self, how: Output, out: &mut Vec<Output>) {
        self.state = State::Stopped;
        out.push(how);
    }

    fn ask(&mut self, image: &Image, out: &mut Vec<Output>) {
        let broker = self.registration.id;
        let Some(epoch) = self.epoch else {
            self.asked = Some(Asked::Registration);
            return out.push(Output::Ask(self.registration.clone().command()));
        };
        if self.state == State::Recovery && !self.assignments.is_empty() {
            let some = self.assignments.len().min(ASSIGNMENTS_MAX);
            self.asked = Some(Asked::Assignment(some));
            let assignments = self.assignments[..some].to_vec();
            return out.push(Output::Ask(AssignReplicas { broker, epoch, assignments }.command()));
        }
        let stops = matches!(self.state, State::Stopping { .. });
        let heartbeat = Heartbeat {
            want_fence: self.state == State::Starting || (stops && !self.timing.controlled_shutdown),
            want_shutdown: stops,
            offline: self.failed.clone(),
            full: self.full.clone(),
            cordoned: self.cordoned.clone().filter(|_| self.state != State::Starting),
            ..Heartbeat::of(broker, epoch, image.offset)
        };
        self.asked = Some(Asked::Heartbeat);
        out.push(Output::Ask(heartbeat.command()));
    }

    fn answered(
        &mut self,
        now_ms: i64,
        reply: Result<Reply, NotController>,
        image: &Image,
        out: &mut Vec<Output>,
    ) {
        match (self.asked.take(), reply) {
            (Some(Asked::Registration), Ok(Reply::BrokerRegistered(Ok(epoch)))) => {
                self.registered(now_ms, epoch, image, out);
            }
            (Some(Asked::Registration), Ok(Reply::BrokerRegistered(Err(refusal)))) => {
                self.not_registered(now_ms, refusal, out);
            }
            (Some(Asked::Assignment(some)), Ok(Reply::ReplicasAssigned(Ok(_)))) => {
                // What could not be told is told by the next start.
                self.assignments.drain(..some.min(self.assignments.len()));
                self.succeeded(now_ms, 0);
            }
            (Some(Asked::Heartbeat), Ok(Reply::Heartbeat(Ok(answer)))) => {
                self.heard(now_ms, answer, image, out);
            }
            (Some(Asked::Assignment(_)), Ok(Reply::ReplicasAssigned(Err(refusal))))
            | (Some(Asked::Heartbeat), Ok(Reply::Heartbeat(Err(refusal)))) => {
                self.not_known(now_ms, refusal, out);
            }
            (Some(_), _) => self.wait(now_ms, "no controller answers".to_owned(), out),
            (None, _) => {}
        }
    }

    fn registered(&mut self, now_ms: i64, epoch: BrokerEpoch, image: &Image, out: &mut Vec<Output>) {
        self.epoch = Some(epoch);
        self.was_registered = true;
        self.succeeded(now_ms, 0);
        out.push(Output::Registered(epoch));
        if self.state == State::Starting && image.offset >= epoch.0 {
            self.catch_up(image);
        }
    }

    // First where its replicas are: what is in a directory that is not there must not be led.
    fn catch_up(&mut self, image: &Image) {
        self.state = State::Recovery;
        self.assignments = misplaced(self.registration.id, image, &self.found);
    }

    // Another process with this id, for example, goes away or does not. What will never be right ends the start.
    fn not_registered(&mut self, now_ms: i64, refusal: Refusal, out: &mut Vec<Output>) {
        use ErrorCode::{InconsistentClusterId, InvalidRegistration, UnsupportedVersion};
        let final_ = matches!(refusal.code, InconsistentClusterId | InvalidRegistration | UnsupportedVersion);
        match final_ && !self.was_registered {
            true => self.end(Output::Refused(told(&refusal)), out),
            false => self.wait(now_ms, told(&refusal), out),
        }
    }

    // The controller knows this broker no more, or another process of it: it registers again.
    fn not_known(&mut self, now_ms: i64, refusal: Refusal, out: &mut Vec<Output>) {
        if matches!(refusal.code, ErrorCode::StaleBrokerEpoch | ErrorCode::BrokerIdNotRegistered) {
            self.epoch = None;
        }
        self.wait(now_ms, told(&refusal), out);
    }

    fn heard(&mut self, now_ms: i64, answer: HeartbeatAnswer, image: &Image, out: &mut Vec<Output>) {
        let interval_ms = self.timing.heartbeat_interval_ms;
        if let State::Stopping { heard_ms, .. } = &mut self.state {
            *heard_ms = now_ms;
        }
        match self.state {
            State::Starting if answer.caught_up => {
                self.catch_up(image);
                self.succeeded(now_ms, 0);
            }
            // Where little is to be caught up with, the start is quick.
            State::Starting => self.succeeded(now_ms, CATCHING_UP_MS),
            State::Recovery if !answer.fenced => {
                self.state = State::Running;
                out.extend(self.epoch.map(Output::Joined));
                self.succeeded(now_ms, interval_ms);
            }
            // The controller has decided something else first, such as what its directories change.
            State::Recovery => self.succeeded(now_ms, interval_ms.min(UNFENCING_MS)),
            State::Running => self.succeeded(now_ms, interval_ms),
            State::Stopping { .. } if answer.should_shut_down => self.end(Output::StopNow, out),
            // What was asked before the stop is answered: now it asks to leave.
            State::Stopping { .. } if self.at_once => self.succeeded(now_ms, 0),
            State::Stopping { .. } => self.back_off(now_ms),
            State::Stopped => {}
        }
    }

    fn succeeded(&mut self, now_ms: i64, pause_ms: i64) {
        self.said = None;
        self.retry_ms = RETRY_MS;
        let news = std::mem::take(&mut self.at_once);
        self.due_ms = now_ms + if news { 0 } else { pause_ms };
    }

    fn wait(&mut self, now_ms: i64, why: String, out: &mut Vec<Output>) {
        if self.said.as_ref() != Some(&why) {
            out.push(Output::Waits(why.clone()));
            self.said = Some(why);
        }
        self.back_off(now_ms);
    }

    fn back_off(&mut self, now_ms: i64) {
        self.at_once = false;
        self.due_ms = now_ms + self.retry_ms;
        self.retry_ms = (2 * self.retry_ms).clamp(RETRY_MS, self.timing.heartbeat_interval_ms.max(RETRY_MS));
    }
}

/// A broker that stops while no controller answers waits for so long: where a whole cluster is stopped, nobody will. It takes as
/// long as a controller needs to follow another one, and is less than what most give a process to stop (10 s).
const SILENCE_MS: i64 = 5_000;

/// The first pause before a question is asked again. It doubles, up to the time between two heartbeats.
const RETRY_MS: i64 = 50;

/// Between heartbeats of a broker that waits to be unfenced.
const UNFENCING_MS: i64 = 100;
/// Between heartbeats of a broker that only has to see its own registration.
const CATCHING_UP_MS: i64 = 10;

/// As many assignments are in one request as in Kafka.
const ASSIGNMENTS_MAX: usize = 2_250;

fn told(refusal: &Refusal) -> String {
    format!("{}: {}", refusal.code.name(), refusal.message)
}

// What the metadata does not know yet of where this broker's logs are.
fn misplaced(me: NodeId, image: &Image, found: &[(TopicPartition, DirectoryId)]) -> Vec<Assignment> {
    let news = found.iter().filter_map(|(id, directory)| {
        let topic = image.topic(&id.topic)?;
        let assigned = topic.partitions.get(&id.partition)?.directory(me)?;
        let (directory, topic, partition) = (*directory, topic.id, id.partition);
        (assigned != directory).then_some(Assignment { directory, topic, partition })
    });
    news.collect()
}

/// Whether the metadata gives a partition to this broker. The folder of another one is a stray: a crash came between its
/// deletion and the renaming of its folder.
pub fn is_assigned(me: NodeId, image: &Image, id: &TopicPartition) -> bool {
    let topic = image.topic(&id.topic);
    topic.and_then(|t| t.partitions.get(&id.partition)).is_some_and(|p| p.replicas.contains(&me))
}
