//! SaslHandshake v0-1 (KIP-43, KIP-152 the rest in frames from v1): refused with ILLEGAL_SASL_STATE and without
//! mechanisms, as Kafka does on a listener that does no SASL. A client that was told to use it can say what is wrong.

use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::api::ApiKey;
use ottla_protocol::messages::{SaslHandshakeRequest, SaslHandshakeResponse};
use ottla_protocol::{ErrorCode, codec};

use super::{Begun, now};
use crate::broker::Broker;

pub(super) fn begin(_broker: &Arc<Broker>, version: i16, body: Bytes) -> Begun {
    codec::decode::<SaslHandshakeRequest>(ApiKey::SaslHandshake.code(), version, body)?;
    let response = SaslHandshakeResponse::default().with_error_code(ErrorCode::IllegalSaslState.code());
    Ok(now(&response, version))
}
