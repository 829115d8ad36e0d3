//! The node's group coordinator, on the shards of `shards`. It must never decide: `node::coordinator` does.

use std::cell::RefCell;
use std::sync::Arc;

use ottla_core::group::{Command, Groups, Reply};
use ottla_log::log::Appended;
use ottla_model::config::BrokerConfig;
use ottla_model::image::{Image, Topic};
use ottla_model::{TopicId, TopicName};
use ottla_node::coordinator::Input;
use ottla_node::coordinator::groups::{new_offsets_topic, offsets_topic, settings, terms};
use ottla_node::coordinator::shard_of;
use ottla_protocol::{ErrorCode, LeaderEpoch};

use super::holding::Transactor;
use super::holding::{Caller, Coordinator, GroupMachine, Shards};
use super::said::Service;
use super::shards::{Errands, Served};
use super::{Answer, Ask, Key, Node, Said};
use crate::plan::Services;

impl Coordinator {
    pub fn new(config: &BrokerConfig, services: &Services) -> Coordinator {
        let mut settings = settings(config);
        if let Some(ms) = services.offsets_retention_ms {
            settings.offsets_retention_ms = ms;
        }
        let mut new_topic = new_offsets_topic(config);
        new_topic.configs.extend(services.offsets_topic_settings());
        let shards = Shards::new(terms(config), services.load_bytes, new_topic);
        Coordinator { settings: Arc::new(settings), shards }
    }
}

impl Served for GroupMachine {
    const SERVICE: Service = Service::Groups;

    fn shards(node: &mut Node) -> Option<&mut Shards<GroupMachine>> {
        node.coordinator.as_mut().map(|coordinator| &mut coordinator.shards)
    }

    fn topic(image: &Image) -> Option<&Arc<Topic>> {
        offsets_topic(image)
    }

    fn machines(node: &mut Node) -> Box<dyn Fn(LeaderEpoch) -> GroupMachine + Send> {
        let settings = node.coordinator.as_ref().map(|c| c.settings.clone()).unwrap_or_default();
        // Each machine draws other member ids than the ones before it.
        let chance = RefCell::new(node.dice.split());
        Box::new(move |_| {
            let mut chance = chance.borrow_mut().split();
            Groups::new(settings.clone(), Box::new(move || chance.number()))
        })
    }

    fn told(node: &mut Node, _now_ms: i64, caller: Caller, reply: Reply, said: &mut Vec<Said>) {
        match (caller, reply) {
            (Caller::Client(ask), reply) => {
                said.push(Said::Answered { ask, answer: Answer::Group(reply) });
            }
            (Caller::Marker(share, index), Reply::TransactionEnded(code)) => {
                node.marked_by_shard(share, index, code, said);
            }
            _ => {}
        }
    }

    fn errand(_node: &mut Node, _from: Errands, never: std::convert::Infallible, _said: &mut Vec<Said>) {
        match never {}
    }
}

/// What clients ask.
impl Node {
    /// A client asks a group's shard.
    pub fn ask_group(&mut self, now_ms: i64, ask: Ask, mut command: Command, said: &mut Vec<Said>) {
        if self.coordinator.is_none() {
            return;
        }
        let refused = |command: &Command, code, said: &mut Vec<Said>| {
            said.push(Said::Answered { ask, answer: Answer::Group(command.refused(code)) });
        };
        let Some(topic) = offsets_topic(&self.image).cloned() else {
            // Its client looks for the coordinator, and the first who does has the topic created.
            refused(&command, ErrorCode::CoordinatorNotAvailable, said);
            return self.create_topic_of::<GroupMachine>(now_ms, said);
        };
        if let Command::CommitOffsets(commit) = &mut command {
            // The coordinator never hears of topics that do not exist.
            let exists = |id: TopicId| self.image.topic_by_id(id).is_some();
            commit.topics.retain(|topic| topic.id.is_none_or(exists));
        }
        let group = command.group().cloned().unwrap_or_default();
        let shard = shard_of(&group, topic.partitions.len());
        let sent = Input::Ask { token: Caller::Client(ask), command };
        if let Err(Input::Ask { command, .. }) = self.tell_shard::<GroupMachine>(shard, sent, said) {
            refused(&command, ErrorCode::NotCoordinator, said);
        }
    }

    /// Topics are gone, and with them what was committed in them.
    pub fn forget_topics(&mut self, topics: &[(TopicName, TopicId)], said: &mut Vec<Said>) {
        self.tell_all::<GroupMachine>(|| Command::TopicsDeleted { topics: topics.to_vec() }, said);
    }
}

/// All coordinators of the node.
impl Node {
    /// Loads the shards that live here, before anybody asks for them.
    pub fn wake_shards(&mut self, said: &mut Vec<Said>) {
        self.wake_shards_of::<GroupMachine>(said);
        self.wake_shards_of::<Transactor>(said);
    }

    /// Something has happened to a partition that may be a shard's: its high watermark moved, say.
    pub fn partition_moved(&mut self, key: Key, said: &mut Vec<Said>) {
        self.moved_for::<GroupMachine>(key, said);
        self.moved_for::<Transactor>(key, said);
    }

    pub fn partition_closed(&mut self, key: Key, said: &mut Vec<Said>) {
        self.closed_for::<GroupMachine>(key, said);
        self.closed_for::<Transactor>(key, said);
    }

    /// The lane says what became of a shard's batch.
    pub fn shard_appended(&mut self, key: Key, outcome: Result<Appended, ErrorCode>, said: &mut Vec<Said>) {
        self.appended_for::<GroupMachine>(key, outcome, said);
        self.appended_for::<Transactor>(key, outcome, said);
    }

    /// The process is told to stop: nobody is served any more.
    pub fn resign_shards(&mut self, now_ms: i64, said: &mut Vec<Said>) {
        self.resign_shards_of::<GroupMachine>(now_ms, said);
        self.resign_shards_of::<Transactor>(now_ms, said);
    }

    /// The task of a shard gets the processor.
    pub fn drive_shard(&mut self, now_ms: i64, service: Service, shard: i32, said: &mut Vec<Said>) {
        match service {
            Service::Groups => self.drive_shard_of::<GroupMachine>(now_ms, shard, said),
            Service::Transactions => self.drive_shard_of::<Transactor>(now_ms, shard, said),
        }
    }
}
