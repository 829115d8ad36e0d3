//! A transactional producer as Java's: it finds out who it is, adds partitions or has them added by writing, sends batches
//! with sequences until they are stored, commits or aborts, and begins again when it is fenced. Some are loops, which commit
//! the offsets of what they have consumed. It must never know how a transaction that it has lost track of has ended.

mod hearing;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use ottla_core::coordinator::Producer;
use ottla_core::group::{
    Command as GroupCommand, CommitOffsets, CommitPartition, CommitTopic, FetchOffsets, FetchTopic,
};
use ottla_core::partition::Acks;
use ottla_core::txn::{AddPartitions, Command, EndTxn, InitProducerId};
use ottla_model::txn::{Partitions, TransactionVersion, TransactionalId};
use ottla_node::verification::{Protocol, Transaction};
use ottla_protocol::batch::control::TransactionResult;
use ottla_protocol::batch::{BatchBuilder, Compression};
use ottla_protocol::{LeaderEpoch, Offset};

use super::around::{Around, Request, client_topics};
use crate::dice::Dice;
use crate::invariants::attempt::{AttemptId, Inputs, LoopId};
use crate::invariants::copy::write_id;
use crate::invariants::ledger::RecordId;
use crate::invariants::together::group_of_loop;
use crate::marks::{mark, mark_if};
use crate::node::{Key, Produce, Write};
use crate::plan::Transactional;
use crate::verdict::Violation;

/// One process under a transactional id.
pub(crate) struct TransactionalProducer {
    id: TransactionalId,
    protocol: Protocol,
    role: Role,
    /// `transaction.timeout.ms`
    timeout_ms: i32,
    /// How long a batch is tried before its transaction is given up.
    delivery_ms: i64,
    /// Its number, if it is a loop.
    is_loop: Option<usize>,
    input: Option<LoopId>,
    position: Offset,
    phase: Phase,
    /// Of the process that it is connected to.
    life: u64,
    producer: Option<Producer>,
    /// It has been somebody, and goes on as that (KIP-360).
    goes_on: bool,
    sequences: BTreeMap<Key, i32>,
    open: Option<Open>,
    asked: BTreeMap<u64, Asked>,
    not_before_ms: i64,
    next_number: u32,
    /// What it was granted since nothing goes wrong any more.
    served: bool,
    /// Nothing goes wrong any more, and it does nothing more.
    rests: bool,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Starts again when it is fenced, and in the end commits a transaction.
    Keeper,
    /// Has an id that another process has, too.
    Rival,
    /// Is gone some time.
    Mortal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It does not know who it is.
    Out,
    /// A loop does not know where it goes on.
    Lost,
    Idle,
    Writing,
    Ending(TransactionResult),
}

/// Its open transaction.
struct Open {
    attempt: AttemptId,
    result: TransactionResult,
    /// Before KIP-890 what is to be added, else nothing.
    to_add: Partitions,
    adds_offsets: bool,
    batches: BTreeMap<Key, VecDeque<Batch>>,
    /// Of a loop: the offset that is to be sent, if it was not yet.
    offset: Option<Offset>,
    /// The same, sent or not.
    committed_offset: Option<Offset>,
    /// It cannot be committed any more.
    is_doomed: bool,
    /// Batches may or may not be stored: their sequences are used up.
    is_unresolved: bool,
}

#[derive(Clone, Debug)]
struct Batch {
    first: u32,
    count: u32,
    sequence: i32,
    bytes: usize,
    timestamp: i64,
    began_ms: i64,
    sent: Option<u64>,
    /// It may be in the log already.
    attempted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Init,
    Position,
    AddPartitions,
    AddOffsets,
    Records(Key),
    Offsets,
    End,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    what: What,
    at_ms: i64,
}

