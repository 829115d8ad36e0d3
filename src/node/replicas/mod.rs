//! The replicas that this broker hosts, and what the metadata image asks of them. A newer image, the outcome of an
//! opening or a failure goes in; which logs to open, lead, follow, configure and delete comes out, in the order in which
//! to carry it out. The image is shown last: whoever hears of a topic finds its partitions.
//! It must never touch a log, a lane or a disk.

mod settings;
#[cfg(test)]
mod stories;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ottla_core::controller::Assignment;
use ottla_core::partition::{Followership, Leadership};
use ottla_model::config::{BrokerConfig, ConfigError, TopicConfig};
use ottla_model::image::{Image, Partition, PartitionDelta, Topic};
use ottla_model::record::ResourceType;
use ottla_model::{DirectoryId, NodeId, TopicId, TopicName, TopicPartition};

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

/// A log to be opened, and how it is led.
#[derive(Clone, Debug, PartialEq)]
pub struct Opening {
    pub topic: TopicId,
    pub id: TopicPartition,
    pub leadership: Leadership,
    pub config: Arc<TopicConfig>,
    pub last_owner: LastOwner,
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

/// A replica that this broker has begun to lead since its start, and has not deleted.
#[derive(Debug)]
enum Replica {
    /// Its log is open, or being opened.
    Open(Arc<TopicConfig>),
    /// Not opened again by this process. After a failed fsync the page cache still returns data that is not on disk, and
    /// reopening the log would trust it.
    Offline,
    /// There was no room to make its log.
    NoRoom,
    /// Its log is closed, and was led elsewhere when it was to be opened again. This process had it.
    Closed,
}

/// The replicas of one broker.
#[derive(Debug)]
pub struct Replicas {
    me: NodeId,
    started_with: Arc<BrokerConfig>,
    config: Arc<BrokerConfig>,
    image: Arc<Image>,
    hosted: BTreeMap<Key, Replica>,
}

impl Replicas {
    /// None so far, of a broker that was started with this configuration.
    pub fn new(started_with: Arc<BrokerConfig>) -> Replicas {
        let (me, config) = (started_with.node_id, started_with.clone());
        Replicas { me, started_with, config, image: Arc::new(Image::empty()), hosted: BTreeMap::new() }
    }

    /// Whether a replica waits for room on its disk, and [`Input::TryAgain`] is worth giving now and then.
    pub fn wait_for_room(&self) -> bool {
        self.hosted.values().any(|replica| matches!(replica, Replica::NoRoom))
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
        let mut to_open = Vec::new();
        for topic in &delta.topics_created {
            let config = settings::of_topic(&self.config, &image, &topic.name, out);
            for (index, new) in &topic.partitions {
                let partition = PartitionDelta { partition: *index, old: None, new: new.clone() };
                to_open.extend(self.follow(topic, &partition, &config, out));
            }
        }
        for change in &delta.topics_changed {
            let config = settings::of_topic(&self.config, &image, &change.new.name, out);
            for partition in &change.partitions {
                to_open.extend(self.follow(&change.new, partition, &config, out));
            }
        }
        // While nothing was known yet, nothing is new.
        if old.offset < 0 {
            to_open.iter_mut().for_each(|opening| opening.last_owner = LastOwner::Process);
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
            Some(Replica::Offline | Replica::NoRoom | Replica::Closed) => 0,
            None => return,
        };
        out.push(Action::Delete { key, delay_ms });
    }

    // What a change of one partition asks of its replica here. Returns the log that is to be opened.
    fn follow(
        &mut self,
        topic: &Topic,
        change: &PartitionDelta,
        config: &Arc<TopicConfig>,
        out: &mut Vec<Action>,
    ) -> Option<Opening> {
        let (key, new) = ((topic.id, change.partition), &*change.new);
        if new.leader == Some(self.me) {
            match self.hosted.get(&key) {
                Some(Replica::Open(_)) => out.push(Action::Lead(key, leadership(new))),
                Some(Replica::Offline | Replica::NoRoom) => {}
                here => {
                    let last_owner = match here {
                        Some(_) => LastOwner::Failed,
                        None if change.old.is_some() => LastOwner::Process,
                        None => LastOwner::Nobody,
                    };
                    self.hosted.insert(key, Replica::Open(config.clone()));
                    return Some(opening(topic, change.partition, new, config.clone(), last_owner));
                }
            }
            return None;
        }
        if !new.replicas.contains(&self.me) {
            self.delete(key, out);
            return None;
        }
        // This broker opens no log yet only to follow another one.
        if let Some(Replica::Open(_)) = self.hosted.get(&key) {
            let (epoch, partition_epoch, leader) = (new.leader_epoch, new.partition_epoch, new.leader);
            out.push(Action::Follow(key, Followership { epoch, partition_epoch, leader }));
        }
        None
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
            let waited = matches!(self.hosted.get(&key), Some(Replica::NoRoom));
            match outcome {
                Ok(directory) => {
                    assignments.extend(directory.and_then(|directory| self.news_of(key, directory)));
                    if opening.last_owner == LastOwner::Process {
                        to_settle.push(key);
                    }
                    if waited {
                        out.push(Action::Note(Note::RoomAgain(opening.id)));
                    }
                    self.hosted.insert(key, Replica::Open(opening.config));
                }
                Err(NotOpened { full: true, .. }) if waited => {}
                Err(NotOpened { why, full }) => {
                    let replica = if full { Replica::NoRoom } else { Replica::Offline };
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
            && let Some(opening) = self.open_again(key, out)
        {
            out.push(Action::Open(vec![opening]));
        }
    }

    fn try_again(&mut self, out: &mut Vec<Action>) {
        let waiting = self.hosted.iter().filter(|(_, replica)| matches!(replica, Replica::NoRoom));
        let waiting: Vec<Key> = waiting.map(|(key, _)| *key).collect();
        let to_open: Vec<_> = waiting.into_iter().filter_map(|key| self.open_again(key, out)).collect();
        if !to_open.is_empty() {
            out.push(Action::Open(to_open));
        }
    }

    // A replica that is not led here any more is not opened before it is led again.
    fn open_again(&mut self, key: Key, out: &mut Vec<Action>) -> Option<Opening> {
        let topic = self.image.topic_by_id(key.0).cloned();
        let found = topic.as_ref().and_then(|topic| Some((topic, topic.partitions.get(&key.1)?)));
        let Some((topic, led)) = found.filter(|(_, partition)| partition.leader == Some(self.me)) else {
            self.hosted.insert(key, Replica::Closed);
            return None;
        };
        let config = settings::of_topic(&self.config, &self.image, &topic.name, out);
        Some(opening(topic, key.1, led, config, LastOwner::Failed))
    }
}

fn opening(
    topic: &Topic,
    index: i32,
    led: &Partition,
    config: Arc<TopicConfig>,
    last_owner: LastOwner,
) -> Opening {
    let id = TopicPartition { topic: topic.name.clone(), partition: index };
    Opening { topic: topic.id, id, leadership: leadership(led), config, last_owner }
}

fn leadership(led: &Partition) -> Leadership {
    Leadership {
        epoch: led.leader_epoch,
        partition_epoch: led.partition_epoch,
        replicas: led.replicas.clone(),
        isr: led.isr.clone(),
    }
}
