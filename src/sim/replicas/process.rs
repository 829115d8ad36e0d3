//! A process of this world: a lane, what waits for it, and what it knows of the cluster. It does what a broker's shell does
//! around a lane, and must never decide what a lane decides.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use ottla_core::partition::{Acks, Diverging, Fetched, Followership, IsrAnswer, Leadership, Proposal};
use ottla_log::check::{Origin, Rules, check};
use ottla_log::log::{FlushTicket, Isolation, Log, Opening};
use ottla_model::config::TopicConfig;
use ottla_model::{NodeId, TopicPartition};
use ottla_node::lane::{
    Answered, Append, Cut, FetchPosition, FromLeader, Host, Input, Lane, Output, Role, Waiters,
};
use ottla_protocol::batch::{BatchBuilder, Compression};
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset};

use super::registry::View;
use crate::disk::SimDisk;
use crate::invariants::copy::write_id;
use crate::invariants::ledger::RecordId;
use crate::marks::{mark, mark_if};
use crate::mutation::Mutation;
use crate::node::mark_recovery;

/// Between machines, the registry and producers.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    Register { broker: NodeId, life: u64 },
    Registered { life: u64, epoch: i64, version: u64 },
    Heartbeat { broker: NodeId, epoch: i64 },
    News(View),
    Propose { broker: NodeId, epoch: i64, proposal: Proposal },
    Answer(IsrAnswer),
    Fetch { replica: NodeId, broker_epoch: i64, position: FetchPosition },
    Fetched { position: FetchPosition, found: Found },
    Produce { producer: usize, attempt: u64, record: RecordId },
    Produced { attempt: u64, outcome: Result<Offset, ErrorCode> },
}

/// What a leader answers to a fetch.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    Records { bytes: Bytes, high_watermark: Offset, log_start: Offset },
    Parted(Diverging),
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
    /// This machine's own fetching.
    Own,
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
    /// The lane will do nothing more.
    Offline(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    Broker(NodeId),
    Registry,
    Producer(usize),
}

pub(crate) struct Process {
    me: NodeId,
    pub life: u64,
    pub lane: Lane<Ask>,
    config: Arc<TopicConfig>,
    inputs: VecDeque<Input<Ask>>,
    turn_planned: bool,
    pub epoch: Option<i64>,
    /// News from before it was registered is of the process before it.
    news_from: u64,
    view: Option<View>,
    /// Answers to fetches that the lane has still to take note of.
    found: BTreeMap<u64, (NodeId, FetchPosition, Found)>,
    next_fetch: u64,
    /// Numbers this process's own fetches, so that only the last one is tried again.
    pub fetches: u64,
    mutation: Option<Mutation>,
}

