//! Metadata v0-13 (KIP-4, KIP-516 topic ids from v10, KIP-1102 rebootstrap from v13). Creates topics that are named
//! and missing if both sides want it; they have leaders when the answer goes out. Missing: authorized operations.

use std::sync::Arc;

use bytes::Bytes;
use ottla_model::image::{Image, Topic};
use ottla_model::{TopicId, TopicName, check_topic_name};
use ottla_protocol::api::ApiKey;
use ottla_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use ottla_protocol::messages::{MetadataRequest, MetadataResponse};
use ottla_protocol::{ErrorCode, codec};

use super::topics::{Eyes, controller, ids, is_internal, reachable, see};
use super::{Begun, Caller, NO_OPERATIONS, later, now, text};
use crate::broker::Broker;
use crate::run::create::auto_create;

/// Which topics are asked for.
enum Asked {
    All,
    These(Vec<Named>),
}

enum Named {
    Name(TopicName),
    Id(TopicId),
}

pub(super) fn begin(broker: &Arc<Broker>, caller: &Caller, version: i16, body: Bytes) -> Begun {
    let request: MetadataRequest = codec::decode(ApiKey::Metadata.code(), version, body)?;
    let may_create =
        broker.config().auto_create_topics_enable && (version < 4 || request.allow_auto_topic_creation);
    let asked = ask(request, version);
    let image = broker.image.load_full();
    let missing = if may_create { missing(&image, &asked) } else { Vec::new() };
    if missing.is_empty() {
        return Ok(now(&reply(broker, &image, &asked, &[], caller, version), version));
    }
    let (broker, caller) = (broker.clone(), caller.clone());
    Ok(later(version, async move {
        let outcomes = auto_create(&broker, missing).await;
        let image = broker.image.load_full();
        reply(&broker, &image, &asked, &outcomes, &caller, version)
    }))
}

// In version 0 an empty list is every topic, later null is, and an empty list is none.
fn ask(request: MetadataRequest, version: i16) -> Asked {
    match request.topics {
        None => Asked::All,
        Some(topics) if topics.is_empty() && version == 0 => Asked::All,
        Some(topics) => Asked::These(
            topics
                .into_iter()
                .map(|topic| match topic.name {
                    Some(name) => Named::Name(Arc::from(name.as_str())),
                    None => Named::Id(topic.topic_id),
                })
                .collect(),
        ),
    }
}

fn missing(image: &Image, asked: &Asked) -> Vec<TopicName> {
    let Asked::These(named) = asked else { return Vec::new() };
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
    missing
}

fn reply(
    broker: &Broker,
    image: &Image,
    asked: &Asked,
    created: &[(TopicName, ErrorCode)],
    caller: &Caller,
    version: i16,
) -> MetadataResponse {
    let listener = &*caller.listener;
    let eyes = Eyes { broker, image, listener };
    let topics = match asked {
        Asked::All => image.topics().map(|topic| describe(eyes, topic)).collect(),
        Asked::These(named) => named.iter().map(|one| describe_named(eyes, one, created, version)).collect(),
    };
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
        .with_controller_id(controller(image, listener).into())
        .with_topics(topics);
    // Versions 8 to 10 have this field for the cluster; what was not asked for has a value of its own.
    if (8..=10).contains(&version) {
        response.with_cluster_authorized_operations(NO_OPERATIONS)
    } else {
        response
    }
}

fn describe_named(
    eyes: Eyes<'_>,
    named: &Named,
    created: &[(TopicName, ErrorCode)],
    version: i16,
) -> MetadataResponseTopic {
    match named {
        Named::Name(name) => match eyes.image.topic(name) {
            Some(topic) => describe(eyes, topic),
            None => {
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
        Named::Id(id) => match eyes.image.topic_by_id(*id) {
            Some(topic) => describe(eyes, topic),
            None => {
                // Before version 12 a name cannot be null.
                let name = (version < 12).then(|| text("").into());
                unknown(ErrorCode::UnknownTopicId).with_topic_id(*id).with_name(name)
            }
        },
    }
}

fn unknown(code: ErrorCode) -> MetadataResponseTopic {
    MetadataResponseTopic::default()
        .with_error_code(code.code())
        .with_topic_authorized_operations(NO_OPERATIONS)
}

fn describe(eyes: Eyes<'_>, topic: &Topic) -> MetadataResponseTopic {
    let partitions = topic.partitions.iter().map(|(index, partition)| {
        let seen = see(eyes, topic, *index, partition);
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
        .with_topic_authorized_operations(NO_OPERATIONS)
}
