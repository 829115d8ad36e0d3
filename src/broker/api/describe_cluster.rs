//! DescribeCluster v0-2 (KIP-700, KIP-919 endpoint types from v1, KIP-1073 fenced brokers from v2). A broker's listener tells
//! the brokers, a controller's the controllers.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use ottla_core::controller::NotController;
use ottla_model::NodeId;
use ottla_node::quorum::QuorumState;
use ottla_protocol::ErrorCode;
use ottla_protocol::api::{Listener, OPERATIONS_NOT_ASKED, Operation};
use ottla_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use ottla_protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};
use tokio::time::{Instant, sleep};

use super::answers::text;
use super::context::{AtNode, Begun};
use super::topics::controller;
use crate::node::Node;

/// Kafka's EndpointType.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

/// A voter whose leader looks for it in another place asks by itself after three seconds.
const ELECTED_WITHIN: Duration = Duration::from_secs(5);
const LOOKS_AGAIN: Duration = Duration::from_millis(20);

pub(super) fn begin(context: &AtNode<'_>, body: Bytes) -> Begun {
    let (node, version) = (context.node, context.version);
    let request: DescribeClusterRequest = context.read(body)?;
    let here = if context.caller.kind == Listener::Controller { CONTROLLERS } else { BROKERS };
    let asked = if version >= 1 { request.endpoint_type } else { BROKERS };
    if asked != here {
        let (code, why) = mismatch(here, asked);
        let response = empty(node, here).with_error_code(code.code()).with_error_message(Some(text(why)));
        return Ok(context.now(response));
    }
    let asked = request.include_cluster_authorized_operations;
    let operations = asked.then(|| context.rights().cluster_operations());
    let operations = operations.unwrap_or(OPERATIONS_NOT_ASKED);
    if here == BROKERS {
        let with_fenced = version >= 2 && request.include_fenced_brokers;
        let response = brokers(context, with_fenced).with_cluster_authorized_operations(operations);
        return Ok(context.now(response));
    }
    if let Err(code) = context.check_cluster(Operation::Alter) {
        return Ok(context.now(empty(node, here).with_error_code(code.code())));
    }
    let (node, described) = (node.clone(), context.node.controller.clone());
    let listener = context.caller.listener.clone();
    Ok(context.later(async move {
        let mut state = described.describe().await;
        // Kafka's admin client asks no second time once it was told that there is no leader.
        let until = Instant::now() + ELECTED_WITHIN;
        while state.as_ref().is_ok_and(|state| state.leader.is_none()) && Instant::now() < until {
            sleep(LOOKS_AGAIN).await;
            state = described.describe().await;
        }
        match state {
            Ok(state) => controllers(&node, &listener, &state).with_cluster_authorized_operations(operations),
            Err(NotController) => empty(&node, here).with_error_code(ErrorCode::NotController.code()),
        }
    }))
}

fn mismatch(here: i8, asked: i8) -> (ErrorCode, &'static str) {
    match (here, asked) {
        (BROKERS, CONTROLLERS) => {
            (ErrorCode::MismatchedEndpointType, "The request was sent to an endpoint of type BROKER")
        }
        (CONTROLLERS, BROKERS) => {
            (ErrorCode::MismatchedEndpointType, "The request was sent to an endpoint of type CONTROLLER")
        }
        _ => (ErrorCode::UnsupportedEndpointType, "Unsupported endpoint type"),
    }
}

fn brokers(context: &AtNode<'_>, with_fenced: bool) -> DescribeClusterResponse {
    let AtNode { node, caller, version, .. } = *context;
    let image = node.image.load();
    let listener = &*caller.listener;
    let brokers = image.brokers().filter(|b| with_fenced || !b.fenced).filter_map(|known| {
        let endpoint = known.endpoint(listener)?;
        let described = DescribeClusterBroker::default()
            .with_broker_id(known.id.0.into())
            .with_host(text(&endpoint.host))
            .with_port(i32::from(endpoint.port))
            .with_rack(known.rack.as_deref().map(text));
        Some(if version >= 2 { described.with_is_fenced(known.fenced) } else { described })
    });
    empty(node, BROKERS)
        .with_controller_id(controller(node.me, &image, listener).into())
        .with_brokers(brokers.collect())
}

// Those that have registered, whether they vote or not. A voter that has not, as in a cluster of an older level, is where the quorum
// finds it.
fn controllers(node: &Node, listener: &str, state: &QuorumState) -> DescribeClusterResponse {
    let image = node.image.load();
    let mut known: BTreeMap<NodeId, (&str, u16)> =
        state.addresses.iter().map(|(id, address)| (*id, (&*address.host, address.port))).collect();
    for controller in image.controllers() {
        let endpoint = controller.endpoints.iter().find(|endpoint| endpoint.name == listener);
        known.extend(endpoint.map(|endpoint| (controller.id, (&*endpoint.host, endpoint.port))));
    }
    let described = known.into_iter().map(|(id, (host, port))| {
        DescribeClusterBroker::default()
            .with_broker_id(id.0.into())
            .with_host(text(host))
            .with_port(i32::from(port))
    });
    empty(node, CONTROLLERS)
        .with_controller_id(state.leader.map_or(-1, |leader| leader.0).into())
        .with_brokers(described.collect())
}

fn empty(node: &Node, endpoint_type: i8) -> DescribeClusterResponse {
    DescribeClusterResponse::default()
        .with_endpoint_type(endpoint_type)
        .with_cluster_id(text(&node.cluster_id))
        .with_controller_id((-1).into())
        .with_cluster_authorized_operations(OPERATIONS_NOT_ASKED)
}
