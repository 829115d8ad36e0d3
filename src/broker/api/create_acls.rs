//! CreateAcls v1-3 (KIP-140; KIP-290 pattern types): refused one by one, as there is no authorizer.

use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::api::ApiKey;
use ottla_protocol::codec;
use ottla_protocol::messages::create_acls_response::AclCreationResult;
use ottla_protocol::messages::{CreateAclsRequest, CreateAclsResponse};

use super::acls::{DISABLED, refuse_unknown, why};
use super::{Begun, now};
use crate::broker::Broker;

pub(super) fn begin(_broker: &Arc<Broker>, version: i16, body: Bytes) -> Begun {
    let request: CreateAclsRequest = codec::decode(ApiKey::CreateAcls.code(), version, body)?;
    let parts = request
        .creations
        .iter()
        .flat_map(|acl| [acl.resource_type, acl.resource_pattern_type, acl.operation, acl.permission_type]);
    if let Some(refused) = refuse_unknown(parts) {
        return Ok(refused);
    }
    let refused = AclCreationResult::default().with_error_code(DISABLED.code()).with_error_message(why());
    let results = vec![refused; request.creations.len()];
    Ok(now(&CreateAclsResponse::default().with_results(results), version))
}
