//! UnregisterController v0 (KIP-1312): a controller that is gone for good is forgotten.

use bytes::Bytes;
use ottla_core::controller::UnregisterController;
use ottla_model::NodeId;
use ottla_protocol::api::Operation;
use ottla_protocol::unregister_controller::{UnregisterControllerRequest, UnregisterControllerResponse};

use super::context::{AtNode, Begun};
use super::voters::{Outcome, of_refusal, refused, told};

pub(super) fn begin(context: &AtNode<'_>, body: Bytes) -> Begun {
    let request: UnregisterControllerRequest = context.read(body)?;
    let response = |outcome: Outcome| {
        let (code, message) = told(outcome);
        UnregisterControllerResponse::default().with_error_code(code).with_error_message(message)
    };
    if let Err(code) = context.check_cluster(Operation::Alter) {
        return Ok(context.now(response(refused(code))));
    }
    let controller = context.controller();
    let question = UnregisterController { controller: NodeId(request.controller_id()) };
    Ok(context.later(async move { response(of_refusal(controller.ask(question).await)) }))
}
