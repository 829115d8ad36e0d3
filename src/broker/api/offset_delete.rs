//! OffsetDelete v0 (KIP-496). Topics that do not exist are answered here.

use std::collections::BTreeSet;

use bytes::Bytes;
use ottla_core::group::{DeleteOffsets, OffsetsDeleted};
use ottla_protocol::ErrorCode;
use ottla_protocol::api::{Operation, Resource};
use ottla_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use ottla_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse, TopicName};

use super::context::{Begun, Context};
use super::groups::shared;
use crate::broker::Broker;

pub(super) fn begin(context: &Context<'_>, body: Bytes) -> Begun {
    let broker = context.broker;
    let request: OffsetDeleteRequest = context.read(body)?;
    if let Err(code) = context.check(Operation::Delete, Resource::Group, &request.group_id) {
        return Ok(context.now(OffsetDeleteResponse::default().with_error_code(code.code())));
    }
    let names = request.topics.iter().map(|topic| &topic.name);
    let refused: BTreeSet<TopicName> = names
        .filter(|name| context.check(Operation::Read, Resource::Topic, name).is_err())
        .cloned()
        .collect();
    let broker = broker.clone();
    Ok(context.later(async move {
        let delete = command(&request, &broker, &refused);
        response(&request, &broker.groups.ask(delete).await, &refused)
    }))
}

fn command(request: &OffsetDeleteRequest, broker: &Broker, refused: &BTreeSet<TopicName>) -> DeleteOffsets {
    let image = broker.image.load();
    let permitted = request.topics.iter().filter(|topic| !refused.contains(&topic.name));
    let topics = permitted.filter_map(|topic| {
        let known = image.topic(&topic.name)?;
        let asked = topic.partitions.iter().map(|p| p.partition_index);
        Some((shared(&topic.name.0), asked.filter(|index| known.partitions.contains_key(index)).collect()))
    });
    DeleteOffsets { group: shared(&request.group_id.0), topics: topics.collect() }
}

fn response(
    request: &OffsetDeleteRequest,
    deleted: &OffsetsDeleted,
    refused: &BTreeSet<TopicName>,
) -> OffsetDeleteResponse {
    let response = OffsetDeleteResponse::default().with_error_code(deleted.error.code());
    if deleted.error != ErrorCode::None {
        return response;
    }
    let topics = request.topics.iter().map(|topic| {
        let told = deleted.topics.iter().find(|(name, _)| **name == **topic.name);
        let partitions = topic.partitions.iter().map(|p| {
            let index = p.partition_index;
            let mine = told.and_then(|(_, partitions)| partitions.iter().find(|(i, _)| *i == index));
            let error = match mine {
                _ if refused.contains(&topic.name) => Resource::Topic.refusal(),
                Some((_, error)) => *error,
                None => ErrorCode::UnknownTopicOrPartition,
            };
            OffsetDeleteResponsePartition::default().with_partition_index(index).with_error_code(error.code())
        });
        OffsetDeleteResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    response.with_topics(topics.collect())
}