impl TransactionalProducer {
    pub fn of_plan(plan: &Transactional, dice: &mut Dice) -> Vec<TransactionalProducer> {
        let mut all = Vec::new();
        for number in 0..plan.keepers {
            all.push(TransactionalProducer::new(number, Role::Keeper, plan, dice));
        }
        for _ in 0..plan.rivals {
            let of = dice.below(plan.keepers as u64) as usize;
            let (is_loop, protocol) = (all[of].is_loop, all[of].protocol);
            let rival = TransactionalProducer::new(of, Role::Rival, plan, dice);
            // An application that is upgraded may be of both kinds for a while.
            let protocol = if dice.percent(70) { protocol } else { rival.protocol };
            all.push(TransactionalProducer { is_loop, protocol, ..rival });
        }
        for number in 0..plan.mortals {
            all.push(TransactionalProducer::new(plan.keepers + number, Role::Mortal, plan, dice));
        }
        all
    }

    fn new(number: usize, role: Role, plan: &Transactional, dice: &mut Dice) -> TransactionalProducer {
        TransactionalProducer {
            id: format!("app{number}").into(),
            protocol: *dice.pick(&[
                Protocol::Original,
                Protocol::KnowsAbortable,
                Protocol::AddsByWriting,
                Protocol::AddsByWriting,
            ]),
            role,
            timeout_ms: *dice.pick(&[300, 2_000, 10_000]),
            delivery_ms: *dice.pick(&[500, 3_000]),
            is_loop: dice.percent(plan.loops_percent).then_some(number),
            input: None,
            position: 0,
            phase: Phase::Out,
            life: 0,
            producer: None,
            goes_on: false,
            sequences: BTreeMap::new(),
            open: None,
            asked: BTreeMap::new(),
            not_before_ms: 0,
            next_number: 0,
            served: false,
            rests: false,
        }
    }

    /// Once nothing goes wrong any more, a keeper commits a transaction.
    pub fn is_done(&self) -> bool {
        match self.role {
            Role::Keeper => self.served,
            Role::Rival | Role::Mortal => self.rests,
        }
    }

    pub fn under_way(&self, request: u64) -> Option<(Key, Vec<RecordId>)> {
        let Some(What::Records(key)) = self.asked.get(&request).map(|asked| asked.what) else { return None };
        let batches = self.open.as_ref()?.batches.get(&key)?;
        let batch = batches.iter().find(|batch| batch.sent == Some(request))?;
        // The client's number is filled in by whoever knows it.
        let records = (0..batch.count).map(|n| RecordId { client: 0, number: batch.first + n });
        Some((key, records.collect()))
    }

    pub fn wake(&mut self, around: &mut Around<'_>) -> Result<i64, Violation> {
        self.give_up(around);
        let pause = around.dice.between(1, 40);
        self.rests = around.finishing
            && match self.role {
                Role::Keeper => self.served && self.phase == Phase::Idle,
                Role::Rival => !matches!(self.phase, Phase::Writing | Phase::Ending(_)),
                Role::Mortal => true,
            };
        if self.rests || around.node.is_none() || around.now_ms < self.not_before_ms {
            return Ok(pause);
        }
        match self.phase {
            Phase::Out => self.init(around),
            Phase::Lost => self.find_position(around),
            Phase::Idle => self.begin(around),
            Phase::Writing => self.write(around),
            Phase::Ending(result) => self.end(result, around),
        }
        Ok(pause)
    }

