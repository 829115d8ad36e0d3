//! The replicas that this broker hosts, and what the metadata image asks of them. A newer image, the outcome of an
//! opening or a failure goes in; which logs to open, lead, follow, configure and delete comes out, in the order in which
//! to carry it out. The image is shown last: whoever hears of a topic finds its partitions.
//!
//! Before the metadata shows this very process as registered and unfenced, what it says of leaders is about the process
//! before this one: logs are opened, and neither lead nor follow anybody.
//! It must never touch a log, a lane or a disk.

mod settings;
#[cfg(test)]
mod stories;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ottla_core::controller::Assignment;
use ottla_core::partition::{Followership, Leadership, Standing};
use ottla_model::config::{BrokerConfig, ConfigError, TopicConfig};
use ottla_model::image::{Delta, Image, Partition, PartitionDelta, Topic};
use ottla_model::record::ResourceType;
use ottla_model::{DirectoryId, NodeId, TopicId, TopicName, TopicPartition};
use uuid::Uuid;

use crate::lane::Role;

/// Topic id and index of a partition.
pub type Key = (TopicId, i32);

/// What has happened.
#[derive(Debug)]
pub enum Input {
    /// The metadata has changed.
    Published(Arc<Image>),
    /// How the openings of one [`Action::Open`] ended.
    Opened(Vec<Opened>),
    /// The owner of a partition has panicked. Its log is closed, and whole up to the last append.
    OwnerFailed(Key),
    /// The log directory of these partitions has failed.
    DirectoryFailed(Vec<Key>),
    /// A disk that was full may have room again.
    TryAgain,
}

/// What to do about it.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// This broker runs with this configuration from now on.
    ApplySettings(Arc<BrokerConfig>),
    /// For the producers of all logs that are open, and of those that are opened later.
    ExpireProducersAfter(i64),
    /// Close the log and rename its folder, which is to be removed after so many milliseconds.
    Delete {
        key: Key,
        delay_ms: i64,
    },
    /// These topics are gone: consumer groups forget what was committed in them.
    ForgetTopics(Vec<(TopicName, TopicId)>),
    /// Lead a log that is open, under a newer word of the controller.
    Lead(Key, Leadership),
    /// Another broker leads the log of an open replica, or none does: resign, and send away whoever waits for a leader.
    Follow(Key, Followership),
    /// What the metadata says of the broker of another replica of a log that is led here has changed.
    Stands(Key, NodeId, Standing),
    /// Open these logs, in any order and many at a time, then say how it went: [`Input::Opened`].
    Open(Vec<Opening>),
    /// Tell the controller in which log directories these replicas are.
    Assign(Vec<Assignment>),
    /// Write down where the new leadership begins while nothing else is to be done, so that no producer waits for that.
    Settle(Vec<Key>),
    /// Close what is open of it, and answer that its storage has failed.
    TakeOffline(Key),
    Configure(Key, Arc<TopicConfig>),
    /// Tell the operator.
    Note(Note),
    /// All of the image is carried out: show it to everybody.
    Show(Arc<Image>),
}

/// A log to be opened, and the role that it begins with.
#[derive(Clone, Debug, PartialEq)]
pub struct Opening {
    pub topic: TopicId,
    pub id: TopicPartition,
    pub role: Role,
    pub config: Arc<TopicConfig>,
    pub last_owner: LastOwner,
    /// The log directory that the metadata has it in, which may be a reserved id.
    pub directory: Option<DirectoryId>,
}

impl Opening {
    pub fn key(&self) -> Key {
        (self.topic, self.id.partition)
    }
}

/// Who had a log last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastOwner {
    /// The process before this one, which may have stopped cleanly.
    Process,
    /// This process, which has not closed it.
    Failed,
    /// The partition is new, and so is its log.
    Nobody,
}

impl LastOwner {
    /// Whether the log needs no second look, where the process before this one marked its directory as clean. The mark says nothing
    /// of what this process has left: a folder that it could not finish may not outlive the power.
    pub fn left_it_clean(self, directory_was_clean: bool) -> bool {
        directory_was_clean && self == LastOwner::Process
    }
}

