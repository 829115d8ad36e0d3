//! What this broker tells the controller about its log directories (KIP-858): the directory of each replica, and which
//! directories have failed. Nobody waits for the answers, but a report is made again until it is taken: a replica whose directory
//! the controller does not know cannot lead.

use std::sync::Arc;
use std::time::Duration;

use ottla_core::controller::{AssignReplicas, Assignment, DirectoriesOffline, NotController, Refusal};
use ottla_model::{BrokerEpoch, DirectoryId, NodeId};
use ottla_protocol::ErrorCode;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::run::owners::controller::Controller;
use crate::run::owners::metadata::Metadata;

/// Between two attempts; there are so many of them. What is lost then is told by the next start.
const AGAIN_AFTER: Duration = Duration::from_millis(250);
const ATTEMPTS: u32 = 240;

#[derive(Clone, Debug)]
enum Report {
    Assigned(Vec<Assignment>),
    Lost(Vec<DirectoryId>),
}

/// Reports to the controller.
pub(crate) struct Registrar {
    tell: Box<dyn Fn(Report) + Send + Sync>,
}

impl Registrar {
    /// To be called on the runtime on which it shall ask.
    pub fn new(me: NodeId, image: Arc<Metadata>, controller: Controller) -> Registrar {
        let (reports, mut waiting) = mpsc::unbounded_channel();
        // One after the other: an older one that is repeated must not undo a newer one.
        Handle::current().spawn(async move {
            while let Some(report) = waiting.recv().await {
                tell(me, &image, &controller, report).await;
            }
        });
        // This fails if the runtime has ended.
        Registrar { tell: Box::new(move |report| drop(reports.send(report))) }
    }

    /// One that nobody hears.
    #[cfg(test)]
    pub fn silent() -> Registrar {
        Registrar { tell: Box::new(|_| {}) }
    }

    pub fn assign(&self, assignments: Vec<Assignment>) {
        if !assignments.is_empty() {
            (self.tell)(Report::Assigned(assignments));
        }
    }

    pub fn lost(&self, directories: Vec<DirectoryId>) {
        (self.tell)(Report::Lost(directories));
    }
}

// The epoch is that of each attempt: what is reported while a broker starts belongs to the registration that is just being shown.
async fn tell(me: NodeId, image: &Metadata, controller: &Controller, report: Report) {
    for _ in 0..ATTEMPTS {
        let epoch = image.load().broker(me).map(|broker| broker.epoch);
        if let Some(epoch) = epoch
            && is_answered(me, epoch, controller, report.clone()).await
        {
            return;
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
    warn!(?report, "no controller has taken what this broker says of its directories");
}

// Whether there is nothing to be gained by saying it again.
async fn is_answered(broker: NodeId, epoch: BrokerEpoch, controller: &Controller, report: Report) -> bool {
    let refused = match report {
        Report::Assigned(assignments) => {
            let answer = controller.ask(AssignReplicas { broker, epoch, assignments }).await;
            answer.map(|outcome| outcome.err())
        }
        Report::Lost(directories) => {
            let answer = controller.ask(DirectoriesOffline { broker, epoch, directories }).await;
            answer.map(|outcome| outcome.err())
        }
    };
    match refused {
        Ok(None) => true,
        Err(NotController) => false,
        Ok(Some(Refusal {
            code: ErrorCode::StaleBrokerEpoch | ErrorCode::BrokerIdNotRegistered, ..
        })) => false,
        Ok(Some(refusal)) => {
            debug!(?refusal, "the controller refuses what this broker says of its directories");
            true
        }
    }
}
