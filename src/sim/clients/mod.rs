//! Clients as Kafka's own behave: what they send, what they retry and what they remember. They know the node by its
//! image, its readers and its replies, and must never look at anything else of it.

mod admin;
mod consumer;
mod member;
mod producer;

use std::sync::Arc;

use ottla_core::controller::NewTopic;
use ottla_core::group::Command;
use ottla_log::log::Appended;
use ottla_model::image::Topic;
use ottla_model::{TopicId, is_internal};
use ottla_protocol::ErrorCode;

pub(crate) use admin::{Admin, confirmed};
pub(crate) use consumer::Consumer;
pub(crate) use member::GroupMember;
pub(crate) use producer::Producer;

use crate::dice::Dice;
use crate::invariants::Judge;
use crate::invariants::ledger::RecordId;
use crate::mutation::Mutation;
use crate::node::{Answer, Key, Node, Produce};
use crate::verdict::{Verdict, Violation};

/// One client.
pub(crate) enum Client {
    Producer(Producer),
    Consumer(Consumer),
    Admin(Admin),
    Member(GroupMember),
}

/// What a client sends.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Produce(Produce),
    InitProducerId,
    CreateTopic(NewTopic),
    DeleteTopic(TopicId),
    Group(Command),
}

/// What it hears.
#[derive(Clone, Debug)]
pub(crate) enum Response {
    Produced(Result<Appended, ErrorCode>),
    Answered(Answer),
}

/// A client's surroundings while it acts.
pub(crate) struct Around<'a> {
    pub now_ms: i64,
    pub client: usize,
    /// None while the node is down.
    pub node: Option<&'a Node>,
    /// Counts the node's processes: connections break with each.
    pub life: u64,
    pub dice: &'a mut Dice,
    pub judge: &'a mut Judge,
    /// Nothing new is begun: what is under way is brought to its end.
    pub finishing: bool,
    pub mutation: Option<Mutation>,
    pub next_request: &'a mut u64,
    pub sends: Vec<(u64, Request)>,
}

impl Around<'_> {
    pub fn send(&mut self, request: Request) -> u64 {
        *self.next_request += 1;
        self.sends.push((*self.next_request, request));
        *self.next_request
    }
}

impl Client {
    /// Acts, and says in how many ms it wants to act again.
    pub fn wake(&mut self, around: &mut Around<'_>) -> Result<i64, Violation> {
        match self {
            Client::Producer(producer) => Ok(producer.wake(around)),
            Client::Consumer(consumer) => consumer.wake(around),
            Client::Admin(admin) => Ok(admin.wake(around)),
            Client::Member(member) => Ok(member.wake(around)),
        }
    }

    pub fn hear(&mut self, request: u64, response: &Response, around: &mut Around<'_>) -> Verdict {
        match (self, response) {
            (Client::Producer(producer), response) => producer.hear(request, response, around),
            (Client::Admin(admin), Response::Answered(answer)) => {
                admin.hear(request, answer);
                Ok(())
            }
            (Client::Member(member), Response::Answered(Answer::Group(reply))) => {
                member.hear(request, reply, around)
            }
            _ => Ok(()),
        }
    }

    /// What a Produce that is under way holds.
    pub fn under_way(&self, request: u64) -> Option<(Key, Vec<RecordId>)> {
        match self {
            Client::Producer(producer) => producer.under_way(request),
            _ => None,
        }
    }

    /// Nothing is under way.
    pub fn is_done(&self) -> bool {
        match self {
            Client::Producer(producer) => producer.is_done(),
            Client::Member(member) => member.is_done(),
            Client::Consumer(_) | Client::Admin(_) => true,
        }
    }
}

/// The topics that are not the node's own.
fn client_topics(node: &Node) -> impl Iterator<Item = &Arc<Topic>> {
    node.image.topics().filter(|topic| !is_internal(&topic.name))
}
