//! Produce v3-13 (KIP-98 batches, KIP-467 record errors from v8, KIP-951 leader hints from v10, KIP-516 topic ids
//! from v13). Versions 0 to 2 are advertised, because librdkafka compresses only for brokers that do, and closed
//! when used, as in Kafka 4. Missing: transactions, quotas.

use bytes::Bytes;
use ottla_core::partition::Acks;
use ottla_model::TopicId;
use ottla_model::image::Image;
use ottla_protocol::ErrorCode;
use ottla_protocol::api::{Operation, Resource};
use ottla_protocol::produce::{
    ProducePartitionResponse, ProduceRequest, ProduceResponse, ProduceTopicResponse, RecordError, TopicRef,
};

use super::answers::{THROTTLE_MS, encoded, text};
use super::context::{Begun, Context};
use crate::request::{Answer, Overtakers, Queued, Staged};
use crate::run::serve::produce::{Outcome, ProduceOptions, Share, produce};

/// The topics and partitions of a request, in its order: the frame of the response.
struct RequestedPartitions {
    topics: Vec<(TopicRef, Vec<i32>)>,
    acks: Acks,
}

pub(super) fn begin(context: &Context<'_>, body: Bytes) -> Begun {
    let Context { broker, version, .. } = *context;
    let request = ProduceRequest::read(version, body)?;
    let transaction = request.transactional_id.as_ref().map(|id| {
        let permitted = context.check(Operation::Write, Resource::TransactionalId, id);
        // A transactional id without a coordinator for it: the transaction cannot be open.
        permitted.err().unwrap_or(ErrorCode::InvalidTxnState)
    });
    let (acks, refused) = match Acks::parse(request.acks) {
        Ok(acks) => (acks, transaction),
        Err(code) => (Acks::Leader, Some(code)),
    };
    let image = broker.image.load();
    let mut topics = Vec::with_capacity(request.topics.len());
    let mut shares = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let found = refused.map_or_else(|| resolve(context, &image, &topic.topic), Err);
        let mut indexes = Vec::with_capacity(topic.partitions.len());
        for partition in topic.partitions {
            let led = found.and_then(|id| broker.partitions.led(&image, id, partition.index));
            indexes.push(partition.index);
            shares.push(Share { partition: led, records: partition.records });
        }
        topics.push((topic.topic, indexes));
    }
    let asked = RequestedPartitions { topics, acks };
    let producing = produce(shares, &ProduceOptions { acks, timeout_ms: request.timeout_ms, version });
    Ok(Staged::Queued(match producing.now() {
        Some(outcomes) => Queued::Answered(reply(&asked, outcomes, version)),
        None => Queued::Answering(
            Overtakers::Produces,
            Box::pin(async move { reply(&asked, producing.await, version) }),
        ),
    }))
}

// Who may not write to a topic does not hear whether a topic of that name exists; ids are no secret.
fn resolve(context: &Context<'_>, image: &Image, topic: &TopicRef) -> Result<TopicId, ErrorCode> {
    match topic {
        TopicRef::Id(id) => {
            let known = image.topic_by_id(*id).ok_or(ErrorCode::UnknownTopicId)?;
            context.check(Operation::Write, Resource::Topic, &known.name)?;
            Ok(*id)
        }
        TopicRef::Name(name) => {
            context.check(Operation::Write, Resource::Topic, name)?;
            image.topic(name).map(|known| known.id).ok_or(ErrorCode::UnknownTopicOrPartition)
        }
    }
}

fn reply(asked: &RequestedPartitions, outcomes: Vec<Outcome>, version: i16) -> Answer {
    if asked.acks == Acks::None {
        // Nobody reads an answer: closing the connection is the only way to say that something went wrong.
        let failed = outcomes.iter().find_map(|o| o.result.as_ref().err());
        return match failed {
            Some(error) => Answer::Close(format!("a Produce with acks=0 failed: {}", error.code.name())),
            None => Answer::Silence,
        };
    }
    let mut outcomes = outcomes.into_iter();
    let topics = asked.topics.iter().map(|(topic, indexes)| ProduceTopicResponse {
        topic: topic.clone(),
        partitions: indexes.iter().zip(&mut outcomes).map(|(i, o)| partition_reply(*i, o)).collect(),
    });
    let topics = topics.collect();
    encoded(ProduceResponse { topics, throttle_time_ms: THROTTLE_MS, node_endpoints: Vec::new() }, version)
}

fn partition_reply(index: i32, outcome: Outcome) -> ProducePartitionResponse {
    match outcome.result {
        Ok(stored) => ProducePartitionResponse {
            base_offset: stored.base_offset,
            log_append_time_ms: stored.log_append_time_ms,
            log_start_offset: stored.log_start_offset,
            ..ProducePartitionResponse::failed(index, ErrorCode::None)
        },
        Err(rejected) => ProducePartitionResponse {
            record_errors: rejected
                .record_errors
                .iter()
                .map(|(batch_index, message)| RecordError {
                    batch_index: *batch_index,
                    message: Some(text(message)),
                })
                .collect(),
            error_message: (!rejected.message.is_empty()).then(|| text(&rejected.message)),
            ..ProducePartitionResponse::failed(index, rejected.code)
        },
    }
}
