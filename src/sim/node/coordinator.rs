//! The node's group coordinator: a keeper for each partition of `__consumer_offsets` that the node leads, driven as the
//! broker's task drives it. Between any two things that the task waits for, other things may happen.
//! It must never decide: `node::coordinator` does.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_core::controller::{CreateTopics, NewTopic};
use ottla_core::group::{Command, Groups, Settings};
use ottla_core::partition::Acks;
use ottla_core::question::Question;
use ottla_log::log::{Appended, LogReader};
use ottla_model::config::{BrokerConfig, TopicConfig};
use ottla_model::{TopicId, TopicName, TopicPartition};
use ottla_node::coordinator::groups::{new_offsets_topic, offsets_topic, settings, terms};
use ottla_node::coordinator::keeper::{Keeper, KeeperNote, KeeperOutput, ShardLog};
use ottla_node::coordinator::loading::Loading;
use ottla_node::coordinator::{Input, ShardSettings, shard_of};
use ottla_node::lane::{Answered, Append, Input as LaneInput};
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset};

use super::{Answer, Ask, Key, Node, Partition, Said, Waiter, Who};
use crate::marks::{mark, mark_if};
use crate::mutation::Mutation;
use crate::plan::Services;

/// `None`: nobody hears the answer.
type Machine = Groups<Option<Ask>>;
type Sent = Input<Option<Ask>, Command>;

/// The coordinator of one process.
pub(crate) struct Coordinator {
    settings: Arc<Settings>,
    terms: ShardSettings,
    load_bytes: usize,
    new_topic: NewTopic,
    owners: BTreeMap<i32, Owner>,
}

/// One shard and what its task has at hand.
struct Owner {
    keeper: Keeper<Machine>,
    inbox: Vec<Sent>,
    partition: Seen,
    loading: Option<Box<Loading<Machine>>>,
    /// What the last append came to, if the keeper has not been told.
    outcome: Option<Result<(Offset, Offset), ErrorCode>>,
    /// The partition was closed since the keeper last looked.
    closed: bool,
    /// A turn is about to come.
    woken: bool,
    alarm_ms: Option<i64>,
}

/// A partition as it was last seen: a task keeps hold of one that was closed.
struct Seen {
    key: Key,
    leader_epoch: LeaderEpoch,
    reader: Arc<LogReader>,
    config: Arc<TopicConfig>,
}

impl Coordinator {
    pub fn new(config: &BrokerConfig, services: &Services) -> Coordinator {
        let mut settings = settings(config);
        if let Some(ms) = services.offsets_retention_ms {
            settings.offsets_retention_ms = ms;
        }
        let mut new_topic = new_offsets_topic(config);
        new_topic.configs.extend(services.offsets_topic_settings());
        Coordinator {
            settings: Arc::new(settings),
            terms: terms(config),
            load_bytes: services.load_bytes,
            new_topic,
            owners: BTreeMap::new(),
        }
    }
}

impl Seen {
    fn of(key: Key, partition: &Partition) -> Seen {
        Seen {
            key,
            leader_epoch: partition.leader_epoch,
            reader: partition.reader.clone(),
            config: partition.config.clone(),
        }
    }

    fn view(&self, mutation: Option<Mutation>) -> ShardLog {
        let mut offsets = self.reader.offsets();
        if mutation == Some(Mutation::AnswerBeforeSafe) {
            offsets.high_watermark = offsets.log_end;
        }
        ShardLog { leader_epoch: self.leader_epoch, offsets, config: self.config.clone() }
    }
}

/// What others do with it.
impl Node {
    /// A client asks a group's shard.
    pub fn ask_group(&mut self, now_ms: i64, ask: Ask, mut command: Command, said: &mut Vec<Said>) {
        let Some(coordinator) = &self.coordinator else { return };
        let refused = |command: &Command, code, said: &mut Vec<Said>| {
            said.push(Said::Answered { ask, answer: Answer::Group(command.refused(code)) });
        };
        let Some(topic) = offsets_topic(&self.image).cloned() else {
            // Its client looks for the coordinator, and the first who does has the topic created.
            let topics = vec![coordinator.new_topic.clone()];
            let create = CreateTopics { topics, validate_only: false };
            refused(&command, ErrorCode::CoordinatorNotAvailable, said);
            return self.command(now_ms, Who::Nobody, create.command(), said);
        };
        if let Command::CommitOffsets(commit) = &mut command {
            // The coordinator never hears of topics that do not exist.
            let exists = |id: TopicId| self.image.topic_by_id(id).is_some();
            commit.topics.retain(|topic| topic.id.is_none_or(exists));
        }
        let group = command.group().cloned().unwrap_or_default();
        let shard = shard_of(&group, topic.partitions.len());
        match self.reach(topic.id, shard) {
            None => refused(&command, ErrorCode::NotCoordinator, said),
            Some(owner) => {
                owner.inbox.push(Input::Ask { token: Some(ask), command });
                self.wake_shard(shard, said);
            }
        }
    }

