//! What the APIs of delegation tokens (KIP-48) share. A token stands for whoever is authenticated by other means, and
//! nobody is yet: every listener is PLAINTEXT. Kafka refuses these requests there whether it has tokens or not.

use ottla_protocol::{ErrorCode, StrBytes};

pub(super) const NOT_ALLOWED: ErrorCode = ErrorCode::DelegationTokenRequestNotAllowed;

/// Kafka's time of a token that there is not.
pub(super) const NO_TIME: i64 = -1;

/// Who asks, where nobody is authenticated.
pub(super) const USER: StrBytes = StrBytes::from_static_str("User");
pub(super) const ANONYMOUS: StrBytes = StrBytes::from_static_str("ANONYMOUS");
