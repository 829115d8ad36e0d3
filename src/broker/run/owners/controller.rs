//! The thread of the metadata quorum and its controller. It has the metadata log's disk to itself, so that a
//! stalled data disk cannot lose an election, and hands everything it says to the publisher thread, in order.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use ottla_core::controller::{Command, NotController, Reply};
use ottla_core::question::Question;
use ottla_log::Disk;
use ottla_node::controller::{Controller as Machine, ControllerError, Input, Output};
use ottla_node::quorum::{Snapshot, SnapshotId, TICK_MS};
use tokio::sync::oneshot;
use tracing::{error, info};

use super::publisher::Notice;
use crate::clock::now_ms;
use crate::run::work::flusher::Flushers;

/// Where an answer goes.
pub(crate) type Token = oneshot::Sender<Result<Reply, NotController>>;

/// The way to the controller of this node. Clones lead to the same one.
#[derive(Clone)]
pub(crate) struct Controller {
    commands: Sender<Message>,
}

enum Message {
    Ask(Command, Token),
    Snapshotted(Option<SnapshotId>),
    Stop,
}

impl Controller {
    /// Asks, and waits until the answer is agreed on and applied on this broker.
    pub async fn ask<Q>(&self, question: Q) -> Result<Q::Answer, NotController>
    where
        Q: Question<Command = Command, Reply = Reply>,
    {
        let (token, reply) = oneshot::channel();
        // A thread that has ended decides nothing any more.
        self.commands.send(Message::Ask(question.command(), token)).map_err(|_| NotController)?;
        reply.await.map_err(|_| NotController)?.map(Q::answer)
    }

    /// Asks, and does not wait.
    pub fn tell(&self, command: Command) {
        // A thread that has ended has nothing to hear, and nobody hears the answer.
        let (token, _) = oneshot::channel();
        let _ = self.commands.send(Message::Ask(command, token));
    }

    /// Ends the thread once it has done what was asked before.
    pub fn stop(&self) {
        // A thread that has ended already needs no telling.
        let _ = self.commands.send(Message::Stop);
    }
}

/// Writes snapshots while the controller goes on.
pub(crate) struct Writer {
    pub disk: Arc<dyn Disk>,
    pub flushers: Flushers,
}

impl Writer {
    fn write(&self, snapshot: Snapshot, back: Sender<Message>) {
        let disk = self.disk.clone();
        self.flushers.run(move || {
            // The controller waits for the outcome, whatever it is: without one it would never write another.
            let written = match catch_unwind(AssertUnwindSafe(|| snapshot.write(&*disk))) {
                Ok(written) => written.map_err(|error| error.to_string()),
                Err(_) => Err("it panicked".to_owned()),
            };
            match &written {
                Ok(id) => info!(end_offset = id.end, epoch = id.epoch.0, "wrote a snapshot of the metadata"),
                Err(error) => error!(error, "cannot write a snapshot of the metadata"),
            }
            // A controller that has ended needs it no more.
            let _ = back.send(Message::Snapshotted(written.ok()));
        });
    }
}

/// Starts the thread. `said` takes what the controller puts out; `ends` is told when the thread ends, and why.
pub(crate) fn start(
    mut machine: Machine<Token>,
    ticks: bool,
    said: Sender<Notice>,
    writer: Writer,
    ends: impl FnOnce(Result<(), String>) + Send + 'static,
) -> std::io::Result<(Controller, std::thread::JoinHandle<()>)> {
    let (commands, inbox) = channel();
    let back = commands.clone();
    let thread = std::thread::Builder::new().name("controller".into()).spawn(move || {
        // raft-rs panics where its log cannot be read: then, too, the process must hear that nobody decides any more.
        let served = catch_unwind(AssertUnwindSafe(|| {
            serve(&mut machine, &inbox, ticks, |output| match output {
                Output::Snapshot(snapshot) => writer.write(snapshot, back.clone()),
                Output::Full(true) => {
                    error!("the disk of the metadata log is full: refusing new topics until there is room");
                }
                Output::Full(false) => info!("the metadata log has room again"),
                // Nobody publishes any more: the broker is stopping, and has said so to whoever asked.
                output => drop(said.send(Notice::Controller(output))),
            })
        }));
        ends(served.map_or_else(|_| Err("it panicked".into()), |ended| ended.map_err(|e| e.to_string())));
        // The publisher may have ended already.
        let _ = said.send(Notice::Ended);
    })?;
    Ok((Controller { commands }, thread))
}

fn serve(
    machine: &mut Machine<Token>,
    inbox: &Receiver<Message>,
    ticks: bool,
    put_out: impl Fn(Output<Token>),
) -> Result<(), ControllerError> {
    let tick = Duration::from_millis(TICK_MS as u64);
    let mut next_tick = Instant::now() + tick;
    let mut out = Vec::new();
    machine.settle(now_ms(), &mut out)?;
    loop {
        out.drain(..).for_each(&put_out);
        // A sole voter has nobody to send heartbeats to, and lets the machine sleep.
        let message = if ticks {
            inbox.recv_timeout(next_tick.saturating_duration_since(Instant::now()))
        } else {
            inbox.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        match message {
            Ok(Message::Ask(command, token)) => {
                machine.step(now_ms(), Input::Command { token, command }, &mut out)?;
            }
            Ok(Message::Snapshotted(outcome)) => {
                machine.step(now_ms(), Input::Snapshotted(outcome), &mut out)?;
            }
            Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {
                next_tick = Instant::now() + tick;
                machine.step(now_ms(), Input::Tick, &mut out)?;
            }
        }
    }
}
