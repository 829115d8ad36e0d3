//! The task that owns one shard: it reads and appends as the shard's keeper says, and waits for the next input. It must
//! never decide: `node::coordinator::keeper` does.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ottla_core::coordinator::Machine;
use ottla_core::partition::Acks;
use ottla_log::CheckedBatch;
use ottla_log::disk::worker;
use ottla_model::TopicPartition;
use ottla_model::config::TopicConfig;
use ottla_node::coordinator::LoadError;
use ottla_node::coordinator::keeper::{Keeper, KeeperNote, KeeperOutput, RETRY_MS, ShardLog};
use ottla_node::coordinator::loading::Loading;
use ottla_node::lane::{Answered, Append, Input};
use ottla_protocol::{ErrorCode, Offset};
use tokio::sync::{Notify, mpsc, oneshot};
use tracing::{error, info, warn};

use super::{Coordinator, Sent};
use crate::clock::now_ms;
use crate::run::owners::partition::{For, Partition};
use crate::run::owners::waiter::Appender;

/// One shard's task.
pub(super) struct Task<M: Machine> {
    coordinator: Arc<Coordinator<M>>,
    index: i32,
    inbox: mpsc::UnboundedReceiver<Sent<M>>,
    keeper: Keeper<M>,
    /// The partition that the keeper's shard was loaded from, or is about to be loaded from.
    partition: Option<Arc<Partition>>,
}

impl<M> Task<M>
where
    M: Machine<Token = oneshot::Sender<<M as Machine>::Reply>> + Send + 'static,
    M::Command: Send,
    M::Reply: Send,
    M::Errand: Send,
{
    pub fn new(
        coordinator: Arc<Coordinator<M>>,
        index: i32,
        inbox: mpsc::UnboundedReceiver<Sent<M>>,
    ) -> Task<M> {
        let machines = coordinator.clone();
        let id = TopicPartition::new(coordinator.service.topic, index);
        let keeper =
            Keeper::new(id, coordinator.service.terms, move |epoch| (machines.service.empty_machine)(epoch));
        Task { coordinator, index, inbox, keeper, partition: None }
    }

    /// Serves the shard until it moves to another broker.
    pub async fn keep(mut self) {
        let moved = Arc::new(Notify::new());
        let stopping = self.coordinator.surroundings.stopping.clone();
        loop {
            // Registered before anything is checked. If the partition was removed, or its high watermark moved, between
            // the check and the registration, nothing would wake this task, and its clients would wait until they time
            // out.
            let registered =
                self.partition.as_ref().map(|partition| partition.wait(For::HighWatermark, &moved));
            let Some(here) = self.coordinator.partition(self.index) else { break };
            if !self.partition.as_ref().is_some_and(|known| Arc::ptr_eq(known, &here)) {
                if self.partition.replace(here).is_some() {
                    // The partition was closed and opened again in between.
                    self.turn(None).await;
                }
                continue;
            }
            while let Ok(sent) = self.inbox.try_recv() {
                self.receive(sent);
            }
            // `None`: its lane has not begun to lead, or its log is being recovered. If that fails, there is no partition
            // any more.
            let log = led(&here);
            let may_load = log.is_some();
            let worked = self.turn(log).await;
            if worked {
                continue;
            }
            let due_ms = match may_load {
                true => self.keeper.next_deadline_ms(),
                false => Some(now_ms() + RETRY_MS),
            };
            tokio::select! {
                sent = self.inbox.recv() => match sent {
                    Some(sent) => self.receive(sent),
                    None => break,
                },
                () = moved.notified() => {}
                () = until(due_ms), if due_ms.is_some() => {}
                () = stopping.cancelled() => break,
            }
            drop(registered);
        }
        self.end();
    }

    fn end(mut self) {
        self.inbox.close();
        while let Ok(sent) = self.inbox.try_recv() {
            self.receive(sent);
        }
        let mut outputs = Vec::new();
        self.keeper.resign(now_ms(), &mut outputs);
        self.tell(outputs);
    }

    fn receive(&mut self, sent: Sent<M>) {
        let mut outputs = Vec::new();
        self.keeper.send(now_ms(), sent, &mut outputs);
        self.tell(outputs);
    }

    // Returns whether something was loaded or appended: then another turn may be wanted at once.
    async fn turn(&mut self, here: Option<ShardLog>) -> bool {
        let image = self.coordinator.surroundings.image.load_full();
        let mut outputs = Vec::new();
        self.keeper.turn(now_ms(), here.as_ref(), &image, &mut outputs);
        let Some(partition) = self.partition.clone() else { return false };
        let mut worked = false;
        let mut outputs = VecDeque::from(outputs);
        while let Some(output) = outputs.pop_front() {
            let mut more = Vec::new();
            match output {
                KeeperOutput::Load(loading) => {
                    let outcome = self.load(loading, &partition).await;
                    self.keeper.loaded(now_ms(), outcome, &mut more);
                    worked = true;
                }
                KeeperOutput::Append { batch, checked_against } => {
                    let outcome = append(&partition, batch, checked_against).await;
                    self.keeper.appended(now_ms(), outcome, &view(&partition), &mut more);
                    worked = true;
                }
                KeeperOutput::Errand(errand) => {
                    (self.coordinator.service.run)(&self.coordinator, self.index, errand)
                }
                told => self.tell([told]),
            }
            outputs.extend(more);
        }
        worked
    }

    // On a thread that may wait for the disk. Commands that arrive during the loading are answered by the keeper.
    async fn load(
        &mut self,
        mut loading: Box<Loading<M>>,
        partition: &Arc<Partition>,
    ) -> Result<Box<Loading<M>>, LoadError> {
        let began = Instant::now();
        let reading = tokio::task::spawn_blocking({
            let (partition, bytes_max) = (partition.clone(), self.coordinator.service.load_buffer_bytes);
            move || {
                while !loading.is_done() {
                    loading.read_on(&partition.place().reader, bytes_max)?;
                }
                Ok(loading)
            }
        });
        tokio::pin!(reading);
        let loaded = loop {
            tokio::select! {
                loaded = &mut reading => break loaded,
                Some(sent) = self.inbox.recv() => self.receive(sent),
            }
        };
        let loaded = loaded.unwrap_or_else(|e| Err(LoadError::Read { offset: -1, why: e.to_string() }));
        if let Ok(loading) = &loaded {
            let took_ms = began.elapsed().as_millis() as u64;
            info!(partition = %partition.id, offset = loading.applied(), took_ms, "loaded the coordinator's shard");
        }
        loaded
    }

    // Sends replies and notes. A keeper that takes no turn puts out nothing else.
    fn tell(&self, outputs: impl IntoIterator<Item = KeeperOutput<M>>) {
        for output in outputs {
            match output {
                // This fails if the client has gone.
                KeeperOutput::Reply { token, reply } => drop(token.send(reply)),
                KeeperOutput::Note(note) => self.note(&note),
                KeeperOutput::Load(_) | KeeperOutput::Append { .. } | KeeperOutput::Errand(_) => {
                    unreachable!("only a turn with a partition wants that")
                }
            }
        }
    }

    fn note(&self, note: &KeeperNote) {
        let partition = format_args!("{}-{}", self.coordinator.service.topic, self.index).to_string();
        match note {
            KeeperNote::Machine(_) => info!(partition, "{note}"),
            KeeperNote::InDoubt => warn!(partition, "{note}"),
            KeeperNote::NotLoaded(_) => error!(partition, "{note}"),
        }
    }
}

