//! SaslHandshake v0-1 (KIP-43, KIP-152 the rest in frames from v1): refused with ILLEGAL_SASL_STATE and without
//! mechanisms, as Kafka does on a listener that does no SASL. A client that was told to use it can say what is wrong.

use bytes::Bytes;
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::{SaslHandshakeRequest, SaslHandshakeResponse};

use super::context::{AtNode, Begun};

pub(super) fn begin(context: &AtNode<'_>, body: Bytes) -> Begun {
    context.read::<SaslHandshakeRequest>(body)?;
    let response = SaslHandshakeResponse::default().with_error_code(ErrorCode::IllegalSaslState.code());
    Ok(context.now(response))
}
