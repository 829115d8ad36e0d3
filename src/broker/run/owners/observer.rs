//! The thread of a node that is no controller: it follows the metadata log. It uses the metadata log's disk alone. What a broker
//! has to carry out goes to the publisher thread, in order.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use ottla_model::NodeId;
use ottla_model::config::{BrokerConfig, HostPort};
use ottla_node::observer::{
    Answered, Asked, Input, Leader, Observer as Machine, ObserverError, Output, Refused, To,
};
use ottla_node::quorum::SnapshotId;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::controller::Writer;
use super::leading::Leading;
use super::publisher::Notice;
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

/// Where the controllers are, as configured.
pub(crate) struct Controllers {
    /// Whom to ask who leads.
    bootstrap: Vec<HostPort>,
    /// `controller.quorum.voters`
    voters: Vec<(NodeId, HostPort)>,
}

impl Controllers {
    pub fn of(config: &BrokerConfig) -> Controllers {
        let voters: Vec<(NodeId, HostPort)> =
            config.controller_quorum_voters.iter().map(|voter| (voter.id, voter.address.clone())).collect();
        let bootstrap = match config.controller_quorum_bootstrap_servers.as_slice() {
            [] => voters.iter().map(|(_, address)| address.clone()).collect(),
            servers => servers.to_vec(),
        };
        Controllers { bootstrap, voters }
    }

    fn address(&self, to: &To, machine: &Machine) -> Option<HostPort> {
        match to {
            To::Anybody(turn) => self.bootstrap.get(turn % self.bootstrap.len().max(1)).cloned(),
            To::Leader(leader) => self.of_leader(leader, machine),
        }
    }

    // As the leader says, or else as the log does, or else as configured.
    fn of_leader(&self, leader: &Leader, machine: &Machine) -> Option<HostPort> {
        if let Some((host, port)) = &leader.endpoint {
            return Some(HostPort { host: host.clone(), port: *port });
        }
        let mut voters = machine.membership().voters.iter().flat_map(|record| &record.voters);
        let logged = voters.find(|voter| voter.id == leader.id.0).and_then(|voter| voter.endpoints.first());
        let logged = logged.map(|found| HostPort { host: found.host.clone(), port: found.port });
        let configured = || self.voters.iter().find(|(id, _)| *id == leader.id);
        logged.or_else(|| configured().map(|(_, address)| address.clone()))
    }
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
    let mut thread = Thread { machine, surroundings, inbox, back, told: None };
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
    /// What was logged last of what was refused, and when.
    told: Option<(Refused, Instant)>,
}

/// The same refusal is logged again after this long.
const TELL_AGAIN_AFTER: Duration = Duration::from_secs(30);

impl Thread {
    fn serve(&mut self) -> Result<(), ObserverError> {
        let mut out = Vec::new();
        self.machine.step(now_ms(), Input::Tick, &mut out)?;
        loop {
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
        let Some(address) = self.surroundings.controllers.address(&asked.to, &self.machine) else {
            debug!(to = ?asked.to, "nobody knows where the controller is");
            drop(back.send(Message::Answered(Box::new(Answered { asked, answer: None }))));
            return;
        };
        // This fails if this thread has ended.
        let answered = move |answer| drop(back.send(Message::Answered(Box::new(Answered { asked, answer }))));
        self.surroundings.asker.ask(address, question, answered);
    }

    fn tell_who_leads(&self, leader: Option<Leader>) {
        let epoch = self.machine.epoch();
        match &leader {
            Some(leader) => {
                info!(leader = %leader.id, epoch = epoch.0, here = false, "the metadata quorum has a leader")
            }
            None => info!(epoch = epoch.0, "the metadata quorum has no leader"),
        }
        let address =
            leader.as_ref().and_then(|leader| self.surroundings.controllers.of_leader(leader, &self.machine));
        let leader = leader.map(|leader| leader.id);
        self.surroundings.leading.send_replace(Leading { epoch, leader, here: false, address });
    }

    fn tell_refused(&mut self, refused: Refused) {
        let again = |(told, at): &(Refused, Instant)| *told == refused && at.elapsed() < TELL_AGAIN_AFTER;
        if !self.told.as_ref().is_some_and(again) {
            warn!("cannot follow the metadata log, and try again: {refused}");
            self.told = Some((refused, Instant::now()));
        }
    }
}
