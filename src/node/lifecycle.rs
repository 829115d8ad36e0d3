//! A broker's life in its cluster: it registers, says in which log directories its replicas are, asks to be unfenced (from RECOVERY to RUNNING), shows that it is alive, and asks to leave. Questions for the
//! controller go out one at a time, replies come in; a question that nobody took is asked again. It must never look at a
//! disk or a clock.

#[cfg(test)]
mod stories;

use ottla_core::controller::{
    AssignReplicas, Assignment, Bootstrap, Command, Heartbeat, NotController, Registration, Reply,
};
use ottla_core::question::Question;
use ottla_model::config::BrokerConfig;
use ottla_model::feature::{self, MetadataVersion};
use ottla_model::image::{FeatureRange, Image};
use ottla_model::{BrokerEpoch, DirectoryId, NodeId, TopicPartition};
use ottla_protocol::ErrorCode;

/// What can happen in a broker's life. Times are in ms.
#[derive(Clone, Debug)]
pub enum Input {
    /// The controller's reply to what was asked last.
    Replied(Result<Reply, NotController>),
    /// What was waited for is over.
    Due,
    /// This node is to stop. Ignored while a question waits for its reply: to be said again then.
    Leave,
}

/// What to do next.
#[derive(Clone, Debug)]
pub enum Next {
    /// Ask the controller, and bring back its reply.
    Ask(Command),
    /// Nothing before that time.
    WaitUntil(i64),
    /// From now on this broker serves, under that epoch; there is more to do.
    Joined(BrokerEpoch),
    /// The controller does not want it; why.
    Refused(String),
    /// Nothing is led here any more, or nobody can be told.
    Left,
}

/// How long is waited for what.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// `broker.heartbeat.interval.ms`
    pub heartbeat_ms: i64,
    /// `initial.broker.registration.timeout.ms`
    pub registration_ms: i64,
    /// Leaving must not take longer than the controller would take to miss this broker: `broker.session.timeout.ms`.
    pub leaving_ms: i64,
}

impl Patience {
    pub fn of(config: &BrokerConfig) -> Patience {
        Patience {
            heartbeat_ms: config.broker_heartbeat_interval_ms.into(),
            registration_ms: config.initial_broker_registration_timeout_ms.into(),
            leaving_ms: config.broker_session_timeout_ms.into(),
        }
    }
}

/// After a question that no controller took: the first wait, which doubles up to the last.
const AGAIN_FIRST_MS: i64 = 50;
const AGAIN_LAST_MS: i64 = 500;
/// How often a broker looks whether it knows enough to serve, and whether it may go.
const LOOK_MS: i64 = 20;

/// A broker's life.
#[derive(Debug)]
pub struct Lifecycle {
    registration: Registration,
    /// Where the folders of this broker's partitions are.
    found: Vec<(TopicPartition, DirectoryId)>,
    patience: Patience,
    phase: Phase,
    began_ms: i64,
    /// How often in a row no controller took the question.
    missed: u32,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Registering,
    Assigning(BrokerEpoch),
    /// Registered, and fenced.
    Recovering(BrokerEpoch),
    Running(BrokerEpoch),
    Leaving {
        epoch: BrokerEpoch,
        deadline_ms: i64,
    },
}

impl Lifecycle {
    /// Whatever `registration` says of features, it is what this version of the broker supports that is registered.
    pub fn new(
        registration: Registration,
        found: Vec<(TopicPartition, DirectoryId)>,
        patience: Patience,
        now_ms: i64,
    ) -> Lifecycle {
        let features = feature::supported(false)
            .map(|(name, min, max)| FeatureRange { name: name.to_owned(), min, max })
            .collect();
        let registration = Registration { features, ..registration };
        let phase = Phase::Registering;
        Lifecycle { registration, found, patience, phase, began_ms: now_ms, missed: 0 }
    }

    /// What is asked first.
    pub fn begin(&self) -> Next {
        Next::Ask(self.registration.clone().command())
    }

    /// What follows. `image` is what this broker knows now.
    pub fn next(&mut self, now_ms: i64, input: Input, image: &Image) -> Next {
        match (self.phase, input) {
            (_, Input::Leave) => self.leave(now_ms, image),
            (_, Input::Due) => self.ask(now_ms, image),
            (_, Input::Replied(Err(NotController))) => self.missed(now_ms),
            (_, Input::Replied(Ok(reply))) => {
                self.missed = 0;
                self.replied(now_ms, reply, image)
            }
        }
    }

