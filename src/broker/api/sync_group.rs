//! SyncGroup v0-5 (KIP-345 static members from v3, KIP-559 protocol type and name from v5). The answer comes when the
//! leader's assignment is in the log.

use bytes::Bytes;
use ottla_core::group::{Sync, Synced};
use ottla_protocol::ErrorCode;
use ottla_protocol::api::{Operation, Resource};
use ottla_protocol::messages::{SyncGroupRequest, SyncGroupResponse};

use super::context::{Begun, Context};
use super::groups::{shared, shared_option, text_option};

pub(super) fn begin(context: &Context<'_>, body: Bytes) -> Begun {
    let Context { broker, version, .. } = *context;
    let request: SyncGroupRequest = context.read(body)?;
    if version >= 5 && (request.protocol_type.is_none() || request.protocol_name.is_none()) {
        let code = ErrorCode::InconsistentGroupProtocol.code();
        return Ok(context.now(SyncGroupResponse::default().with_error_code(code)));
    }
    if let Err(code) = context.check(Operation::Read, Resource::Group, &request.group_id) {
        return Ok(context.now(SyncGroupResponse::default().with_error_code(code.code())));
    }
    let sync = Sync {
        group: shared(&request.group_id.0),
        generation: request.generation_id,
        member_id: shared(&request.member_id),
        instance_id: shared_option(&request.group_instance_id),
        protocol_type: shared_option(&request.protocol_type),
        protocol: shared_option(&request.protocol_name),
        assignments: request
            .assignments
            .iter()
            .map(|a| (shared(&a.member_id), a.assignment.clone()))
            .collect(),
    };
    let broker = broker.clone();
    Ok(context.later(async move { response(broker.groups.ask(sync).await, version) }))
}

fn response(synced: Synced, version: i16) -> SyncGroupResponse {
    let response =
        SyncGroupResponse::default().with_error_code(synced.error.code()).with_assignment(synced.assignment);
    if version < 5 {
        return response;
    }
    response
        .with_protocol_type(text_option(&synced.protocol_type))
        .with_protocol_name(text_option(&synced.protocol))
}
