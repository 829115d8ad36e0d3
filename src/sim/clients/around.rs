//! What clients share: what they send and hear, and their surroundings while they act. It must never know one of them.

use std::sync::Arc;

use ottla_core::controller::NewTopic;
use ottla_core::group::Command;
use ottla_core::{coordinator, txn};
use ottla_log::log::Appended;
use ottla_model::group::GroupId;
use ottla_model::image::Topic;
use ottla_model::txn::TransactionalId;
use ottla_model::{TopicId, is_internal};
use ottla_node::verification::Transaction;
use ottla_protocol::ErrorCode;

use crate::dice::Dice;
use crate::invariants::Judge;
use crate::mutation::Mutation;
use crate::node::{Answer, Node, Produce, Write};
use crate::plan::Plan;

/// What a client sends.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Produce(Produce),
    InitProducerId,
    CreateTopic(NewTopic),
    DeleteTopic(TopicId),
    Group(Command),
    /// What a shard of the transaction coordinator answers.
    Transaction(txn::Command),
    /// AddOffsetsToTxn.
    AddOffsets(TransactionalId, coordinator::Producer, GroupId),
    /// A Produce or a TxnOffsetCommit of a transaction.
    Write(Transaction, Write),
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
    pub plan: &'a Plan,
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

/// The topics that are not the node's own.
pub(super) fn client_topics(node: &Node) -> impl Iterator<Item = &Arc<Topic>> {
    node.image.topics().filter(|topic| !is_internal(&topic.name))
}
