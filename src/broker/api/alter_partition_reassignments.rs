//! AlterPartitionReassignments v0-1 (KIP-455; KIP-860 says from v1 on whether the number of replicas may change).

use bytes::Bytes;
use ottla_core::controller::{AlterPartitionReassignments, FactorChange, Reassignment, Refusal};
use ottla_model::{NodeId, TopicName};
use ottla_protocol::ErrorCode;
use ottla_protocol::api::Operation;
use ottla_protocol::messages::alter_partition_reassignments_request::ReassignableTopic;
use ottla_protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use ottla_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, BrokerId,
};

use super::answers::text;
use super::context::{AtNode, Begun};

pub(super) fn begin(context: &AtNode<'_>, body: Bytes) -> Begun {
    let request: AlterPartitionReassignmentsRequest = context.read(body)?;
    if let Err(code) = context.check_cluster(Operation::Alter) {
        let response = AlterPartitionReassignmentsResponse::default()
            .with_error_code(code.code())
            .with_error_message(Some(text(code.message())));
        return Ok(context.now(response));
    }
    if request.topics.is_empty() {
        // As in Kafka, an empty message rather than none.
        return Ok(context.now(AlterPartitionReassignmentsResponse::default()));
    }
    let allowed = request.allow_replication_factor_change;
    let factor = if allowed { FactorChange::Allowed } else { FactorChange::Refused };
    let partitions: Vec<Reassignment> = request.topics.iter().flat_map(ask).collect();
    let controller = context.controller();
    Ok(context.later(async move {
        let response = AlterPartitionReassignmentsResponse::default()
            .with_allow_replication_factor_change(allowed)
            .with_error_message(None);
        match controller.ask(AlterPartitionReassignments { partitions, factor }).await {
            Ok(outcomes) => response.with_responses(reply(&request.topics, outcomes)),
            Err(refused) => {
                let code = ErrorCode::from(refused);
                response.with_error_code(code.code()).with_error_message(Some(text(code.message())))
            }
        }
    }))
}

fn ask(topic: &ReassignableTopic) -> impl Iterator<Item = Reassignment> {
    let name = TopicName::from(topic.name.as_str());
    let nodes = |ids: &Vec<BrokerId>| ids.iter().map(|id| NodeId(id.0)).collect();
    topic.partitions.iter().map(move |partition| Reassignment {
        topic: name.clone(),
        partition: partition.partition_index,
        replicas: partition.replicas.as_ref().map(nodes),
    })
}

// The outcomes are in the order of the request's partitions.
fn reply(topics: &[ReassignableTopic], outcomes: Vec<Result<(), Refusal>>) -> Vec<ReassignableTopicResponse> {
    let mut outcomes = outcomes.into_iter();
    let of_topic = |topic: &ReassignableTopic| {
        let partitions = topic.partitions.iter().zip(outcomes.by_ref());
        let partitions = partitions.map(|(partition, outcome)| {
            let result = ReassignablePartitionResponse::default()
                .with_partition_index(partition.partition_index)
                .with_error_message(None);
            match outcome {
                Ok(()) => result,
                Err(Refusal { code, message }) => {
                    // As in Kafka, what the code says by itself is not said again.
                    let news = (message != code.message()).then(|| text(&message));
                    result.with_error_code(code.code()).with_error_message(news)
                }
            }
        });
        ReassignableTopicResponse::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    };
    topics.iter().map(of_topic).collect()
}
