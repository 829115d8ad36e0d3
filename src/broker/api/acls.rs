//! What the APIs of access rules share. There is no authorizer yet, so every question is answered as Kafka answers it
//! without one: SECURITY_DISABLED, which no client asks again for.

use ottla_core::controller::Refusal;
use ottla_protocol::ErrorCode;
use ottla_protocol::api::Operation;

use super::context::AtNode;
use crate::request::Staged;

/// Why nothing can be said or done: the caller may not ask, or nobody could answer.
pub(super) fn refusal(context: &AtNode<'_>, operation: Operation) -> Refusal {
    match context.check_cluster(operation) {
        Ok(()) => Refusal::new(ErrorCode::SecurityDisabled, "No Authorizer is configured."),
        Err(code) => code.into(),
    }
}

/// Kafka's number for a value that the sender did not know itself.
const UNKNOWN: i8 = 0;

/// Kafka takes such a request for one that is malformed, and closes the connection.
pub(super) fn refuse_unknown(mut parts: impl Iterator<Item = i8>) -> Option<Staged> {
    let unknown = parts.any(|part| part == UNKNOWN);
    unknown.then(|| Staged::Refused("an access rule with an unknown element".into()))
}