    /// Loads the shards that live here, before anybody asks for them.
    pub fn wake_shards(&mut self, said: &mut Vec<Said>) {
        let Some(topic) = offsets_topic(&self.image).cloned() else { return };
        for shard in topic.partitions.keys() {
            if self.reach(topic.id, *shard).is_some() {
                self.wake_shard(*shard, said);
            }
        }
    }

    /// Topics are gone, and with them what was committed in them.
    pub fn forget_topics(&mut self, topics: &[(TopicName, TopicId)], said: &mut Vec<Said>) {
        let Some(coordinator) = &mut self.coordinator else { return };
        for owner in coordinator.owners.values_mut() {
            let command = Command::TopicsDeleted { topics: topics.to_vec() };
            owner.inbox.push(Input::Ask { token: None, command });
            mark_if(owner.keeper.is_busy(), "a topic was deleted while a shard loaded or appended");
        }
        let shards: Vec<i32> = coordinator.owners.keys().copied().collect();
        shards.into_iter().for_each(|shard| self.wake_shard(shard, said));
    }

    /// Something has happened to a partition that may be a shard's: its high watermark moved, say.
    pub fn partition_moved(&mut self, key: Key, said: &mut Vec<Said>) {
        if self.owner(key).is_some() {
            self.wake_shard(key.1, said);
        }
    }

    pub fn partition_closed(&mut self, key: Key, said: &mut Vec<Said>) {
        if let Some(owner) = self.owner(key) {
            owner.closed = true;
            self.wake_shard(key.1, said);
        }
    }

    /// The lane says what became of a shard's batch.
    pub fn shard_appended(&mut self, key: Key, outcome: Result<Appended, ErrorCode>, said: &mut Vec<Said>) {
        if let Some(owner) = self.owner(key) {
            owner.outcome = Some(outcome.map(|appended| (appended.base_offset, appended.last_offset)));
            self.wake_shard(key.1, said);
        }
    }

    /// The process is told to stop: nobody is served any more.
    pub fn resign_shards(&mut self, now_ms: i64, said: &mut Vec<Said>) {
        let Some(coordinator) = &mut self.coordinator else { return };
        for (shard, mut owner) in std::mem::take(&mut coordinator.owners) {
            let mut outputs = Vec::new();
            owner.inbox.drain(..).for_each(|sent| owner.keeper.send(now_ms, sent, &mut outputs));
            owner.keeper.resign(now_ms, &mut outputs);
            outputs.into_iter().for_each(|output| self.carry_out_for(shard, output, said));
        }
    }
}

/// Turns.
impl Node {
    /// The task of a shard gets the processor, and takes the next thing that it waited for.
    pub fn drive_shard(&mut self, now_ms: i64, shard: i32, said: &mut Vec<Said>) {
        let (mutation, image) = (self.mutation, self.image.clone());
        let Some(coordinator) = &mut self.coordinator else { return };
        let load_bytes = coordinator.load_bytes;
        let Some(owner) = coordinator.owners.get_mut(&shard) else { return };
        owner.woken = false;
        owner.alarm_ms = owner.alarm_ms.filter(|at_ms| *at_ms > now_ms);
        let mut outputs = Vec::new();
        owner.inbox.drain(..).for_each(|sent| owner.keeper.send(now_ms, sent, &mut outputs));
        let here = self.partitions.get(&owner.partition.key).filter(|partition| !partition.resigned);
        if !owner.closed
            && let Some(here) = here
        {
            owner.partition = Seen::of(owner.partition.key, here);
        }
        let view = owner.partition.view(mutation);
        // The task goes on at once after what it has waited for.
        let worked = if let Some(outcome) = owner.outcome.take() {
            owner.keeper.appended(now_ms, outcome, &view, &mut outputs);
            true
        } else if let Some(loading) = owner.loading.take() {
            owner.read_on(now_ms, loading, load_bytes, mutation, &mut outputs);
            true
        } else if owner.keeper.is_busy() {
            false
        } else if std::mem::take(&mut owner.closed) || here.is_none() {
            owner.keeper.turn(now_ms, None, &image, &mut outputs);
            match here {
                // Whoever asks once it is open again has it loaded.
                None => drop(coordinator.owners.remove(&shard)),
                Some(here) => owner.partition = Seen::of(owner.partition.key, here),
            }
            true
        } else {
            owner.keeper.turn(now_ms, Some(&view), &image, &mut outputs);
            false
        };
        outputs.into_iter().for_each(|output| self.carry_out_for(shard, output, said));
        if worked {
            self.wake_shard(shard, said);
        }
        self.set_alarm(shard, said);
    }

