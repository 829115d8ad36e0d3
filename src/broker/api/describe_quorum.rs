//! DescribeQuorum v0-2 (KIP-595, KIP-836 times from v1, KIP-853 nodes from v2): a quorum of one, which is this node.
//! Missing: the voter's listeners, none of which is open.

use bytes::Bytes;
use ottla_model::CLUSTER_METADATA_TOPIC;
use ottla_protocol::ErrorCode;
use ottla_protocol::api::Operation;
use ottla_protocol::messages::describe_quorum_response::{self, PartitionData, ReplicaState, TopicData};
use ottla_protocol::messages::{DescribeQuorumRequest, DescribeQuorumResponse};
use uuid::Uuid;

use super::answers::text;
use super::context::{AtNode, Begun, Context};
use crate::clock::now_ms;
use crate::node::Node;

pub(super) fn begin(context: &AtNode<'_>, body: Bytes) -> Begun {
    let Context { node, version, .. } = *context;
    let request: DescribeQuorumRequest = context.read(body)?;
    if let Err(code) = context.check_cluster(Operation::Describe) {
        return Ok(context.now(DescribeQuorumResponse::default().with_error_code(code.code())));
    }
    let is_ours = match request.topics.as_slice() {
        [topic] => {
            topic.topic_name.as_str() == CLUSTER_METADATA_TOPIC
                && matches!(topic.partitions.as_slice(), [only] if only.partition_index == 0)
        }
        _ => false,
    };
    let response = if is_ours { described(node, version) } else { unknown(request, version) };
    let response = if version >= 2 { response.with_error_message(None) } else { response };
    Ok(context.now(response))
}

// One voter has what it has agreed on with itself: the log ends at the high watermark.
fn described(node: &Node, version: i16) -> DescribeQuorumResponse {
    let image = node.image.load();
    let (me, end) = (node.me.0, image.offset + 1);
    let voter = ReplicaState::default().with_replica_id(me.into()).with_log_end_offset(end);
    let voter = if version >= 2 { voter.with_replica_directory_id(directory(node)) } else { voter };
    let voter = if version >= 1 {
        let now = now_ms();
        voter.with_last_fetch_timestamp(now).with_last_caught_up_timestamp(now)
    } else {
        voter
    };
    let partition = PartitionData::default()
        .with_leader_id(me.into())
        .with_leader_epoch(image.epoch.0)
        .with_high_watermark(end)
        .with_current_voters(vec![voter]);
    let partition = if version >= 2 { partition.with_error_message(None) } else { partition };
    let topic = TopicData::default()
        .with_topic_name(text(CLUSTER_METADATA_TOPIC).into())
        .with_partitions(vec![partition]);
    let response = DescribeQuorumResponse::default().with_topics(vec![topic]);
    if version >= 2 {
        response.with_nodes(vec![describe_quorum_response::Node::default().with_node_id(me.into())])
    } else {
        response
    }
}

// Voters that are only listed in the configuration are known without their directories.
fn directory(node: &Node) -> Uuid {
    let config = node.config();
    let founded = config.controller_quorum_voters.is_empty();
    founded.then(|| node.metadata_directory).flatten().unwrap_or_default()
}

fn unknown(request: DescribeQuorumRequest, version: i16) -> DescribeQuorumResponse {
    let code = ErrorCode::UnknownTopicOrPartition;
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let partition = PartitionData::default()
                .with_partition_index(asked.partition_index)
                .with_error_code(code.code());
            if version >= 2 { partition.with_error_message(Some(text(code.message()))) } else { partition }
        });
        let partitions = partitions.collect();
        TopicData::default().with_topic_name(topic.topic_name).with_partitions(partitions)
    });
    DescribeQuorumResponse::default().with_topics(topics.collect())
}
