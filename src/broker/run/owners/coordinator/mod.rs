//! A coordinator of this broker: a shard for each partition of its topic that this broker leads, and the way to send
//! commands to it. Each shard has a task that owns it (`task`).
//! It must never know what the commands are: `run/owners/groups` and `run/owners/transactions` do.

mod task;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use ottla_core::coordinator::Machine;
use ottla_core::question::Question;
use ottla_model::NodeId;
use ottla_model::image::{Image, Topic};
use ottla_node::coordinator::keeper::Sent;
use ottla_node::coordinator::{Ending, Input, ShardSettings, shard_of};
use ottla_protocol::{ErrorCode, LeaderEpoch};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use crate::run::owners::metadata::Metadata;
use crate::run::owners::partition::Partition;
use crate::run::owners::partitions::Partitions;
use crate::stop::Stopping;
use task::Task;

/// What a coordinator sees of its broker.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub image: Arc<Metadata>,
    pub partitions: Arc<Partitions>,
    pub stopping: Stopping,
}

/// What tells one coordinator from another.
pub(crate) struct Service<M: Machine> {
    /// The topic whose partitions are the logs of the shards.
    pub topic: &'static str,
    pub terms: ShardSettings,
    /// How much of a log is read at a time during loading.
    pub load_buffer_bytes: usize,
    /// Makes the machine of a shard whose partition is led under that epoch.
    pub empty_machine: Box<dyn Fn(LeaderEpoch) -> M + Send + Sync>,
    /// Has an errand of a shard done, without waiting for it.
    pub run: Errands<M>,
}

type Errands<M> = Box<dyn Fn(&Arc<Coordinator<M>>, i32, <M as Machine>::Errand) + Send + Sync>;

/// The shards of one coordinator. A command's token says where its answer is sent.
pub(crate) struct Coordinator<M: Machine> {
    service: Service<M>,
    surroundings: Surroundings,
    shards: Mutex<BTreeMap<i32, mpsc::UnboundedSender<Sent<M>>>>,
    /// The last logged reason why the topic could not be created.
    said: Mutex<Option<String>>,
}

impl<M> Coordinator<M>
where
    M: Machine<Token = oneshot::Sender<<M as Machine>::Reply>> + Send + 'static,
    M::Command: Send,
    M::Reply: Send,
    M::Errand: Send,
{
    pub fn new(surroundings: Surroundings, service: Service<M>) -> Coordinator<M> {
        Coordinator { service, surroundings, shards: Mutex::default(), said: Mutex::default() }
    }

    /// The coordinator's topic. `None`: it does not exist yet.
    fn topic<'a>(&self, image: &'a Image) -> Option<&'a Arc<Topic>> {
        image.topic(self.service.topic)
    }

    /// The shard of a key. `None`: the topic does not exist yet.
    pub fn shard_of(&self, key: &str) -> Option<i32> {
        self.topic(&self.surroundings.image.load()).map(|topic| shard_of(key, topic.partitions.len()))
    }

    /// The broker that leads a shard. `None`: none does.
    pub fn leader_of(&self, shard: i32) -> Option<NodeId> {
        self.surroundings.image.load().partition(self.service.topic, shard)?.leader
    }

    /// Sends a question to one shard, then waits for the answer.
    pub fn ask<Q>(
        self: &Arc<Self>,
        shard: i32,
        question: Q,
    ) -> impl Future<Output = Q::Answer> + Send + use<M, Q>
    where
        Q: Question<Command = M::Command, Reply = M::Reply>,
    {
        let command = question.command();
        let refused = M::refused(&command, ErrorCode::NotCoordinator);
        let (token, reply) = oneshot::channel();
        if let Some(way) = self.reach(shard) {
            // If the task has ended, the token is dropped, which is an answer too.
            let _ = way.send(Input::Ask { token, command });
        }
        async move { Q::answer(reply.await.unwrap_or(refused)) }
    }

    /// Sends the end of a transaction that has records in one shard, then waits for the reply.
    pub fn end_transaction(
        self: &Arc<Self>,
        shard: i32,
        ending: Ending,
    ) -> impl Future<Output = M::Reply> + Send + use<M> {
        let (token, reply) = oneshot::channel();
        if let Some(way) = self.reach(shard) {
            // If the task has ended, the token is dropped, which is an answer too.
            let _ = way.send(Input::EndTransaction { token, ending });
        }
        async move { reply.await.unwrap_or_else(|_| M::transaction_ended(ErrorCode::NotCoordinator)) }
    }

    /// The shards that this broker leads.
    pub fn led_here(&self) -> Vec<i32> {
        let image = self.surroundings.image.load();
        let Some(topic) = self.topic(&image) else { return Vec::new() };
        let led = |index: &i32| self.surroundings.partitions.led(&image, topic.id, *index).is_ok();
        topic.partitions.keys().copied().filter(led).collect()
    }

    /// Loads the shards that this broker leads before the first command for them. What they do by themselves, such as
    /// ending transactions, waits for nobody.
    pub fn wake_all(self: &Arc<Self>) {
        for shard in self.led_here() {
            self.reach(shard);
        }
    }

    /// Sends a command to every running shard, without waiting. A shard that has ended does not need it.
    pub fn tell_all(&self, command: impl Fn() -> M::Command) {
        for shard in self.shards.lock().values() {
            let (token, _) = oneshot::channel();
            let _ = shard.send(Input::Ask { token, command: command() });
        }
    }

    /// Logs why the topic cannot be created, each reason once: clients ask again and again.
    pub fn say_once(&self, why: &str) {
        let mut said = self.said.lock();
        if said.as_deref() != Some(why) {
            warn!(topic = self.service.topic, why, "cannot create the topic");
            *said = Some(why.to_owned());
        }
    }

    // The mailbox of a shard's task, which is started if it is not running. `None`: this broker does not lead the shard.
    fn reach(self: &Arc<Self>, shard: i32) -> Option<mpsc::UnboundedSender<Sent<M>>> {
        let mut shards = self.shards.lock();
        if let Some(way) = shards.get(&shard).filter(|way| !way.is_closed()) {
            return Some(way.clone());
        }
        let image = self.surroundings.image.load();
        let topic = self.topic(&image)?;
        self.surroundings.partitions.led(&image, topic.id, shard).ok()?;
        let (way, inbox) = mpsc::unbounded_channel();
        tokio::spawn(Task::new(self.clone(), shard, inbox).keep());
        shards.insert(shard, way.clone());
        Some(way)
    }

    /// The shard's partition. `None`: this broker does not lead it.
    pub fn partition(&self, shard: i32) -> Option<Arc<Partition>> {
        let image = self.surroundings.image.load();
        self.surroundings.partitions.led(&image, self.topic(&image)?.id, shard).ok()
    }
}