pub(crate) fn partition() -> TopicPartition {
    TopicPartition::new("t", 0)
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
        let opening = Opening {
            disk,
            dir: PathBuf::from("/data/t-0"),
            partition: partition(),
            topic_id: None,
            config: config.clone(),
            clean_shutdown: false,
            recovery_point: 0,
            log_start: 0,
            now_ms,
            producer_id_expiration_ms: i64::MAX,
            jitter_seed: life,
        };
        let (log, recovery) = Log::open(opening).map_err(|e| e.to_string())?;
        mark_recovery(&recovery);
        let host = Host { id: me, replica_lag_time_max_ms: LAG_MS };
        let nobody = Followership { epoch: LeaderEpoch::NONE, partition_epoch: -1, leader: None };
        Ok(Process {
            me,
            life,
            lane: Lane::new(host, log, Role::Follower(nobody), config.clone(), now_ms),
            config: config.clone(),
            inputs: VecDeque::new(),
            turn_planned: false,
            epoch: None,
            news_from: 0,
            view: None,
            found: BTreeMap::new(),
            next_fetch: 0,
            fetches: 0,
            mutation,
        })
    }

    pub fn hear(&mut self, message: Message, now_ms: i64) -> Vec<Wish> {
        match message {
            Message::Registered { life, epoch, version } if life == self.life => {
                (self.epoch, self.news_from) = (Some(epoch), version);
                vec![Wish::FetchSoon]
            }
            Message::News(view) => self.news(view),
            Message::Answer(answer) => self.enqueue(Input::IsrAnswered(answer)),
            Message::Fetch { replica, broker_epoch, position } => {
                self.fetch(replica, broker_epoch, position, now_ms)
            }
            Message::Fetched { position, found } => self.fetched(position, found),
            Message::Produce { producer, attempt, record } => self.produce(producer, attempt, record, now_ms),
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

    fn news(&mut self, view: View) -> Vec<Wish> {
        let known = self.view.as_ref().map_or(self.news_from, |known| known.version + 1);
        if self.epoch.is_none() || view.version < known.max(self.news_from) {
            return Vec::new();
        }
        let (epoch, partition_epoch) = (view.leader_epoch, view.partition_epoch);
        let mut inputs = Vec::new();
        if view.leader == Some(self.me) {
            let (replicas, isr) = (view.replicas.clone(), view.isr.clone());
            inputs.push(Input::Lead(Leadership { epoch, partition_epoch, replicas, isr }));
            for replica in view.replicas.iter().filter(|id| **id != self.me) {
                inputs.push(Input::Stands { replica: *replica, standing: view.standing(*replica) });
            }
        } else {
            inputs.push(Input::Follow(Followership { epoch, partition_epoch, leader: view.leader }));
        }
        self.view = Some(view);
        inputs.into_iter().flat_map(|input| self.enqueue(input)).collect()
    }

    /// Where the next fetch goes, and the fetch.
    pub fn next_fetch(&self) -> Option<(NodeId, Message)> {
        let position = self.lane.fetch_position()?;
        let leader = self.view.as_ref()?.leader.filter(|leader| *leader != self.me)?;
        Some((leader, Message::Fetch { replica: self.me, broker_epoch: self.epoch?, position }))
    }

    // Reads first, and answers once the lane, which may have been told that it leads no more, has taken note of it.
    fn fetch(
        &mut self,
        replica: NodeId,
        broker_epoch: i64,
        position: FetchPosition,
        now_ms: i64,
    ) -> Vec<Wish> {
        let refuse = |code| {
            let found = Found::Refused(code);
            vec![Wish::Send(To::Broker(replica), Message::Fetched { position, found })]
        };
        let Some(view) = self.view.as_ref().filter(|_| self.lane.leads()) else {
            return refuse(ErrorCode::NotLeaderOrFollower);
        };
        if position.under != self.lane.leader_epoch() {
            mark("a fetch under another leader epoch was refused");
            return refuse(ErrorCode::FencedLeaderEpoch);
        }
        let reader = self.lane.reader();
        let leader_end = reader.offsets().log_end;
        if let Some(last) = position.last_epoch {
            let (epoch, end_offset) = reader.epoch_end_under(self.lane.leader_epoch(), last);
            if epoch != last || end_offset < position.log_end {
                mark("a follower's log had parted from its leader's");
                let found = Found::Parted(Diverging { epoch, end_offset });
                return vec![Wish::Send(To::Broker(replica), Message::Fetched { position, found })];
            }
        }
        let Ok(slice) = reader.read(position.log_end, FETCH_BYTES, Isolation::LogEnd, true) else {
            return refuse(ErrorCode::OffsetOutOfRange);
        };
        let Ok(bytes) = slice.range.map(|range| range.read()).transpose() else {
            return refuse(ErrorCode::KafkaStorageError);
        };
        let offsets = reader.offsets();
        let found = Found::Records {
            bytes: bytes.unwrap_or_default().into(),
            high_watermark: offsets.high_watermark,
            log_start: offsets.log_start,
        };
        self.next_fetch += 1;
        self.found.insert(self.next_fetch, (replica, position, found));
        let claimed = if self.mutation == Some(Mutation::BelieveFollowersAhead) {
            leader_end
        } else {
            position.log_end
        };
        let fetched = Fetched {
            replica,
            believed: position.under,
            log_end: claimed,
            log_start: 0,
            broker_epoch,
            standing: view.standing(replica),
            leader_end,
            at_ms: now_ms,
        };
        self.enqueue(Input::ReplicaFetched { token: Ask::Fetch(self.next_fetch), fetched })
    }

    fn fetched(&mut self, position: FetchPosition, found: Found) -> Vec<Wish> {
        let position = match (self.mutation, self.lane.fetch_position()) {
            (Some(Mutation::TakeAnyAnswer), Some(now)) => now,
            _ => position,
        };
        match found {
            Found::Refused(code) => {
                debug_assert_ne!(code, ErrorCode::KafkaStorageError, "no disk fails here");
                vec![Wish::FetchSoon]
            }
            Found::Parted(_) if self.mutation == Some(Mutation::NeverCut) => vec![Wish::FetchSoon],
            Found::Parted(diverging) => {
                let cut = Cut::End(diverging);
                self.enqueue(Input::Cut { token: Ask::Own, fetched: position, cut })
            }
            Found::Records { bytes, high_watermark, log_start } => {
                let from_leader = FromLeader { fetched: position, records: bytes, high_watermark, log_start };
                self.enqueue(Input::Replicate { token: Ask::Own, from_leader })
            }
        }
    }

    fn produce(&mut self, producer: usize, attempt: u64, record: RecordId, now_ms: i64) -> Vec<Wish> {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.append(now_ms, None, Some(&write_id(record)), &[]);
        let partition = partition();
        let rules = Rules {
            partition: &partition,
            topic: &self.config,
            origin: Origin::Client,
            now_ms,
            produce_version: 13,
        };
        let batch = check(builder.build(0, LeaderEpoch(0)), &rules).expect("a good batch").remove(0);
        self.enqueue(Input::Append(Append {
            token: Ask::Producer { producer, attempt },
            batch,
            acks: Acks::All,
            answered: Answered::WhenSafe,
            checked_against: self.config.clone(),
            deadline_ms: now_ms + PRODUCE_MS,
        }))
    }

    /// A turn of the lane.
    pub fn turn(&mut self, now_ms: i64) -> Vec<Wish> {
        self.turn_planned = false;
        let inputs = std::mem::take(&mut self.inputs);
        let mut out = Vec::new();
        let (led, log_end) = (self.lane.leads(), self.lane.log().log_end_offset());
        self.lane.step(now_ms, inputs, &mut out);
        mark_if(self.lane.log().log_end_offset() < log_end, "a follower cut off the end of its log");
        mark_if(led && !self.lane.leads(), "a leader resigned");
        out.into_iter().filter_map(|output| self.wish(output)).collect()
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
            Output::Followed { .. } => Wish::FetchSoon,
            Output::Propose(proposal) => {
                let (broker, epoch) = (self.me, self.epoch?);
                Wish::Send(To::Registry, Message::Propose { broker, epoch, proposal })
            }
            Output::Flush(ticket) => Wish::Flush(ticket),
            Output::Offline { why, .. } => Wish::Offline(why),
            _ => return None,
        })
    }
}

/// `replica.lag.time.max.ms`
pub(crate) const LAG_MS: i64 = 1_000;
const FETCH_BYTES: usize = 600;
const PRODUCE_MS: i64 = 2_000;
