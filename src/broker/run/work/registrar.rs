//! What this broker tells the controller about its log directories (KIP-858): the directory of each replica, and which
//! directories have failed. Nobody waits for the answers: what was lost is sent again by the next start.

use std::sync::Arc;

use ottla_core::controller::{AssignReplicas, Assignment, Command, DirectoriesOffline};
use ottla_core::question::Question;
use ottla_model::{BrokerEpoch, DirectoryId, NodeId};

use tokio::runtime::Handle;

use crate::run::owners::controller::Controller;
use crate::run::owners::metadata::Metadata;

/// Sends to the controller.
pub(crate) struct Registrar {
    me: NodeId,
    image: Arc<Metadata>,
    tell: Box<dyn Fn(Command) + Send + Sync>,
}

impl Registrar {
    /// To be called on the runtime on which it shall ask.
    pub fn new(me: NodeId, image: Arc<Metadata>, controller: Controller) -> Registrar {
        let runtime = Handle::current();
        let tell = move |command: Command| {
            let controller = controller.clone();
            runtime.spawn(async move { drop(controller.ask(command).await) });
        };
        Registrar { me, image, tell: Box::new(tell) }
    }

    /// One that nobody hears.
    #[cfg(test)]
    pub fn silent(me: NodeId, image: Arc<Metadata>) -> Registrar {
        Registrar { me, image, tell: Box::new(|_| {}) }
    }

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
