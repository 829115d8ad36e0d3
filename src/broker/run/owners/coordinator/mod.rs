//! A coordinator of this broker: a shard for each partition of its topic that this broker leads, and the way to send
//! commands to it. Each shard has a task that owns it (`task`).
//! It must never know what the commands are: `run/owners/groups` does, for the group coordinator.

mod task;

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_core::coordinator::Machine;
use ottla_core::question::Question;
use ottla_model::image::{Image, Topic};
use ottla_node::coordinator::keeper::Sent;
use ottla_node::coordinator::{Input, ShardSettings};
use ottla_protocol::ErrorCode;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::broker::Broker;
use crate::run::owners::partition::Partition;
use task::Task;

/// The shards of one coordinator. A command's token says where its answer is sent.
pub(crate) struct Coordinator<M: Machine> {
    /// The topic whose partitions are the logs of the shards.
    topic: &'static str,
    terms: ShardSettings,
    /// How much of a log is read at a time during loading.
    load_buffer_bytes: usize,
    empty_machine: Box<dyn Fn() -> M + Send + Sync>,
    shards: Mutex<BTreeMap<i32, mpsc::UnboundedSender<Sent<M>>>>,
}

impl<M> Coordinator<M>
where
    M: Machine<Token = oneshot::Sender<<M as Machine>::Reply>> + Send + 'static,
    M::Command: Send,
    M::Reply: Send,
    M::Errand: Send,
{
    pub fn new(
        topic: &'static str,
        terms: ShardSettings,
        load_buffer_bytes: usize,
        empty_machine: impl Fn() -> M + Send + Sync + 'static,
    ) -> Coordinator<M> {
        let (empty_machine, shards) = (Box::new(empty_machine), Mutex::default());
        Coordinator { topic, terms, load_buffer_bytes, empty_machine, shards }
    }

    /// The coordinator's topic. `None`: it does not exist yet.
    pub fn topic<'a>(&self, image: &'a Image) -> Option<&'a Arc<Topic>> {
        image.topic(self.topic)
    }

    /// Sends a question to one shard and waits for the answer.
    pub async fn ask<Q>(self: &Arc<Self>, broker: &Arc<Broker>, shard: i32, question: Q) -> Q::Answer
    where
        Q: Question<Command = M::Command, Reply = M::Reply>,
    {
        let command = question.command();
        let refused = M::refused(&command, ErrorCode::NotCoordinator);
        let (token, reply) = oneshot::channel();
        let Some(way) = self.reach(broker, shard) else { return Q::answer(refused) };
        if way.send(Input::Ask { token, command }).is_err() {
            return Q::answer(refused);
        }
        Q::answer(reply.await.unwrap_or(refused))
    }

    /// The shards that this broker leads.
    pub fn led_here(&self, broker: &Broker) -> Vec<i32> {
        let image = broker.image.load();
        let Some(topic) = self.topic(&image) else { return Vec::new() };
        topic
            .partitions
            .keys()
            .copied()
            .filter(|index| broker.partitions.get(topic.id, *index).is_some())
            .collect()
    }

    /// Loads the shards that this broker leads before the first command for them.
    pub fn wake_all(self: &Arc<Self>, broker: &Arc<Broker>) {
        for shard in self.led_here(broker) {
            self.reach(broker, shard);
        }
    }

    /// Sends a command to every running shard, without waiting. A shard that has ended does not need it.
    pub fn tell_all(&self, command: impl Fn() -> M::Command) {
        for shard in self.shards.lock().values() {
            let (token, _) = oneshot::channel();
            let _ = shard.send(Input::Ask { token, command: command() });
        }
    }

    // The mailbox of a shard's task, which is started if it is not running. `None`: this broker does not lead the shard.
    fn reach(self: &Arc<Self>, broker: &Arc<Broker>, shard: i32) -> Option<mpsc::UnboundedSender<Sent<M>>> {
        let mut shards = self.shards.lock();
        if let Some(way) = shards.get(&shard).filter(|way| !way.is_closed()) {
            return Some(way.clone());
        }
        let image = broker.image.load();
        let topic = self.topic(&image)?;
        broker.partitions.get(topic.id, shard)?;
        let (way, inbox) = mpsc::unbounded_channel();
        tokio::spawn(Task::new(broker.clone(), self.clone(), shard, inbox).keep());
        shards.insert(shard, way.clone());
        Some(way)
    }

    // The shard's partition. `None`: this broker does not lead it.
    fn partition(&self, broker: &Broker, shard: i32) -> Option<Arc<Partition>> {
        let image = broker.image.load();
        broker.partitions.led(&image, self.topic(&image)?.id, shard).ok()
    }
}
