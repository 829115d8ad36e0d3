//! ElectLeaders v0-2 (KIP-183; KIP-460 unclean elections from v1).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ottla_core::controller::{ElectLeaders, Election, Refusal};
use ottla_model::TopicName;
use ottla_protocol::ErrorCode;
use ottla_protocol::api::Operation;
use ottla_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use ottla_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};

use super::answers::text;
use super::context::{AtNode, Begun};

pub(super) fn begin(context: &AtNode<'_>, body: Bytes) -> Begun {
    let version = context.version;
    let request: ElectLeadersRequest = context.read(body)?;
    if let Err(code) = context.check_cluster(Operation::Alter) {
        return Ok(context.now(refused(&request, code, version)));
    }
    let election = match request.election_type {
        _ if version == 0 => Election::Preferred,
        0 => Election::Preferred,
        1 => Election::Unclean,
        _ => return Ok(context.now(failed(ErrorCode::InvalidRequest, version))),
    };
    let named = |topics: Vec<_>| {
        let mut by_name: BTreeMap<TopicName, Vec<i32>> = BTreeMap::new();
        for topic in topics {
            let ottla_protocol::messages::elect_leaders_request::TopicPartitions {
                topic, partitions, ..
            } = topic;
            by_name.entry(Arc::from(topic.as_str())).or_default().extend(partitions);
        }
        by_name.into_iter().collect()
    };
    let partitions = request.topic_partitions.map(named);
    let controller = context.controller();
    Ok(context.later(async move {
        match controller.ask(ElectLeaders { election, partitions }).await {
            Ok(elected) => {
                let results = elected.into_iter().map(|(topic, outcomes)| {
                    let outcomes = outcomes.into_iter().map(|(index, outcome)| result(index, outcome));
                    ReplicaElectionResult::default()
                        .with_topic(text(&topic).into())
                        .with_partition_result(outcomes.collect())
                });
                ElectLeadersResponse::default().with_replica_election_results(results.collect())
            }
            Err(refused) => failed(refused.into(), version),
        }
    }))
}

fn result(index: i32, outcome: Result<(), Refusal>) -> PartitionResult {
    let result = PartitionResult::default().with_partition_id(index).with_error_message(None);
    match outcome {
        Ok(()) => result,
        Err(refusal) => {
            result.with_error_code(refusal.code.code()).with_error_message(Some(text(&refusal.message)))
        }
    }
}

// Of each partition, too: version 0 has no other place for it.
fn refused(request: &ElectLeadersRequest, code: ErrorCode, version: i16) -> ElectLeadersResponse {
    let results = request.topic_partitions.iter().flatten().map(|topic| {
        let partitions = topic.partitions.iter().map(|index| result(*index, Err(code.into()))).collect();
        ReplicaElectionResult::default().with_topic(topic.topic.clone()).with_partition_result(partitions)
    });
    failed(code, version).with_replica_election_results(results.collect())
}

// Version 0 has no place for it.
fn failed(code: ErrorCode, version: i16) -> ElectLeadersResponse {
    let response = ElectLeadersResponse::default();
    if version >= 1 { response.with_error_code(code.code()) } else { response }
}
