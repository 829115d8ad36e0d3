//! JoinGroup v0-9 (KIP-345 static members from v5, KIP-394 required member ids from v4, KIP-559 protocol types from
//! v7, KIP-800 reasons from v8, KIP-814 skipped assignments from v9). The answer comes when the group has gathered.

use std::sync::Arc;

use bytes::Bytes;
use ottla_core::group::{Join, Joined, JoinedMember, Protocol};
use ottla_protocol::ErrorCode;
use ottla_protocol::api::{Operation, Resource};
use ottla_protocol::messages::join_group_response::JoinGroupResponseMember;
use ottla_protocol::messages::{JoinGroupRequest, JoinGroupResponse};

use super::context::{Begun, Context};
use super::groups::{java_address, shared, shared_option, text_of, text_option};
use crate::request::Caller;

pub(super) fn begin(context: &Context<'_>, body: Bytes) -> Begun {
    let Context { broker, caller, version, .. } = *context;
    let request: JoinGroupRequest = context.read(body)?;
    if let Err(code) = context.check(Operation::Read, Resource::Group, &request.group_id) {
        return Ok(context.now(refused(code, version)));
    }
    let join = command(request, caller, version);
    let broker = broker.clone();
    Ok(context.later(async move { response(broker.groups.ask(join).await, version) }))
}

fn command(request: JoinGroupRequest, caller: &Caller, version: i16) -> Join {
    let protocol = |p: &ottla_protocol::messages::join_group_request::JoinGroupRequestProtocol| Protocol {
        name: shared(&p.name),
        metadata: p.metadata.clone(),
    };
    Join {
        group: shared(&request.group_id.0),
        member_id: shared(&request.member_id),
        instance_id: shared_option(&request.group_instance_id),
        client_id: caller.client_id.as_ref().map_or_else(|| Arc::from(""), shared),
        client_host: java_address(caller.peer.ip()),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms: request.rebalance_timeout_ms,
        protocol_type: shared(&request.protocol_type),
        protocols: request.protocols.iter().map(protocol).collect(),
        member_id_required: version >= 4,
        can_skip_assignment: version >= 9,
        reason: request.reason.as_deref().map(str::to_owned),
    }
}

// As the schema has it where nothing is said.
fn refused(code: ErrorCode, version: i16) -> JoinGroupResponse {
    let response = JoinGroupResponse::default().with_error_code(code.code()).with_generation_id(-1);
    if version >= 7 { response.with_protocol_name(None) } else { response }
}

fn response(joined: Joined, version: i16) -> JoinGroupResponse {
    let member = |member: &JoinedMember| {
        let listed = JoinGroupResponseMember::default()
            .with_member_id(text_of(&member.member_id))
            .with_metadata(member.metadata.clone());
        if version >= 5 { listed.with_group_instance_id(text_option(&member.instance_id)) } else { listed }
    };
    let protocol = text_option(&joined.protocol);
    let response = JoinGroupResponse::default()
        .with_error_code(joined.error.code())
        .with_generation_id(joined.generation)
        .with_protocol_name(if version >= 7 { protocol } else { Some(protocol.unwrap_or_default()) })
        .with_leader(text_of(&joined.leader))
        .with_member_id(text_of(&joined.member_id))
        .with_members(joined.members.iter().map(member).collect());
    let response =
        if version >= 7 { response.with_protocol_type(text_option(&joined.protocol_type)) } else { response };
    if version >= 9 { response.with_skip_assignment(joined.skip_assignment) } else { response }
}
