//! Fetch sessions (KIP-227) of this world: a follower names only what has changed, and a leader looks only at what may have
//! changed. So a partition to which nothing is written is neither asked for nor noted again, which is what a cluster of many
//! idle partitions is like. The fetcher and the cache of sessions are the broker's own. It must never decide what they decide.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use ottla_core::session::{
    Context, FetchKey, FetchTopic, Limits, PartitionAnswer, Position, SessionRequest, Sessions,
};
use ottla_model::{NodeId, TopicId};
use ottla_node::fetching::{Answer, Fetcher, Found as Told, Next, Place, Plan, Work};
use ottla_node::lane::{FetchPosition, FromLeader, Input, Output};
use ottla_node::replicas::Key;
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset};

use super::process::{Ask, Fetch, Found, Message, Process, To, Wish};
use super::registry::View;
use crate::marks::mark_if;
use crate::mutation::Mutation;

/// A follower's request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    replica: NodeId,
    broker_epoch: i64,
    /// Tells its answer from others: a connection brings each answer to the request that it belongs to.
    number: u64,
    plan: Plan,
}

/// What a process knows of sessions, as a leader and as a follower.
pub(crate) struct InSessions {
    /// Of other replicas: what is to be looked at by their next request.
    sessions: Sessions<RefCell<BTreeSet<FetchKey>>>,
    next_session: i32,
    /// Requests that the lane has still to take note of.
    served: BTreeMap<u64, Served>,
    fetcher: Fetcher,
    /// Whom it follows, and under which epoch.
    follows: Option<(NodeId, LeaderEpoch)>,
    number: u64,
    asked_ms: Option<i64>,
    /// The mistake of asking a lane where it ends before its turn has come.
    early: Option<Place>,
}

struct Served {
    request: Request,
    context: Context,
    target: Option<(FetchKey, Position)>,
    leader_end: Offset,
    found: Found,
}

impl InSessions {
    /// Of the process of that life: what an earlier one has asked for is not answered to this one.
    pub fn new(life: u64) -> InSessions {
        InSessions {
            sessions: Sessions::new(Limits { slots: 10, eviction_ms: 120_000 }),
            next_session: 0,
            served: BTreeMap::new(),
            fetcher: Fetcher::new(BACKOFF_MS),
            follows: None,
            number: life * NUMBERS,
            asked_ms: None,
            early: None,
        }
    }
}

// How a process follows.
impl Process {
    /// As the publisher deals a partition out, each time that its leader or its epoch is another one.
    pub(super) fn follow_in_session(&mut self, now_ms: i64) -> Vec<Wish> {
        let view = self.view.as_ref().filter(|view| view.replicas.contains(&self.me));
        let leads = view.and_then(|view| Some((view.leader.filter(|id| *id != self.me)?, view.leader_epoch)));
        let Some(mine) = &mut self.in_sessions else { return Vec::new() };
        if mine.follows == leads {
            return Vec::new();
        }
        let before = std::mem::replace(&mut mine.follows, leads);
        if before.map(|(leader, _)| leader) != leads.map(|(leader, _)| leader) {
            // Another task with another connection.
            mine.fetcher = Fetcher::new(BACKOFF_MS);
            (mine.number, mine.asked_ms) = (mine.number + 1, None);
        }
        match leads {
            Some(_) => mine.fetcher.follow(now_ms, KEY),
            None => mine.fetcher.leave(KEY),
        }
        vec![Wish::FetchSoon]
    }

    /// A turn of the fetcher's task.
    pub(super) fn fetch_in_session(&mut self, now_ms: i64) -> Vec<Wish> {
        let (place, full) = (self.place(), self.full);
        let (me, epoch) = (self.me, self.epoch);
        let asks_start = place.filter(|_| full).map(|place| place.position);
        let mut wishes = Vec::new();
        let Some(mine) = &mut self.in_sessions else { return Vec::new() };
        if let Some(asked_ms) = mine.asked_ms {
            if now_ms - asked_ms < PATIENCE_MS {
                return Vec::new();
            }
            mine.fetcher.failed(now_ms);
            mine.asked_ms = None;
        }
        let Some((leader, broker_epoch)) = mine.follows.map(|(leader, _)| leader).zip(epoch) else {
            return Vec::new();
        };
        loop {
            match mine.fetcher.next(now_ms) {
                Next::Place(_) if full => {
                    let ask = |position| Message::AskStart { replica: me, position };
                    wishes.extend(asks_start.map(|position| Wish::Send(To::Broker(leader), ask(position))));
                    mine.fetcher.has_no_room(now_ms, KEY);
                }
                Next::Place(_) => mine.fetcher.placed(now_ms, KEY, place),
                Next::Wait(until_ms) => {
                    wishes.extend(until_ms.map(|ms| Wish::FetchAfter(ms - now_ms)));
                    return wishes;
                }
                Next::Fetch(plan) => {
                    mark_if(plan.named.is_empty(), "a fetch named nothing");
                    (mine.number, mine.asked_ms) = (mine.number + 1, Some(now_ms));
                    let request = Request { replica: me, broker_epoch, number: mine.number, plan };
                    wishes.push(Wish::Send(To::Broker(leader), Message::Ask(request)));
                    return wishes;
                }
            }
        }
    }

