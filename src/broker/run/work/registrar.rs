//! What this broker tells the controller of its log directories (KIP-858): which replica lives where, and which of them
//! have failed. Nobody waits for the answers: what did not get through is said again by the next start.

use std::sync::Arc;

use arc_swap::ArcSwap;
use ottla_core::controller::{AssignReplicas, Assignment, Command, DirectoriesOffline};
use ottla_core::question::Question;
use ottla_model::image::Image;
use ottla_model::{BrokerEpoch, DirectoryId, NodeId};

/// The way to the controller.
pub(crate) struct Registrar {
    pub me: NodeId,
    pub image: Arc<ArcSwap<Image>>,
    pub tell: Box<dyn Fn(Command) + Send + Sync>,
}

impl Registrar {
    pub fn assign(&self, assignments: Vec<Assignment>) {
        if let Some(epoch) = self.epoch()
            && !assignments.is_empty()
        {
            (self.tell)(AssignReplicas { broker: self.me, epoch, assignments }.command());
        }
    }

    pub fn lost(&self, directories: Vec<DirectoryId>) {
        if let Some(epoch) = self.epoch() {
            (self.tell)(DirectoriesOffline { broker: self.me, epoch, directories }.command());
        }
    }

    // None until it is registered.
    fn epoch(&self) -> Option<BrokerEpoch> {
        self.image.load().broker(self.me).map(|broker| broker.epoch)
    }
}
