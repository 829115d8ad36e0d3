//! SaslAuthenticate v0-2 (KIP-152, KIP-368 session lifetimes from v1): refused with ILLEGAL_SASL_STATE, as Kafka does on a
//! listener that does no SASL.

use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::api::ApiKey;
use ottla_protocol::messages::{SaslAuthenticateRequest, SaslAuthenticateResponse};
use ottla_protocol::{ErrorCode, codec};

use super::{Begun, now, text};
use crate::broker::Broker;

pub(super) fn begin(_broker: &Arc<Broker>, version: i16, body: Bytes) -> Begun {
    codec::decode::<SaslAuthenticateRequest>(ApiKey::SaslAuthenticate.code(), version, body)?;
    let response = SaslAuthenticateResponse::default()
        .with_error_code(ErrorCode::IllegalSaslState.code())
        .with_error_message(Some(text("There is nothing to authenticate on this listener")));
    Ok(now(&response, version))
}
