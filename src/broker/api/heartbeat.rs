//! Heartbeat v0-4 (KIP-345 static members from v3).

use std::sync::Arc;

use bytes::Bytes;
use ottla_core::group::{Command, Heartbeat, Reply};
use ottla_protocol::api::ApiKey;
use ottla_protocol::codec;
use ottla_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use super::groups::{shared, shared_option, unexpected};
use super::{Begun, later};
use crate::broker::Broker;
use crate::run::groups::ask;

pub(super) fn begin(broker: &Arc<Broker>, version: i16, body: Bytes) -> Begun {
    let request: HeartbeatRequest = codec::decode(ApiKey::Heartbeat.code(), version, body)?;
    let heartbeat = Heartbeat {
        group: shared(&request.group_id.0),
        generation: request.generation_id,
        member_id: shared(&request.member_id),
        instance_id: shared_option(&request.group_instance_id),
    };
    let broker = broker.clone();
    Ok(later(version, async move {
        let group = heartbeat.group.clone();
        match ask(&broker, &group, Command::Heartbeat(heartbeat)).await {
            Reply::Heartbeat(error) => HeartbeatResponse::default().with_error_code(error.code()),
            other => unexpected(&other),
        }
    }))
}
