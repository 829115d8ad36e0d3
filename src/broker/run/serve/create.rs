//! Creating topics that a client has only named (`auto.create.topics.enable`), and topics that the broker needs for
//! itself.

use std::sync::Arc;

use ottla_core::controller::{CreateTopics, NewTopic, NotController};
use ottla_model::{TopicName, check_topic_name};
use ottla_protocol::ErrorCode;

use crate::broker::Broker;

/// Creates the missing topics with the broker's defaults. When this returns they have leaders, so that the first Produce
/// finds one. Errors are by topic; a topic that exists by now is no error.
pub(crate) async fn auto_create(broker: &Arc<Broker>, names: Vec<TopicName>) -> Vec<(TopicName, ErrorCode)> {
    let (good, bad): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| check_topic_name(name).is_ok());
    let mut outcomes: Vec<_> = bad.into_iter().map(|name| (name, ErrorCode::InvalidTopicException)).collect();
    if good.is_empty() {
        return outcomes;
    }
    let topics = good.iter().map(|name| NewTopic {
        name: name.clone(),
        partitions: -1,
        replication_factor: -1,
        assignments: Vec::new(),
        configs: Vec::new(),
    });
    let create = CreateTopics { topics: topics.collect(), validate_only: false };
    match broker.controller.ask(create).await {
        Ok(created) => outcomes.extend(created.into_iter().map(|(name, outcome)| {
            let code = match outcome {
                Ok(_) => ErrorCode::None,
                Err(refusal) if refusal.code == ErrorCode::TopicAlreadyExists => ErrorCode::None,
                Err(refusal) => refusal.code,
            };
            (name, code)
        })),
        // It may succeed in a moment: clients ask again.
        Err(NotController) => {
            outcomes.extend(good.into_iter().map(|name| (name, ErrorCode::LeaderNotAvailable)))
        }
    }
    outcomes
}

/// Creates the topic of a coordinator. When this returns it has leaders. The error is usually that there are too few
/// brokers for its replication factor.
pub(crate) async fn create_internal(broker: &Broker, topic: NewTopic) -> Result<(), String> {
    let create = CreateTopics { topics: vec![topic], validate_only: false };
    let refused = match broker.controller.ask(create).await {
        Ok(created) => created.into_iter().find_map(|(_, outcome)| outcome.err()),
        Err(refused) => Some(refused.into()),
    };
    match refused.filter(|refusal| refusal.code != ErrorCode::TopicAlreadyExists) {
        Some(refusal) => Err(refusal.message),
        None => Ok(()),
    }
}