/// How an opening ended.
#[derive(Debug)]
pub struct Opened {
    pub opening: Opening,
    /// The log directory that the log is in, if that directory has an id.
    pub outcome: Result<Option<DirectoryId>, NotOpened>,
}

/// Why a log could not be opened.
#[derive(Debug)]
pub struct NotOpened {
    pub why: String,
    /// There was no room for it, and there may be some later.
    pub full: bool,
}

/// What an operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A setting of a topic that nobody knows (any more), or whose value is no longer valid.
    TopicSettingIgnored(TopicName, ConfigError),
    /// Settings of a topic that contradict each other.
    TopicSettingsIgnored(TopicName, ConfigError),
    /// A dynamic setting of this broker that is not valid.
    BrokerSettingIgnored(ConfigError),
    /// The dynamic settings of this broker contradict each other; those before stay in force.
    BrokerSettingsIgnored(ConfigError),
    /// The partition is offline.
    NotOpened(TopicPartition, String),
    /// A partition that found no room is open.
    RoomAgain(TopicPartition),
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::TopicSettingIgnored(topic, error) => {
                write!(f, "ignoring a setting of the topic {topic}: {error}")
            }
            Note::TopicSettingsIgnored(topic, error) => {
                write!(f, "ignoring the settings of the topic {topic}: {error}")
            }
            Note::BrokerSettingIgnored(error) => write!(f, "ignoring a dynamic setting: {error}"),
            Note::BrokerSettingsIgnored(error) => {
                write!(
                    f,
                    "the dynamic configuration cannot be applied; the one before stays in force: {error}"
                )
            }
            Note::NotOpened(id, why) => {
                write!(f, "cannot open the log of {id}; the partition is offline: {why}")
            }
            Note::RoomAgain(id) => write!(f, "opened {id}: there is room again"),
        }
    }
}

/// A replica whose log this broker has begun to open since its start, and has not deleted.
#[derive(Debug)]
enum Replica {
    /// Its log is open, or being opened.
    Open(Arc<TopicConfig>),
    /// Not opened again by this process. After a failed fsync the page cache still returns data that is not on disk, and
    /// reopening the log would trust it.
    Offline,
    /// There was no room to make its log.
    NoRoom(LastOwner),
}

/// The replicas of one broker.
#[derive(Debug)]
pub struct Replicas {
    me: NodeId,
    incarnation: Uuid,
    /// The metadata has shown this process as registered and unfenced.
    lives: bool,
    started_with: Arc<BrokerConfig>,
    config: Arc<BrokerConfig>,
    image: Arc<Image>,
    hosted: BTreeMap<Key, Replica>,
}

impl Replicas {
    /// None so far, of a broker that was started with this configuration and registers with this incarnation.
    pub fn new(started_with: Arc<BrokerConfig>, incarnation: Uuid) -> Replicas {
        let (me, config) = (started_with.node_id, started_with.clone());
        let (image, hosted) = (Arc::new(Image::empty()), BTreeMap::new());
        Replicas { me, incarnation, lives: false, started_with, config, image, hosted }
    }

    /// Whether a replica waits for room on its disk, and [`Input::TryAgain`] is worth giving now and then.
    pub fn wait_for_room(&self) -> bool {
        self.hosted.values().any(|replica| matches!(replica, Replica::NoRoom(_)))
    }

    pub fn step(&mut self, input: Input) -> Vec<Action> {
        let mut out = Vec::new();
        match input {
            Input::Published(image) => self.published(image, &mut out),
            Input::Opened(all) => self.opened(all, &mut out),
            Input::OwnerFailed(key) => self.owner_failed(key, &mut out),
            Input::DirectoryFailed(keys) => {
                for key in keys {
                    self.hosted.insert(key, Replica::Offline);
                    out.push(Action::TakeOffline(key));
                }
            }
            Input::TryAgain => self.try_again(&mut out),
        }
        out
    }

