//! A process of this world: a lane, what waits for it, and what it knows of the cluster. It does what a broker's shell does
//! around a lane, and must never decide what a lane decides. Here it follows; [`serving`](super::serving) is how it leads.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use ottla_core::group::{Command, Reply};
use ottla_core::partition::{Diverging, Follower, Followership, IsrAnswer, Leadership, Proposal};
use ottla_log::CheckedBatch;
use ottla_log::log::{FlushTicket, Retired};
use ottla_model::NodeId;
use ottla_model::config::TopicConfig;
use ottla_node::fetching::{Answer, Place, at_start};
use ottla_node::lane::{Cut, FetchPosition, FromLeader, Host, Input, Lane, Output, Role, Waiters};
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset};

use super::coordinating::{Asker, Coordinating};
use super::home::Home;
use super::registry::View;
use super::serving::Sent;
use super::sessions::{InSessions, Request, mark_joins};
use crate::disk::{SimDisk, turn};
use crate::invariants::copy::Copied;
use crate::marks::{mark, mark_if};
use crate::mutation::Mutation;

/// Between machines, the registry and clients.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    /// `previous`: the epoch of the process before, if that has stopped cleanly.
    Register {
        broker: NodeId,
        life: u64,
        previous: Option<i64>,
    },
    Registered {
        life: u64,
        epoch: i64,
        version: u64,
    },
    Heartbeat {
        broker: NodeId,
        epoch: i64,
        full: bool,
    },
    News(View),
    Propose {
        broker: NodeId,
        epoch: i64,
        proposal: Proposal,
    },
    Answer(IsrAnswer),
    Fetch(Fetch),
    Fetched {
        position: FetchPosition,
        found: Found,
    },
    /// A follower that has no room asks where its leader's log starts.
    AskStart {
        replica: NodeId,
        position: FetchPosition,
    },
    Start {
        position: FetchPosition,
        start: Offset,
    },
    /// A follower's fetch in a session.
    Ask(Request),
    /// Its answer. `ends`: where the leader's log starts and ends, if that is asked for next.
    Told {
        number: u64,
        answer: Answer,
        ends: Option<(Offset, Offset)>,
    },
    Produce {
        producer: usize,
        attempt: u64,
        sent: Sent,
    },
    Produced {
        attempt: u64,
        outcome: Result<Offset, ErrorCode>,
    },
    Consume {
        consumer: usize,
        from: Offset,
    },
    /// What there is from there on; without it, where the log starts.
    Consumed {
        from: Offset,
        found: Result<Vec<Copied>, Option<Offset>>,
    },
    /// So many eighths of what consumers can read.
    DeleteRecords {
        eighths: i64,
    },
    /// A client of the coordinator asks.
    Question {
        asker: Asker,
        command: Command,
    },
    Coordinated {
        asker: Asker,
        reply: Reply,
    },
}

/// A follower's fetch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fetch {
    pub replica: NodeId,
    pub broker_epoch: i64,
    pub position: FetchPosition,
    /// The epoch of its last batch, to be compared. `None`: it has none.
    pub last: Option<LeaderEpoch>,
    pub log_start: Offset,
}

/// What a leader answers to a fetch.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    Records {
        bytes: Bytes,
        high_watermark: Offset,
        log_start: Offset,
    },
    Parted {
        diverging: Diverging,
        high_watermark: Offset,
        log_start: Offset,
    },
    /// Nothing is there from that position on: where the leader's log starts and ends.
    Ends(Offset, Offset),
    Refused(ErrorCode),
}

/// Who waits for a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Producer {
        producer: usize,
        attempt: u64,
    },
    /// Another replica's fetch, by its number.
    Fetch(u64),
    /// This machine's own fetching, and whatever nobody waits for.
    Own,
    /// The shard of the coordinator.
    Shard,
}

impl Waiters for Ask {
    type Append = Ask;
    type Deletion = Ask;
    type Swap = Ask;
    type Move = Ask;
    type Fetch = Ask;
    type Verification = Ask;
    type Fetcher = Ask;
}

