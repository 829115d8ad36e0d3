//! The thread of the metadata quorum and its controller. It uses the metadata log's disk alone, so that a stalled data
//! disk cannot lose an election. It passes all of its outputs to the publisher thread, in order.

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

/// Where the answer to a command is sent.
pub(crate) type Token = oneshot::Sender<Result<Reply, NotController>>;

/// Sends commands to this node's controller. Clones send to the same one.
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
    /// Sends a question and waits until the change is committed and applied on this broker.
    pub async fn ask<Q>(&self, question: Q) -> Result<Q::Answer, NotController>
    where
        Q: Question<Command = Command, Reply = Reply>,
    {
        let (token, reply) = oneshot::channel();
        // If the thread has ended, there is no controller any more.
        self.commands.send(Message::Ask(question.command(), token)).map_err(|_| NotController)?;
        reply.await.map_err(|_| NotController)?.map(Q::answer)
    }

    /// Sends a command without waiting for the answer.
    pub fn tell(&self, command: Command) {
        // If the thread has ended, the command is lost; nobody waits for its answer.
        let (token, _) = oneshot::channel();
        let _ = self.commands.send(Message::Ask(command, token));
    }

    /// Ends the thread after the commands so far.
    pub fn stop(&self) {
        // This fails if the thread has ended already.
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
            // The controller waits for the outcome in any case: without it, it would never write another snapshot.
            let written = match catch_unwind(AssertUnwindSafe(|| snapshot.write(&*disk))) {
                Ok(written) => written.map_err(|error| error.to_string()),
                Err(_) => Err("it panicked".to_owned()),
            };
            match &written {
                Ok(id) => info!(end_offset = id.end, epoch = id.epoch.0, "wrote a snapshot of the metadata"),
                Err(error) => error!(error, "cannot write a snapshot of the metadata"),
            }
            // This fails if the controller has ended.
            let _ = back.send(Message::Snapshotted(written.ok()));
        });
    }
}

/// Starts the thread. `said` gets the controller's outputs; `ends` is called with the reason when the thread ends.
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
        // raft-rs panics if it cannot read its log. In this case, too, the process has to learn that there is no
        // controller any more.
        let served = catch_unwind(AssertUnwindSafe(|| {
            serve(&mut machine, &inbox, ticks, |output| match output {
                Output::Snapshot(snapshot) => writer.write(snapshot, back.clone()),
                Output::Full(true) => {
                    error!("the disk of the metadata log is full: refusing new topics until there is room");
                }
                Output::Full(false) => info!("the metadata log has room again"),
                // This fails if the publisher has ended: the broker is stopping, and has refused the waiting requests.
                output => drop(said.send(Notice::Controller(output))),
            })
        }));
        ends(served.map_or_else(|_| Err("it panicked".into()), |ended| ended.map_err(|e| e.to_string())));
        // This fails if the publisher has ended.
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
        // The only voter sends no heartbeats, so the machine may sleep.
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
