//! CreateDelegationToken v1-3 (KIP-48, KIP-373 tokens for others from v3): refused.

use bytes::Bytes;
use ottla_protocol::messages::{CreateDelegationTokenRequest, CreateDelegationTokenResponse};

use super::context::{AtNode, Begun};
use super::tokens::{ANONYMOUS, NO_TIME, NOT_ALLOWED, USER};

pub(super) fn begin(context: &AtNode<'_>, body: Bytes) -> Begun {
    let version = context.version;
    let request: CreateDelegationTokenRequest = context.read(body)?;
    let owner = request.owner_principal_name.filter(|name| !name.is_empty());
    let (kind, name) = match owner {
        Some(name) => (request.owner_principal_type.unwrap_or_default(), name),
        None => (USER, ANONYMOUS),
    };
    let response = CreateDelegationTokenResponse::default()
        .with_error_code(NOT_ALLOWED.code())
        .with_principal_type(kind)
        .with_principal_name(name)
        .with_issue_timestamp_ms(NO_TIME)
        .with_expiry_timestamp_ms(NO_TIME)
        .with_max_timestamp_ms(NO_TIME);
    let response = match version {
        ..3 => response,
        _ => {
            response.with_token_requester_principal_type(USER).with_token_requester_principal_name(ANONYMOUS)
        }
    };
    Ok(context.now(response))
}