/// What a process wants of the world.
#[derive(Debug)]
pub(crate) enum Wish {
    Send(To, Message),
    /// Inputs wait for a turn.
    Turn,
    Flush(FlushTicket),
    /// It may fetch again.
    FetchSoon,
    /// It may fetch again after so many milliseconds.
    FetchAfter(i64),
    /// The shard's task wants the processor: soon, or at that time.
    ShardTurn(Option<i64>),
    /// The lane will do nothing more.
    Offline(String),
    Remove(Vec<Retired>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    Broker(NodeId),
    Registry,
    Producer(usize),
    Consumer(usize),
    Committer(usize),
}

pub(crate) struct Process {
    pub(super) me: NodeId,
    pub life: u64,
    pub lane: Lane<Ask>,
    pub(super) home: Home,
    pub(super) config: Arc<TopicConfig>,
    inputs: VecDeque<Input<Ask>>,
    turn_planned: bool,
    pub epoch: Option<i64>,
    /// News from before it was registered is of the process before it.
    news_from: u64,
    pub(super) view: Option<View>,
    /// Answers to fetches that the lane has still to take note of.
    pub(super) found: BTreeMap<u64, (NodeId, FetchPosition, Found)>,
    pub(super) next_fetch: u64,
    /// Batches of transactions that are being verified.
    pub(super) verifying: Vec<(usize, u64, CheckedBatch)>,
    /// Numbers this process's own fetches, so that only the last one is tried again.
    pub fetches: u64,
    /// `None`: each of its fetches says everything, and so does each answer.
    pub(super) in_sessions: Option<InSessions>,
    /// `None`: the partition is no coordinator's.
    pub(super) coordinating: Option<Coordinating>,
    /// Its disk has had no room, and has none since.
    pub full: bool,
    /// The mistake of not comparing logs with the leader any more.
    compares_no_more: bool,
    pub(super) mutation: Option<Mutation>,
}

impl Process {
    pub fn start(
        me: NodeId,
        life: u64,
        disk: Arc<SimDisk>,
        config: &Arc<TopicConfig>,
        now_ms: i64,
        mutation: Option<Mutation>,
    ) -> Result<Process, String> {
        let home = Home::open(me, disk, mutation).map_err(|e| e.to_string())?;
        let log = home.open_log(config, now_ms, life).map_err(|e| e.to_string())?;
        let host = Host { id: me, replica_lag_time_max_ms: LAG_MS };
        let nobody = Followership { epoch: LeaderEpoch::NONE, partition_epoch: -1, leader: None };
        Ok(Process {
            me,
            life,
            lane: Lane::new(host, log, Role::Follower(nobody), config.clone(), now_ms),
            home,
            config: config.clone(),
            inputs: VecDeque::new(),
            turn_planned: false,
            epoch: None,
            news_from: 0,
            view: None,
            found: BTreeMap::new(),
            next_fetch: 0,
            verifying: Vec::new(),
            fetches: 0,
            in_sessions: None,
            coordinating: None,
            full: false,
            compares_no_more: false,
            mutation,
        })
    }

    /// A clean stop, after which the log is closed.
    pub fn stop(self) {
        let log = self.lane.into_log(&mut Vec::new());
        if let Some(epoch) = self.epoch {
            self.home.close(log, epoch);
        }
    }

    pub fn checkpoint(&mut self) {
        // What could not be written is written with the next one.
        let _ = self.home.checkpoint(self.lane.log());
    }

