//! SaslAuthenticate v0-2 (KIP-152, KIP-368 session lifetimes from v1): refused with ILLEGAL_SASL_STATE, as Kafka does on a
//! listener that does no SASL.

use bytes::Bytes;
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::{SaslAuthenticateRequest, SaslAuthenticateResponse};

use super::answers::text;
use super::context::{AtNode, Begun};

pub(super) fn begin(context: &AtNode<'_>, body: Bytes) -> Begun {
    context.read::<SaslAuthenticateRequest>(body)?;
    let response = SaslAuthenticateResponse::default()
        .with_error_code(ErrorCode::IllegalSaslState.code())
        .with_error_message(Some(text("There is nothing to authenticate on this listener")));
    Ok(context.now(response))
}
