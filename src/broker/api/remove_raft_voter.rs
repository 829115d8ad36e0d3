//! RemoveRaftVoter v0 (KIP-853): a voter is one no longer.

use bytes::Bytes;
use ottla_model::NodeId;
use ottla_node::quorum::{ReplicaKey, VoterChange};
use ottla_protocol::api::Operation;
use ottla_protocol::messages::{RemoveRaftVoterRequest, RemoveRaftVoterResponse};

use super::context::{AtNode, Begun};
use super::voters::{Outcome, change, check_cluster_id, patience, told};

pub(super) fn begin(context: &AtNode<'_>, body: Bytes) -> Begun {
    let request: RemoveRaftVoterRequest = context.read(body)?;
    let response = |outcome: Outcome| {
        let (code, message) = told(outcome);
        RemoveRaftVoterResponse::default().with_error_code(code).with_error_message(message)
    };
    if let Err(code) = context.check_cluster(Operation::Alter) {
        return Ok(context.now(response(Err((code, code.message().to_owned())))));
    }
    if let Err(refused) = check_cluster_id(context, request.cluster_id.as_ref()) {
        return Ok(context.now(response(Err(refused))));
    }
    let removed = ReplicaKey { id: NodeId(request.voter_id), directory_id: request.voter_directory_id };
    let (controller, patience) = (context.controller(), patience(context));
    let change = async move { change(&controller, VoterChange::Remove(removed), patience).await };
    Ok(context.later(async move { response(change.await) }))
}
