//! ListPartitionReassignments v0 (KIP-455): the partitions that are moving, as the metadata says. With one broker there are
//! none, unless the metadata was brought along.

use bytes::Bytes;
use ottla_model::image::{Partition, Topic};
use ottla_protocol::api::Operation;
use ottla_protocol::messages::list_partition_reassignments_response::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use ottla_protocol::messages::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};

use super::answers::text;
use super::context::{AtNode, Begun};
use super::topics::ids;

pub(super) fn begin(context: &AtNode<'_>, body: Bytes) -> Begun {
    let node = context.node;
    let request: ListPartitionReassignmentsRequest = context.read(body)?;
    if let Err(code) = context.check_cluster(Operation::Describe) {
        let response = ListPartitionReassignmentsResponse::default()
            .with_error_code(code.code())
            .with_error_message(Some(text(code.message())));
        return Ok(context.now(response));
    }
    let image = node.image.load();
    let topics: Vec<OngoingTopicReassignment> = match &request.topics {
        None => image.topics().filter_map(|topic| moving(topic, |_| true)).collect(),
        Some(named) => {
            let known = named.iter().filter_map(|asked| Some((image.topic(&asked.name)?, asked)));
            known
                .filter_map(|(topic, asked)| moving(topic, |index| asked.partition_indexes.contains(&index)))
                .collect()
        }
    };
    let response = ListPartitionReassignmentsResponse::default().with_error_message(None).with_topics(topics);
    Ok(context.now(response))
}

fn moving(topic: &Topic, wanted: impl Fn(i32) -> bool) -> Option<OngoingTopicReassignment> {
    let moves = |partition: &Partition| !partition.adding.is_empty() || !partition.removing.is_empty();
    let partitions: Vec<_> = topic
        .partitions
        .iter()
        .filter(|(index, partition)| wanted(**index) && moves(partition))
        .map(|(index, partition)| {
            OngoingPartitionReassignment::default()
                .with_partition_index(*index)
                .with_replicas(ids(&partition.replicas))
                .with_adding_replicas(ids(&partition.adding))
                .with_removing_replicas(ids(&partition.removing))
        })
        .collect();
    let named = || OngoingTopicReassignment::default().with_name(text(&topic.name).into());
    (!partitions.is_empty()).then(|| named().with_partitions(partitions))
}
