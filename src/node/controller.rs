//! The active controller: it decides commands against the image, offers the records to the quorum, and answers when
//! they are agreed on and applied. A controller that does not lead only applies.
//! It must never know who asked, or how the quorum's messages travel.

mod duties;
mod following;
#[cfg(test)]
mod stories;
mod voting;

use std::collections::VecDeque;
use std::sync::Arc;

use duties::Timetable;
use following::Following;
use ottla_core::controller::{
    Bootstrap, Command, Decision, Heartbeat, NotController, Reply, Sessions, View, decide,
};
use ottla_core::question::Question;
use ottla_model::config::BrokerConfig;
use ottla_model::feature::MetadataVersion;
use ottla_model::image::{Broker, Image};
use ottla_model::record::MetadataRecord;
use ottla_model::{BrokerEpoch, NodeId};
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset};

use crate::applying::{NotApplied, Unsnapshotted, apply_batch};
use crate::observer::{self, Answered, Asked};
use crate::quorum::{
    Agreed, ChangeRefused, Fetch, FetchSnapshot, Message, PieceAnswer, Quorum, QuorumError, Refused, Served,
    Settled, Snapshot, SnapshotId, Spend, VoterChange, metadata_batch,
};

pub use crate::applying::Snapshots;

/// What can happen to the controller. `T` is whatever finds the one who asked.
#[derive(Debug)]
pub enum Input<T> {
    Command {
        token: T,
        command: Command,
    },
    /// [`crate::quorum::TICK_MS`] have passed.
    Tick,
    /// The snapshot that was asked for is on the disk, or could not be written.
    Snapshotted(Option<SnapshotId>),
    /// Another replica of the quorum says something.
    Message(Box<Message>),
    /// AddRaftVoter, RemoveRaftVoter or UpdateRaftVoter (KIP-853).
    ChangeVoters {
        token: T,
        change: VoterChange,
    },
    /// What came of a question ([`Output::Ask`]).
    Answered(Box<Answered>),
    /// This node is about to stop: another voter is to lead.
    TransferLeadership,
    /// What was asked by [`Output::LookFor`]: a connection was refused there.
    Gone(Missing),
}

/// Who says nothing for longer than expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    Broker(NodeId, BrokerEpoch),
    /// The leader of the quorum.
    Leader(NodeId),
}

/// What the controller wants done.
#[derive(Debug)]
pub enum Output<T> {
    Reply {
        token: T,
        reply: Result<Reply, NotController>,
    },
    /// The image has changed; everybody who follows it diffs it against the one before.
    Published(Arc<Image>),
    /// Write this snapshot when there is time, then bring its id back as [`Input::Snapshotted`].
    Snapshot(Snapshot),
    /// Whether the metadata log's disk is full, when that has changed: new topics are refused meanwhile.
    Full(bool),
    /// Try to connect to where that one listens, and say if nobody does: [`Input::Gone`]. To be forgotten otherwise.
    LookFor(Missing),
    /// A broker was fenced, because nothing was heard of it for the time of a session, or it is gone.
    Fenced(NodeId),
    /// To the replica that the message names. One that is lost does no harm.
    Send(Box<Message>),
    /// What another replica said was not heard.
    Refused(Refused),
    /// For the metadata log, while no leader speaks to this node by itself.
    Ask(Asked),
    /// What came of such a question was not taken.
    CannotFollow(observer::Refused),
    /// The answer to [`Input::ChangeVoters`].
    VotersChanged {
        token: T,
        outcome: Result<(), ChangeRefused>,
    },
}

