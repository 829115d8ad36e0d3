//! CreateTopics v2-7 (KIP-4, KIP-464 defaults from v4, KIP-525 configs in the answer from v5, KIP-516 ids from v7).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use ottla_core::controller::{CreateTopics, Created, NewTopic, NotController, Refusal};
use ottla_model::config::describe_topic;
use ottla_model::{NodeId, TopicName};
use ottla_protocol::ErrorCode;
use ottla_protocol::api::{Operation, Resource};
use ottla_protocol::messages::create_topics_request::CreatableTopic;
use ottla_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use ottla_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};

use super::answers::text;
use super::context::{AtNode, Begun, Context};
use crate::node::Node;

pub(super) fn begin(context: &AtNode<'_>, body: Bytes) -> Begun {
    let Context { node, version, .. } = *context;
    let request: CreateTopicsRequest = context.read(body)?;
    let mut count: BTreeMap<TopicName, usize> = BTreeMap::new();
    for topic in &request.topics {
        *count.entry(Arc::from(topic.name.as_str())).or_default() += 1;
    }
    // A name that stands there twice is refused once; which of the two was meant nobody can tell.
    let order: Vec<TopicName> = first_of_each(&request.topics);
    let may = |operation, name: &TopicName| context.rights().may(operation, Resource::Topic, name);
    let refused = order.iter().filter(|name| !may(Operation::Create, name)).cloned();
    let refused: BTreeSet<TopicName> = refused.collect();
    let opaque = order.iter().filter(|name| !may(Operation::DescribeConfigs, name)).cloned();
    let opaque: BTreeSet<TopicName> = opaque.collect();
    let topics = request.topics.into_iter().map(new_topic);
    let topics = topics.filter(|t| count[&t.name] == 1 && !refused.contains(&t.name)).collect();
    let validate_only = request.validate_only;
    let (node, controller) = (node.clone(), context.controller());
    Ok(context.later(async move {
        let outcomes: BTreeMap<TopicName, _> =
            match controller.ask(CreateTopics { topics, validate_only }).await {
                Ok(outcomes) => outcomes.into_iter().collect(),
                Err(NotController) => BTreeMap::new(),
            };
        let results = order.into_iter().map(|name| {
            let outcome = if count[&name] > 1 {
                Err(Refusal::new(ErrorCode::InvalidRequest, "Duplicate topic name."))
            } else if refused.contains(&name) {
                Err(Resource::Topic.refusal().into())
            } else {
                outcomes.get(&name).cloned().unwrap_or_else(|| Err(NotController.into()))
            };
            let result = result(&node, &name, outcome, validate_only, version);
            if version >= 5 && opaque.contains(&name) { without_configs(result) } else { result }
        });
        CreateTopicsResponse::default().with_topics(results.collect())
    }))
}

fn first_of_each(topics: &[CreatableTopic]) -> Vec<TopicName> {
    let mut order: Vec<TopicName> = Vec::new();
    for topic in topics {
        if !order.iter().any(|known| **known == *topic.name.as_str()) {
            order.push(Arc::from(topic.name.as_str()));
        }
    }
    order
}

fn new_topic(topic: CreatableTopic) -> NewTopic {
    let assignments = topic.assignments.into_iter().map(|assigned| {
        let replicas = assigned.broker_ids.into_iter().map(|id| NodeId(id.0)).collect();
        (assigned.partition_index, replicas)
    });
    let configs = topic.configs.into_iter().map(|c| (c.name.to_string(), c.value.map(|v| v.to_string())));
    NewTopic {
        name: Arc::from(topic.name.as_str()),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: assignments.collect(),
        configs: configs.collect(),
    }
}

fn result(
    node: &Node,
    name: &str,
    outcome: Result<Created, Refusal>,
    validate_only: bool,
    version: i16,
) -> CreatableTopicResult {
    let result = CreatableTopicResult::default().with_name(text(name).into()).with_error_message(None);
    let created = match outcome {
        Ok(created) => created,
        Err(refusal) => {
            let result =
                result.with_error_code(refusal.code.code()).with_error_message(Some(text(&refusal.message)));
            return if version >= 5 {
                result.with_num_partitions(-1).with_replication_factor(-1).with_configs(Some(Vec::new()))
            } else {
                result
            };
        }
    };
    let result = if version >= 5 {
        result
            .with_num_partitions(created.partitions)
            .with_replication_factor(created.replication_factor)
            .with_configs(Some(configs(node, &created)))
    } else {
        result
    };
    // A topic that was only tried out has no id.
    if version >= 7 && !validate_only { result.with_topic_id(created.id) } else { result }
}

// Who may not describe a topic's configs does not hear what it was created with either.
fn without_configs(result: CreatableTopicResult) -> CreatableTopicResult {
    if result.error_code != ErrorCode::None.code() {
        return result;
    }
    result
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_configs(Some(Vec::new()))
        .with_topic_config_error_code(Resource::Topic.refusal().code())
}

fn configs(node: &Node, created: &Created) -> Vec<CreatableTopicConfigs> {
    let described = describe_topic(&node.config(), &created.configs);
    let rows = described.into_iter().map(|config| {
        // As it was written; only DescribeConfigs tells what was made of it.
        let value = created.configs.get(&config.name).or(config.value.as_ref());
        CreatableTopicConfigs::default()
            .with_name(text(&config.name))
            .with_value(value.map(|value| text(value)))
            .with_read_only(config.read_only)
            .with_config_source(config.source)
            .with_is_sensitive(config.sensitive)
    });
    rows.collect()
}
