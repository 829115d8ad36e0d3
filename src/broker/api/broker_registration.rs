//! BrokerRegistration v0-4 (KIP-631, KIP-858): a broker that has started makes itself known to the active controller.

use bytes::Bytes;
use ottla_core::controller::Registration;
use ottla_protocol::ErrorCode;
use ottla_protocol::api::Operation;
use ottla_protocol::messages::BrokerRegistrationRequest;
use tracing::warn;

use super::context::{AtNode, Begun};
use super::questions;
use crate::travels::Travels;

pub(super) fn begin(context: &AtNode<'_>, body: Bytes) -> Begun {
    let request: BrokerRegistrationRequest = context.read(body.clone())?;
    if let Err(code) = context.check_cluster(Operation::ClusterAction) {
        return Ok(context.now(Registration::refused(code)));
    }
    let theirs = request.cluster_id.as_str();
    if theirs != context.node.cluster_id {
        let (broker, peer) = (request.broker_id.0, context.caller.peer);
        warn!(broker, cluster_id = theirs, %peer, "a broker of another cluster wants to register here");
        return Ok(context.now(Registration::refused(ErrorCode::InconsistentClusterId)));
    }
    questions::begin::<Registration>(context, body)
}
