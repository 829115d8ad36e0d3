//! DescribeAcls v1-3 (KIP-140; KIP-290 pattern types): refused, as there is no authorizer.

use bytes::Bytes;
use ottla_protocol::api::Operation;
use ottla_protocol::messages::{DescribeAclsRequest, DescribeAclsResponse};

use super::acls::{refusal, refuse_unknown};
use super::answers::text;
use super::context::{AtNode, Begun};

pub(super) fn begin(context: &AtNode<'_>, body: Bytes) -> Begun {
    let request: DescribeAclsRequest = context.read(body)?;
    let refusal = refusal(context, Operation::Describe);
    let parts = [
        request.resource_type_filter,
        request.pattern_type_filter,
        request.operation,
        request.permission_type,
    ];
    if let Some(refused) = refuse_unknown(parts.into_iter()) {
        return Ok(refused);
    }
    let response = DescribeAclsResponse::default()
        .with_error_code(refusal.code.code())
        .with_error_message(Some(text(&refusal.message)));
    Ok(context.now(response))
}
