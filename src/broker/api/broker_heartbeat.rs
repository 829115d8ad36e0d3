//! BrokerHeartbeat v0-1 (KIP-631, KIP-858): a broker shows that it is alive, says what it wants and which of its directories
//! have failed.

use bytes::Bytes;
use ottla_core::controller::{Heartbeat, NotController};
use ottla_protocol::ErrorCode;
use ottla_protocol::api::Operation;
use ottla_protocol::messages::BrokerHeartbeatRequest;

use super::context::{AtNode, Begun};
use crate::travels::{Beat, Travels, beat};

pub(super) fn begin(context: &AtNode<'_>, body: Bytes) -> Begun {
    let request: BrokerHeartbeatRequest = context.read(body)?;
    if let Err(code) = context.check_cluster(Operation::ClusterAction) {
        return Ok(context.now(Heartbeat::refused(code)));
    }
    let controller = context.controller();
    Ok(context.later(async move {
        let asked = request.clone();
        let Beat { heartbeat, offline } = beat(request);
        let no_controller = |NotController| ErrorCode::NotController;
        if let Some(offline) = offline {
            let lost = controller.ask(offline).await.map_err(no_controller);
            if let Err(code) = lost.and_then(|outcome| outcome.map_err(|refusal| refusal.code)) {
                return Heartbeat::refused(code);
            }
        }
        match controller.ask(heartbeat).await {
            Ok(answer) => Heartbeat::response(&asked, answer),
            Err(refused) => Heartbeat::refused(no_controller(refused)),
        }
    }))
}
