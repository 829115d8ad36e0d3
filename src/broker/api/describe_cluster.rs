//! DescribeCluster v0-2 (KIP-700, KIP-919 endpoint types from v1, KIP-1073 fenced brokers from v2).

use bytes::Bytes;
use ottla_protocol::ErrorCode;
use ottla_protocol::api::OPERATIONS_NOT_ASKED;
use ottla_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use ottla_protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};

use super::answers::text;
use super::context::{AtNode, Begun, Context};
use super::topics::controller;
use crate::node::Node;

/// Kafka's EndpointType of brokers; 2 would be controllers, which have listeners of their own.
const BROKERS: i8 = 1;

pub(super) fn begin(context: &AtNode<'_>, body: Bytes) -> Begun {
    let Context { node, caller, version, .. } = *context;
    let request: DescribeClusterRequest = context.read(body)?;
    if version >= 1 && request.endpoint_type != BROKERS {
        let (code, why) = match request.endpoint_type {
            2 => (ErrorCode::MismatchedEndpointType, "The request was sent to an endpoint of type BROKER"),
            _ => (ErrorCode::UnsupportedEndpointType, "Unsupported endpoint type"),
        };
        let response = empty(node).with_error_code(code.code()).with_error_message(Some(text(why)));
        return Ok(context.now(response));
    }
    let image = node.image.load();
    let listener = &*caller.listener;
    let with_fenced = version >= 2 && request.include_fenced_brokers;
    let brokers = image.brokers().filter(|b| with_fenced || !b.fenced).filter_map(|known| {
        let endpoint = known.endpoint(listener)?;
        let described = DescribeClusterBroker::default()
            .with_broker_id(known.id.0.into())
            .with_host(text(&endpoint.host))
            .with_port(i32::from(endpoint.port))
            .with_rack(known.rack.as_deref().map(text));
        Some(if version >= 2 { described.with_is_fenced(known.fenced) } else { described })
    });
    let asked = request.include_cluster_authorized_operations;
    let operations = asked.then(|| context.rights().cluster_operations());
    let response = empty(node)
        .with_controller_id(controller(&image, listener).into())
        .with_cluster_authorized_operations(operations.unwrap_or(OPERATIONS_NOT_ASKED))
        .with_brokers(brokers.collect());
    Ok(context.now(response))
}

fn empty(node: &Node) -> DescribeClusterResponse {
    DescribeClusterResponse::default()
        .with_endpoint_type(BROKERS)
        .with_cluster_id(text(&node.cluster_id))
        .with_controller_id((-1).into())
        .with_cluster_authorized_operations(OPERATIONS_NOT_ASKED)
}
