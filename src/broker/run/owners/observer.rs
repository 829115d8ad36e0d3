//! The thread of a node that is no controller: it follows the metadata log. It uses the metadata log's disk alone. What a broker
//! has to carry out goes to the publisher thread, in order.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use ottla_node::observer::{
    Answered, Asked, Input, Leader, Observer as Machine, ObserverError, Output, Refused,
};
use ottla_node::quorum::SnapshotId;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::controller::Writer;
use super::controllers::Controllers;
use super::leading::Leading;
use super::publisher::Notice;
use super::repeats::Repeats;
use crate::clock::now_ms;
use crate::run::work::asker::Asker;

/// Sends to the thread.
#[derive(Clone)]
pub(crate) struct Observing(Sender<Message>);

enum Message {
    Answered(Box<Answered>),
    Snapshotted(Option<SnapshotId>),
    Stop,
}

impl Observing {
    /// Ends the thread.
    pub fn stop(&self) {
        // This fails if the thread has ended already.
        let _ = self.0.send(Message::Stop);
    }
}

/// What the thread works with besides its machine.
pub(crate) struct Surroundings {
    pub publisher: Sender<Notice>,
    pub leading: watch::Sender<Leading>,
    pub writer: Writer,
    pub asker: Asker,
    pub controllers: Controllers,
}

/// Starts the thread. `ends` is called with the reason when it ends.
pub(crate) fn start(
    machine: Machine,
    surroundings: Surroundings,
    ends: impl FnOnce(Result<(), String>) + Send + 'static,
) -> std::io::Result<(Observing, std::thread::JoinHandle<()>)> {
    let (sender, inbox) = channel();
    let back = sender.clone();
    let publisher = surroundings.publisher.clone();
    let mut thread = Thread { machine, surroundings, inbox, back, refused: Repeats::default() };
    let handle = std::thread::Builder::new().name("observer".into()).spawn(move || {
        let served = catch_unwind(AssertUnwindSafe(|| thread.serve()));
        ends(served.map_or_else(|_| Err("it panicked".into()), |ended| ended.map_err(|e| e.to_string())));
        // This fails if the publisher has ended.
        let _ = publisher.send(Notice::Ended);
    })?;
    Ok((Observing(sender), handle))
}

struct Thread {
    machine: Machine,
    surroundings: Surroundings,
    inbox: Receiver<Message>,
    back: Sender<Message>,
    refused: Repeats<Refused>,
}

impl Thread {
    fn serve(&mut self) -> Result<(), ObserverError> {
        let mut out = Vec::new();
        self.machine.step(now_ms(), Input::Tick, &mut out)?;
        loop {
            // Before anybody sees an image that may show it.
            self.tell_level();
            out.drain(..).for_each(|output| self.put_out(output));
            let wait_ms = (self.machine.wakes_ms() - now_ms()).max(1);
            let input = match self.inbox.recv_timeout(Duration::from_millis(wait_ms as u64)) {
                Ok(Message::Answered(answered)) => Input::Answered(answered),
                Ok(Message::Snapshotted(outcome)) => Input::Snapshotted(outcome),
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => Input::Tick,
            };
            self.machine.step(now_ms(), input, &mut out)?;
        }
    }

    fn put_out(&mut self, output: Output) {
        match output {
            Output::Ask(asked) => self.ask(asked),
            // This fails if the publisher has ended: the broker is stopping.
            Output::Published(image) => drop(self.surroundings.publisher.send(Notice::Published(image))),
            Output::Snapshot(snapshot) => {
                let back = self.back.clone();
                // This fails if this thread has ended.
                let written = move |written| drop(back.send(Message::Snapshotted(written)));
                self.surroundings.writer.write(snapshot, written);
            }
            Output::Led(leader) => self.tell_who_leads(leader),
            Output::Refused(refused) => self.tell_refused(refused),
        }
    }

    fn ask(&self, asked: Asked) {
        let back = self.back.clone();
        let question = asked.question.clone();
        let Some(address) = self.surroundings.controllers.address(&asked.to, self.machine.membership())
        else {
            debug!(to = ?asked.to, "nobody knows where the controller is");
            drop(back.send(Message::Answered(Box::new(Answered { asked, answer: None }))));
            return;
        };
        // This fails if this thread has ended.
        let answered = move |answer| drop(back.send(Message::Answered(Box::new(Answered { asked, answer }))));
        self.surroundings.asker.ask(address, question, answered);
    }

    fn tell_who_leads(&self, leader: Option<Leader>) {
        let (epoch, membership) = (self.machine.epoch(), self.machine.membership());
        match &leader {
            Some(leader) => {
                info!(leader = %leader.id, epoch = epoch.0, here = false, "the metadata quorum has a leader")
            }
            None => info!(epoch = epoch.0, "the metadata quorum has no leader"),
        }
        let address =
            leader.as_ref().and_then(|leader| self.surroundings.controllers.of_leader(leader, membership));
        let leader = leader.map(|leader| leader.id);
        self.surroundings.leading.send_modify(|told| {
            *told = Leading { epoch, leader, here: false, address, ..told.clone() };
        });
    }

    fn tell_level(&self) {
        let kraft_version = self.machine.membership().kraft_version();
        self.surroundings.leading.send_if_modified(|told| {
            std::mem::replace(&mut told.kraft_version, kraft_version) != kraft_version
        });
    }

    fn tell_refused(&mut self, refused: Refused) {
        if self.refused.tells(refused.clone(), Instant::now()) {
            warn!("cannot follow the metadata log, and try again: {refused}");
        }
    }
}
