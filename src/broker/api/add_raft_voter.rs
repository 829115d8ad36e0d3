//! AddRaftVoter v0 (KIP-853): a controller becomes a voter.

use bytes::Bytes;
use ottla_node::quorum::VoterChange;
use ottla_protocol::api::Operation;
use ottla_protocol::messages::{AddRaftVoterRequest, AddRaftVoterResponse};

use super::context::{AtNode, Begun};
use super::voters::{Outcome, change, check_cluster_id, told, voter};

/// What every voter of ours supports of kraft.version.
const KRAFT_VERSIONS: (i16, i16) = (0, 1);

pub(super) fn begin(context: &AtNode<'_>, body: Bytes) -> Begun {
    let request: AddRaftVoterRequest = context.read(body)?;
    let response = |outcome: Outcome| {
        let (code, message) = told(outcome);
        AddRaftVoterResponse::default().with_error_code(code).with_error_message(message)
    };
    if let Err(code) = context.check_cluster(Operation::Alter) {
        return Ok(context.now(response(Err((code, code.message().to_owned())))));
    }
    if let Err(refused) = check_cluster_id(context, request.cluster_id.as_ref()) {
        return Ok(context.now(response(Err(refused))));
    }
    let listeners = request.listeners.iter().map(|one| (&one.name, &one.host, one.port));
    let added = voter(request.voter_id, request.voter_directory_id, listeners, KRAFT_VERSIONS);
    let controller = context.controller();
    Ok(context.later(async move { response(change(&controller, VoterChange::Add(added)).await) }))
}
