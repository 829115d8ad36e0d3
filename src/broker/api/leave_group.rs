//! LeaveGroup v0-5 (KIP-345 several members at once from v3, KIP-800 reasons from v5).

use bytes::Bytes;
use ottla_core::group::{Leave, Leaver, Left, LeftMember};
use ottla_protocol::ErrorCode;
use ottla_protocol::api::{Operation, Resource};
use ottla_protocol::messages::leave_group_response::MemberResponse;
use ottla_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

use super::context::{Begun, Context};
use super::groups::{shared, shared_option, text_of, text_option};

pub(super) fn begin(context: &Context<'_>, body: Bytes) -> Begun {
    let Context { broker, version, .. } = *context;
    let request: LeaveGroupRequest = context.read(body)?;
    if let Err(code) = context.check(Operation::Read, Resource::Group, &request.group_id) {
        return Ok(context.now(LeaveGroupResponse::default().with_error_code(code.code())));
    }
    let members = if version >= 3 {
        let leaver = |m: &ottla_protocol::messages::leave_group_request::MemberIdentity| Leaver {
            member_id: shared(&m.member_id),
            instance_id: shared_option(&m.group_instance_id),
            reason: m.reason.as_deref().map(str::to_owned),
        };
        request.members.iter().map(leaver).collect()
    } else {
        vec![Leaver { member_id: shared(&request.member_id), instance_id: None, reason: None }]
    };
    let leave = Leave { group: shared(&request.group_id.0), members };
    let broker = broker.clone();
    Ok(context.later(async move { response(broker.groups.ask(leave).await, version) }))
}

fn response(left: Left, version: i16) -> LeaveGroupResponse {
    if version < 3 {
        let of_the_member = left.members.first().map_or(ErrorCode::None, |member| member.error);
        let error = if left.error == ErrorCode::None { of_the_member } else { left.error };
        return LeaveGroupResponse::default().with_error_code(error.code());
    }
    let member = |member: &LeftMember| {
        MemberResponse::default()
            .with_member_id(text_of(&member.member_id))
            .with_group_instance_id(text_option(&member.instance_id))
            .with_error_code(member.error.code())
    };
    LeaveGroupResponse::default()
        .with_error_code(left.error.code())
        .with_members(left.members.iter().map(member).collect())
}
