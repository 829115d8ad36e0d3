//! CreateAcls v1-3 (KIP-140; KIP-290 pattern types): refused one by one, as there is no authorizer.

use bytes::Bytes;
use ottla_protocol::api::Operation;
use ottla_protocol::messages::create_acls_response::AclCreationResult;
use ottla_protocol::messages::{CreateAclsRequest, CreateAclsResponse};

use super::acls::{refusal, refuse_unknown};
use super::answers::text;
use super::context::{AtNode, Begun};

pub(super) fn begin(context: &AtNode<'_>, body: Bytes) -> Begun {
    let request: CreateAclsRequest = context.read(body)?;
    let refusal = refusal(context, Operation::Alter);
    let parts = request
        .creations
        .iter()
        .flat_map(|acl| [acl.resource_type, acl.resource_pattern_type, acl.operation, acl.permission_type]);
    if let Some(refused) = refuse_unknown(parts) {
        return Ok(refused);
    }
    let refused = AclCreationResult::default()
        .with_error_code(refusal.code.code())
        .with_error_message(Some(text(&refusal.message)));
    let results = vec![refused; request.creations.len()];
    Ok(context.now(CreateAclsResponse::default().with_results(results)))
}
