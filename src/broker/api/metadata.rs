//! Metadata v0-13 (KIP-4, KIP-430 authorized operations from v8, KIP-516 topic ids from v10, KIP-1102 rebootstrap from v13).
//! Creates topics that are named and missing if both sides want it; they have leaders when the answer goes out.

use std::sync::Arc;

use bytes::Bytes;
use ottla_model::image::{Image, Topic};
use ottla_model::{TopicId, TopicName, check_topic_name};
use ottla_protocol::ErrorCode;
use ottla_protocol::api::{OPERATIONS_NOT_ASKED, Operation, Resource};
use ottla_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use ottla_protocol::messages::{MetadataRequest, MetadataResponse};

use super::answers::text;
use super::context::{Begun, Context};
use super::rights::Rights;
use super::topics::{Viewer, controller, ids, is_internal, reachable, see};
use crate::broker::Broker;
use crate::run::serve::create::auto_create;

struct MetadataQuestion {
    topics: Topics,
    cluster_operations: bool,
    topic_operations: bool,
}

/// Which topics are asked for.
enum Topics {
    All,
    These(Vec<Named>),
}

enum Named {
    Name(TopicName),
    Id(TopicId),
}

pub(super) fn begin(context: &Context<'_>, body: Bytes) -> Begun {
    let Context { broker, version, .. } = *context;
    let request: MetadataRequest = context.read(body)?;
    let may_create =
        broker.config().auto_create_topics_enable && (version < 4 || request.allow_auto_topic_creation);
    let asked = ask(request, version);
    let image = broker.image.load_full();
    let missing = if may_create { missing(&image, &asked, context.rights()) } else { Vec::new() };
    let may_create = |name: &TopicName| context.rights().may(Operation::Create, Resource::Topic, name);
    let (missing, refused): (Vec<_>, Vec<_>) = missing.into_iter().partition(may_create);
    let refused = refused.into_iter().map(|name| (name, Resource::Topic.refusal()));
    let mut outcomes: Vec<(TopicName, ErrorCode)> = refused.collect();
    if missing.is_empty() {
        return Ok(context.now(reply(broker, &image, &asked, &outcomes, context.rights(), version)));
    }
    let (broker, kept) = (broker.clone(), context.rights().keep());
    Ok(context.later(async move {
        outcomes.extend(auto_create(&broker, missing).await);
        let image = broker.image.load_full();
        reply(&broker, &image, &asked, &outcomes, kept.rights(), version)
    }))
}

// In version 0 an empty list is every topic, later null is, and an empty list is none.
fn ask(request: MetadataRequest, version: i16) -> MetadataQuestion {
    let topics = match request.topics {
        None => Topics::All,
        Some(topics) if topics.is_empty() && version == 0 => Topics::All,
        Some(topics) => Topics::These(
            topics
                .into_iter()
                .map(|topic| match topic.name {
                    Some(name) => Named::Name(Arc::from(name.as_str())),
                    None => Named::Id(topic.topic_id),
                })
                .collect(),
        ),
    };
    MetadataQuestion {
        topics,
        cluster_operations: request.include_cluster_authorized_operations,
        topic_operations: request.include_topic_authorized_operations,
    }
}

fn missing(image: &Image, asked: &MetadataQuestion, rights: Rights<'_>) -> Vec<TopicName> {
    let Topics::These(named) = &asked.topics else { return Vec::new() };
    let mut missing: Vec<TopicName> = named
        .iter()
        .filter_map(|one| match one {
            Named::Name(name) if image.topic(name).is_none() && check_topic_name(name).is_ok() => {
                Some(name.clone())
            }
            _ => None,
        })
        .collect();
    missing.sort();
    missing.dedup();
    missing.retain(|name| rights.may(Operation::Describe, Resource::Topic, name));
    missing
}

