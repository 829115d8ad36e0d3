//! The group coordinator of this broker: the way from a group to its shard. It must never know what the commands for a
//! group are, nor how shards run: `run/owners/coordinator` does.

use std::sync::Arc;

use ottla_core::group::{Command, Groups, OfGroup, Reply};
use ottla_core::question::Question;
use ottla_model::config::BrokerConfig;
use ottla_model::{GROUP_METADATA_TOPIC, TopicId, TopicName};
use ottla_node::coordinator::groups::{self, offsets_topic, shard_of};
use ottla_protocol::ErrorCode;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tracing::warn;

use super::coordinator::Coordinator;
use crate::broker::Broker;

/// The group coordinator of this broker.
pub(crate) struct GroupCoordinator {
    coordinator: Arc<Coordinator<Groups<oneshot::Sender<Reply>>>>,
    /// The last logged reason why the offsets topic could not be created.
    said: Mutex<Option<String>>,
}

impl GroupCoordinator {
    pub fn new(config: &BrokerConfig) -> GroupCoordinator {
        let settings = Arc::new(groups::settings(config));
        let (terms, load_buffer_bytes) = (groups::terms(config), groups::load_buffer_bytes(config));
        let coordinator = Coordinator::new(GROUP_METADATA_TOPIC, terms, load_buffer_bytes, move || {
            Groups::new(settings.clone(), Box::new(rand::random::<u64>))
        });
        GroupCoordinator { coordinator: Arc::new(coordinator), said: Mutex::default() }
    }

    /// Logs why the offsets topic cannot be created, each reason once: clients ask again and again.
    pub fn say_once(&self, why: &str) {
        let mut said = self.said.lock();
        if said.as_deref() != Some(why) {
            warn!(topic = GROUP_METADATA_TOPIC, why, "cannot create the topic");
            *said = Some(why.to_owned());
        }
    }

    /// Tells every shard that these topics were deleted, so that it removes the offsets committed in them.
    pub fn topics_deleted(&self, topics: &[(TopicName, TopicId)]) {
        self.coordinator.tell_all(|| Command::TopicsDeleted { topics: topics.to_vec() });
    }
}

/// Sends a question to the shard of a group and waits for the answer.
pub(crate) async fn ask<Q: OfGroup>(broker: &Arc<Broker>, question: Q) -> Q::Answer {
    let shards = offsets_topic(&broker.image.load()).map(|topic| topic.partitions.len());
    match shards.map(|shards| shard_of(question.group(), shards)) {
        Some(shard) => broker.groups.coordinator.ask(broker, shard, question).await,
        None => Q::answer(question.command().refused(ErrorCode::CoordinatorNotAvailable)),
    }
}

/// Sends a question to every shard that this broker leads, and returns the answers in the order of the shards.
pub(crate) async fn ask_all<Q>(broker: &Arc<Broker>, question: &Q) -> Vec<Q::Answer>
where
    Q: Question<Command = Command, Reply = Reply> + Clone,
{
    let coordinator = &broker.groups.coordinator;
    let mut answers = Vec::new();
    for shard in coordinator.led_here(broker) {
        answers.push(coordinator.ask(broker, shard, question.clone()).await);
    }
    answers
}

/// Loads the shards that this broker leads before the first command for them.
pub(crate) fn wake_all(broker: &Arc<Broker>) {
    broker.groups.coordinator.wake_all(broker);
}
