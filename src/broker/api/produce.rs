//! Produce v3-13 (KIP-98 batches, KIP-467 record errors from v8, KIP-951 leader hints from v10, KIP-516 topic ids
//! from v13, KIP-890 transactions). Versions 0 to 2 are advertised, because librdkafka compresses only for brokers that do, and closed
//! when used, as in Kafka 4. Missing: quotas.

use std::sync::Arc;

use bytes::Bytes;
use ottla_core::coordinator::Producer;
use ottla_core::partition::Acks;
use ottla_core::session::FetchTopic;
use ottla_log::disk::worker;
use ottla_model::image::Image;
use ottla_model::{TopicId, is_internal};
use ottla_node::verification::{Protocol, Transaction, for_producers};
use ottla_protocol::api::{Operation, Resource};
use ottla_protocol::batch::BatchHeader;
use ottla_protocol::produce::{
    ProducePartitionResponse, ProduceRequest, ProduceResponse, ProduceTopicResponse, RecordError, TopicRef,
};
use ottla_protocol::{ErrorCode, ProducerEpoch, ProducerId};

use super::answers::{THROTTLE_MS, encoded, text};
use super::context::{Begun, Context};
use super::leaders::Leaders;
use crate::broker::Broker;
use crate::request::{Answer, Overtakers, Queued, Staged};
use crate::run::serve::produce::{Outcome, ProduceOptions, Share, produce, reject};
use crate::run::serve::verify::verify_patiently;

/// The topics and partitions of a request, in its order: the frame of the response.
struct RequestedPartitions {
    topics: Vec<(TopicRef, Vec<i32>)>,
    acks: Acks,
}

pub(super) fn begin(context: &Context<'_>, body: Bytes) -> Begun {
    let Context { broker, version, .. } = *context;
    let request = ProduceRequest::read(version, body)?;
    let transaction = transaction(context, &request);
    let (acks, refused) = match (Acks::parse(request.acks), &transaction) {
        (Ok(acks), Err(code)) => (acks, Some(*code)),
        (Ok(acks), Ok(_)) => (acks, None),
        (Err(_), Err(code)) => (Acks::Leader, Some(*code)),
        (Err(code), Ok(_)) => (Acks::Leader, Some(code)),
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
            shares.push(Share { partition: led.map_err(reject), records: partition.records, guard: None });
        }
        topics.push((topic.topic, indexes));
    }
    let asked = RequestedPartitions { topics, acks };
    let options = ProduceOptions { acks, timeout_ms: request.timeout_ms, version };
    let (broker, listener) = (broker.clone(), context.caller.listener.clone());
    let viewer = move |asked: &RequestedPartitions, outcomes| {
        reply(asked, outcomes, version, &broker.image.load(), &listener)
    };
    let Ok(Some(transaction)) = transaction else {
        return Ok(Staged::Queued(queue(asked, shares, &options, viewer)));
    };
    let broker = context.broker.clone();
    Ok(Staged::Queueing(Box::pin(async move {
        verify_shares(&broker, &transaction, &mut shares).await;
        worker::mark();
        queue(asked, shares, &options, viewer)
    })))
}

fn queue(
    asked: RequestedPartitions,
    shares: Vec<Share>,
    options: &ProduceOptions,
    reply: impl Fn(&RequestedPartitions, Vec<Outcome>) -> Answer + Send + 'static,
) -> Queued {
    let producing = produce(shares, options);
    match producing.now() {
        Some(outcomes) => Queued::Answered(reply(&asked, outcomes)),
        None => Queued::Answering(
            Overtakers::Produces,
            Box::pin(async move {
                let outcomes = producing.await;
                reply(&asked, outcomes)
            }),
        ),
    }
}

// The producer and the first sequence of a batch that is part of a transaction. The batches say so, whatever the request says
// (CVE-2018-17196). What is no batch is refused later.
fn transactional(records: Option<&Bytes>) -> Option<(Producer, i32)> {
    let header = BatchHeader::parse(records?).ok()?;
    let producer =
        Producer { id: ProducerId(header.producer_id), epoch: ProducerEpoch(header.producer_epoch) };
    (header.is_transactional() && header.has_producer_id()).then_some((producer, header.base_sequence))
}

