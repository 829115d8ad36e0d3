//! What this broker tells the controller about its log directories (KIP-858): the directory of each replica, and which
//! directories have failed. Nobody waits for the answers: what was lost is sent again by the next start.

use std::sync::Arc;

use arc_swap::ArcSwap;
use ottla_core::controller::{AssignReplicas, Assignment, Command, DirectoriesOffline};
use ottla_core::question::Question;
use ottla_model::image::Image;
use ottla_model::{BrokerEpoch, DirectoryId, NodeId};

/// Sends to the controller.
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

    // `None`: the broker is not registered yet.
    fn epoch(&self) -> Option<BrokerEpoch> {
        self.image.load().broker(self.me).map(|broker| broker.epoch)
    }
}