/// The controller cannot go on, and its process must end: the log is broken, or says what it cannot say.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    #[error(transparent)]
    Quorum(#[from] QuorumError),
    #[error(transparent)]
    NotApplied(#[from] NotApplied),
}

/// What a controller is told of its cluster when it starts.
pub struct Settings {
    /// What this node was started with.
    pub config: BrokerConfig,
    pub snapshots: Snapshots,
    /// What the first active controller of a new cluster writes first.
    pub bootstrap: Bootstrap,
    /// Random numbers, the only ones in here.
    pub chance: Box<dyn FnMut() -> u64 + Send>,
}

struct Promise<T> {
    token: T,
    answer: Answer,
    /// The reply is true once everything up to here is applied.
    offset: Offset,
}

/// What is told once it is true.
enum Answer {
    Reply(Reply),
    VotersChanged,
}

impl Answer {
    fn kept<T>(self, token: T) -> Output<T> {
        match self {
            Answer::Reply(reply) => Output::Reply { token, reply: Ok(reply) },
            Answer::VotersChanged => Output::VotersChanged { token, outcome: Ok(()) },
        }
    }

    fn broken<T>(self, token: T) -> Output<T> {
        match self {
            Answer::Reply(_) => Output::Reply { token, reply: Err(NotController) },
            Answer::VotersChanged => Output::VotersChanged { token, outcome: Err(ChangeRefused::NotLeader) },
        }
    }
}

/// One node's controller.
pub struct Controller<T> {
    quorum: Quorum,
    settings: Settings,
    /// What the quorum has agreed on.
    applied: Arc<Image>,
    /// What it will have agreed on, if this node goes on leading: decisions build on each other.
    decided: Image,
    /// The epoch in which this node leads.
    led: Option<LeaderEpoch>,
    promises: VecDeque<Promise<T>>,
    sessions: Sessions,
    timetable: Timetable,
    following: Following,
    unsnapshotted: Unsnapshotted,
    /// The cluster has its levels, as far as this leader has decided.
    founded: bool,
    /// Something was refused for want of room.
    full: bool,
}

/// Which broker a command is from, where that says something of the broker's session.
#[derive(Clone, Debug)]
enum Speaker {
    Beats(Heartbeat),
    Registers(NodeId),
    Nobody,
}

impl Speaker {
    fn of(command: &Command) -> Speaker {
        match command {
            Command::Heartbeat(beat) => Speaker::Beats(beat.clone()),
            Command::RegisterBroker(registration) => Speaker::Registers(registration.id),
            _ => Speaker::Nobody,
        }
    }
}

/// Why the quorum was not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NotOffered {
    NotLeading,
    NoRoom,
}

impl<T> Controller<T> {
    pub fn new(mut quorum: Quorum, settings: Settings) -> Controller<T> {
        let image = quorum.take_image().unwrap_or_else(Image::empty);
        let sessions = Sessions::new(settings.config.broker_session_timeout_ms.into());
        Controller {
            quorum,
            following: Following::of(&settings.config),
            settings,
            decided: image.clone(),
            applied: Arc::new(image),
            led: None,
            promises: VecDeque::new(),
            sessions,
            timetable: Timetable::default(),
            unsnapshotted: Unsnapshotted::default(),
            founded: false,
            full: false,
        }
    }

    pub fn leads(&self) -> bool {
        self.led.is_some()
    }

    /// What is agreed on.
    pub fn image(&self) -> &Arc<Image> {
        &self.applied
    }

    /// The image with all that this controller has decided, agreed on or not.
    pub fn decided(&self) -> &Image {
        &self.decided
    }

    pub fn quorum(&self) -> &Quorum {
        &self.quorum
    }

    /// What the quorum says to an observer. To be called between steps; [`crate::waiting::Fetches`] keeps what may wait.
    pub fn fetch(&mut self, now_ms: i64, fetch: &Fetch) -> Served {
        self.quorum.fetch(now_ms, fetch)
    }

    /// A piece of a snapshot for an observer. To be called between steps.
    pub fn fetch_snapshot(&mut self, fetch: &FetchSnapshot) -> PieceAnswer {
        self.quorum.fetch_snapshot(fetch)
    }

    /// One turn. An error is final.
    pub fn step(
        &mut self,
        now_ms: i64,
        input: Input<T>,
        out: &mut Vec<Output<T>>,
    ) -> Result<(), ControllerError> {
        match input {
            Input::Tick => {
                self.quorum.tick();
                out.extend(self.quorum.missing_leader().map(|id| Output::LookFor(Missing::Leader(id))));
                self.do_duties(now_ms, out)?;
            }
            Input::Snapshotted(outcome) => {
                self.unsnapshotted.written();
                if let Some(id) = outcome {
                    self.quorum.snapshotted(id, &self.settings.snapshots.keep, now_ms)?;
                }
            }
            Input::Command { token, command } => self.command(now_ms, token, command, out)?,
            Input::Message(message) => {
                if let Err(refused) = self.quorum.step(*message) {
                    out.push(Output::Refused(refused));
                }
            }
            Input::ChangeVoters { token, change } => self.change_voters(now_ms, token, &change, out),
            Input::Answered(answered) => {
                let heard = self.following.hear(now_ms, *answered, &mut self.quorum);
                out.extend(heard.err().map(Output::CannotFollow));
            }
            // Where nobody else votes, there is nobody to lead.
            Input::TransferLeadership => drop(self.quorum.transfer_leadership()),
            Input::Gone(missing) => self.gone(now_ms, missing, out)?,
        }
        self.settle(now_ms, out)?;
        out.extend(self.following.ask(now_ms, &self.quorum).map(Output::Ask));
        Ok(())
    }

