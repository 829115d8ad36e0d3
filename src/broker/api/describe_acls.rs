//! DescribeAcls v1-3 (KIP-140; KIP-290 pattern types): refused, as there is no authorizer.

use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::api::ApiKey;
use ottla_protocol::codec;
use ottla_protocol::messages::{DescribeAclsRequest, DescribeAclsResponse};

use super::acls::{DISABLED, refuse_unknown, why};
use super::{Begun, now};
use crate::broker::Broker;

pub(super) fn begin(_broker: &Arc<Broker>, version: i16, body: Bytes) -> Begun {
    let request: DescribeAclsRequest = codec::decode(ApiKey::DescribeAcls.code(), version, body)?;
    let parts = [
        request.resource_type_filter,
        request.pattern_type_filter,
        request.operation,
        request.permission_type,
    ];
    if let Some(refused) = refuse_unknown(parts.into_iter()) {
        return Ok(refused);
    }
    let response = DescribeAclsResponse::default().with_error_code(DISABLED.code()).with_error_message(why());
    Ok(now(&response, version))
}
