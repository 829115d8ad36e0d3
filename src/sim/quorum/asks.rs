//! Who asks a controller in this world, and for what. It must never know how a question travels.

use ottla_core::controller::{
    AlterConfigs, Alteration, Change, Command, CreateTopics, DeleteTopics, NewTopic, NotController, Reply,
};
use ottla_model::image::ConfigResource;
use ottla_model::record::ResourceType;
use ottla_model::{NodeId, TopicId, TopicName};
use ottla_node::replicas::Key;
use ottla_protocol::ErrorCode;

/// Who asks a controller.
#[derive(Clone, Debug)]
pub(crate) enum Who {
    Client(Ask),
    Operator,
    Broker(Asker),
}

/// A client's request, under a number of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub client: usize,
    pub attempt: u64,
    pub number: u64,
    pub want: Want,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// That a subscription to metrics have this number in its name.
    Setting,
    /// That there be a topic of this number with so many partitions and replicas.
    Topic { partitions: i32, replicas: i16 },
    /// That this topic be gone.
    NoTopic(TopicId),
}

/// A question of a broker's process.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    pub at: usize,
    pub life: u64,
    pub kind: Kind,
    pub number: u64,
    pub met: Met,
}

/// A broker has one question of each kind on its way at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Of its life: registration, heartbeat.
    Life,
    /// Of the in-sync sets of what it leads.
    InSync,
}

/// What the question was, and what it met at the controller, where it was decided: only to judge the answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Met {
    pub ms: i64,
    /// Of the process that asks.
    pub life: u64,
    /// Another process of the broker has registered.
    pub stale: bool,
    /// The broker serves and leads something, or hands that over.
    pub leads: bool,
    /// The brokers that served.
    pub serving: Vec<NodeId>,
    pub broker: Option<NodeId>,
    pub wants_to_stop: bool,
    /// What a leader proposes something for.
    pub of: Vec<Key>,
}

impl Ask {
    pub fn command(&self) -> Command {
        match self.want {
            Want::Setting => {
                let change = ("interval.ms".to_owned(), Change::Set("60000".to_owned()));
                let resources = vec![(resource(self.number), Alteration::Some(vec![change]))];
                Command::AlterConfigs(AlterConfigs { resources, validate_only: false })
            }
            Want::Topic { partitions, replicas } => {
                let topic = NewTopic {
                    name: topic(self.number),
                    partitions,
                    replication_factor: replicas,
                    assignments: Vec::new(),
                    configs: Vec::new(),
                };
                Command::CreateTopics(CreateTopics { topics: vec![topic], validate_only: false })
            }
            Want::NoTopic(id) => Command::DeleteTopics(DeleteTopics { topics: vec![id] }),
        }
    }

    /// Whether the client has what it wanted. An earlier attempt may have brought it.
    pub fn is_agreed(&self, reply: &Result<Reply, NotController>) -> bool {
        match reply {
            Ok(Reply::ConfigsAltered(outcomes)) => outcomes.iter().all(|(_, outcome)| outcome.is_ok()),
            Ok(Reply::TopicsCreated(outcomes)) => outcomes.iter().all(|(_, outcome)| match outcome {
                Ok(_) => true,
                Err(refusal) => refusal.code == ErrorCode::TopicAlreadyExists,
            }),
            Ok(Reply::TopicsDeleted(outcomes)) => outcomes.iter().all(|(_, outcome)| match outcome {
                Ok(()) => true,
                Err(refusal) => refusal.code == ErrorCode::UnknownTopicId,
            }),
            _ => false,
        }
    }
}

pub(super) fn resource(number: u64) -> ConfigResource {
    ConfigResource { kind: ResourceType::ClientMetrics, name: number.to_string() }
}

pub(super) fn topic(number: u64) -> TopicName {
    format!("t{number}").into()
}
