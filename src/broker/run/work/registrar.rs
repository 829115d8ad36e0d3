//! What this broker tells the controller about its log directories (KIP-858): the directory of each replica, which directories have
//! failed, which are full, and which take no new replicas (KIP-1066). Nobody waits for the answers, but a report is made again until it
//! is taken: a replica whose directory the controller does not know cannot lead. What is true of a directory goes with the broker's heartbeats.

use std::sync::Arc;
use std::time::Duration;

use ottla_core::controller::{AssignReplicas, Assignment, NotController, Refusal};
use ottla_model::{BrokerEpoch, DirectoryId, NodeId};
use ottla_node::lifecycle::Input;
use ottla_protocol::ErrorCode;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::run::owners::controller::Controller;
use crate::run::owners::metadata::Metadata;

/// Between two attempts; there are so many of them. What is lost then is told by the next start.
const AGAIN_AFTER: Duration = Duration::from_millis(250);
const ATTEMPTS: u32 = 240;

/// Reports to the controller.
pub(crate) struct Registrar {
    tell: Box<dyn Fn(Vec<Assignment>) + Send + Sync>,
    /// The broker's life, to which its heartbeats belong.
    life: mpsc::UnboundedSender<Input>,
}

impl Registrar {
    /// To be called on the runtime on which it shall ask.
    pub fn new(
        me: NodeId,
        image: Arc<Metadata>,
        controller: Controller,
        life: mpsc::UnboundedSender<Input>,
    ) -> Registrar {
        let (reports, mut waiting) = mpsc::unbounded_channel();
        // One after the other: an older one that is repeated must not undo a newer one.
        Handle::current().spawn(async move {
            while let Some(assignments) = waiting.recv().await {
                tell(me, &image, &controller, assignments).await;
            }
        });
        // This fails if the runtime has ended.
        Registrar { tell: Box::new(move |report| drop(reports.send(report))), life }
    }

    /// One that nobody hears.
    #[cfg(test)]
    pub fn silent() -> Registrar {
        Registrar { tell: Box::new(|_| {}), life: mpsc::unbounded_channel().0 }
    }

    pub fn assign(&self, assignments: Vec<Assignment>) {
        if !assignments.is_empty() {
            (self.tell)(assignments);
        }
    }

    /// These have failed, and will not be back before the next start.
    pub fn lost(&self, directories: Vec<DirectoryId>) {
        // This fails if the broker has left: the next start looks at its directories itself.
        let _ = self.life.send(Input::DirectoriesFailed(directories));
    }

    /// These, of all that there are, have no room.
    pub fn full(&self, directories: Vec<DirectoryId>) {
        // As above.
        let _ = self.life.send(Input::DirectoriesFull(directories));
    }

    /// These, of all that there are, take no new replicas.
    pub fn cordoned(&self, directories: Vec<DirectoryId>) {
        // As above.
        let _ = self.life.send(Input::Cordoned(directories));
    }
}

// The epoch is that of each attempt: what is reported while a broker starts belongs to the registration that is just being shown.
async fn tell(me: NodeId, image: &Metadata, controller: &Controller, assignments: Vec<Assignment>) {
    for _ in 0..ATTEMPTS {
        let epoch = image.load().broker(me).map(|broker| broker.epoch);
        if let Some(epoch) = epoch
            && is_answered(me, epoch, controller, assignments.clone()).await
        {
            return;
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
    warn!(?assignments, "no controller has taken what this broker says of its replicas' directories");
}

// Whether there is nothing to be gained by saying it again.
async fn is_answered(
    broker: NodeId,
    epoch: BrokerEpoch,
    controller: &Controller,
    assignments: Vec<Assignment>,
) -> bool {
    let answer = controller.ask(AssignReplicas { broker, epoch, assignments }).await;
    match answer.map(|outcome| outcome.err()) {
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use ottla_core::controller::{Command, Reply};
    use ottla_model::image::Image;
    use ottla_model::record::{MetadataRecord, RegisterBrokerRecord};
    use ottla_protocol::LeaderEpoch;
    use uuid::Uuid;

    use super::*;

    fn known(me: NodeId) -> Arc<Metadata> {
        let record =
            RegisterBrokerRecord { broker_id: me, broker_epoch: BrokerEpoch(7), ..Default::default() };
        let mut image = Image::empty();
        let registered = MetadataRecord::RegisterBroker(record);
        image.apply_in_place(0, LeaderEpoch(1), &registered).expect("it is registered");
        let metadata = Metadata::default();
        metadata.store(Arc::new(image));
        Arc::new(metadata)
    }

    // A replica may move twice. If the first report is repeated, it must not come behind the second one.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_report_waits_until_the_one_before_is_taken() {
        let me = NodeId(1);
        let (told, hears) = channel();
        let mut refusals =
            vec![Err(NotController), Ok(Reply::ReplicasAssigned(Err(ErrorCode::StaleBrokerEpoch.into())))];
        let controller = Controller::answered_by(move |command| {
            let Command::AssignReplicas(assign) = command else { panic!("{command:?}") };
            assert_eq!((assign.broker, assign.epoch), (me, BrokerEpoch(7)));
            told.send(assign.assignments[0].directory.as_u128()).expect("somebody listens");
            match refusals.is_empty() {
                true => Ok(Reply::ReplicasAssigned(Ok(vec![Ok(())]))),
                false => refusals.remove(0),
            }
        });
        let registrar = Registrar::new(me, known(me), controller, mpsc::unbounded_channel().0);
        for directory in [1, 2] {
            let directory = Uuid::from_u128(directory);
            registrar.assign(vec![Assignment { directory, topic: Uuid::from_u128(9), partition: 0 }]);
        }
        let within = Duration::from_secs(60);
        let order: Vec<u128> = (0..4).map(|_| hears.recv_timeout(within).expect("a report")).collect();
        assert_eq!(order, [1, 1, 1, 2]);
    }
}
