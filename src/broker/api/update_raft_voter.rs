//! UpdateRaftVoter v0 (KIP-853): a voter tells its leader where it is now.

use bytes::Bytes;
use ottla_node::quorum::VoterChange;
use ottla_protocol::ErrorCode;
use ottla_protocol::api::Operation;
use ottla_protocol::messages::update_raft_voter_response::CurrentLeader;
use ottla_protocol::messages::{UpdateRaftVoterRequest, UpdateRaftVoterResponse};

use super::context::{AtNode, Begun};
use super::voters::{change, check_cluster_id, patience, voter};

pub(super) fn begin(context: &AtNode<'_>, body: Bytes) -> Begun {
    let request: UpdateRaftVoterRequest = context.read(body)?;
    let leading = context.node.controller.leading.borrow().clone();
    let response = move |code: ErrorCode| {
        let leader = CurrentLeader::default()
            .with_leader_id(leading.leader.map_or(-1, |leader| leader.0).into())
            .with_leader_epoch(leading.epoch.0);
        UpdateRaftVoterResponse::default().with_error_code(code.code()).with_current_leader(leader)
    };
    if let Err(code) = context.check_cluster(Operation::ClusterAction) {
        return Ok(context.now(response(code)));
    }
    if let Err((code, _)) = check_cluster_id(context, request.cluster_id.as_ref()) {
        return Ok(context.now(response(code)));
    }
    let listeners = request.listeners.iter().map(|one| (&one.name, &one.host, one.port));
    let versions = &request.k_raft_version_feature;
    let versions = (versions.min_supported_version, versions.max_supported_version);
    let updated = voter(request.voter_id, request.voter_directory_id, listeners, versions);
    let (controller, patience) = (context.controller(), patience(context));
    Ok(context.later(async move {
        let refused = change(&controller, VoterChange::Update(updated), patience).await.err();
        response(refused.map_or(ErrorCode::None, |(code, _)| code))
    }))
}
