//! The thread of the metadata quorum and its controller. It uses the metadata log's disk alone, so that a stalled data
//! disk cannot lose an election. What a broker on this node has to carry out goes to the publisher thread, in order.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use ottla_core::controller::{Command, NotController, Reply};
use ottla_core::question::Question;
use ottla_log::Disk;
use ottla_node::controller::{Controller as Machine, ControllerError, Input, Missing, Output};
use ottla_node::observer::{self, Answered, Asked};
use ottla_node::quorum::{
    ChangeRefused, Fetch, FetchAnswer, FetchSnapshot, Leadership, Message as Said, PieceAnswer, QuorumState,
    Refused, Snapshot, SnapshotId, TICK_MS, VoterChange,
};
use ottla_node::waiting::Fetches;
use tokio::sync::{oneshot, watch};
use tracing::{error, info, warn};

use super::controllers::Controllers;
use super::leading::Leading;
use super::metadata::Metadata;
use super::publisher::Notice;
use super::repeats::Repeats;
use super::uplink::Uplink;
use crate::clock::now_ms;
use crate::run::work::asker::Asker;
use crate::run::work::flusher::Flushers;
use crate::run::work::lookout::Lookout;
use crate::run::work::messenger::Messenger;

/// Where the answer to a command is sent, and what has to happen before.
#[derive(Debug)]
pub(crate) enum Token {
    /// The broker of this node has carried out what was decided.
    CarriedOut(oneshot::Sender<Result<Reply, NotController>>),
    /// The quorum has agreed on it.
    Agreed(oneshot::Sender<Result<Reply, NotController>>),
    VotersChanged(oneshot::Sender<Result<(), ChangeRefused>>),
}

impl Token {
    pub fn answer(self, reply: Result<Reply, NotController>) {
        // Sending fails if the caller has stopped waiting.
        match self {
            Token::CarriedOut(waits) | Token::Agreed(waits) => drop(waits.send(reply)),
            Token::VotersChanged(waits) => drop(waits.send(Err(ChangeRefused::NotLeader))),
        }
    }

    fn changed(self, outcome: Result<(), ChangeRefused>) {
        match self {
            // This fails if the caller has stopped waiting.
            Token::VotersChanged(waits) => drop(waits.send(outcome)),
            other => other.answer(Err(NotController)),
        }
    }
}

/// The way to the active controller, from one role of this node. Clones lead to the same one.
#[derive(Clone)]
pub(crate) struct Controller {
    /// The thread of this node, if it is a controller.
    pub here: Option<Commands>,
    /// Where another node may be the active one.
    pub uplink: Option<Arc<Uplink>>,
    pub leading: watch::Receiver<Leading>,
    /// Whether the broker of this node has to carry out a decision before its answer is told.
    pub carried_out: bool,
    /// What the controller of this node knows to be agreed on.
    pub agreed: Option<Arc<Metadata>>,
    /// Set where a question met no active controller.
    pub missed: Option<Arc<AtomicBool>>,
}

/// Sends to this node's thread.
#[derive(Clone)]
pub(crate) struct Commands(Sender<Message>);

enum Message {
    Ask(Command, Token),
    ChangeVoters(VoterChange, Token),
    CheckVoters(VoterChange, oneshot::Sender<Result<(), ChangeRefused>>),
    /// From another replica; it is told when it was heard, so that nobody can pile up messages here.
    Hear(Box<Said>, oneshot::Sender<()>),
    Describe(oneshot::Sender<QuorumState>),
    Fetch(Fetch, i64, oneshot::Sender<FetchAnswer>),
    FetchSnapshot(FetchSnapshot, oneshot::Sender<PieceAnswer>),
    Snapshotted(Option<SnapshotId>),
    Answered(Box<Answered>),
    Gone(Missing),
    Stop,
}

impl Controller {
    /// Sends a question to the active controller, wherever it is, and waits until the change is agreed on and known here.
    pub async fn ask<Q>(&self, question: Q) -> Result<Q::Answer, NotController>
    where
        Q: Question<Command = Command, Reply = Reply>,
    {
        let reply = match &self.uplink {
            Some(uplink) if self.leads_elsewhere() => uplink.carry(question.command()).await,
            _ => self.ask_here(question.command()).await,
        };
        reply.map(Q::answer).map_err(|NotController| self.none())
    }

    /// How the quorum stands, as this node knows it.
    pub async fn describe(&self) -> Result<QuorumState, NotController> {
        match &self.here {
            Some(here) => here.describe().await,
            None => Err(self.none()),
        }
    }

    /// Says that there is no active controller here, and notes it for who has sent the request on.
    pub fn none(&self) -> NotController {
        self.missed.iter().for_each(|missed| missed.store(true, Ordering::Relaxed));
        NotController
    }

