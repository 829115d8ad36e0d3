//! ExpireDelegationToken v1-2 (KIP-48): refused.

use bytes::Bytes;
use ottla_protocol::messages::{ExpireDelegationTokenRequest, ExpireDelegationTokenResponse};

use super::context::{AtNode, Begun};
use super::tokens::{NO_TIME, NOT_ALLOWED};

pub(super) fn begin(context: &AtNode<'_>, body: Bytes) -> Begun {
    context.read::<ExpireDelegationTokenRequest>(body)?;
    let response = ExpireDelegationTokenResponse::default()
        .with_error_code(NOT_ALLOWED.code())
        .with_expiry_timestamp_ms(NO_TIME);
    Ok(context.now(response))
}