    fn replied(&mut self, now_ms: i64, reply: Reply, image: &Image) -> Next {
        match (self.phase, reply) {
            (Phase::Registering, Reply::BrokerRegistered(Ok(epoch))) => {
                // First where its replicas are: what is in a directory that is not there must not be led.
                self.phase = Phase::Assigning(epoch);
                self.ask(now_ms, image)
            }
            (Phase::Registering, Reply::BrokerRegistered(Err(refusal))) => {
                match refusal.code {
                    // The session of an earlier process of this node ends in a moment.
                    ErrorCode::DuplicateBrokerRegistration if !self.is_late(now_ms) => self.missed(now_ms),
                    _ => Next::Refused(refusal.message),
                }
            }
            // What could not be told is told by the next start.
            (Phase::Assigning(epoch), _) => {
                self.phase = Phase::Recovering(epoch);
                self.ask(now_ms, image)
            }
            (Phase::Recovering(epoch), Reply::Heartbeat(Ok(answer))) if !answer.fenced => {
                self.phase = Phase::Running(epoch);
                Next::Joined(epoch)
            }
            (Phase::Recovering(_), Reply::Heartbeat(Ok(_))) => Next::WaitUntil(now_ms + LOOK_MS),
            (Phase::Running(_), Reply::Heartbeat(Ok(_))) => {
                Next::WaitUntil(now_ms + self.patience.heartbeat_ms)
            }
            (Phase::Leaving { .. }, Reply::Heartbeat(Ok(answer))) if answer.should_shut_down => Next::Left,
            (Phase::Leaving { deadline_ms, .. }, _) if now_ms >= deadline_ms => Next::Left,
            (Phase::Leaving { .. }, _) => Next::WaitUntil(now_ms + LOOK_MS),
            // The controller knows another registration of this node, or none.
            (Phase::Recovering(_) | Phase::Running(_), Reply::Heartbeat(Err(_))) => {
                self.phase = Phase::Registering;
                self.began_ms = now_ms;
                self.missed(now_ms)
            }
            (_, reply) => Next::Refused(format!("an answer to something else: {reply:?}")),
        }
    }

    fn is_late(&self, now_ms: i64) -> bool {
        now_ms - self.began_ms >= self.patience.registration_ms
    }

    // No controller took the question.
    fn missed(&mut self, now_ms: i64) -> Next {
        match self.phase {
            Phase::Leaving { deadline_ms, .. } if now_ms >= deadline_ms => return Next::Left,
            Phase::Registering if self.is_late(now_ms) => {
                let ms = self.patience.registration_ms;
                return Next::Refused(format!("no controller has taken the registration within {ms} ms"));
            }
            _ => {}
        }
        let wait_ms = (AGAIN_FIRST_MS << self.missed.min(8)).min(AGAIN_LAST_MS);
        self.missed = self.missed.saturating_add(1);
        Next::WaitUntil(now_ms + wait_ms)
    }

    fn leave(&mut self, now_ms: i64, image: &Image) -> Next {
        let (Phase::Assigning(epoch) | Phase::Recovering(epoch) | Phase::Running(epoch)) = self.phase else {
            return Next::Left;
        };
        self.phase = Phase::Leaving { epoch, deadline_ms: now_ms + self.patience.leaving_ms };
        self.missed = 0;
        self.ask(now_ms, image)
    }

    fn ask(&mut self, now_ms: i64, image: &Image) -> Next {
        let broker = self.registration.id;
        match self.phase {
            Phase::Registering => Next::Ask(self.registration.clone().command()),
            // It may serve only once it knows its own registration.
            Phase::Assigning(epoch) | Phase::Recovering(epoch) if image.offset < epoch.0 => {
                Next::WaitUntil(now_ms + LOOK_MS)
            }
            Phase::Assigning(epoch) => {
                let assignments = misplaced(broker, image, &self.found);
                if !assignments.is_empty() {
                    return Next::Ask(AssignReplicas { broker, epoch, assignments }.command());
                }
                self.phase = Phase::Recovering(epoch);
                self.heartbeat(epoch, image, false)
            }
            Phase::Recovering(epoch) | Phase::Running(epoch) => self.heartbeat(epoch, image, false),
            Phase::Leaving { epoch, .. } => self.heartbeat(epoch, image, true),
        }
    }

    fn heartbeat(&self, epoch: BrokerEpoch, image: &Image, want_shutdown: bool) -> Next {
        let heartbeat = Heartbeat {
            broker: self.registration.id,
            epoch,
            metadata_offset: image.offset,
            want_fence: false,
            want_shutdown,
        };
        Next::Ask(heartbeat.command())
    }
}

/// The first records of a new cluster, for its first active controller.
pub fn bootstrap() -> Command {
    let version = MetadataVersion::LATEST_PRODUCTION;
    let levels = feature::FEATURES.iter().map(|f| (f.name.to_owned(), f.default_level(version)));
    let features = levels.filter(|(_, level)| *level > 0).collect();
    Bootstrap { metadata_version: version.level(), features }.command()
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