    fn published(&mut self, image: Arc<Image>, out: &mut Vec<Action>) {
        let old = std::mem::replace(&mut self.image, image.clone());
        let delta = Image::diff(&old, &image);
        // First of all, so that logs are opened with what counts now.
        let settings = delta.configs.iter().any(|resource| resource.kind == ResourceType::Broker);
        let settings_changed = settings && self.apply_settings(out);
        self.delete_topics(&delta.topics_deleted, out);
        let lived = self.lives;
        self.lives = lived || self.is_alive(&image);
        // Logs that are opened now hear of the brokers when they are open. The others hear it before anything else: a leader
        // whose in-sync set has lost a broker proposes to take it back unless it knows that the broker is fenced.
        for change in delta.brokers.iter().filter(|_| lived) {
            self.stands(change.id, out);
        }
        let mut turn = Turn::default();
        for (topic, partitions) in changed(&old, &delta, &image, lived != self.lives) {
            let config = settings::of_topic(&self.config, &image, &topic.name, out);
            for partition in &partitions {
                self.follow(&topic, partition, &config, &mut turn, out);
            }
        }
        let Turn { mut to_open, to_settle } = turn;
        // Before this process is registered, it does not know yet what is new.
        if !lived {
            to_open.iter_mut().for_each(|opening| opening.last_owner = LastOwner::Process);
        }
        if !to_settle.is_empty() {
            out.push(Action::Settle(to_settle));
        }
        if !to_open.is_empty() {
            out.push(Action::Open(to_open));
        }
        if settings_changed {
            // Topics without settings of their own run with the broker's.
            image.topics().for_each(|topic| self.configure(topic, out));
        }
        for resource in delta.configs.iter().filter(|r| r.kind == ResourceType::Topic) {
            if let Some(topic) = image.topic(&resource.name) {
                self.configure(topic, out);
            }
        }
        out.push(Action::Show(image));
    }

    // Whether that was news.
    fn apply_settings(&mut self, out: &mut Vec<Action>) -> bool {
        let config = settings::of_broker(&self.started_with, &self.image, out);
        let Some(config) = config.filter(|config| *config != *self.config) else { return false };
        let config = Arc::new(config);
        let before = std::mem::replace(&mut self.config, config.clone());
        let expire_after_ms = config.producer_id_expiration_ms;
        out.push(Action::ApplySettings(config));
        if expire_after_ms != before.producer_id_expiration_ms {
            out.push(Action::ExpireProducersAfter(expire_after_ms.into()));
        }
        true
    }

    fn delete_topics(&mut self, topics: &[Arc<Topic>], out: &mut Vec<Action>) {
        for topic in topics {
            topic.partitions.keys().for_each(|index| self.delete((topic.id, *index), out));
        }
        if !topics.is_empty() {
            let gone = topics.iter().map(|topic| (topic.name.clone(), topic.id));
            out.push(Action::ForgetTopics(gone.collect()));
        }
    }

    fn delete(&mut self, key: Key, out: &mut Vec<Action>) {
        let delay_ms = match self.hosted.remove(&key) {
            Some(Replica::Open(config)) => config.file_delete_delay_ms,
            // Its folder, if there is one, is found by the next start.
            Some(Replica::Offline | Replica::NoRoom(_)) => 0,
            None => return,
        };
        out.push(Action::Delete { key, delay_ms });
    }

    fn is_alive(&self, image: &Image) -> bool {
        let me = image.broker(self.me);
        me.is_some_and(|broker| broker.incarnation == self.incarnation && !broker.fenced)
    }

