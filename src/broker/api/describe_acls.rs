//! DescribeAcls v1-3 (KIP-140): there is no authorizer, so nothing can be said of access rules.

use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::api::ApiKey;
use ottla_protocol::messages::{DescribeAclsRequest, DescribeAclsResponse};
use ottla_protocol::{ErrorCode, codec};

use super::{Begun, now, text};
use crate::broker::Broker;

pub(super) fn begin(_broker: &Arc<Broker>, version: i16, body: Bytes) -> Begun {
    codec::decode::<DescribeAclsRequest>(ApiKey::DescribeAcls.code(), version, body)?;
    let response = DescribeAclsResponse::default()
        .with_error_code(ErrorCode::SecurityDisabled.code())
        .with_error_message(Some(text("No authorizer is configured on this broker")));
    Ok(now(&response, version))
}
