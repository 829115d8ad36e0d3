//! DescribeQuorum v0-2 (KIP-595, KIP-836 times from v1, KIP-853 nodes from v2), answered by the quorum's leader, which alone
//! knows how far the voters are.

use bytes::Bytes;
use ottla_core::controller::NotController;
use ottla_model::CLUSTER_METADATA_TOPIC;
use ottla_node::quorum::{QuorumState, VoterState};
use ottla_protocol::ErrorCode;
use ottla_protocol::api::Operation;
use ottla_protocol::messages::describe_quorum_response::{
    Listener, Node, PartitionData, ReplicaState, TopicData,
};
use ottla_protocol::messages::{DescribeQuorumRequest, DescribeQuorumResponse};

use super::answers::text;
use super::context::{AtNode, Begun};
use crate::run::owners::controller::Controller;

pub(super) fn begin(context: &AtNode<'_>, body: Bytes) -> Begun {
    let version = context.version;
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
    if !is_ours {
        return Ok(context.now(unknown(request, version)));
    }
    let controller = context.controller();
    let unnamed = context.node.config().controller_listener_names.first().cloned().unwrap_or_default();
    Ok(context.later(async move {
        match state(&controller).await {
            Ok(state) => described(&state, &unnamed, version),
            Err(NotController) => refused(version),
        }
    }))
}

async fn state(controller: &Controller) -> Result<QuorumState, NotController> {
    let state = controller.describe().await?;
    if state.leads { Ok(state) } else { Err(controller.none()) }
}

fn described(state: &QuorumState, unnamed: &str, version: i16) -> DescribeQuorumResponse {
    let voters = state.voters.iter().map(|voter| replica(voter, version));
    let observers = state.observers.iter().map(|(key, observer)| {
        let (log_end, heard_ms) = (observer.log_end_offset, observer.last_fetch_ms);
        replica(
            &VoterState { key: *key, log_end, heard_ms, caught_up_ms: observer.last_caught_up_ms },
            version,
        )
    });
    let partition = PartitionData::default()
        .with_leader_id(state.leader.map_or(-1, |leader| leader.0).into())
        .with_leader_epoch(state.epoch.0)
        .with_high_watermark(state.high_watermark)
        .with_current_voters(voters.collect())
        .with_observers(observers.collect());
    let response = response(partition, version);
    if version < 2 {
        return response;
    }
    let listener = |name: &str, host: &str, port| {
        Listener::default().with_name(text(name)).with_host(text(host)).with_port(port)
    };
    let nodes = state.voters.iter().map(|voter| {
        let id = voter.key.id;
        let logged = state.nodes.get(&id).into_iter().flatten();
        let mut listeners: Vec<_> =
            logged.map(|endpoint| listener(&endpoint.name, &endpoint.host, endpoint.port)).collect();
        // Those of controller.quorum.voters have no names of their own.
        if let (true, Some(address)) = (listeners.is_empty(), state.addresses.get(&id)) {
            listeners.push(listener(unnamed, &address.host, address.port));
        }
        Node::default().with_node_id(id.0.into()).with_listeners(listeners)
    });
    response.with_nodes(nodes.collect())
}

fn replica(voter: &VoterState, version: i16) -> ReplicaState {
    let state =
        ReplicaState::default().with_replica_id(voter.key.id.0.into()).with_log_end_offset(voter.log_end);
    let state = if version >= 2 { state.with_replica_directory_id(voter.key.directory_id) } else { state };
    match version {
        0 => state,
        _ => {
            state.with_last_fetch_timestamp(voter.heard_ms).with_last_caught_up_timestamp(voter.caught_up_ms)
        }
    }
}

fn refused(version: i16) -> DescribeQuorumResponse {
    let code = ErrorCode::NotLeaderOrFollower;
    response(PartitionData::default().with_error_code(code.code()), version)
}

fn response(partition: PartitionData, version: i16) -> DescribeQuorumResponse {
    let partition = if version >= 2 { partition.with_error_message(None) } else { partition };
    let topic = TopicData::default()
        .with_topic_name(text(CLUSTER_METADATA_TOPIC).into())
        .with_partitions(vec![partition]);
    let response = DescribeQuorumResponse::default().with_topics(vec![topic]);
    if version >= 2 { response.with_error_message(None) } else { response }
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
    let response = DescribeQuorumResponse::default().with_topics(topics.collect());
    if version >= 2 { response.with_error_message(None) } else { response }
}