    // What a change of one partition asks of its replica here.
    fn follow(
        &mut self,
        topic: &Topic,
        change: &PartitionDelta,
        config: &Arc<TopicConfig>,
        turn: &mut Turn,
        out: &mut Vec<Action>,
    ) {
        let (key, new) = ((topic.id, change.partition), &*change.new);
        if !new.replicas.contains(&self.me) {
            return self.delete(key, out);
        }
        match self.hosted.get(&key) {
            Some(Replica::Open(_)) => {
                let grown = change.old.as_ref().is_none_or(|old| old.leader_epoch != new.leader_epoch);
                match self.role(new) {
                    Role::Leader(leadership) => {
                        out.push(Action::Lead(key, leadership));
                        turn.to_settle.extend(grown.then_some(key));
                        self.all_stand(key, &new.replicas, out);
                    }
                    Role::Follower(followership) => out.push(Action::Follow(key, followership)),
                }
            }
            Some(Replica::Offline | Replica::NoRoom(_)) => {}
            None => {
                self.hosted.insert(key, Replica::Open(config.clone()));
                let was_here = change.old.as_ref().is_some_and(|old| old.replicas.contains(&self.me));
                let last_owner = if was_here { LastOwner::Failed } else { LastOwner::Nobody };
                let opening = self.opening(topic, change.partition, new, config.clone(), last_owner);
                turn.to_open.push(opening);
            }
        }
    }

    fn role(&self, partition: &Partition) -> Role {
        let Partition { leader_epoch: epoch, partition_epoch, .. } = *partition;
        let leader = partition.leader.filter(|_| self.lives);
        if leader == Some(self.me) {
            let (replicas, isr) = (partition.replicas.clone(), partition.isr.clone());
            return Role::Leader(Leadership { epoch, partition_epoch, replicas, isr });
        }
        Role::Follower(Followership { epoch, partition_epoch, leader })
    }

    // A leader that has heard nothing of a broker would believe the first fetch that comes from there, and that may have been
    // read under the image before this one: whoever was fenced in that one would never be let in.
    fn all_stand(&self, key: Key, replicas: &[NodeId], out: &mut Vec<Action>) {
        for replica in replicas.iter().filter(|id| **id != self.me) {
            out.push(Action::Stands(key, *replica, standing(&self.image, *replica)));
        }
    }

    // Tells the logs that are led here of a broker that has changed.
    fn stands(&self, broker: NodeId, out: &mut Vec<Action>) {
        if broker == self.me {
            return;
        }
        let standing = standing(&self.image, broker);
        for topic in self.image.topics() {
            for (index, partition) in &topic.partitions {
                let key = (topic.id, *index);
                if partition.leader == Some(self.me)
                    && partition.replicas.contains(&broker)
                    && matches!(self.hosted.get(&key), Some(Replica::Open(_)))
                {
                    out.push(Action::Stands(key, broker, standing));
                }
            }
        }
    }

    fn opening(
        &self,
        topic: &Topic,
        index: i32,
        partition: &Partition,
        config: Arc<TopicConfig>,
        last_owner: LastOwner,
    ) -> Opening {
        let id = TopicPartition { topic: topic.name.clone(), partition: index };
        let (role, directory) = (self.role(partition), partition.directory(self.me));
        Opening { topic: topic.id, id, role, config, last_owner, directory }
    }

    fn configure(&mut self, topic: &Topic, out: &mut Vec<Action>) {
        let config = settings::of_topic(&self.config, &self.image, &topic.name, out);
        for index in topic.partitions.keys() {
            let key = (topic.id, *index);
            if let Some(Replica::Open(before)) = self.hosted.get_mut(&key)
                && **before != *config
            {
                *before = config.clone();
                out.push(Action::Configure(key, config.clone()));
            }
        }
    }