    // Answers that do not come any more: the connection is gone, or it took too long.
    fn give_up(&mut self, around: &Around<'_>) {
        let broken = std::mem::replace(&mut self.life, around.life) != around.life;
        let is_lost = |asked: &Asked| broken || asked.at_ms + PATIENCE_MS < around.now_ms;
        let lost: BTreeSet<u64> =
            self.asked.iter().filter(|(_, asked)| is_lost(asked)).map(|(request, _)| *request).collect();
        // Offsets have no sequence. Before KIP-890 nothing but another epoch keeps a request that comes late, and was sent
        // again meanwhile, out of the transaction after its own; it is the same with Kafka.
        let lost_offsets = lost.iter().any(|request| self.asked[request].what == What::Offsets);
        let may_come_late = lost_offsets && !broken && !self.bumps_epoch();
        self.asked.retain(|request, _| !lost.contains(request));
        let Some(open) = &mut self.open else { return };
        if may_come_late {
            mark_if(!open.is_doomed, "a producer gave offsets up");
            (open.is_doomed, open.is_unresolved) = (true, true);
        }
        for batch in open.batches.values_mut().flatten() {
            batch.sent = batch.sent.filter(|request| !lost.contains(request));
        }
    }

    fn awaits(&self, what: What) -> bool {
        self.asked.values().any(|asked| asked.what == what)
    }

    fn ask(&mut self, what: What, request: Request, around: &mut Around<'_>) -> u64 {
        let request = around.send(request);
        self.asked.insert(request, Asked { what, at_ms: around.now_ms });
        request
    }

    fn bumps_epoch(&self) -> bool {
        self.protocol == Protocol::AddsByWriting
    }

    fn version(&self) -> TransactionVersion {
        if self.bumps_epoch() { TransactionVersion::EPOCH_BUMP } else { TransactionVersion::ORIGINAL }
    }
}

/// Between transactions.
impl TransactionalProducer {
    fn init(&mut self, around: &mut Around<'_>) {
        if self.awaits(What::Init) {
            return;
        }
        let expected = self.producer.filter(|_| self.goes_on);
        let init = InitProducerId {
            transactional_id: self.id.clone(),
            timeout_ms: self.timeout_ms,
            expected,
            enable_two_phase_commit: false,
            keep_prepared_transaction: false,
        };
        let request = self.ask(What::Init, Request::Transaction(Command::InitProducerId(init)), around);
        around.judge.transactions.asks_to_init(request, &self.id, expected.is_some());
    }

    // A loop goes on where the last committed transaction has ended: one that is still ending is waited for (KIP-447).
    fn find_position(&mut self, around: &mut Around<'_>) {
        let Some(node) = around.node else { return };
        let Some(number) = self.is_loop else {
            self.phase = Phase::Idle;
            return;
        };
        if self.input.is_none() {
            let topic = client_topics(node).min_by_key(|topic| topic.id);
            self.input = topic
                .map(|topic| LoopId { group: group_of_loop(number), input: (topic.name.clone(), topic.id) });
        }
        let Some(of) = self.input.clone().filter(|_| !self.awaits(What::Position)) else { return };
        let (topic, id) = of.input.clone();
        let topics = vec![FetchTopic { topic, id: Some(id), partitions: vec![0] }];
        let fetch = FetchOffsets { group: of.group.clone(), topics: Some(topics), require_stable: true };
        let request = self.ask(What::Position, Request::Group(GroupCommand::FetchOffsets(fetch)), around);
        around.judge.transactions.asks_position(request, &of);
    }

    fn begin(&mut self, around: &mut Around<'_>) {
        let Some(node) = around.node else { return };
        let keys: Vec<Key> = client_topics(node)
            .flat_map(|topic| topic.partitions.keys().map(|index| (topic.id, *index)))
            .collect();
        if keys.is_empty() || !around.finishing && around.dice.percent(20) {
            return;
        }
        let records = around.dice.between(1, 5) as u32;
        let inputs = self.input.clone().map(|of| Inputs {
            of,
            from: self.position,
            to: self.position + Offset::from(records),
        });
        let offset = inputs.as_ref().map(|inputs| inputs.to);
        let attempt = around.judge.transactions.begins(around.client, inputs);
        let commits = around.finishing || around.dice.percent(75);
        let mut open = Open {
            attempt,
            result: if commits { TransactionResult::Commit } else { TransactionResult::Abort },
            to_add: Partitions::new(),
            adds_offsets: offset.is_some() && !self.bumps_epoch(),
            batches: BTreeMap::new(),
            offset,
            committed_offset: offset,
            is_doomed: false,
            is_unresolved: false,
        };
        let mut left = records;
        while left > 0 {
            let count = (around.dice.between(1, 2) as u32).min(left);
            let key = *around.dice.pick(&keys);
            let batch = self.batch(key, count, around);
            open.batches.entry(key).or_default().push_back(batch);
            left -= count;
        }
        if !self.bumps_epoch() {
            for (topic, index) in open.batches.keys() {
                let Some(topic) = node.image.topic_by_id(*topic) else { continue };
                open.to_add.entry(topic.name.clone()).or_default().insert(*index);
            }
        }
        mark_if(open.batches.len() > 1, "a transaction had several partitions");
        self.open = Some(open);
        self.phase = Phase::Writing;
    }