    fn carry_out_for(&mut self, shard: i32, output: KeeperOutput<Machine>, said: &mut Vec<Said>) {
        match output {
            KeeperOutput::Reply { token: Some(ask), reply } => {
                said.push(Said::Answered { ask, answer: Answer::Group(reply) });
            }
            KeeperOutput::Reply { token: None, .. } => {}
            KeeperOutput::Note(note) => {
                mark_if(matches!(note, KeeperNote::InDoubt), "it was not known what a shard had written");
                mark_if(matches!(note, KeeperNote::NotLoaded(_)), "a shard could not be loaded");
                said.push(Said::Note(format!("shard {shard}: {note}")));
            }
            KeeperOutput::Load(loading) => {
                let Some(owner) = self.owner_of(shard) else { return };
                owner.loading = Some(loading);
                self.wake_shard(shard, said);
            }
            KeeperOutput::Errand(never) => match never {},
            KeeperOutput::Append { batch, checked_against } => {
                let Some(owner) = self.owner_of(shard) else { return };
                let key = owner.partition.key;
                mark_if(batch.header.record_count > 1, "writes of a shard shared a batch");
                if owner.closed || !self.partitions.contains_key(&key) {
                    return self.shard_appended(key, Err(ErrorCode::NotLeaderOrFollower), said);
                }
                let append = Append {
                    token: Waiter::Shard,
                    batch,
                    acks: Acks::All,
                    answered: Answered::WhenAppended,
                    checked_against,
                    deadline_ms: i64::MAX,
                };
                self.submit(key, LaneInput::Append(append), said);
            }
        }
    }

    fn wake_shard(&mut self, shard: i32, said: &mut Vec<Said>) {
        if let Some(owner) = self.owner_of(shard)
            && !std::mem::replace(&mut owner.woken, true)
        {
            said.push(Said::ShardWaiting(shard));
        }
    }

    fn set_alarm(&mut self, shard: i32, said: &mut Vec<Said>) {
        let Some(owner) = self.owner_of(shard) else { return };
        if let Some(due_ms) = owner.keeper.next_deadline_ms()
            && owner.alarm_ms.is_none_or(|at_ms| due_ms < at_ms)
        {
            owner.alarm_ms = Some(due_ms);
            said.push(Said::ShardDue { shard, at_ms: due_ms });
        }
    }

    fn owner_of(&mut self, shard: i32) -> Option<&mut Owner> {
        self.coordinator.as_mut()?.owners.get_mut(&shard)
    }

    fn owner(&mut self, key: Key) -> Option<&mut Owner> {
        self.owner_of(key.1).filter(|owner| owner.partition.key == key)
    }

    // The shard's owner, which begins if there is none. None: the shard is not this node's.
    fn reach(&mut self, topic: TopicId, shard: i32) -> Option<&mut Owner> {
        let key = (topic, shard);
        let here = self.partitions.get(&key)?;
        let coordinator = self.coordinator.as_mut()?;
        let (terms, settings) = (coordinator.terms, coordinator.settings.clone());
        let dice = &mut self.dice;
        Some(coordinator.owners.entry(shard).or_insert_with(|| {
            // Each machine draws other member ids than the ones before it.
            let chance = RefCell::new(dice.split());
            let machine = move |_| {
                let mut chance = chance.borrow_mut().split();
                Groups::new(settings.clone(), Box::new(move || chance.number()))
            };
            let id = TopicPartition::new(here.id.topic.clone(), shard);
            Owner {
                keeper: Keeper::new(id, terms, machine),
                inbox: Vec::new(),
                partition: Seen::of(key, here),
                loading: None,
                outcome: None,
                closed: false,
                woken: false,
                alarm_ms: None,
            }
        }))
    }
}

impl Owner {
    fn read_on(
        &mut self,
        now_ms: i64,
        mut loading: Box<Loading<Machine>>,
        load_bytes: usize,
        mutation: Option<Mutation>,
        outputs: &mut Vec<KeeperOutput<Machine>>,
    ) {
        let read = loading.read_on(&self.partition.reader, load_bytes);
        let is_done = loading.is_done() || mutation == Some(Mutation::StopLoadingEarly);
        match read {
            Ok(()) if !is_done => {
                mark("a shard was loaded piece by piece");
                self.loading = Some(loading);
            }
            read => self.keeper.loaded(now_ms, read.map(|()| loading), outputs),
        }
    }
}
