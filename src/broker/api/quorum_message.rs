//! QuorumMessage v0, a private API: a voter of the metadata quorum says something. Whether it is believed is decided by
//! `node::quorum`. The response comes when it was heard: a connection has one message there at a time.

use bytes::Bytes;
use ottla_core::controller::NotController;
use ottla_node::quorum::Message;
use ottla_protocol::ErrorCode;
use ottla_protocol::api::Operation;
use ottla_protocol::quorum::QuorumMessageResponse;

use super::context::{AtNode, Begun};
use crate::request::Staged;

pub(super) fn begin(context: &AtNode<'_>, body: Bytes) -> Begun {
    let response = |code: ErrorCode| QuorumMessageResponse { error_code: code.code() };
    if let Err(code) = context.check_cluster(Operation::ClusterAction) {
        return Ok(context.now(response(code)));
    }
    let message = match Message::decode(&body) {
        Ok(message) => message,
        Err(error) => return Ok(Staged::Refused(format!("a message to the metadata quorum: {error}"))),
    };
    if message.cluster_id != context.node.cluster_id {
        return Ok(context.now(response(ErrorCode::InconsistentClusterId)));
    }
    let Some(here) = context.node.controller.here.clone() else {
        return Ok(context.now(response(ErrorCode::NotController)));
    };
    Ok(context.later(async move {
        match here.hear(message).await {
            Ok(()) => response(ErrorCode::None),
            Err(NotController) => response(ErrorCode::NotController),
        }
    }))
}
