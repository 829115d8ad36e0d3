//! FindCoordinator v0-6 (KIP-699 many keys from v4). There are no coordinators yet, and every key is answered so:
//! COORDINATOR_NOT_AVAILABLE. It is here before they are because librdkafka takes a broker without this API for one
//! from before Kafka 0.9, to which it does not send LZ4.

use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::api::ApiKey;
use ottla_protocol::messages::find_coordinator_response::Coordinator;
use ottla_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use ottla_protocol::{ErrorCode, StrBytes, codec};

use super::{Begun, now, text};
use crate::broker::Broker;

const WHY: &str = "This broker has no group and transaction coordinators yet.";

pub(super) fn begin(_: &Arc<Broker>, version: i16, body: Bytes) -> Begun {
    let request: FindCoordinatorRequest = codec::decode(ApiKey::FindCoordinator.code(), version, body)?;
    let code = ErrorCode::CoordinatorNotAvailable.code();
    let response = FindCoordinatorResponse::default();
    if version >= 4 {
        let coordinators = request.coordinator_keys.into_iter().map(|key| {
            Coordinator::default()
                .with_key(key)
                .with_node_id((-1).into())
                .with_host(StrBytes::new())
                .with_port(-1)
                .with_error_code(code)
                .with_error_message(Some(text(WHY)))
        });
        return Ok(now(&response.with_coordinators(coordinators.collect()), version));
    }
    let response = response.with_error_code(code).with_node_id((-1).into()).with_port(-1);
    Ok(now(&if version >= 1 { response.with_error_message(Some(text(WHY))) } else { response }, version))
}