    fn batch(&mut self, key: Key, count: u32, around: &mut Around<'_>) -> Batch {
        let first = self.next_number;
        let sequence = self.sequences.entry(key).or_default();
        let batch = Batch {
            first,
            count,
            sequence: *sequence,
            bytes: *around.dice.pick(&[0, 10, 40]),
            timestamp: around.now_ms,
            began_ms: around.now_ms,
            sent: None,
            attempted: false,
        };
        *sequence += count as i32;
        self.next_number += count;
        around.judge.ledger(key).idempotent.insert(around.client as u32);
        batch
    }
}

/// In a transaction.
impl TransactionalProducer {
    fn write(&mut self, around: &mut Around<'_>) {
        self.give_up_batches(around);
        let Some(open) = &self.open else { return };
        if open.is_doomed {
            // As in Java, it ends when it has heard of everything that it has sent, or has given up on it.
            if self.asked.is_empty() {
                self.phase = Phase::Ending(TransactionResult::Abort);
            }
            return;
        }
        if !around.finishing && self.digress(around) {
            return;
        }
        let Some(open) = &self.open else { return };
        if !open.to_add.is_empty() {
            return self.add_partitions(around);
        }
        if open.adds_offsets {
            return self.add_offsets(around);
        }
        self.send(around);
        self.commit_offset(around);
        let is_done = |open: &Open| open.batches.is_empty() && open.offset.is_none();
        if let Some(open) = self.open.as_ref().filter(|open| is_done(open)) {
            self.phase = Phase::Ending(open.result);
        }
    }

    // Whether it does something else than what a producer should do.
    fn digress(&mut self, around: &mut Around<'_>) -> bool {
        if around.dice.below(60) > 0 {
            return false;
        }
        mark("a producer was silent in its transaction");
        let timeout_ms = i64::from(self.timeout_ms).min(2_000);
        self.not_before_ms = around.now_ms + around.dice.between(timeout_ms / 2, timeout_ms * 2);
        true
    }

    fn give_up_batches(&mut self, around: &Around<'_>) {
        let Some(open) = &mut self.open else { return };
        let late = |batch: &Batch| batch.attempted && batch.began_ms + self.delivery_ms < around.now_ms;
        if open.batches.values().flatten().any(|batch| batch.sent.is_none() && late(batch)) {
            mark_if(!open.is_doomed, "a producer gave a batch up");
            (open.is_doomed, open.is_unresolved) = (true, true);
        }
    }

    fn add_partitions(&mut self, around: &mut Around<'_>) {
        let (Some(open), Some(producer)) = (&self.open, self.producer) else { return };
        let add = AddPartitions {
            transactional_id: self.id.clone(),
            producer,
            partitions: open.to_add.clone(),
            client_version: TransactionVersion::ORIGINAL,
        };
        if !self.awaits(What::AddPartitions) {
            let request = Request::Transaction(Command::AddPartitions(add));
            self.ask(What::AddPartitions, request, around);
        }
    }