    /// Applies what is agreed on already, without a new input; the first call brings the log's whole image.
    pub fn settle(&mut self, now_ms: i64, out: &mut Vec<Output<T>>) -> Result<(), ControllerError> {
        self.settle_once(now_ms, out)?;
        self.notice_leadership(now_ms, out);
        if self.found(now_ms, out) {
            self.settle_once(now_ms, out)?;
        }
        while let Some(promise) = self.promises.pop_front_if(|p| p.offset <= self.applied.offset) {
            out.push(promise.answer.kept(promise.token));
        }
        self.snapshot_if_due(now_ms, out);
        Ok(())
    }

    fn settle_once(&mut self, now_ms: i64, out: &mut Vec<Output<T>>) -> Result<(), ControllerError> {
        let Settled { agreed, messages } = self.quorum.settle(now_ms)?;
        if !agreed.is_empty() {
            let own = self.own_end(&agreed);
            self.apply(agreed, now_ms)?;
            // Half of a metadata transaction is nothing to show (KIP-868).
            if !self.applied.in_transaction() {
                out.push(Output::Published(self.applied.clone()));
            }
            while let Some(promise) = self.promises.pop_front_if(|p| Some(p.offset) <= own) {
                out.push(promise.answer.kept(promise.token));
            }
        }
        out.extend(messages.into_iter().map(|message| Output::Send(Box::new(message))));
        Ok(())
    }

    // Up to where what this node has promised is agreed on. It may lead no more by now: a leader's own removal is the last thing
    // on which its followers agree with it.
    fn own_end(&self, agreed: &[Agreed]) -> Option<Offset> {
        agreed.iter().rev().find_map(|agreed| match agreed {
            Agreed::Batch(batch) if Some(batch.epoch) == self.led => Some(batch.last_offset),
            Agreed::Batch(_) | Agreed::Snapshot(_) => None,
        })
    }

    fn apply(&mut self, agreed: Vec<Agreed>, now_ms: i64) -> Result<(), ControllerError> {
        let mut image = (*self.applied).clone();
        for agreed in agreed {
            match agreed {
                Agreed::Batch(batch) => {
                    apply_batch(&mut image, &batch)?;
                    self.unsnapshotted.applied(batch.batch.len(), now_ms);
                }
                Agreed::Snapshot(whole) => {
                    image = *whole;
                    self.unsnapshotted.replaced();
                }
            }
        }
        self.applied = Arc::new(image);
        Ok(())
    }

    fn snapshot_if_due(&mut self, now_ms: i64, out: &mut Vec<Output<T>>) {
        if self.unsnapshotted.begins(&self.applied, &self.settings.snapshots, now_ms) {
            out.push(Output::Snapshot(self.quorum.snapshot(self.applied.clone())));
        }
    }

    fn notice_leadership(&mut self, now_ms: i64, out: &mut Vec<Output<T>>) {
        let led = self.quorum.leads().then(|| self.quorum.epoch());
        if led == self.led {
            return;
        }
        // What was promised in another epoch may be agreed on yet, or never.
        let lost = self.promises.drain(..);
        out.extend(lost.map(|promise| promise.answer.broken(promise.token)));
        self.led = led;
        self.decided = (*self.applied).clone();
        self.founded = false;
        if self.led.is_some() {
            self.sessions.begin(&self.decided, now_ms);
            self.timetable.begin(&self.settings.config, now_ms);
        }
    }

    // A new cluster gets its levels before anything else. The quorum may not take them: its leader may be about to make another
    // voter lead, in vain. So they are offered until it does. Whether there was something to be written.
    fn found(&mut self, now_ms: i64, out: &mut Vec<Output<T>>) -> bool {
        if self.led.is_none() || self.founded {
            return false;
        }
        // A cluster that has its levels is asked for nothing.
        let bootstrap = self.settings.bootstrap.clone();
        let Decision { records, .. } = self.with_view(now_ms, |view| decide(view, bootstrap.command()));
        self.founded = self.write(now_ms, &records, Spend::Reserve, out).is_ok();
        self.founded && !records.is_empty()
    }