fn reply(
    broker: &Broker,
    image: &Image,
    asked: &MetadataQuestion,
    created: &[(TopicName, ErrorCode)],
    rights: Rights<'_>,
    version: i16,
) -> MetadataResponse {
    let listener = &*rights.caller.listener;
    let viewer = Viewer { broker, image, listener };
    let mut topics: Vec<_> = match &asked.topics {
        Topics::All => {
            let shown = |topic: &&Arc<Topic>| rights.may(Operation::Describe, Resource::Topic, &topic.name);
            image.topics().filter(shown).map(|topic| describe(viewer, topic)).collect()
        }
        Topics::These(named) => {
            named.iter().map(|one| describe_named(viewer, rights, one, created, version)).collect()
        }
    };
    // Not of a topic whose id nobody knows, or of which the caller must not hear.
    let nothing = [ErrorCode::UnknownTopicId.code(), Resource::Topic.refusal().code()];
    for topic in topics.iter_mut().filter(|topic| !nothing.contains(&topic.error_code)) {
        let name = topic.name.as_ref().filter(|_| asked.topic_operations);
        topic.topic_authorized_operations =
            name.map_or(OPERATIONS_NOT_ASKED, |name| rights.operations(Resource::Topic, name));
    }
    let brokers = reachable(image, listener).map(|(broker, endpoint)| {
        MetadataResponseBroker::default()
            .with_node_id(broker.id.0.into())
            .with_host(text(&endpoint.host))
            .with_port(i32::from(endpoint.port))
            .with_rack(broker.rack.as_deref().map(text))
    });
    let response = MetadataResponse::default()
        .with_brokers(brokers.collect())
        .with_cluster_id(Some(text(&broker.cluster_id)))
        .with_controller_id(controller(broker.me, image, listener).into())
        .with_topics(topics);
    if (8..=10).contains(&version) {
        let operations = asked.cluster_operations.then(|| rights.cluster_operations());
        response.with_cluster_authorized_operations(operations.unwrap_or(OPERATIONS_NOT_ASKED))
    } else {
        response
    }
}

fn describe_named(
    viewer: Viewer<'_>,
    rights: Rights<'_>,
    named: &Named,
    created: &[(TopicName, ErrorCode)],
    version: i16,
) -> MetadataResponseTopic {
    let check = |name: &str| rights.check(Operation::Describe, Resource::Topic, name);
    // Before version 12 a name cannot be null.
    let no_name = || (version < 12).then(|| text("").into());
    match named {
        Named::Name(name) => match (check(name), viewer.image.topic(name)) {
            (Err(code), _) => unknown(code).with_name(Some(text(name).into())),
            (Ok(()), Some(topic)) => describe(viewer, topic),
            (Ok(()), None) => {
                let tried = created.iter().find(|(created, _)| created == name).map(|(_, code)| *code);
                let code = match tried {
                    // Created, and gone again already.
                    Some(ErrorCode::None) => ErrorCode::UnknownTopicOrPartition,
                    Some(code) => code,
                    None if check_topic_name(name).is_err() => ErrorCode::InvalidTopicException,
                    None => ErrorCode::UnknownTopicOrPartition,
                };
                unknown(code).with_name(Some(text(name).into()))
            }
        },
        Named::Id(id) => match viewer.image.topic_by_id(*id) {
            Some(topic) => match check(&topic.name) {
                Ok(()) => describe(viewer, topic),
                Err(code) => unknown(code).with_topic_id(*id).with_name(no_name()),
            },
            None => unknown(ErrorCode::UnknownTopicId).with_topic_id(*id).with_name(no_name()),
        },
    }
}

fn unknown(code: ErrorCode) -> MetadataResponseTopic {
    MetadataResponseTopic::default().with_error_code(code.code())
}

fn describe(viewer: Viewer<'_>, topic: &Topic) -> MetadataResponseTopic {
    let partitions = topic.partitions.iter().map(|(index, partition)| {
        let seen = see(viewer, topic, *index, partition);
        MetadataResponsePartition::default()
            .with_error_code(seen.error.code())
            .with_partition_index(*index)
            .with_leader_id(seen.leader.into())
            .with_leader_epoch(partition.leader_epoch.0)
            .with_replica_nodes(ids(&partition.replicas))
            .with_isr_nodes(ids(&partition.isr))
            .with_offline_replicas(ids(&seen.offline))
    });
    MetadataResponseTopic::default()
        .with_name(Some(text(&topic.name).into()))
        .with_topic_id(topic.id)
        .with_is_internal(is_internal(topic))
        .with_partitions(partitions.collect())
}
