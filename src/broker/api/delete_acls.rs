//! DeleteAcls v1-3 (KIP-140; KIP-290 pattern types): refused filter by filter, as there is no authorizer.

use bytes::Bytes;
use ottla_protocol::api::Operation;
use ottla_protocol::messages::delete_acls_response::DeleteAclsFilterResult;
use ottla_protocol::messages::{DeleteAclsRequest, DeleteAclsResponse};

use super::acls::{refusal, refuse_unknown};
use super::answers::text;
use super::context::{AtNode, Begun};

pub(super) fn begin(context: &AtNode<'_>, body: Bytes) -> Begun {
    let request: DeleteAclsRequest = context.read(body)?;
    let refusal = refusal(context, Operation::Alter);
    let parts = request.filters.iter().flat_map(|filter| {
        [filter.resource_type_filter, filter.pattern_type_filter, filter.operation, filter.permission_type]
    });
    if let Some(refused) = refuse_unknown(parts) {
        return Ok(refused);
    }
    let refused = DeleteAclsFilterResult::default()
        .with_error_code(refusal.code.code())
        .with_error_message(Some(text(&refusal.message)));
    let results = vec![refused; request.filters.len()];
    Ok(context.now(DeleteAclsResponse::default().with_filter_results(results)))
}