    // Where no leader is known, the controller of this node knows soonest: it may have begun to lead in this moment.
    fn leads_elsewhere(&self) -> bool {
        let leading = self.leading.borrow();
        !leading.here && (self.here.is_none() || leading.address.is_some())
    }

    /// Whether the active controller is in this process.
    pub fn leads_here(&self) -> bool {
        self.leading.borrow().here
    }

    async fn ask_here(&self, command: Command) -> Result<Reply, NotController> {
        let (token, reply) = oneshot::channel();
        let token = if self.carried_out { Token::CarriedOut(token) } else { Token::Agreed(token) };
        self.here.as_ref().ok_or(NotController)?.send(Message::Ask(command, token))?;
        reply.await.map_err(|_| NotController)?
    }
}

impl Commands {
    // This fails if the thread has ended: there is no controller any more.
    fn send(&self, message: Message) -> Result<(), NotController> {
        self.0.send(message).map_err(|_| NotController)
    }

    /// Passes on what another replica of the quorum says, and waits until it was heard, believed or not.
    pub async fn hear(&self, said: Said) -> Result<(), NotController> {
        let (token, heard) = oneshot::channel();
        self.send(Message::Hear(Box::new(said), token))?;
        heard.await.map_err(|_| NotController)
    }

    /// How the quorum stands, as this node knows it.
    pub async fn describe(&self) -> Result<QuorumState, NotController> {
        let (token, state) = oneshot::channel();
        self.send(Message::Describe(token))?;
        state.await.map_err(|_| NotController)
    }

    /// Answers an observer, after so many ms at the latest.
    pub async fn fetch(&self, fetch: Fetch, max_wait_ms: i64) -> Result<FetchAnswer, NotController> {
        let (token, answer) = oneshot::channel();
        self.send(Message::Fetch(fetch, max_wait_ms, token))?;
        answer.await.map_err(|_| NotController)
    }

    /// Answers an observer with a piece of a snapshot.
    pub async fn fetch_snapshot(&self, fetch: FetchSnapshot) -> Result<PieceAnswer, NotController> {
        let (token, answer) = oneshot::channel();
        self.send(Message::FetchSnapshot(fetch, token))?;
        answer.await.map_err(|_| NotController)
    }

    /// Whether a change of who votes (KIP-853) would be in order now.
    pub async fn check_voters(&self, change: VoterChange) -> Result<(), ChangeRefused> {
        let (token, outcome) = oneshot::channel();
        self.send(Message::CheckVoters(change, token)).map_err(|_| ChangeRefused::NotLeader)?;
        outcome.await.unwrap_or(Err(ChangeRefused::NotLeader))
    }

    /// Changes who votes, and waits until that is agreed on.
    pub async fn change_voters(&self, change: VoterChange) -> Result<(), ChangeRefused> {
        let (token, outcome) = oneshot::channel();
        let sent = self.send(Message::ChangeVoters(change, Token::VotersChanged(token)));
        sent.map_err(|_| ChangeRefused::NotLeader)?;
        outcome.await.unwrap_or(Err(ChangeRefused::NotLeader))
    }

    /// Ends the thread after what was sent so far.
    pub fn stop(&self) {
        let _ = self.send(Message::Stop);
    }
}

/// Writes snapshots while the controller goes on.
pub(crate) struct Writer {
    pub disk: Arc<dyn Disk>,
    pub flushers: Flushers,
}

impl Writer {
    pub(super) fn write(&self, snapshot: Snapshot, back: impl FnOnce(Option<SnapshotId>) + Send + 'static) {
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
            back(written.ok());
        });
    }
}

/// What the thread works with besides its machine.
pub(crate) struct Companions {
    /// Where a broker on this node hears of everything.
    pub publisher: Option<Sender<Notice>>,
    pub agreed: Arc<Metadata>,
    pub leading: watch::Sender<Leading>,
    pub writer: Writer,
    pub messenger: Messenger,
    pub asker: Asker,
    pub controllers: Controllers,
    pub lookout: Lookout,
    /// `inter.broker.listener.name`
    pub listener: String,
}

/// Starts the thread. `ends` is called with the reason when it ends.
pub(crate) fn start(
    machine: Machine<Token>,
    companions: Companions,
    ends: impl FnOnce(Result<(), String>) + Send + 'static,
) -> std::io::Result<(Commands, std::thread::JoinHandle<()>)> {
    let (commands, inbox) = channel();
    let back = commands.clone();
    let publisher = companions.publisher.clone();
    let (fetches, refused, not_followed) = Default::default();
    let mut thread = Thread { machine, companions, inbox, back, fetches, refused, not_followed };
    let handle = std::thread::Builder::new().name("controller".into()).spawn(move || {
        // raft-rs panics if it cannot read its log. In this case, too, the process has to learn that there is no
        // controller any more.
        let served = catch_unwind(AssertUnwindSafe(|| thread.serve()));
        ends(served.map_or_else(|_| Err("it panicked".into()), |ended| ended.map_err(|e| e.to_string())));
        // This fails if the publisher has ended.
        drop(publisher.map(|publisher| publisher.send(Notice::Ended)));
    })?;
    Ok((Commands(commands), handle))
}

