//! AddPartitionsToTxn v0-5 (KIP-98, KIP-588 PRODUCER_FENCED from v2; from v4 on brokers ask, for many transactions at once
//! and also whether one has the partitions, KIP-890; TRANSACTION_ABORTABLE from v5).

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use ottla_core::txn::{AddPartitions, VerifyPartitions};
use ottla_model::image::Image;
use ottla_model::is_internal;
use ottla_model::txn::{Partitions, TransactionVersion};
use ottla_protocol::ErrorCode;
use ottla_protocol::api::{Operation, Resource};
use ottla_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use ottla_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use ottla_protocol::messages::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse};

use super::context::{Begun, Context};
use super::groups::shared;
use super::transactions::{producer, told};

/// From this version on brokers ask.
const BROKERS_SINCE: i16 = 4;

/// An error for each partition of a transaction, in the order of the request.
type Outcome = Vec<(AddPartitionsToTxnTopic, Vec<ErrorCode>)>;

type Answer = Pin<Box<dyn Future<Output = Outcome> + Send>>;

pub(super) fn begin(context: &Context<'_>, body: Bytes) -> Begun {
    let version = context.version;
    let request: AddPartitionsToTxnRequest = context.read(body)?;
    let transactions = match version {
        BROKERS_SINCE.. => {
            if let Err(code) = context.check_cluster(Operation::ClusterAction) {
                let refused = AddPartitionsToTxnResponse::default().with_error_code(code.code());
                return Ok(context.now(refused));
            }
            request.transactions
        }
        _ => vec![of_client(request)],
    };
    let image = context.broker.image.load();
    let asked: Vec<_> = transactions
        .into_iter()
        .map(|transaction| (transaction.transactional_id.clone(), ask(context, &image, transaction)))
        .collect();
    Ok(context.later(async move {
        let mut results = Vec::with_capacity(asked.len());
        for (id, answer) in asked {
            let topics = answer.await.into_iter().map(topic_result).collect();
            results.push(
                AddPartitionsToTxnResult::default().with_transactional_id(id).with_topic_results(topics),
            );
        }
        let response = AddPartitionsToTxnResponse::default();
        match version {
            BROKERS_SINCE.. => response.with_results_by_transaction(results),
            _ => {
                let only = results.pop().unwrap_or_default();
                response.with_results_by_topic_v3_and_below(only.topic_results)
            }
        }
    }))
}

fn of_client(request: AddPartitionsToTxnRequest) -> AddPartitionsToTxnTransaction {
    AddPartitionsToTxnTransaction::default()
        .with_transactional_id(request.v3_and_below_transactional_id)
        .with_producer_id(request.v3_and_below_producer_id)
        .with_producer_epoch(request.v3_and_below_producer_epoch)
        .with_topics(request.v3_and_below_topics)
}

// Asks the coordinator, unless some of the partitions cannot be added.
fn ask(context: &Context<'_>, image: &Image, asked: AddPartitionsToTxnTransaction) -> Answer {
    let Context { broker, version, .. } = *context;
    let permitted = match version {
        BROKERS_SINCE.. => Ok(()),
        _ => context.check(Operation::Write, Resource::TransactionalId, &asked.transactional_id),
    };
    if let Err(code) = permitted {
        return known(all(asked.topics, |_, _| code));
    }
    let refusals = all(asked.topics, |topic, index| refusal(context, image, &topic.name, index));
    if refusals.iter().flat_map(|(_, codes)| codes).any(|code| *code != ErrorCode::None) {
        return known(not_attempted(refusals));
    }
    let topics: Vec<_> = refusals.into_iter().map(|(topic, _)| topic).collect();
    let transactional_id = shared(&asked.transactional_id.0);
    let producer = producer(asked.producer_id, asked.producer_epoch);
    let mut partitions = Partitions::new();
    for topic in topics.iter().filter(|topic| !topic.partitions.is_empty()) {
        partitions.entry(shared(&topic.name.0)).or_default().extend(&topic.partitions);
    }
    if asked.verify_only {
        let answer = broker.transactions.ask(VerifyPartitions { transactional_id, producer, partitions });
        return Box::pin(async move {
            let verified = answer.await;
            let of = |name: &str, index: i32| {
                let found = verified.iter().find(|(topic, at, _)| &**topic == name && *at == index);
                found.map_or(ErrorCode::UnknownServerError, |(.., code)| *code)
            };
            all(topics, |topic, index| of(&topic.name, index))
        });
    }
    let client_version = match version {
        BROKERS_SINCE.. => TransactionVersion::EPOCH_BUMP,
        _ => TransactionVersion::ORIGINAL,
    };
    let add = AddPartitions { transactional_id, producer, partitions, client_version };
    let answer = broker.transactions.ask(add);
    Box::pin(async move {
        let code = told(answer.await, version);
        all(topics, |_, _| code)
    })
}

// Clients add no partitions of internal topics: AddOffsetsToTxn does, for them.
fn refusal(context: &Context<'_>, image: &Image, topic: &str, index: i32) -> ErrorCode {
    let by_client = context.version < BROKERS_SINCE;
    let permitted = match by_client {
        true if is_internal(topic) => Err(Resource::Topic.refusal()),
        true => context.check(Operation::Write, Resource::Topic, topic),
        false => Ok(()),
    };
    match permitted {
        Err(code) => code,
        Ok(()) if image.partition(topic, index).is_none() => ErrorCode::UnknownTopicOrPartition,
        Ok(()) => ErrorCode::None,
    }
}

fn all(
    topics: Vec<AddPartitionsToTxnTopic>,
    verdict: impl Fn(&AddPartitionsToTxnTopic, i32) -> ErrorCode,
) -> Outcome {
    let each = topics.into_iter().map(|topic| {
        let codes = topic.partitions.iter().map(|index| verdict(&topic, *index)).collect();
        (topic, codes)
    });
    each.collect()
}

// One that fails fails them all.
fn not_attempted(mut refusals: Outcome) -> Outcome {
    let codes = refusals.iter_mut().flat_map(|(_, codes)| codes);
    codes.filter(|code| **code == ErrorCode::None).for_each(|code| *code = ErrorCode::OperationNotAttempted);
    refusals
}

fn topic_result((topic, codes): (AddPartitionsToTxnTopic, Vec<ErrorCode>)) -> AddPartitionsToTxnTopicResult {
    let partitions = topic.partitions.iter().zip(codes).map(|(index, code)| {
        AddPartitionsToTxnPartitionResult::default()
            .with_partition_index(*index)
            .with_partition_error_code(code.code())
    });
    let partitions = partitions.collect();
    AddPartitionsToTxnTopicResult::default().with_name(topic.name).with_results_by_partition(partitions)
}

fn known(outcome: Outcome) -> Answer {
    Box::pin(std::future::ready(outcome))
}
