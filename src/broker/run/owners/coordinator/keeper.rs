//! The task that owns one shard: it loads it, hands it what comes, appends what it wants written, and lets time pass.
//! It must never know what the shard's machine decides about.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_core::coordinator::Machine;
use ottla_core::partition::Acks;
use ottla_log::check::{Origin, Rules, check};
use ottla_log::disk::worker;
use ottla_log::log::Isolation;
use ottla_node::coordinator::{Input, Output, Shard};
use ottla_node::lane::{Answered, Append, Input as LaneInput};
use ottla_protocol::batch::batches;
use ottla_protocol::{ErrorCode, Offset};
use tokio::sync::{Notify, mpsc, oneshot};
use tracing::{error, info, warn};

use super::{Coordinator, Sent};
use crate::broker::Broker;
use crate::clock::now_ms;
use crate::run::owners::partition::Partition;
use crate::run::owners::waiter::Waiter;

/// How long until a log that could not be loaded, or is being recovered, is looked at again.
const RETRY: Duration = Duration::from_secs(1);

pub(super) struct Keeper<M: Machine> {
    broker: Arc<Broker>,
    coordinator: Arc<Coordinator<M>>,
    index: i32,
    inbox: mpsc::UnboundedReceiver<Sent<M>>,
    /// The offset of the metadata that the shard has been shown.
    shown: Option<Offset>,
}

/// Why a shard is not served any longer.
enum Left {
    /// Its log has another owner or epoch, or it is not known what it holds: load again.
    Changed,
    /// The broker stops.
    Stopping,
}

/// A write may or may not be in the log.
struct Uncertain;

