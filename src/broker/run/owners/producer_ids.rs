//! Producer ids from the block that the controller gave this broker (KIP-730); the next block is asked for when
//! the present one is used up.

use ottla_core::controller::{AllocateProducerIds, NotController, ProducerIdBlock};
use ottla_model::{BrokerEpoch, NodeId};
use ottla_protocol::{ErrorCode, ProducerId};
use tokio::sync::Mutex;

use super::controller::Controller;

/// The ids that are left.
#[derive(Default)]
pub(crate) struct ProducerIds {
    // Held across the question to the controller on purpose: whoever comes meanwhile waits for that same block.
    left: Mutex<Option<ProducerIdBlock>>,
}

impl ProducerIds {
    /// An id that nobody else has or will have.
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
                // A client tries again on this one, and the id space is not lost to it.
                Ok(Err(_)) | Err(NotController) => return Err(ErrorCode::CoordinatorLoadInProgress),
            },
        };
        *left = Some(ProducerIdBlock { first: block.first + 1, len: block.len - 1 });
        Ok(ProducerId(block.first))
    }
}
