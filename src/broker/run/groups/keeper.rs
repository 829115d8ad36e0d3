//! The task that owns one shard: it loads it, hands it what comes, appends what it wants written, and lets time pass.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_core::group::Command;
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

use super::{Question, Token, offsets_topic};
use crate::broker::{Broker, now_ms};
use crate::run::partition::Partition;
use crate::run::waiter::Waiter;

/// How long until a log that could not be loaded, or is being recovered, is looked at again.
const RETRY: Duration = Duration::from_secs(1);

pub(super) struct Keeper {
    broker: Arc<Broker>,
    index: i32,
    inbox: mpsc::UnboundedReceiver<Question>,
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

impl Keeper {
    pub fn new(broker: Arc<Broker>, index: i32, inbox: mpsc::UnboundedReceiver<Question>) -> Keeper {
        Keeper { broker, index, inbox }
    }

    /// Until the shard is not this broker's any more.
    pub async fn keep(mut self) {
        while let Some(partition) = self.partition() {
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
        while let Some(question) = self.inbox.recv().await {
            refuse(question, ErrorCode::NotCoordinator);
        }
    }

    fn partition(&self) -> Option<Arc<Partition>> {
        let image = self.broker.image.load();
        self.broker.partitions.led(&image, offsets_topic(&image)?.id, self.index).ok()
    }

    // None if it cannot be loaded now. Clients are told to wait meanwhile.
    async fn load(&mut self, partition: &Arc<Partition>) -> Option<Shard<Token>> {
        let began = std::time::Instant::now();
        let mut shard = Shard::new(self.broker.groups.terms.clone(), Box::new(rand::random::<u64>));
        let offsets = partition.place().reader.offsets();
        if offsets.log_start == offsets.log_end {
            // Nothing to read, as in a topic that was just made: nobody has to hear that it is being loaded.
            shard.loaded(now_ms(), offsets.log_end, offsets.high_watermark);
            return Some(shard);
        }
        let buffer_bytes = self.broker.config().whole("offsets.load.buffer.size");
        let loading = tokio::task::spawn_blocking({
            let partition = partition.clone();
            move || load(shard, &partition, usize::try_from(buffer_bytes).unwrap_or(usize::MAX))
        });
        tokio::pin!(loading);
        let mut later = Vec::new();
        let loaded = loop {
            tokio::select! {
                loaded = &mut loading => break loaded,
                Some(question) = self.inbox.recv() => match question.command {
                    Command::TopicsDeleted { .. } => later.push(question),
                    _ => refuse(question, ErrorCode::CoordinatorLoadInProgress),
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
        for question in later {
            let input = Input::Ask { token: question.token, command: question.command };
            self.step(&mut shard, partition, input).await.ok()?;
        }
        Some(shard)
    }

    async fn refuse_for(&mut self, pause: Duration) {
        let until = tokio::time::sleep(pause);
        tokio::pin!(until);
        loop {
            tokio::select! {
                () = &mut until => return,
                Some(question) = self.inbox.recv() => refuse(question, ErrorCode::NotCoordinator),
            }
        }
    }

    async fn serve(&mut self, mut shard: Shard<Token>, partition: &Arc<Partition>) -> Left {
        let epoch = partition.leader_epoch();
        let moved = Arc::new(Notify::new());
        let stopping = self.broker.stopping.clone();
        loop {
            // Counted among those who are woken before anything is looked at: a partition that went, or whose high
            // watermark moved, between the look and the registration would wake nobody, and who waits here would wait until
            // they time out.
            let registered = partition.wait(&moved);
            // The task may have moved to another thread: that one serves clients, too.
            worker::mark();
            let here = self.partition().is_some_and(|now| Arc::ptr_eq(&now, partition));
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
                    question = self.inbox.recv() => match question {
                        Some(Question { token, command }) => Some(Input::Ask { token, command }),
                        None => return Left::Stopping,
                    },
                    () = moved.notified() => None,
                    () = until(due), if due.is_some() => Some(Input::Tick),
                    () = stopping.cancelled() => return Left::Stopping,
                }
            };
            drop(registered);
            let Some(input) = input else { continue };
            if let Err(Uncertain) = self.step(&mut shard, partition, input).await {
                warn!(partition = %partition.id, "it is not known what was written; loading the shard again");
                let _ = self.step(&mut shard, partition, Input::Resign(ErrorCode::NotCoordinator)).await;
                return Left::Changed;
            }
        }
    }

    // One turn of the shard, and all that follows from it at once.
    async fn step(
        &self,
        shard: &mut Shard<Token>,
        partition: &Arc<Partition>,
        input: Input<Token>,
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
                    if outcome.is_err() && partition.place().reader.offsets().log_end != shard.applied() {
                        return Err(Uncertain);
                    }
                    let mut out = Vec::new();
                    shard.step(now_ms(), Input::Appended(outcome), &mut out);
                    let high_watermark = partition.place().reader.offsets().high_watermark;
                    // Only if that led to no further write: its outcome comes before anything else.
                    if !out.iter().any(|output| matches!(output, Output::Append(_))) {
                        shard.step(now_ms(), Input::Replicated(high_watermark), &mut out);
                    }
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

fn refuse(question: Question, code: ErrorCode) {
    let Question { command, token } = question;
    // A client that has gone hears nothing.
    let _ = token.send(command.refused(code));
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

fn load(mut shard: Shard<Token>, partition: &Partition, buffer_bytes: usize) -> Result<Shard<Token>, String> {
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