    // `None`: what waits for the lane's turn may still change it.
    fn place(&self) -> Option<Place> {
        let position = self.lane.fetch_position().filter(|_| !self.waits_for_a_turn())?;
        Some(Place { position, log_start: self.lane.log().log_start_offset() })
    }

    /// `ends`: where the leader's log starts and ends, where that was asked for.
    pub(super) fn told(
        &mut self,
        number: u64,
        answer: Answer,
        ends: Option<(Offset, Offset)>,
        now_ms: i64,
    ) -> Vec<Wish> {
        let place = self.place().filter(|_| self.makes(Mutation::BelieveTold));
        let Some(mine) = self.in_sessions.as_mut().filter(|mine| mine.number == number) else {
            return Vec::new();
        };
        if mine.asked_ms.take().is_none() {
            return Vec::new();
        }
        mine.early = place;
        let wishes = vec![Wish::FetchSoon];
        for work in mine.fetcher.answered(now_ms, answer) {
            let input = match work {
                Work::Replicate { position: fetched, found, .. } => {
                    let Told { records, high_watermark, log_start, .. } = found;
                    let from_leader = FromLeader { fetched, records, high_watermark, log_start };
                    Some(Input::Replicate { token: Ask::Own, from_leader })
                }
                Work::Cut { position: fetched, cut, .. } => {
                    Some(Input::Cut { token: Ask::Own, fetched, cut })
                }
                Work::FindEnds { position: fetched, .. } => {
                    let cut = mine.fetcher.ends(now_ms, KEY, fetched, ends);
                    cut.map(|cut| Input::Cut { token: Ask::Own, fetched, cut })
                }
                Work::Refused { .. } => None,
            };
            if let Some(input) = input {
                return self.enqueue(input).into_iter().chain(wishes).collect();
            }
        }
        wishes
    }

    /// The lane has done what the leader's answer asked for.
    pub(super) fn followed(&mut self, went_well: bool, now_ms: i64) {
        let Some(mine) = &mut self.in_sessions else { return };
        mine.fetcher.done(now_ms, KEY, went_well);
        if let Some(place) = mine.early.take().filter(|_| went_well) {
            let _ = mine.fetcher.next(now_ms);
            mine.fetcher.placed(now_ms, KEY, Some(place));
        }
    }
}

// How a process leads.
impl Process {
    pub(super) fn serve_in_session(&mut self, request: Request, now_ms: i64) -> Vec<Wish> {
        let named = request.plan.named.iter().map(|(_, place)| (key(), position(place))).collect::<Vec<_>>();
        let forgotten = request.plan.forgotten.iter().map(|_| key());
        let Some(mine) = &mut self.in_sessions else { return Vec::new() };
        let session = session_of(&request);
        let update = if session.epoch > 0 { named.clone() } else { Vec::new() };
        let context = mine.sessions.begin(session, true, update, forgotten, now_ms);
        let target = match &context {
            Context::Refused(code) => {
                let answer = Answer { error: *code, session_id: 0, partitions: Vec::new() };
                return vec![tell(&request, answer, None)];
            }
            Context::Incremental { id } => {
                let changed = mine.sessions.companion(*id).map(RefCell::take).unwrap_or_default();
                let changed = changed.into_iter().chain(named.into_iter().map(|(key, _)| key));
                mine.sessions.some_partitions(*id, changed).pop()
            }
            Context::Sessionless if session.epoch > 0 => None,
            Context::Sessionless | Context::Full => named.into_iter().next(),
        };
        let Some((_, position)) = &target else {
            return self.finish(Served { request, context, target, leader_end: 0, found: NOTHING });
        };
        let fetch = fetch(&request, position);
        let leader_end = self.lane.log().log_end_offset();
        let (found, fetched) = match self.look(&fetch, now_ms) {
            Ok(noted) => noted,
            Err(found) => return self.finish(Served { request, context, target, leader_end, found }),
        };
        let served = Served { request, context, target, leader_end, found };
        self.next_fetch += 1;
        let token = Ask::Fetch(self.next_fetch);
        if let Some(mine) = &mut self.in_sessions {
            mine.served.insert(self.next_fetch, served);
        }
        self.enqueue(Input::ReplicaFetched { token, fetched })
    }

    /// The lane has taken note of a fetch, or has refused to.
    pub(super) fn noted_in_session(&mut self, number: u64, outcome: Result<(), ErrorCode>) -> Vec<Wish> {
        let served = self.in_sessions.as_mut().and_then(|mine| mine.served.remove(&number));
        let Some(mut served) = served else { return Vec::new() };
        if let Err(code) = outcome {
            served.found = Found::Refused(code);
        }
        self.finish(served)
    }

