//! Producer ids from the block that the controller has given to this broker (KIP-730). When the block is used up, the
//! next one is requested.

use ottla_core::controller::{AllocateProducerIds, NotController, ProducerIdBlock};
use ottla_model::{BrokerEpoch, NodeId};
use ottla_protocol::{ErrorCode, ProducerId};
use tokio::sync::Mutex;

use super::controller::Controller;

/// The ids that are left of the block.
#[derive(Default)]
pub(crate) struct ProducerIds {
    // Held during the request to the controller on purpose: other callers wait for the same block.
    left: Mutex<Option<ProducerIdBlock>>,
}

impl ProducerIds {
    /// An id that no other producer has or will have.
    pub async fn next(
        &self,
        controller: &Controller,
        broker: NodeId,
        epoch: BrokerEpoch,
    ) -> Result<ProducerId, ErrorCode> {
        let mut left = self.left.lock().await;
        let block = match left.take().filter(|block| block.len > 0) {
            Some(block) => block,
            None => match controller.ask(AllocateProducerIds { broker, epoch }).await {
                Ok(Ok(block)) => block,
                // A client retries after this error, so the block is not lost to it.
                Ok(Err(_)) | Err(NotController) => return Err(ErrorCode::CoordinatorLoadInProgress),
            },
        };
        *left = Some(ProducerIdBlock { first: block.first + 1, len: block.len - 1 });
        Ok(ProducerId(block.first))
    }
}
