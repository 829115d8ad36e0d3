//! What AddRaftVoter, RemoveRaftVoter and UpdateRaftVoter (KIP-853) have in common: asking the thread of the quorum. And how
//! they and others tell of one outcome: by a code and a message.

use std::time::Duration;

use ottla_core::controller::{NotController, Refusal};
use ottla_node::quorum::{ChangeRefused, VoterChange};
use ottla_protocol::batch::control::{VoterEndpoint, VoterNode};
use ottla_protocol::{ErrorCode, StrBytes};
use uuid::Uuid;

use super::context::AtNode;
use crate::run::owners::controller::Controller;

/// An error and what is said of it.
pub(super) type Outcome = Result<(), (ErrorCode, String)>;

/// Whether a request means this cluster.
pub(super) fn check_cluster_id(context: &AtNode<'_>, theirs: Option<&StrBytes>) -> Outcome {
    match theirs {
        Some(id) if id.as_str() != context.node.cluster_id => {
            let code = ErrorCode::InconsistentClusterId;
            Err((code, code.message().to_owned()))
        }
        _ => Ok(()),
    }
}

/// For how long a change may wait until it is agreed on, as with Kafka.
pub(super) fn patience(context: &AtNode<'_>) -> Duration {
    Duration::from_millis(context.node.config().controller_quorum_request_timeout_ms.max(1) as u64)
}

/// Whether a change would be in order now.
pub(super) async fn check(controller: &Controller, change: VoterChange) -> Outcome {
    let refused = match &controller.here {
        Some(here) => here.check_voters(change).await,
        None => Err(ChangeRefused::NotLeader),
    };
    outcome(controller, refused)
}

/// Changes who votes, and waits until that is agreed on.
pub(super) async fn change(controller: &Controller, change: VoterChange, patience: Duration) -> Outcome {
    let Some(here) = &controller.here else { return outcome(controller, Err(ChangeRefused::NotLeader)) };
    match tokio::time::timeout(patience, here.change_voters(change)).await {
        Ok(refused) => outcome(controller, refused),
        Err(_) => {
            let why = "the voters have not agreed on the change in time; they may yet";
            Err((ErrorCode::RequestTimedOut, why.into()))
        }
    }
}

fn outcome(controller: &Controller, refused: Result<(), ChangeRefused>) -> Outcome {
    if refused == Err(ChangeRefused::NotLeader) {
        controller.none();
    }
    refused.map_err(|refused| (refused.code(), refused.to_string()))
}

/// A voter as a request names it.
pub(super) fn voter<'a>(
    id: i32,
    directory_id: Uuid,
    listeners: impl Iterator<Item = (&'a StrBytes, &'a StrBytes, u16)>,
    (kraft_version_min, kraft_version_max): (i16, i16),
) -> VoterNode {
    let endpoints = listeners.map(|(name, host, port)| VoterEndpoint {
        name: name.to_string(),
        host: host.to_string(),
        port,
    });
    VoterNode { id, directory_id, endpoints: endpoints.collect(), kraft_version_min, kraft_version_max }
}

/// A refusal in the words of its code.
pub(super) fn refused(code: ErrorCode) -> Outcome {
    Err((code, code.message().to_owned()))
}

/// What the controller has made of a question.
pub(super) fn of_refusal(answer: Result<Result<(), Refusal>, NotController>) -> Outcome {
    match answer {
        Ok(outcome) => outcome.map_err(|Refusal { code, message }| (code, message)),
        Err(NotController) => refused(ErrorCode::NotController),
    }
}

/// For a response: the error's code and message.
pub(super) fn told(outcome: Outcome) -> (i16, Option<StrBytes>) {
    match outcome {
        Ok(()) => (ErrorCode::None.code(), None),
        Err((code, why)) => (code.code(), Some(StrBytes::from_string(why))),
    }
}