impl<M> Keeper<M>
where
    M: Machine<Token = oneshot::Sender<<M as Machine>::Reply>> + Send + 'static,
    M::Command: Send,
    M::Reply: Send,
{
    pub fn new(
        broker: Arc<Broker>,
        coordinator: Arc<Coordinator<M>>,
        index: i32,
        inbox: mpsc::UnboundedReceiver<Sent<M>>,
    ) -> Keeper<M> {
        Keeper { broker, coordinator, index, inbox, shown: None }
    }

    /// Until the shard is not this broker's any more.
    pub async fn keep(mut self) {
        while let Some(partition) = self.coordinator.partition(&self.broker, self.index) {
            if partition.has_failed() {
                // Its log is being recovered, or that is tried in vain: then there is no partition any more.
                self.refuse_for(RETRY).await;
                continue;
            }
            let Some(shard) = self.load(&partition).await else { continue };
            if let Left::Stopping = self.serve(shard, &partition).await {
                break;
            }
        }
        self.inbox.close();
        while let Some(sent) = self.inbox.recv().await {
            refuse::<M>(sent, ErrorCode::NotCoordinator);
        }
    }

    // None if it cannot be loaded now. Clients are told to wait meanwhile.
    async fn load(&mut self, partition: &Arc<Partition>) -> Option<Shard<M>> {
        let began = std::time::Instant::now();
        self.shown = None;
        let mut shard = Shard::new((self.coordinator.empty_machine)(), self.coordinator.terms);
        let offsets = partition.place().reader.offsets();
        if offsets.log_start == offsets.log_end {
            // Nothing to read, as in a topic that was just made: nobody has to hear that it is being loaded.
            shard.loaded(now_ms(), offsets.log_end, offsets.high_watermark);
            return Some(shard);
        }
        let buffer_bytes = self.coordinator.load_buffer_bytes;
        let loading = tokio::task::spawn_blocking({
            let partition = partition.clone();
            move || load(shard, &partition, buffer_bytes)
        });
        tokio::pin!(loading);
        let mut later = Vec::new();
        let loaded = loop {
            tokio::select! {
                loaded = &mut loading => break loaded,
                Some(sent) = self.inbox.recv() => match &sent {
                    Input::Ask { command, .. } if M::outlasts_loading(command) => later.push(sent),
                    _ => refuse::<M>(sent, ErrorCode::CoordinatorLoadInProgress),
                },
            }
        };
        let mut shard = match loaded.map_err(|e| e.to_string()).and_then(|loaded| loaded) {
            Ok(shard) => shard,
            Err(why) => {
                error!(partition = %partition.id, "cannot load the coordinator's shard: {why}");
                self.refuse_for(RETRY).await;
                return None;
            }
        };
        if shard.applied() > 0 {
            let took_ms = began.elapsed().as_millis() as u64;
            info!(partition = %partition.id, offset = shard.applied(), took_ms, "loaded the coordinator's shard");
        }
        for input in later {
            self.take(&mut shard, partition, input).await.ok()?;
        }
        Some(shard)
    }

    async fn refuse_for(&mut self, pause: Duration) {
        let until = tokio::time::sleep(pause);
        tokio::pin!(until);
        loop {
            tokio::select! {
                () = &mut until => return,
                Some(sent) = self.inbox.recv() => refuse::<M>(sent, ErrorCode::NotCoordinator),
            }
        }
    }

    async fn serve(&mut self, mut shard: Shard<M>, partition: &Arc<Partition>) -> Left {
        let epoch = partition.leader_epoch();
        let moved = Arc::new(Notify::new());
        let stopping = self.broker.stopping.clone();
        loop {
            // Counted among those who are woken before anything is looked at: a partition that went, or whose high
            // watermark moved, between the look and the registration would wake nobody, and who waits here would wait until
            // they time out.
            let registered = partition.wait(&moved);
            let now = self.coordinator.partition(&self.broker, self.index);
            let here = now.is_some_and(|now| Arc::ptr_eq(&now, partition));
            if !here || partition.has_failed() || partition.leader_epoch() != epoch {
                // Everybody who waits looks for the coordinator again.
                let _ = self.step(&mut shard, partition, Input::Resign(ErrorCode::NotCoordinator)).await;
                return Left::Changed;
            }
            let awaited = shard.awaits();
            let high_watermark = partition.place().reader.offsets().high_watermark;
            let input = if awaited.is_some_and(|offset| offset <= high_watermark) {
                Some(Input::Replicated(high_watermark))
            } else {
                let due = shard.next_deadline_ms();
                tokio::select! {
                    sent = self.inbox.recv() => match sent {
                        Some(sent) => Some(sent),
                        None => return Left::Stopping,
                    },
                    () = moved.notified() => None,
                    () = until(due), if due.is_some() => Some(Input::Tick),
                    () = stopping.cancelled() => return Left::Stopping,
                }
            };
            drop(registered);
            let Some(input) = input else { continue };
            if let Err(Uncertain) = self.take(&mut shard, partition, input).await {
                warn!(partition = %partition.id, "it is not known what was written; loading the shard again");
                let _ = self.step(&mut shard, partition, Input::Resign(ErrorCode::NotCoordinator)).await;
                return Left::Changed;
            }
        }
    }

    // An input, and with it what else has come by now: its records may share a batch, and what comes later does not hold
    // them up.
    async fn take(
        &mut self,
        shard: &mut Shard<M>,
        partition: &Arc<Partition>,
        input: Sent<M>,
    ) -> Result<(), Uncertain> {
        let mut more = self.inbox.len();
        let bytes_max = partition.config.load().max_message_bytes;
        shard.limit_batches(usize::try_from(bytes_max).unwrap_or(usize::MAX));
        // Metadata changes more often than a machine needs it: it is shown when something is decided.
        let image = self.broker.image.load_full();
        if self.shown.replace(image.offset) != Some(image.offset) {
            self.step(shard, partition, Input::Image(image)).await?;
        }
        self.step(shard, partition, input).await?;
        while more > 0
            && shard.is_gathering()
            && let Ok(input) = self.inbox.try_recv()
        {
            self.step(shard, partition, input).await?;
            more -= 1;
        }
        if shard.is_gathering() {
            self.step(shard, partition, Input::Idle).await?;
        }
        Ok(())
    }

    // One step of the shard, and all that follows from it at once.
    async fn step(
        &self,
        shard: &mut Shard<M>,
        partition: &Arc<Partition>,
        input: Sent<M>,
    ) -> Result<(), Uncertain> {
        let mut out = Vec::new();
        shard.step(now_ms(), input, &mut out);
        let mut wanted = VecDeque::from(out);
        while let Some(output) = wanted.pop_front() {
            match output {
                // A client that has gone hears nothing.
                Output::Reply { token, reply } => drop(token.send(reply)),
                Output::Note(note) => info!(partition = %partition.id, "{note}"),
                Output::Append(batch) => {
                    let outcome = append(partition, &batch).await;
                    let offsets = partition.place().reader.offsets();
                    if !shard.is_in_step(&outcome, offsets.log_end) {
                        return Err(Uncertain);
                    }
                    let mut out = Vec::new();
                    shard.step(now_ms(), Input::Appended(outcome), &mut out);
                    shard.step(now_ms(), Input::Replicated(offsets.high_watermark), &mut out);
                    wanted.extend(out);
                }
            }
        }
        Ok(())
    }
}

