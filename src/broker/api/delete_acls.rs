//! DeleteAcls v1-3 (KIP-140; KIP-290 pattern types): refused filter by filter, as there is no authorizer.

use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::api::ApiKey;
use ottla_protocol::codec;
use ottla_protocol::messages::delete_acls_response::DeleteAclsFilterResult;
use ottla_protocol::messages::{DeleteAclsRequest, DeleteAclsResponse};

use super::acls::{DISABLED, refuse_unknown, why};
use super::{Begun, now};
use crate::broker::Broker;

pub(super) fn begin(_broker: &Arc<Broker>, version: i16, body: Bytes) -> Begun {
    let request: DeleteAclsRequest = codec::decode(ApiKey::DeleteAcls.code(), version, body)?;
    let parts = request.filters.iter().flat_map(|filter| {
        [filter.resource_type_filter, filter.pattern_type_filter, filter.operation, filter.permission_type]
    });
    if let Some(refused) = refuse_unknown(parts) {
        return Ok(refused);
    }
    let refused =
        DeleteAclsFilterResult::default().with_error_code(DISABLED.code()).with_error_message(why());
    let results = vec![refused; request.filters.len()];
    Ok(now(&DeleteAclsResponse::default().with_filter_results(results), version))
}