// Before its lane has begun to lead, records of the leader before may still be in the lane's queue, so that the log's end is not
// known yet.
fn led(partition: &Partition) -> Option<ShardLog> {
    let leader_epoch = partition.leader_epoch();
    if partition.has_failed() || !partition.leads() {
        return None;
    }
    let log = view(partition);
    (log.leader_epoch == leader_epoch).then_some(log)
}

fn view(partition: &Partition) -> ShardLog {
    let offsets = partition.place().reader.offsets();
    // Read behind them, as `ShardLog` says.
    let leader_epoch = partition.leader_epoch();
    ShardLog { leader_epoch, offsets, config: partition.config.load_full() }
}

async fn until(due_ms: Option<i64>) {
    if let Some(due_ms) = due_ms {
        let ms = due_ms.saturating_sub(now_ms()).max(0) as u64;
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

async fn append(
    partition: &Arc<Partition>,
    batch: CheckedBatch,
    checked_against: Arc<TopicConfig>,
) -> Result<(Offset, Offset), ErrorCode> {
    let (waiting, answer) = oneshot::channel();
    // The task may be on another thread than before, which serves clients, too.
    worker::mark();
    partition.submit(Input::Append(Append {
        token: Appender::Broker(waiting),
        batch,
        acks: Acks::All,
        answered: Answered::WhenAppended,
        checked_against,
        deadline_ms: i64::MAX,
    }));
    let appended = answer.await.unwrap_or(Err(ErrorCode::KafkaStorageError))?;
    Ok((appended.base_offset, appended.last_offset))
}