struct Thread {
    machine: Machine<Token>,
    companions: Companions,
    inbox: Receiver<Message>,
    back: Sender<Message>,
    fetches: Fetches<oneshot::Sender<FetchAnswer>>,
    refused: Repeats<Refused>,
    not_followed: Repeats<observer::Refused>,
}

/// How long a leader that stops waits for another one to take over.
const HANDING_OVER: Duration = Duration::from_secs(1);
// A tick that is due comes before messages that wait, however many there are: without ticks a leader says nothing, and nobody
// is fenced.
fn next<M>(inbox: &Receiver<M>, tick: Instant, now: Instant) -> Result<M, RecvTimeoutError> {
    match tick.checked_duration_since(now) {
        Some(left) if !left.is_zero() => inbox.recv_timeout(left),
        _ => Err(RecvTimeoutError::Timeout),
    }
}

impl Thread {
    fn serve(&mut self) -> Result<(), ControllerError> {
        let tick = Duration::from_millis(TICK_MS as u64);
        let mut next_tick = Instant::now() + tick;
        let mut out = Vec::new();
        self.machine.settle(now_ms(), &mut out)?;
        let mut stop_at: Option<Instant> = None;
        loop {
            out.drain(..).for_each(|output| self.put_out(output));
            self.tell_who_leads();
            self.answer_fetches();
            if stop_at.is_some_and(|at| Instant::now() >= at || !self.machine.quorum().hands_over()) {
                return Ok(());
            }
            let message = next(&self.inbox, next_tick, Instant::now());
            match message {
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Ok(Message::Stop) if !self.machine.quorum().hands_over() => return Ok(()),
                Ok(Message::Stop) => {
                    stop_at = Some(Instant::now() + HANDING_OVER);
                    self.machine.step(now_ms(), Input::TransferLeadership, &mut out)?;
                }
                Ok(message) => self.take(message, &mut out)?,
                Err(RecvTimeoutError::Timeout) => {
                    next_tick = Instant::now() + tick;
                    self.machine.step(now_ms(), Input::Tick, &mut out)?;
                }
            }
        }
    }

    fn take(&mut self, message: Message, out: &mut Vec<Output<Token>>) -> Result<(), ControllerError> {
        let input = match message {
            Message::Ask(command, token) => Input::Command { token, command },
            Message::ChangeVoters(change, token) => Input::ChangeVoters { token, change },
            Message::Hear(said, waits) => {
                self.machine.step(now_ms(), Input::Message(said), out)?;
                // This fails if the connection has ended.
                let _ = waits.send(());
                return Ok(());
            }
            Message::CheckVoters(change, waits) => {
                // This fails if the caller has stopped waiting.
                let _ = waits.send(self.machine.quorum().check_voters(&change, now_ms()));
                return Ok(());
            }
            Message::Snapshotted(outcome) => Input::Snapshotted(outcome),
            Message::Answered(answered) => Input::Answered(answered),
            Message::Gone(missing) => Input::Gone(missing),
            Message::Describe(waits) => {
                // This fails if the caller has stopped waiting.
                let _ = waits.send(self.machine.quorum().state(now_ms()));
                return Ok(());
            }
            Message::Fetch(fetch, max_wait_ms, waits) => {
                let served = self.machine.fetch(now_ms(), &fetch);
                let answered = self.fetches.hear(now_ms(), waits, fetch, max_wait_ms, served);
                answered.into_iter().for_each(|(waits, answer)| self.answer(waits, answer));
                return Ok(());
            }
            Message::FetchSnapshot(fetch, waits) => {
                let answer = self.machine.fetch_snapshot(&fetch);
                let leadership = self.with_endpoint(answer.leadership);
                // This fails if the caller has stopped waiting.
                let _ = waits.send(PieceAnswer { leadership, ..answer });
                return Ok(());
            }
            // Handled before.
            Message::Stop => Input::TransferLeadership,
        };
        self.machine.step(now_ms(), input, out)
    }

    // After each step, and at each tick.
    fn answer_fetches(&mut self) {
        let ends = self.machine.quorum().ends();
        let machine = &mut self.machine;
        let answers = self.fetches.look_again(now_ms(), ends, |fetch| machine.fetch(now_ms(), fetch));
        answers.into_iter().for_each(|(waits, answer)| self.answer(waits, answer));
    }