    fn command(
        &mut self,
        now_ms: i64,
        token: T,
        command: Command,
        out: &mut Vec<Output<T>>,
    ) -> Result<(), ControllerError> {
        if self.led.is_none() || !self.founded {
            out.push(Output::Reply { token, reply: Err(NotController) });
            return Ok(());
        }
        let speaker = Speaker::of(&command);
        let raises = voting::raises(&command);
        let spend = if command.must_go_on() { Spend::Reserve } else { Spend::Nothing };
        let no_room = command.refused(ErrorCode::KafkaStorageError, "The metadata log's disk is full");
        let Decision { records, answer: reply } = self.with_view(now_ms, |view| decide(view, command));
        // The level of the quorum stands before what the same request has changed besides.
        let raised = matches!(reply, Reply::FeaturesUpdated(Ok(()))) && raises;
        let written = if raised { self.let_voters_change(now_ms) } else { Ok(()) };
        if raised {
            self.settle_once(now_ms, out)?;
        }
        let written = written.and_then(|()| self.write(now_ms, &records, spend, out));
        if let Err(refused) = written {
            // What a broker said may not have been written, but it was heard.
            if let (NotOffered::NoRoom, Speaker::Beats(beat)) = (&refused, &speaker) {
                self.sessions.heard(beat, now_ms);
            }
            let reply = if refused == NotOffered::NoRoom { no_room } else { Err(NotController) };
            out.push(Output::Reply { token, reply });
            return Ok(());
        }
        self.notice(now_ms, speaker, &reply);
        let (answer, offset) = (Answer::Reply(reply), self.decided.offset);
        self.promises.push_back(Promise { token, answer, offset });
        Ok(())
    }

    // What a broker has said of itself.
    fn notice(&mut self, now_ms: i64, speaker: Speaker, reply: &Reply) {
        match (speaker, reply) {
            // It stops, and may be back at once.
            (Speaker::Beats(beat), Reply::Heartbeat(Ok(answer))) if answer.should_shut_down => {
                self.sessions.forget(beat.broker);
            }
            (Speaker::Beats(beat), Reply::Heartbeat(Ok(_))) => {
                self.sessions.heard(&beat, now_ms);
                let leaves = |known: &Broker| known.in_controlled_shutdown && !known.fenced;
                if self.decided.broker(beat.broker).is_some_and(|known| leaves(known)) {
                    self.sessions.leaves(beat.broker, self.decided.offset);
                }
            }
            (Speaker::Registers(broker), Reply::BrokerRegistered(Ok(epoch))) => {
                self.sessions.forget_before(broker, *epoch);
            }
            _ => {}
        }
    }

    fn with_view<A>(&mut self, now_ms: i64, act: impl FnOnce(&mut View<'_>) -> A) -> A {
        let kraft_version = self.quorum.membership().kraft_version();
        let voters: Vec<NodeId> = self.quorum.voters().iter().map(|voter| voter.id).collect();
        act(&mut View {
            image: &self.decided,
            next_offset: self.quorum.next_offset(),
            now_ms,
            sessions: &self.sessions,
            kraft_version,
            may_voters_change: &|| {
                voting::nodes(&self.quorum, &self.decided, &self.settings.config).map(drop)
            },
            voters: &voters,
            config: &self.settings.config,
            chance: &mut self.settings.chance,
        })
    }

    fn write(
        &mut self,
        now_ms: i64,
        records: &[MetadataRecord],
        spend: Spend,
        out: &mut Vec<Output<T>>,
    ) -> Result<(), NotOffered> {
        if records.is_empty() {
            return Ok(());
        }
        let offered = self.offer(now_ms, records, spend);
        let full = match offered {
            Err(NotOffered::NoRoom) => true,
            Ok(()) if spend == Spend::Nothing => false,
            // What may use the reserve says nothing of the room.
            Ok(()) | Err(NotOffered::NotLeading) => self.full,
        };
        if std::mem::replace(&mut self.full, full) != full {
            out.push(Output::Full(full));
        }
        offered
    }

    fn offer(&mut self, now_ms: i64, records: &[MetadataRecord], spend: Spend) -> Result<(), NotOffered> {
        let first = self.quorum.next_offset();
        let mut decided = self.decided.clone();
        for (record, offset) in records.iter().zip(first..) {
            // The decision was made on this very image: a record that does not apply to it is our mistake.
            let applied = decided.apply_in_place(offset, self.quorum.epoch(), record);
            assert!(applied.is_ok(), "decided a record that does not apply: {record:?}: {applied:?}");
        }
        let version = decided.metadata_version().unwrap_or(MetadataVersion::LATEST_PRODUCTION);
        let encoded = records.iter().map(|record| {
            // Whoever decides checks the lengths of what clients said; this is again our mistake.
            record.encode_for(version).unwrap_or_else(|why| panic!("decided an unwritable record: {why}"))
        });
        let batch = metadata_batch(encoded, now_ms);
        if !self.quorum.has_room(&batch, spend) {
            return Err(NotOffered::NoRoom);
        }
        if !self.quorum.propose(&batch) {
            return Err(NotOffered::NotLeading);
        }
        self.decided = decided;
        Ok(())
    }
}
