//! The transaction coordinator of this broker: the way from a transactional id to its shard, and the errands of the shards.
//! It must never know what the commands for a transactional id are, nor how shards run: `run/owners/coordinator` does.

use std::future::Future;
use std::sync::Arc;

use ottla_core::txn::{
    Errand, ListTransactions, ListedTransaction, Markers, MarkersWritten, OfTransactionalId,
    ProducerIdAllocated, Reply, Transactions,
};
use ottla_model::config::BrokerConfig;
use ottla_model::{BrokerEpoch, NodeId, TRANSACTION_STATE_TOPIC};
use ottla_node::coordinator::transactions;
use ottla_node::marking::ending;
use ottla_protocol::{ErrorCode, ProducerId};
use tokio::sync::oneshot;

use super::controller::Controller;
use super::coordinator::{Coordinator, Service, Surroundings};
use super::markers::MarkerWriter;
use super::metadata::Metadata;
use super::producer_ids::ProducerIds;

type Shards = Coordinator<Transactions<oneshot::Sender<Reply>>>;

/// The transaction coordinator of this broker.
pub(crate) struct TransactionCoordinator {
    coordinator: Arc<Shards>,
}

/// What the shards' errands need.
#[derive(Clone)]
pub(crate) struct ErrandRunner {
    pub me: NodeId,
    pub image: Arc<Metadata>,
    pub controller: Controller,
    pub producer_ids: Arc<ProducerIds>,
    pub markers: Arc<MarkerWriter>,
}

impl TransactionCoordinator {
    pub fn new(
        config: &BrokerConfig,
        surroundings: Surroundings,
        runner: ErrandRunner,
    ) -> TransactionCoordinator {
        let settings = Arc::new(transactions::settings(config));
        let service = Service {
            topic: TRANSACTION_STATE_TOPIC,
            terms: transactions::terms(config),
            load_buffer_bytes: transactions::load_buffer_bytes(config),
            empty_machine: Box::new(move |epoch| Transactions::new(settings.clone(), epoch.0)),
            run: Box::new(move |coordinator, shard, errand| runner.run(coordinator.clone(), shard, errand)),
        };
        TransactionCoordinator { coordinator: Arc::new(Coordinator::new(surroundings, service)) }
    }

    /// Sends a question to the shard of a transactional id, then waits for the answer.
    pub fn ask<Q>(&self, question: Q) -> impl Future<Output = Q::Answer> + Send + use<Q>
    where
        Q: OfTransactionalId,
        Q::Answer: Send,
    {
        let id = question.transactional_id();
        let asked = match self.coordinator.shard_of(id) {
            _ if id.is_empty() => Err(ErrorCode::InvalidRequest),
            Some(shard) => Ok(shard),
            None => Err(ErrorCode::NotCoordinator),
        };
        let asked = match asked {
            Ok(shard) => Ok(self.coordinator.ask(shard, question)),
            Err(code) => Err(Q::answer(question.command().refused(code))),
        };
        async move {
            match asked {
                Ok(answer) => answer.await,
                Err(refused) => refused,
            }
        }
    }

    /// The broker that leads the shard of a transactional id. `None`: none does, or there is no transaction log.
    pub fn coordinator_of(&self, id: &str) -> Option<NodeId> {
        self.coordinator.leader_of(self.coordinator.shard_of(id)?)
    }

    /// Sends a question to every shard that this broker leads, and returns the answers in the order of the shards.
    pub async fn list(&self, question: &ListTransactions) -> Vec<Result<Vec<ListedTransaction>, ErrorCode>> {
        let mut answers = Vec::new();
        for shard in self.coordinator.led_here() {
            answers.push(self.coordinator.ask(shard, question.clone()).await);
        }
        answers
    }

    /// Loads the shards that this broker leads: transactions that are prepared have to be ended, also if nobody asks.
    pub fn wake_all(&self) {
        self.coordinator.wake_all();
    }

    /// See [`Coordinator::say_once`].
    pub fn say_once(&self, why: &str) {
        self.coordinator.say_once(why);
    }
}

impl ErrandRunner {
    // A shard that refuses to hear what an errand came to has begun anew, and sends it again.
    fn run(&self, coordinator: Arc<Shards>, shard: i32, errand: Errand) {
        let runner = self.clone();
        tokio::spawn(async move {
            match errand {
                Errand::AllocateProducerId { transactional_id } => {
                    let result = runner.allocate().await;
                    coordinator.ask(shard, ProducerIdAllocated { transactional_id, result }).await;
                }
                Errand::WriteMarkers(markers) => runner.write(&coordinator, shard, markers),
            }
        });
    }

    async fn allocate(&self) -> Result<ProducerId, ErrorCode> {
        let epoch = self.image.load().broker(self.me).map_or(BrokerEpoch::NONE, |broker| broker.epoch);
        self.producer_ids.next(&self.controller, self.me, epoch).await
    }

    // The shard hears of each leader by itself: one that does not answer holds up nobody else.
    fn write(&self, coordinator: &Arc<Shards>, shard: i32, markers: Markers) {
        let ending = ending(&markers);
        let Markers { transactional_id, prepared_at, partitions, .. } = markers;
        for share in self.markers.write(ending, &partitions) {
            let (coordinator, transactional_id) = (coordinator.clone(), transactional_id.clone());
            tokio::spawn(async move {
                let results = share.await;
                let written = MarkersWritten { transactional_id, prepared_at, results };
                coordinator.ask(shard, written).await;
            });
        }
    }
}