    fn answer(&self, waits: oneshot::Sender<FetchAnswer>, answer: FetchAnswer) {
        let leadership = self.with_endpoint(answer.leadership);
        // This fails if the caller has stopped waiting.
        let _ = waits.send(FetchAnswer { leadership, ..answer });
    }

    fn with_endpoint(&self, leadership: Leadership) -> Leadership {
        let address = leadership.leader.and_then(|leader| self.machine.quorum().address(leader));
        Leadership { endpoint: address.map(|address| (address.host, address.port)), ..leadership }
    }

    fn put_out(&mut self, output: Output<Token>) {
        match output {
            Output::Snapshot(snapshot) => {
                let back = self.back.clone();
                // This fails if the controller has ended.
                let written = move |written| drop(back.send(Message::Snapshotted(written)));
                self.companions.writer.write(snapshot, written);
            }
            Output::Full(true) => {
                error!("the disk of the metadata log is full: refusing new topics until there is room");
            }
            Output::Full(false) => info!("the metadata log has room again"),
            Output::Send(said) => {
                let address = self.machine.quorum().address(said.to.id);
                self.companions.messenger.send(*said, address);
            }
            Output::Ask(asked) => self.ask(asked),
            Output::CannotFollow(refused) => self.tell_not_followed(refused),
            Output::Refused(refused) => self.tell_refused(refused),
            Output::LookFor(missing) => self.look_for(missing),
            Output::Fenced(broker) => warn!(%broker, "the session of a broker has ended: it is fenced"),
            Output::VotersChanged { token, outcome } => token.changed(outcome),
            Output::Published(image) => {
                self.companions.agreed.store(image.clone());
                self.tell_broker(Notice::Published(image));
            }
            Output::Reply { token: token @ Token::CarriedOut(_), reply } => {
                self.tell_broker(Notice::Reply(token, reply));
            }
            Output::Reply { token, reply } => token.answer(reply),
        }
    }

    fn look_for(&self, missing: Missing) {
        let address = match missing {
            Missing::Leader(id) => self.machine.quorum().address(id).map(|at| (at.host, at.port)),
            Missing::Broker(id, _) => self.machine.image().broker(id).and_then(|broker| {
                let endpoint = broker.endpoint(&self.companions.listener)?;
                Some((endpoint.host.clone(), endpoint.port))
            }),
        };
        // Where nobody knows the address, there is nothing to look for.
        let Some((host, port)) = address else { return };
        let back = self.back.clone();
        self.companions.lookout.look(host, port, move || {
            info!(?missing, "nobody listens there any more");
            // This fails if the controller has ended.
            drop(back.send(Message::Gone(missing)));
        });
    }

    fn tell_broker(&self, notice: Notice) {
        // This fails if the publisher has ended: the broker is stopping, and has refused the waiting requests.
        drop(self.companions.publisher.as_ref().map(|publisher| publisher.send(notice)));
    }

    fn tell_refused(&mut self, refused: Refused) {
        if self.refused.tells(refused.clone(), Instant::now()) {
            warn!("a message to the metadata quorum was not heard: {refused}");
        }
    }

    fn ask(&self, asked: Asked) {
        let (back, question) = (self.back.clone(), asked.question.clone());
        let address = self.companions.controllers.address(&asked.to, self.machine.quorum().membership());
        // This fails if this thread has ended.
        let answered = move |answer| drop(back.send(Message::Answered(Box::new(Answered { asked, answer }))));
        match address {
            Some(address) => self.companions.asker.ask(address, question, answered),
            None => answered(None),
        }
    }

    fn tell_not_followed(&mut self, refused: observer::Refused) {
        if self.not_followed.tells(refused.clone(), Instant::now()) {
            warn!("cannot follow the metadata log, and try again: {refused}");
        }
    }

    fn tell_who_leads(&self) {
        let quorum = self.machine.quorum();
        let leader = quorum.leader();
        let here = self.machine.leads();
        // Nobody asks itself over the network.
        let other = leader.filter(|leader| *leader != quorum.me());
        let address = other.and_then(|leader| quorum.address(leader));
        let kraft_version = quorum.membership().kraft_version();
        let known = Leading { epoch: quorum.epoch(), leader, here, address, kraft_version };
        self.companions.leading.send_if_modified(|told| {
            if known == *told {
                return false;
            }
            match leader {
                // Of the same one, more is known.
                _ if known.is_same_as(told) => {}
                Some(leader) => {
                    info!(%leader, epoch = known.epoch.0, here, "the metadata quorum has a leader")
                }
                None => info!(epoch = known.epoch.0, "the metadata quorum has no leader"),
            }
            told.clone_from(&known);
            true
        });
    }
}

#[cfg(test)]
pub(crate) mod tests;