// The transaction that the request is part of, or why all of it is refused.
fn transaction(context: &Context<'_>, request: &ProduceRequest) -> Result<Option<Transaction>, ErrorCode> {
    let batches = request.topics.iter().flat_map(|topic| &topic.partitions);
    let mut producers = batches.filter_map(|partition| transactional(partition.records.as_ref()));
    let Some((producer, _)) = producers.next() else { return Ok(None) };
    let refusal = Resource::TransactionalId.refusal();
    let id = request.transactional_id.as_ref().ok_or(refusal)?;
    context.check(Operation::Write, Resource::TransactionalId, id)?;
    if producers.any(|(other, _)| other != producer) {
        return Err(ErrorCode::InvalidProducerIdMapping);
    }
    let protocol = Protocol::of_produce(context.version);
    Ok(Some(Transaction { id: Arc::from(&**id), producer, protocol }))
}

async fn verify_shares(broker: &Broker, transaction: &Transaction, shares: &mut [Share]) {
    let mut places = Vec::new();
    let mut batches = Vec::new();
    for (place, share) in shares.iter().enumerate() {
        if let (Ok(partition), Some((_, first))) = (&share.partition, transactional(share.records.as_ref())) {
            places.push(place);
            batches.push((partition.clone(), first));
        }
    }
    let verified = verify_patiently(broker, transaction, &batches).await;
    for (place, (_, verified)) in places.into_iter().zip(verified) {
        match verified {
            Ok(guard) => shares[place].guard = guard,
            Err(code) => shares[place].partition = Err(for_producers(code, transaction.protocol)),
        }
    }
}

// Who may not write to a topic does not hear whether a topic of that name exists; ids are no secret.
fn resolve(context: &Context<'_>, image: &Image, topic: &TopicRef) -> Result<TopicId, ErrorCode> {
    match topic {
        TopicRef::Id(id) => {
            let known = image.topic_by_id(*id).ok_or(ErrorCode::UnknownTopicId)?;
            context.check(Operation::Write, Resource::Topic, &known.name)?;
            not_internal(context, &known.name)?;
            Ok(*id)
        }
        TopicRef::Name(name) => {
            context.check(Operation::Write, Resource::Topic, name)?;
            let known = image.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition)?;
            not_internal(context, name)?;
            Ok(known.id)
        }
    }
}

// What coordinators remember is theirs to write. As in Kafka, who calls itself by this name may mend it.
fn not_internal(context: &Context<'_>, topic: &str) -> Result<(), ErrorCode> {
    let mends = context.caller.client_id.as_deref() == Some("__admin_client");
    if is_internal(topic) && !mends { Err(ErrorCode::InvalidTopicException) } else { Ok(()) }
}

fn reply(
    asked: &RequestedPartitions,
    outcomes: Vec<Outcome>,
    version: i16,
    image: &Image,
    listener: &str,
) -> Answer {
    if asked.acks == Acks::None {
        // Nobody reads an answer: closing the connection is the only way to say that something went wrong.
        let failed = outcomes.iter().find_map(|o| o.result.as_ref().err());
        return match failed {
            Some(error) => Answer::Close(format!("a Produce with acks=0 failed: {}", error.code.name())),
            None => Answer::Silence,
        };
    }
    let mut outcomes = outcomes.into_iter();
    let mut leaders = Leaders::new(image, listener);
    let mut topics = Vec::with_capacity(asked.topics.len());
    for (topic, indexes) in &asked.topics {
        let partitions = indexes.iter().zip(&mut outcomes).map(|(index, outcome)| {
            let mut partition = partition_reply(*index, outcome);
            if partition.error == ErrorCode::NotLeaderOrFollower && version >= 10 {
                partition.current_leader = leaders.find(&key_of(topic), *index);
            }
            partition
        });
        topics.push(ProduceTopicResponse { topic: topic.clone(), partitions: partitions.collect() });
    }
    let node_endpoints = leaders.endpoints();
    encoded(ProduceResponse { topics, throttle_time_ms: THROTTLE_MS, node_endpoints }, version)
}

fn key_of(topic: &TopicRef) -> FetchTopic {
    match topic {
        TopicRef::Id(id) => FetchTopic::Id(*id),
        TopicRef::Name(name) => FetchTopic::Name(Arc::from(name.as_str())),
    }
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
