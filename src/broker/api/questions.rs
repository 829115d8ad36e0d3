//! BrokerHeartbeat, ControllerRegistration, AllocateProducerIds, AlterPartition and AssignReplicasToDirs: what nodes ask the active controller for themselves. How
//! each travels is in `travels`.

use bytes::Bytes;
use ottla_core::controller::NotController;
use ottla_protocol::ErrorCode;
use ottla_protocol::api::Operation;

use super::context::{AtNode, Begun};
use super::responses::Response;
use crate::travels::{ResponseOf, Travels};

pub(super) fn begin<Q>(context: &AtNode<'_>, body: Bytes) -> Begun
where
    Q: Travels + Send + 'static,
    Q::Request: Send,
    Q::Answer: Send,
    ResponseOf<Q>: Response + Send + 'static,
{
    let request: Q::Request = context.read(body)?;
    if let Err(code) = context.check_cluster(Operation::ClusterAction) {
        return Ok(context.now(Q::refused(code)));
    }
    let question = match Q::of_request(request) {
        Ok(question) => question,
        Err(code) => return Ok(context.now(Q::refused(code))),
    };
    let controller = context.controller();
    Ok(context.later(async move {
        let asked = question.request();
        match controller.ask(question).await {
            Ok(answer) => Q::response(&asked, answer),
            Err(NotController) => Q::refused(ErrorCode::NotController),
        }
    }))
}
