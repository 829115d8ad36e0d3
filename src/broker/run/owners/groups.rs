//! The group coordinator of this broker: the way from a group to its shard. It must never know what the commands for a
//! group are, nor how shards run: `run/owners/coordinator` does.

use std::future::Future;
use std::sync::Arc;

use ottla_core::group::{Command, Groups, OfGroup, Reply};
use ottla_core::question::Question;
use ottla_model::config::BrokerConfig;
use ottla_model::{GROUP_METADATA_TOPIC, TopicId, TopicName};
use ottla_node::coordinator::{Ending, groups};
use ottla_protocol::ErrorCode;
use tokio::sync::oneshot;

use super::coordinator::{Coordinator, Service, Surroundings};
use super::partition::Partition;

/// The group coordinator of this broker.
pub(crate) struct GroupCoordinator {
    coordinator: Arc<Coordinator<Groups<oneshot::Sender<Reply>>>>,
}

impl GroupCoordinator {
    pub fn new(config: &BrokerConfig, surroundings: Surroundings) -> GroupCoordinator {
        let settings = Arc::new(groups::settings(config));
        let service = Service {
            topic: GROUP_METADATA_TOPIC,
            terms: groups::terms(config),
            load_buffer_bytes: groups::load_buffer_bytes(config),
            empty_machine: Box::new(move |_| Groups::new(settings.clone(), Box::new(rand::random::<u64>))),
            run: Box::new(|_, _, never| match never {}),
        };
        GroupCoordinator { coordinator: Arc::new(Coordinator::new(surroundings, service)) }
    }

    /// Sends a question to the shard of a group and waits for the answer.
    pub async fn ask<Q: OfGroup>(&self, question: Q) -> Q::Answer {
        match self.coordinator.shard_of(question.group()) {
            Some(shard) => self.coordinator.ask(shard, question).await,
            None => Q::answer(question.command().refused(ErrorCode::CoordinatorNotAvailable)),
        }
    }

    /// Sends a question to every shard that this broker leads, and returns the answers in the order of the shards.
    pub async fn ask_all<Q>(&self, question: &Q) -> Vec<Q::Answer>
    where
        Q: Question<Command = Command, Reply = Reply> + Clone,
    {
        let mut answers = Vec::new();
        for shard in self.coordinator.led_here() {
            answers.push(self.coordinator.ask(shard, question.clone()).await);
        }
        answers
    }

    /// The shard that a group falls to. `None`: the offsets topic does not exist yet.
    pub fn shard_of(&self, group: &str) -> Option<i32> {
        self.coordinator.shard_of(group)
    }

    /// The partition of a group's shard. `None`: this broker does not lead it.
    pub fn partition_of(&self, group: &str) -> Option<Arc<Partition>> {
        self.coordinator.partition(self.shard_of(group)?)
    }

    /// Sends the end of a transaction that has offsets in a shard, then waits for the outcome.
    pub fn end_transaction(
        &self,
        shard: i32,
        ending: Ending,
    ) -> impl Future<Output = ErrorCode> + Send + use<> {
        let ended = self.coordinator.end_transaction(shard, ending);
        async move {
            match ended.await {
                Reply::TransactionEnded(outcome) => outcome,
                other => panic!("a reply to something else than the end of a transaction: {other:?}"),
            }
        }
    }

    /// Loads the shards that this broker leads before the first command for them.
    pub fn wake_all(&self) {
        self.coordinator.wake_all();
    }

    /// See [`Coordinator::say_once`].
    pub fn say_once(&self, why: &str) {
        self.coordinator.say_once(why);
    }

    /// Tells every shard that these topics were deleted, so that it removes the offsets committed in them.
    pub fn topics_deleted(&self, topics: &[(TopicName, TopicId)]) {
        self.coordinator.tell_all(|| Command::TopicsDeleted { topics: topics.to_vec() });
    }
}
