//! What this broker's leaders propose of their in-sync sets (AlterPartition, KIP-497), on its way to the controller: what
//! comes while a request is on its way goes out together with the next one. It must never know who is in sync.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ottla_core::controller::{AlterPartition, Altered, IsrProposal, NotController, Refusal};
use ottla_core::partition::{IsrAnswer, Proposal};
use ottla_log::disk::worker;
use ottla_model::NodeId;
use ottla_node::lane::Input;
use ottla_protocol::ErrorCode;
use tokio::sync::mpsc;
use tracing::{debug, info};

use super::controller::Controller;
use super::metadata::Metadata;
use super::partition::Partition;

/// The way to the controller, for lanes. Clones share it.
#[derive(Clone)]
pub(crate) struct Proposals(mpsc::UnboundedSender<(Arc<Partition>, Proposal)>);

/// What has been proposed and is still to be sent.
pub(crate) struct Proposed(mpsc::UnboundedReceiver<(Arc<Partition>, Proposal)>);

impl Proposals {
    pub fn channel() -> (Proposals, Proposed) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Proposals(sender), Proposed(receiver))
    }

    /// The answer goes to the partition's lane.
    pub fn send(&self, partition: &Arc<Partition>, proposal: Proposal) {
        // This fails only when the broker is stopping.
        let _ = self.0.send((partition.clone(), proposal));
    }
}

impl Proposed {
    /// Sends proposals until no lane can make one any more.
    pub async fn carry(mut self, me: NodeId, image: Arc<Metadata>, controller: Controller) {
        while let Some(first) = self.0.recv().await {
            let mut newest = BTreeMap::new();
            let mut next = Some(first);
            while let Some((partition, proposal)) = next {
                newest.insert((partition.topic_id, partition.id.partition), (partition, proposal));
                next = self.0.try_recv().ok();
            }
            let epoch = image.load().broker(me).map(|broker| broker.epoch);
            let proposals = newest.iter().map(|((topic, partition), (_, proposal))| IsrProposal {
                topic: *topic,
                partition: *partition,
                proposal: proposal.clone(),
                // Nothing is recovered besides what an election does, as in Kafka (KIP-704).
                recovering: false,
            });
            let proposals = proposals.collect();
            let outcomes = match epoch {
                Some(epoch) => controller.ask(AlterPartition { broker: me, epoch, proposals }).await,
                None => Err(NotController),
            };
            if !tell(newest.into_values(), outcomes) {
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        }
    }
}

// Whether all of it went well. What is to be tried again is proposed again by its lane.
fn tell(
    proposed: impl ExactSizeIterator<Item = (Arc<Partition>, Proposal)>,
    outcomes: Result<Result<Vec<Result<Altered, ErrorCode>>, Refusal>, NotController>,
) -> bool {
    let all = |code| vec![Err(code); proposed.len()];
    let outcomes = match outcomes {
        Ok(Ok(outcomes)) => outcomes,
        Ok(Err(refusal)) => all(refusal.code),
        Err(not_controller) => all(not_controller.into()),
    };
    let mut went_well = true;
    for ((partition, proposal), outcome) in proposed.zip(outcomes) {
        match &outcome {
            Ok(Altered { isr, partition_epoch, .. }) => {
                info!(partition = %partition.id, ?isr, partition_epoch, "the in-sync set has changed");
            }
            Err(code) => {
                went_well = false;
                debug!(partition = %partition.id, code = code.name(), "the in-sync set was not changed");
            }
        }
        let outcome = outcome.map(|altered| (altered.leader_epoch, altered.partition_epoch, altered.isr));
        // The task may be on another thread than before, which serves clients, too.
        worker::mark();
        partition.submit(Input::IsrAnswered(IsrAnswer { proposal, outcome }));
    }
    went_well
}

/// Kafka waits as long.
const AGAIN_AFTER: Duration = Duration::from_millis(50);