    fn opened(&mut self, all: Vec<Opened>, out: &mut Vec<Action>) {
        let (mut assignments, mut to_settle) = (Vec::new(), Vec::new());
        for Opened { opening, outcome } in all {
            let key = opening.key();
            let waited = matches!(self.hosted.get(&key), Some(Replica::NoRoom(_)));
            match outcome {
                Ok(directory) => {
                    assignments.extend(directory.and_then(|directory| self.news_of(key, directory)));
                    if let Role::Leader(leadership) = &opening.role {
                        self.all_stand(key, &leadership.replicas, out);
                        to_settle.extend((opening.last_owner == LastOwner::Process).then_some(key));
                    }
                    if waited {
                        out.push(Action::Note(Note::RoomAgain(opening.id)));
                    }
                    self.hosted.insert(key, Replica::Open(opening.config));
                }
                Err(NotOpened { full: true, .. }) if waited => {}
                Err(NotOpened { why, full }) => {
                    // Nothing of a log that is new is left, so it may be made anywhere.
                    let last_owner = match opening.last_owner {
                        LastOwner::Nobody => LastOwner::Nobody,
                        LastOwner::Process | LastOwner::Failed => LastOwner::Failed,
                    };
                    let replica = if full { Replica::NoRoom(last_owner) } else { Replica::Offline };
                    self.hosted.insert(key, replica);
                    out.extend([Action::Note(Note::NotOpened(opening.id, why)), Action::TakeOffline(key)]);
                }
            }
        }
        if !assignments.is_empty() {
            out.push(Action::Assign(assignments));
        }
        if !to_settle.is_empty() {
            out.push(Action::Settle(to_settle));
        }
    }

    // Where the controller has left it to this broker, or thinks of another directory.
    fn news_of(&self, (topic, partition): Key, directory: DirectoryId) -> Option<Assignment> {
        let known = self.image.topic_by_id(topic)?.partitions.get(&partition)?.directory(self.me);
        (known != Some(directory)).then_some(Assignment { directory, topic, partition })
    }

    fn owner_failed(&mut self, key: Key, out: &mut Vec<Action>) {
        if matches!(self.hosted.get(&key), Some(Replica::Open(_)))
            && let Some(opening) = self.open_again(key, LastOwner::Failed, out)
        {
            out.push(Action::Open(vec![opening]));
        }
    }

    fn try_again(&mut self, out: &mut Vec<Action>) {
        let waiting = self.hosted.iter().filter_map(|(key, replica)| match replica {
            Replica::NoRoom(last_owner) => Some((*key, *last_owner)),
            Replica::Open(_) | Replica::Offline => None,
        });
        let waiting: Vec<(Key, LastOwner)> = waiting.collect();
        let again = |(key, last_owner)| self.open_again(key, last_owner, out);
        let to_open: Vec<_> = waiting.into_iter().filter_map(again).collect();
        if !to_open.is_empty() {
            out.push(Action::Open(to_open));
        }
    }

    fn open_again(&mut self, key: Key, last_owner: LastOwner, out: &mut Vec<Action>) -> Option<Opening> {
        let topic = self.image.topic_by_id(key.0).cloned()?;
        let partition = topic.partitions.get(&key.1)?;
        let config = settings::of_topic(&self.config, &self.image, &topic.name, out);
        Some(self.opening(&topic, key.1, partition, config, last_owner))
    }
}

/// What one image asks for besides what is done at once.
#[derive(Default)]
struct Turn {
    to_open: Vec<Opening>,
    to_settle: Vec<Key>,
}

// The partitions that have changed; all of them, when this process has only now become part of the cluster.
fn changed(old: &Image, delta: &Delta, image: &Image, all: bool) -> Vec<(Arc<Topic>, Vec<PartitionDelta>)> {
    let of = |topic: &Arc<Topic>, before: Option<&Arc<Topic>>| {
        let partitions = topic.partitions.iter().map(|(index, new)| {
            let old = before.and_then(|before| before.partitions.get(index)).cloned();
            PartitionDelta { partition: *index, old, new: new.clone() }
        });
        (topic.clone(), partitions.collect())
    };
    if all {
        return image.topics().map(|topic| of(topic, old.topic_by_id(topic.id))).collect();
    }
    let created = delta.topics_created.iter().map(|topic| of(topic, None));
    let changes = delta.topics_changed.iter().map(|change| (change.new.clone(), change.partitions.clone()));
    created.chain(changes).collect()
}

/// What an image says of a broker.
pub fn standing(image: &Image, broker: NodeId) -> Standing {
    let known = image.broker(broker);
    Standing {
        broker_epoch: known.filter(|broker| !broker.fenced).map(|broker| broker.epoch.0),
        shutting_down: known.is_some_and(|broker| broker.in_controlled_shutdown),
    }
}
