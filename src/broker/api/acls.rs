//! What the APIs of access rules share. There is no authorizer yet, so every question is answered as Kafka answers it
//! without one: SECURITY_DISABLED, which no client asks again for.

use crate::request::Body;
use ottla_protocol::{ErrorCode, StrBytes};

/// Why nothing can be said or done.
pub(super) const DISABLED: ErrorCode = ErrorCode::SecurityDisabled;
pub(super) const WHY: &str = "No Authorizer is configured.";

pub(super) fn why() -> Option<StrBytes> {
    Some(StrBytes::from_static_str(WHY))
}

/// Kafka's number for a value that the sender did not know itself.
const UNKNOWN: i8 = 0;

/// Kafka takes such a request for one that is malformed, and closes the connection.
pub(super) fn refuse_unknown(mut parts: impl Iterator<Item = i8>) -> Option<Body> {
    let unknown = parts.any(|part| part == UNKNOWN);
    unknown.then(|| Body::Close("an access rule with an unknown element".into()))
}
