//! DescribeDelegationToken v1-3 (KIP-48): refused.

use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::api::ApiKey;
use ottla_protocol::codec;
use ottla_protocol::messages::{DescribeDelegationTokenRequest, DescribeDelegationTokenResponse};

use super::tokens::NOT_ALLOWED;
use super::{Begun, now};
use crate::broker::Broker;

pub(super) fn begin(_broker: &Arc<Broker>, version: i16, body: Bytes) -> Begun {
    codec::decode::<DescribeDelegationTokenRequest>(ApiKey::DescribeDelegationToken.code(), version, body)?;
    Ok(now(&DescribeDelegationTokenResponse::default().with_error_code(NOT_ALLOWED.code()), version))
}