async fn until(due_ms: Option<i64>) {
    if let Some(due_ms) = due_ms {
        let ms = due_ms.saturating_sub(now_ms()).max(0) as u64;
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

fn refuse<M>(sent: Sent<M>, code: ErrorCode)
where
    M: Machine<Token = oneshot::Sender<<M as Machine>::Reply>>,
{
    if let Some(Output::Reply { token, reply }) = sent.refused::<M>(code) {
        // A client that has gone hears nothing.
        let _ = token.send(reply);
    }
}

async fn append(partition: &Arc<Partition>, batch: &Bytes) -> Result<(Offset, Offset), ErrorCode> {
    loop {
        let config = partition.config.load_full();
        let rules = Rules {
            partition: &partition.id,
            topic: &config,
            origin: Origin::Coordinator,
            now_ms: now_ms(),
            produce_version: -1,
        };
        let mut checked = check(batch.clone(), &rules).map_err(|rejected| rejected.code)?;
        let batch = checked.pop().ok_or(ErrorCode::UnknownServerError)?;
        let (waiting, answer) = oneshot::channel();
        // The task may have moved to another thread: that one serves clients, too.
        worker::mark();
        partition.submit(LaneInput::Append(Append {
            token: Waiter::Shard(waiting),
            batch,
            acks: Acks::All,
            answered: Answered::WhenAppended,
            checked_against: config.clone(),
            deadline_ms: i64::MAX,
        }));
        match answer.await.unwrap_or(Err(ErrorCode::KafkaStorageError)) {
            Ok(appended) => return Ok((appended.base_offset, appended.last_offset)),
            // The topic's configuration changed in between: check it anew.
            Err(ErrorCode::NotLeaderOrFollower) if !Arc::ptr_eq(&config, &partition.config.load()) => {}
            Err(code) => return Err(code),
        }
    }
}

fn load<M: Machine>(
    mut shard: Shard<M>,
    partition: &Partition,
    buffer_bytes: usize,
) -> Result<Shard<M>, String> {
    let offsets = partition.place().reader.offsets();
    let mut at = offsets.log_start;
    while at < offsets.log_end {
        let slice = partition
            .place()
            .reader
            .read(at, buffer_bytes, Isolation::LogEnd, true)
            .map_err(|error| format!("reading at offset {at}: {error}"))?;
        let Some(range) = slice.range else { break };
        let bytes = Bytes::from(range.read().map_err(|error| error.to_string())?);
        for batch in batches(&bytes) {
            let (_, batch) = match batch {
                Err(error) if error.is_incomplete() => break,
                batch => batch.map_err(|error| format!("reading at offset {at}: {error}"))?,
            };
            shard.replay(&batch).map_err(|error| error.to_string())?;
        }
        if shard.applied() <= at {
            return Err(format!("no whole batch at offset {at}"));
        }
        at = shard.applied();
    }
    shard.loaded(now_ms(), offsets.log_end, offsets.high_watermark);
    Ok(shard)
}