    fn add_offsets(&mut self, around: &mut Around<'_>) {
        let (Some(of), Some(producer)) = (&self.input, self.producer) else { return };
        let request = Request::AddOffsets(self.id.clone(), producer, of.group.clone());
        if !self.awaits(What::AddOffsets) {
            self.ask(What::AddOffsets, request, around);
        }
    }

    // One batch at a time for each partition. With more, one that comes late would have to hold up those behind it, as a
    // connection does.
    fn send(&mut self, around: &mut Around<'_>) {
        let (Some(open), Some(transaction)) =
            (&mut self.open, transaction(&self.id, self.producer, self.protocol))
        else {
            return;
        };
        let mut sent = Vec::new();
        for (key, batches) in &mut open.batches {
            let Some(batch) = batches.front_mut().filter(|batch| batch.sent.is_none()) else { continue };
            let records = encode(batch, transaction.producer, around.client);
            let numbers = (batch.first..batch.first + batch.count)
                .map(|number| RecordId { client: around.client as u32, number });
            around.judge.transactions.writes(open.attempt, numbers);
            let (acks, timeout_ms) = (Acks::All, PATIENCE_MS);
            let produce = Produce { key: *key, records, acks, timeout_ms };
            let request = around.send(Request::Write(transaction.clone(), Write::Records(produce)));
            mark_if(batch.attempted, "a batch of a transaction was sent again");
            (batch.sent, batch.attempted) = (Some(request), true);
            sent.push((request, What::Records(*key)));
        }
        let asked = sent.into_iter().map(|(request, what)| (request, Asked { what, at_ms: around.now_ms }));
        self.asked.extend(asked);
    }

    fn commit_offset(&mut self, around: &mut Around<'_>) {
        let (Some(open), Some(of)) = (&self.open, &self.input) else { return };
        let Some(transaction) = transaction(&self.id, self.producer, self.protocol) else { return };
        let Some(offset) = open.offset.filter(|_| !self.awaits(What::Offsets)) else { return };
        let (topic, id) = of.input.clone();
        let partition =
            CommitPartition { partition: 0, offset, leader_epoch: LeaderEpoch::NONE, metadata: None };
        let commit = CommitOffsets {
            group: of.group.clone(),
            member_id: "".into(),
            generation: -1,
            instance_id: None,
            retention_ms: None,
            transaction: None,
            knows_group_id_not_found: true,
            topics: vec![CommitTopic { topic, id: Some(id), partitions: vec![partition] }],
        };
        let write = Write::Offsets(Box::new(commit));
        self.ask(What::Offsets, Request::Write(transaction, write), around);
    }

    fn end(&mut self, result: TransactionResult, around: &mut Around<'_>) {
        let (Some(open), Some(producer)) = (&self.open, self.producer) else { return };
        if self.awaits(What::End) {
            return;
        }
        let attempt = open.attempt;
        let end =
            EndTxn { transactional_id: self.id.clone(), producer, result, client_version: self.version() };
        let request = self.ask(What::End, Request::Transaction(Command::EndTxn(end)), around);
        around.judge.transactions.asks_to_end(request, attempt, result);
    }
}

fn transaction(id: &TransactionalId, producer: Option<Producer>, protocol: Protocol) -> Option<Transaction> {
    producer.map(|producer| Transaction { id: id.clone(), producer, protocol })
}

fn encode(batch: &Batch, producer: Producer, client: usize) -> Bytes {
    let builder = BatchBuilder::new(Compression::None);
    let mut builder = builder.producer(producer.id, producer.epoch, batch.sequence).transactional();
    for number in batch.first..batch.first + batch.count {
        let mut value = write_id(RecordId { client: client as u32, number }).to_vec();
        value.resize(8 + batch.bytes, number as u8);
        builder.append(batch.timestamp, None, Some(&value), &[]);
    }
    builder.build(0, LeaderEpoch::NONE)
}

/// How long an answer may take.
const PATIENCE_MS: i64 = 400;
