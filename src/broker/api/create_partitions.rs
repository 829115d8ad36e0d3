//! CreatePartitions v0-3 (KIP-195; a mutation quota, KIP-599, never refuses here).

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use ottla_core::controller::{CreatePartitions, MorePartitions, Refusal};
use ottla_model::{NodeId, TopicName};
use ottla_protocol::ErrorCode;
use ottla_protocol::api::{Operation, Resource};
use ottla_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use ottla_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use ottla_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

use super::answers::text;
use super::context::{AtNode, Begun};

pub(super) fn begin(context: &AtNode<'_>, body: Bytes) -> Begun {
    let request: CreatePartitionsRequest = context.read(body)?;
    let mut seen = BTreeSet::new();
    let names = request.topics.iter().map(|topic| topic.name.to_string());
    let twice: BTreeSet<String> = names.filter(|name| !seen.insert(name.clone())).collect();
    let once = request.topics.into_iter().filter(|topic| !twice.contains(topic.name.as_str()));
    let permitted =
        |topic: &CreatePartitionsTopic| context.rights().may(Operation::Alter, Resource::Topic, &topic.name);
    let (permitted, refused): (Vec<_>, Vec<_>) = once.partition(permitted);
    let topics: Vec<MorePartitions> = permitted.into_iter().map(ask).collect();
    let controller = context.controller();
    Ok(context.later(async move {
        let validate_only = request.validate_only;
        let named: Vec<TopicName> = topics.iter().map(|topic| topic.name.clone()).collect();
        let outcomes = match controller.ask(CreatePartitions { topics, validate_only }).await {
            Ok(outcomes) => outcomes,
            Err(refused) => named.into_iter().map(|name| (name, Err(refused.into()))).collect(),
        };
        let refused = refused.into_iter().map(|topic| {
            (TopicName::from(topic.name.as_str()), Err(Refusal::from(Resource::Topic.refusal())))
        });
        let twice = twice.into_iter().map(|name| {
            let why = "The request names the topic more than once";
            (TopicName::from(name), Err(Refusal::new(ErrorCode::InvalidRequest, why)))
        });
        let results = twice.chain(refused).chain(outcomes).map(|(name, outcome)| result(&name, outcome));
        CreatePartitionsResponse::default().with_results(results.collect())
    }))
}

fn ask(topic: CreatePartitionsTopic) -> MorePartitions {
    let replicas =
        |ids: Vec<_>| ids.into_iter().map(|id: ottla_protocol::messages::BrokerId| NodeId(id.0)).collect();
    let assignments =
        topic.assignments.map(|all| all.into_iter().map(|assigned| replicas(assigned.broker_ids)).collect());
    MorePartitions { name: Arc::from(topic.name.as_str()), count: topic.count, assignments }
}

fn result(name: &str, outcome: Result<(), Refusal>) -> CreatePartitionsTopicResult {
    let result = CreatePartitionsTopicResult::default().with_name(text(name).into()).with_error_message(None);
    match outcome {
        Ok(()) => result,
        Err(refusal) => {
            result.with_error_code(refusal.code.code()).with_error_message(Some(text(&refusal.message)))
        }
    }
}