    pub(super) fn makes(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// How it asks to be registered.
    pub fn registration(&self) -> Message {
        let previous = self.home.previous.map(|epoch| epoch.0);
        Message::Register { broker: self.me, life: self.life, previous }
    }

    pub fn hear(&mut self, message: Message, now_ms: i64) -> Vec<Wish> {
        match message {
            Message::Registered { life, epoch, version } if life == self.life => {
                (self.epoch, self.news_from) = (Some(epoch), version);
                vec![Wish::FetchSoon]
            }
            Message::News(view) => {
                let wishes = self.news(view);
                wishes.into_iter().chain(self.follow_in_session(now_ms)).collect()
            }
            Message::AskStart { replica, position } => self.tell_start(replica, position),
            Message::Start { position, start } => {
                let place = Place { position, log_start: self.lane.log().log_start_offset() };
                let Some(cut) = at_start(place, start) else { return Vec::new() };
                mark_if(matches!(cut, Cut::All { .. }), "who had no room began again at its leader's start");
                self.enqueue(Input::Cut { token: Ask::Own, fetched: position, cut })
            }
            Message::Ask(request) => self.serve_in_session(request, now_ms),
            Message::Told { number, answer, ends } => self.told(number, answer, ends, now_ms),
            Message::Answer(answer) => self.enqueue(Input::IsrAnswered(answer)),
            Message::Fetch(fetch) => self.serve(fetch, now_ms),
            Message::Fetched { position, found } => self.fetched(position, found),
            Message::Produce { producer, attempt, sent } => self.produce(producer, attempt, sent, now_ms),
            Message::Consume { consumer, from } => self.consume(consumer, from),
            Message::DeleteRecords { eighths } => self.delete_records(eighths, now_ms),
            Message::Question { asker, command } => self.ask_shard(asker, command),
            _ => Vec::new(),
        }
    }

    pub fn enqueue(&mut self, input: Input<Ask>) -> Vec<Wish> {
        self.inputs.push_back(input);
        match std::mem::replace(&mut self.turn_planned, true) {
            true => Vec::new(),
            false => vec![Wish::Turn],
        }
    }

    pub(super) fn waits_for_a_turn(&self) -> bool {
        !self.inputs.is_empty()
    }

    fn enqueue_all(&mut self, inputs: impl IntoIterator<Item = Input<Ask>>) -> Vec<Wish> {
        inputs.into_iter().flat_map(|input| self.enqueue(input)).collect()
    }

    fn news(&mut self, view: View) -> Vec<Wish> {
        let known = self.view.as_ref().map_or(self.news_from, |known| known.version + 1);
        let of_this_process = self.epoch.is_some() && view.version >= self.news_from;
        if view.version < known || !(of_this_process || self.makes(Mutation::BelieveOldNews)) {
            return Vec::new();
        }
        let before = self.view.as_ref().map(|before| (before.leader, before.leader_epoch));
        let has_new_leader = before.is_none_or(|(leader, _)| leader != view.leader);
        let has_new_epoch = before.is_none_or(|(_, epoch)| epoch != view.leader_epoch);
        if has_new_leader || has_new_epoch && !self.makes(Mutation::CompareWithNewLeadersOnly) {
            self.compares_no_more = false;
        }
        let inputs = match view.leader == Some(self.me) {
            true => self.to_lead(&view, has_new_leader),
            false => self.to_follow(&view, has_new_epoch),
        };
        self.view = Some(view);
        self.enqueue_all(inputs)
    }

    fn to_lead(&self, view: &View, begins: bool) -> Vec<Input<Ask>> {
        let (epoch, partition_epoch, isr) = (view.leader_epoch, view.partition_epoch, view.isr.clone());
        let replicas = match self.makes(Mutation::LeadOldReplicasOnly) {
            true => view.replicas.iter().copied().filter(|id| !view.adding.contains(id)).collect(),
            false => view.replicas.clone(),
        };
        let mut inputs = Vec::new();
        if begins && self.makes(Mutation::ForgetProducersOnFollowers) {
            let of_no_age = Input::ExpireProducersAfter(-1);
            inputs.extend([of_no_age, Input::Tick, Input::ExpireProducersAfter(i64::MAX)]);
        }
        inputs.push(Input::Lead(Leadership { epoch, partition_epoch, replicas, isr }));
        let forgets = self.makes(Mutation::HearOfBrokersOnce) && !begins;
        for replica in view.replicas.iter().filter(|id| **id != self.me && !forgets) {
            inputs.push(Input::Stands { replica: *replica, standing: view.standing(*replica) });
        }
        if !self.makes(Mutation::ForgetEpochStarts) {
            inputs.push(Input::Settle);
        }
        inputs
    }

    fn to_follow(&self, view: &View, has_new_epoch: bool) -> Vec<Input<Ask>> {
        let is_mine = view.replicas.contains(&self.me);
        let (epoch, partition_epoch) = (view.leader_epoch, view.partition_epoch);
        let leader = view.leader.filter(|_| is_mine);
        let mut inputs = vec![Input::Follow(Followership { epoch, partition_epoch, leader })];
        if has_new_epoch && self.makes(Mutation::TruncateToHighWatermark) {
            let log = self.lane.log();
            let (log_end, last_epoch) = (log.log_end_offset(), log.last_epoch());
            let fetched = FetchPosition { under: epoch, log_end, last_epoch };
            inputs.push(Input::Cut { token: Ask::Own, fetched, cut: to_offset(log.high_watermark(), 0) });
        }
        inputs
    }

    /// Where the next fetch goes, and the fetch.
    pub fn next_fetch(&self) -> Option<(NodeId, Message)> {
        let position = self.lane.fetch_position()?;
        let view = self.view.as_ref().filter(|view| view.replicas.contains(&self.me))?;
        let leader = view.leader.filter(|leader| *leader != self.me)?;
        if self.full {
            return Some((leader, Message::AskStart { replica: self.me, position }));
        }
        let last = position.last_epoch.filter(|_| !self.compares_no_more);
        let log_start = self.lane.log().log_start_offset();
        let fetch = Fetch { replica: self.me, broker_epoch: self.epoch?, position, last, log_start };
        Some((leader, Message::Fetch(fetch)))
    }

    fn fetched(&mut self, position: FetchPosition, found: Found) -> Vec<Wish> {
        let position = match (self.makes(Mutation::TakeAnyAnswer), self.lane.fetch_position()) {
            (true, Some(now)) => now,
            _ => position,
        };
        match found {
            Found::Refused(code) => {
                debug_assert_ne!(code, ErrorCode::KafkaStorageError, "no disk fails to read here");
                vec![Wish::FetchSoon]
            }
            Found::Ends(start, end) => match ends(position, start, end) {
                Some(cut) => self.enqueue(Input::Cut { token: Ask::Own, fetched: position, cut }),
                // The leader has changed in between.
                None => vec![Wish::FetchSoon],
            },
            Found::Parted { .. } if self.makes(Mutation::NeverCut) => vec![Wish::FetchSoon],
            Found::Parted { diverging, high_watermark, log_start } => {
                self.parted(position, diverging, high_watermark, log_start)
            }
            Found::Records { bytes, high_watermark, log_start } => {
                self.compares_no_more |= self.makes(Mutation::CompareWithNewLeadersOnly);
                self.replicate(position, bytes, high_watermark, log_start)
            }
        }
    }

    fn replicate(
        &mut self,
        fetched: FetchPosition,
        records: Bytes,
        high_watermark: Offset,
        log_start: Offset,
    ) -> Vec<Wish> {
        let from_leader = FromLeader { fetched, records, high_watermark, log_start };
        self.enqueue(Input::Replicate { token: Ask::Own, from_leader })
    }

    fn parted(
        &mut self,
        fetched: FetchPosition,
        diverging: Diverging,
        leaders: Offset,
        log_start: Offset,
    ) -> Vec<Wish> {
        let log = self.lane.log();
        let (epoch, end) = log.epoch_end_offset(diverging.epoch);
        let known = epoch.is_some().then_some((epoch, end));
        let (log_end, high_watermark) = (log.log_end_offset(), log.high_watermark());
        let removes_bytes = Follower::cut(diverging, known, log_end) < log_end;
        mark_if(!removes_bytes, "a truncation removed no bytes");
        mark_if(epoch != diverging.epoch, "a leader named an epoch that its follower does not know");
        if !removes_bytes && self.makes(Mutation::KeepEpochsWithoutBytes) {
            return vec![Wish::FetchSoon];
        }
        // Its next fetch is answered in the same way, and then it truncates.
        if self.makes(Mutation::AdvanceBeforeCutting) && high_watermark < leaders.min(log_end) {
            return self.replicate(fetched, Bytes::new(), leaders, 0);
        }
        let mut cut = Cut::End { diverging, log_start };
        if self.makes(Mutation::ForgetEpochStarts) && !diverging.epoch.is_some() {
            cut = to_offset(high_watermark, 0);
        }
        if self.makes(Mutation::StopAtUnknownEpochs) && epoch != diverging.epoch {
            cut = to_offset(diverging.end_offset, log_start);
            self.compares_no_more = true;
        }
        self.enqueue(Input::Cut { token: Ask::Own, fetched, cut })
    }

    /// A turn of the lane.
    pub fn turn(&mut self, now_ms: i64) -> Vec<Wish> {
        self.turn_planned = false;
        let inputs = std::mem::take(&mut self.inputs);
        let mut out = Vec::new();
        let (led, log_end) = (self.lane.leads(), self.lane.log().log_end_offset());
        let log_start = self.lane.log().log_start_offset();
        let notes = inputs.iter().any(|input| matches!(input, Input::ReplicaFetched { .. }));
        turn(&mut self.lane, now_ms, inputs, &mut out);
        if led != self.lane.leads() || log_start != self.lane.log().log_start_offset() {
            self.tell_sessions();
        }
        mark_if(self.lane.log().log_end_offset() < log_end, "a follower cut off the end of its log");
        mark_if(led && !self.lane.leads(), "a leader resigned");
        mark_joins(notes, self.view.as_ref(), &out);
        let mut wishes: Vec<Wish> = out.into_iter().flat_map(|output| self.wishes(output, now_ms)).collect();
        wishes.extend(self.wake_shard());
        wishes
    }

    fn wishes(&mut self, output: Output<Ask>, now_ms: i64) -> Vec<Wish> {
        match output {
            Output::Verifying { token: Ask::Producer { producer, attempt }, outcome } => {
                self.verified(producer, attempt, outcome)
            }
            Output::Noted { token: Ask::Fetch(number), outcome } if self.in_sessions.is_some() => {
                self.noted_in_session(number, outcome)
            }
            Output::Reply { token: Ask::Shard, outcome } => {
                self.shard_appended(outcome.map_err(|refused| refused.code))
            }
            Output::Grown | Output::Advanced => {
                self.tell_sessions();
                Vec::new()
            }
            Output::Followed { outcome, .. } => {
                self.followed(outcome.is_ok(), now_ms);
                vec![Wish::FetchSoon]
            }
            output => self.wish(output).into_iter().collect(),
        }
    }

    fn wish(&mut self, output: Output<Ask>) -> Option<Wish> {
        Some(match output {
            Output::Reply { token: Ask::Producer { producer, attempt }, outcome } => {
                let code = outcome.as_ref().err().map(|refused| refused.code);
                mark_if(
                    code == Some(ErrorCode::NotEnoughReplicas),
                    "too few replicas were in sync for an append",
                );
                mark_if(code == Some(ErrorCode::RequestTimedOut), "an append waited in vain for replicas");
                let outcome = outcome.map(|appended| appended.base_offset).map_err(|refused| refused.code);
                Wish::Send(To::Producer(producer), Message::Produced { attempt, outcome })
            }
            Output::Noted { token: Ask::Fetch(number), outcome } => {
                let (replica, position, found) = self.found.remove(&number)?;
                let found = outcome.map_or_else(Found::Refused, |()| found);
                Wish::Send(To::Broker(replica), Message::Fetched { position, found })
            }
            Output::Propose(proposal) => {
                let (broker, epoch) = (self.me, self.epoch?);
                Wish::Send(To::Registry, Message::Propose { broker, epoch, proposal })
            }
            Output::Flush(ticket) => Wish::Flush(ticket),
            Output::Offline { why, .. } => Wish::Offline(why),
            Output::Retire(files) => Wish::Remove(files),
            Output::Full => {
                mark("a full disk refused an append");
                self.full = true;
                return None;
            }
            _ => return None,
        })
    }
}

// What a fetcher asks for when its position is out of the leader's range (`node::fetching`).
fn ends(position: FetchPosition, start: Offset, end: Offset) -> Option<Cut> {
    if end < position.log_end {
        return Some(to_offset(end, start));
    }
    mark_if(start > position.log_end, "a follower began again at its leader's start");
    (start > position.log_end).then_some(Cut::All { start })
}

fn to_offset(end_offset: Offset, log_start: Offset) -> Cut {
    Cut::End { diverging: Diverging { epoch: LeaderEpoch::NONE, end_offset }, log_start }
}

/// `replica.lag.time.max.ms`
pub(crate) const LAG_MS: i64 = 1_000;
