//! Heartbeat v0-4 (KIP-345 static members from v3).

use bytes::Bytes;
use ottla_core::group::Heartbeat;
use ottla_protocol::api::{Operation, Resource};
use ottla_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use super::context::{Begun, Context};
use super::groups::{shared, shared_option};

pub(super) fn begin(context: &Context<'_>, body: Bytes) -> Begun {
    let broker = context.broker;
    let request: HeartbeatRequest = context.read(body)?;
    if let Err(code) = context.check(Operation::Read, Resource::Group, &request.group_id) {
        return Ok(context.now(HeartbeatResponse::default().with_error_code(code.code())));
    }
    let heartbeat = Heartbeat {
        group: shared(&request.group_id.0),
        generation: request.generation_id,
        member_id: shared(&request.member_id),
        instance_id: shared_option(&request.group_instance_id),
    };
    let broker = broker.clone();
    Ok(context.later(async move {
        HeartbeatResponse::default().with_error_code(broker.groups.ask(heartbeat).await.code())
    }))
}
