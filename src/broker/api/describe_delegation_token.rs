//! DescribeDelegationToken v1-3 (KIP-48): refused.

use bytes::Bytes;
use ottla_protocol::messages::{DescribeDelegationTokenRequest, DescribeDelegationTokenResponse};

use super::context::{AtNode, Begun};
use super::tokens::NOT_ALLOWED;

pub(super) fn begin(context: &AtNode<'_>, body: Bytes) -> Begun {
    context.read::<DescribeDelegationTokenRequest>(body)?;
    Ok(context.now(DescribeDelegationTokenResponse::default().with_error_code(NOT_ALLOWED.code())))
}
