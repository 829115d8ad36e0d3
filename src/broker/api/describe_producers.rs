//! DescribeProducers v0 (KIP-664): the producers that partitions remember, and the transactions that they have open.

use std::sync::Arc;

use bytes::Bytes;
use ottla_log::log::ActiveProducer;
use ottla_model::check_topic_name;
use ottla_protocol::ErrorCode;
use ottla_protocol::api::{Operation, Resource};
use ottla_protocol::messages::describe_producers_response::{
    PartitionResponse, ProducerState, TopicResponse,
};
use ottla_protocol::messages::{DescribeProducersRequest, DescribeProducersResponse};

use super::answers::text;
use super::context::{Begun, Context};
use super::rights::Rights;
use crate::broker::Broker;
use crate::run::owners::partition::Partition;

pub(super) fn begin(context: &Context<'_>, body: Bytes) -> Begun {
    let broker = context.broker;
    let request: DescribeProducersRequest = context.read(body)?;
    let (broker, kept) = (broker.clone(), context.rights().keep());
    // A look at a log waits for its owner.
    Ok(context.blocking(move || describe(&broker, kept.rights(), request)))
}

fn describe(
    broker: &Broker,
    rights: Rights<'_>,
    request: DescribeProducersRequest,
) -> DescribeProducersResponse {
    let image = broker.image.load();
    let topics = request.topics.into_iter().map(|topic| {
        let find = || {
            rights.check(Operation::Read, Resource::Topic, &topic.name)?;
            image.topic(&topic.name).ok_or(ErrorCode::UnknownTopicOrPartition)
        };
        let named = match check_topic_name(&topic.name) {
            Err(why) => Err((ErrorCode::InvalidTopicException, why)),
            Ok(()) => find().map_err(|code| (code, code.message().to_owned())),
        };
        let partitions = topic.partition_indexes.iter().map(|index| {
            let response = PartitionResponse::default().with_partition_index(*index).with_error_message(None);
            match &named {
                Err((code, why)) => response.with_error_code(code.code()).with_error_message(Some(text(why))),
                Ok(known) => {
                    match broker.partitions.led(&image, known.id, *index).and_then(|p| producers(&p)) {
                        Ok(active) => response.with_active_producers(active),
                        Err(code) => response.with_error_code(code.code()),
                    }
                }
            }
        });
        let partitions = partitions.collect();
        TopicResponse::default().with_name(topic.name).with_partitions(partitions)
    });
    DescribeProducersResponse::default().with_topics(topics.collect())
}

fn producers(partition: &Arc<Partition>) -> Result<Vec<ProducerState>, ErrorCode> {
    let active = partition.with_log(|log| log.active_producers()).ok_or(ErrorCode::NotLeaderOrFollower)?;
    Ok(active.iter().map(state).collect())
}

fn state(producer: &ActiveProducer) -> ProducerState {
    ProducerState::default()
        .with_producer_id(producer.producer_id.0.into())
        .with_producer_epoch(producer.producer_epoch.0.into())
        .with_last_sequence(producer.last_sequence)
        .with_last_timestamp(producer.last_timestamp)
        .with_coordinator_epoch(producer.coordinator_epoch)
        .with_current_txn_start_offset(producer.current_transaction_start.unwrap_or(-1))
}
