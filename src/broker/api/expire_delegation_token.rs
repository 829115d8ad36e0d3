//! ExpireDelegationToken v1-2 (KIP-48): refused.

use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::api::ApiKey;
use ottla_protocol::codec;
use ottla_protocol::messages::{ExpireDelegationTokenRequest, ExpireDelegationTokenResponse};

use super::tokens::{NO_TIME, NOT_ALLOWED};
use super::{Begun, now};
use crate::broker::Broker;

pub(super) fn begin(_broker: &Arc<Broker>, version: i16, body: Bytes) -> Begun {
    codec::decode::<ExpireDelegationTokenRequest>(ApiKey::ExpireDelegationToken.code(), version, body)?;
    let response = ExpireDelegationTokenResponse::default()
        .with_error_code(NOT_ALLOWED.code())
        .with_expiry_timestamp_ms(NO_TIME);
    Ok(now(&response, version))
}