    fn finish(&mut self, served: Served) -> Vec<Wish> {
        let believes = self.makes(Mutation::BelieveTold);
        let Served { request, context, target, leader_end, found } = served;
        let Some(mine) = &mut self.in_sessions else { return Vec::new() };
        let (told, ends) = to_told(found);
        let said = said(&told);
        let answered: Vec<_> = target.iter().map(|(key, _)| (key.clone(), said)).collect();
        let mut partitions: Vec<(Key, Told)> = target.iter().map(|_| (KEY, told.clone())).collect();
        let (mut error, mut session_id) = (ErrorCode::None, 0);
        match context {
            Context::Sessionless | Context::Refused(_) => {}
            Context::Full => {
                mine.next_session += 1;
                let all = RefCell::new(target.iter().map(|(key, _)| key.clone()).collect());
                let served = target.map(|(key, position)| (key, position, said));
                session_id = mine.sessions.create(mine.next_session, true, served, all, 0);
            }
            Context::Incremental { id } => {
                let companion = mine.sessions.companion(id);
                if let Some((companion, (key, position))) = companion.zip(target) {
                    let has_told = believes && (said.records || said.redirect);
                    if !has_told && !said.leaves_nothing_to_do(&position, leader_end) {
                        companion.borrow_mut().insert(key);
                    }
                }
                match mine.sessions.finish(session_of(&request), &answered) {
                    Err(code) => (error, partitions) = (code, Vec::new()),
                    Ok(mention) => {
                        session_id = id;
                        partitions.retain(|_| mention == [true]);
                        mark_if(partitions.is_empty(), "a fetch had nothing new to be told");
                    }
                }
            }
        }
        vec![tell(&request, Answer { error, session_id, partitions }, ends)]
    }

    /// Something has happened to the partition that other replicas are to be told of.
    pub(super) fn tell_sessions(&self) {
        let Some(mine) = &self.in_sessions else { return };
        for id in 1..=mine.next_session {
            if let Some(changed) = mine.sessions.companion(id) {
                changed.borrow_mut().insert(key());
            }
        }
    }
}

/// In a turn of a leader. `notes`: somebody had fetched.
pub(super) fn mark_joins(notes: bool, view: Option<&View>, out: &[Output<Ask>]) {
    let isr = view.map_or(0, |view| view.isr.len());
    let joins =
        |output: &Output<Ask>| matches!(output, Output::Propose(proposal) if proposal.isr.len() > isr);
    mark_if(!notes && out.iter().any(joins), "a replica was let in without another fetch");
}

fn session_of(request: &Request) -> SessionRequest {
    SessionRequest { id: request.plan.session.id, epoch: request.plan.session.epoch }
}

fn tell(request: &Request, answer: Answer, ends: Option<(Offset, Offset)>) -> Wish {
    let number = request.number;
    Wish::Send(To::Broker(request.replica), Message::Told { number, answer, ends })
}

fn position(place: &Place) -> Position {
    Position {
        fetch_offset: place.position.log_end,
        max_bytes: i32::MAX,
        current_leader_epoch: place.position.under,
        last_fetched_epoch: place.position.last_epoch.unwrap_or(LeaderEpoch::NONE),
        log_start_offset: place.log_start,
    }
}

fn fetch(request: &Request, position: &Position) -> Fetch {
    let last = Some(position.last_fetched_epoch).filter(|epoch| epoch.is_some());
    let under = position.current_leader_epoch;
    Fetch {
        replica: request.replica,
        broker_epoch: request.broker_epoch,
        position: FetchPosition { under, log_end: position.fetch_offset, last_epoch: last },
        last,
        log_start: position.log_start_offset,
    }
}

fn to_told(found: Found) -> (Told, Option<(Offset, Offset)>) {
    let nothing = Told {
        error: ErrorCode::None,
        records: Default::default(),
        high_watermark: -1,
        log_start: -1,
        diverging: None,
    };
    match found {
        Found::Records { bytes: records, high_watermark, log_start } => {
            (Told { records, high_watermark, log_start, ..nothing }, None)
        }
        Found::Parted { diverging, high_watermark, log_start } => {
            (Told { diverging: Some(diverging), high_watermark, log_start, ..nothing }, None)
        }
        Found::Ends(start, end) => {
            (Told { error: ErrorCode::OffsetOutOfRange, ..nothing }, Some((start, end)))
        }
        Found::Refused(error) => (Told { error, ..nothing }, None),
    }
}

fn said(told: &Told) -> PartitionAnswer {
    PartitionAnswer {
        error: told.error,
        records: !told.records.is_empty(),
        high_watermark: told.high_watermark,
        log_start_offset: told.log_start,
        redirect: told.diverging.is_some(),
    }
}

fn key() -> FetchKey {
    FetchKey { topic: FetchTopic::Id(KEY.0), partition: KEY.1 }
}

const KEY: Key = (TopicId::from_u128(1), 0);
const NOTHING: Found = Found::Refused(ErrorCode::None);
/// For how long an answer is waited for.
const PATIENCE_MS: i64 = 150;
/// `replica.fetch.backoff.ms`
const BACKOFF_MS: i64 = 100;
/// More than a process asks.
const NUMBERS: u64 = 1 << 32;
