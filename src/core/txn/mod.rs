//! One shard of the transaction coordinator, which is one partition of `__transaction_state`: every transactional id
//! that falls to it. It says which producer may write under the id, which partitions its transaction has, and how that ends
//! (KIP-98, KIP-360, KIP-588, KIP-890). A command goes in; records to write, replies and errands come out.
//! It must never know how records are written, when they are replicated or who leads a partition, and it sees no API
//! version.
//!
//! How a transaction lives:
//!
//! ```text
//! Empty ──> Ongoing ──> PrepareCommit ──> CompleteCommit ──> (Ongoing, or Empty when a producer starts)
//!                  └──> PrepareAbort ───> CompleteAbort ───> (the same)
//! ```
//!
//! Once the log says that a transaction is prepared, nothing changes how it ends: its partitions get their markers, however
//! many coordinators that takes, and then it is complete. Kafka's `PrepareEpochFence` and `Dead`, and its pending
//! transitions, are what a write under way is here.

mod admin;
mod command;
mod end;
mod ending;
mod errand;
mod init;
mod partitions;
mod patience;
mod questions;
mod reply;
mod settings;
mod situation;
#[cfg(test)]
mod stories;
mod sweep;
mod transaction;
mod write;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use ottla_model::feature::TRANSACTION_VERSION;
use ottla_model::image::Image;
use ottla_model::txn::{
    TransactionRecord, TransactionState, TransactionVersion, TransactionalId, Unreadable,
};
use ottla_protocol::batch::control::TransactionResult;
use ottla_protocol::{ErrorCode, Offset, ProducerId};

use crate::coordinator::{self, Machine, Record};

pub use crate::coordinator::{Note, Producer, Ticket};
pub use command::*;
pub use errand::{Errand, Markers};
pub use questions::*;
pub use reply::*;
pub use settings::Settings;

use ending::Ending;
use patience::Patient;
use situation::{Decision, Situation};
use sweep::Sweeps;
use transaction::{Change, Transaction};
use write::{Answer, Writing};

/// What happens to a shard.
pub type Input<T> = coordinator::Input<T, Command>;

/// What a shard wants done.
pub type Effect<T> = coordinator::Effect<T, Reply, TransactionRecord, Errand>;

/// The state of a shard. `T` is what a caller finds its client by; each one that comes in goes out in one reply.
///
/// What the log says changes by applying records alone. Which markers have arrived, and who waits for a producer id, is
/// known here only: a shard that is loaded again sends all markers again.
pub struct Transactions<T> {
    settings: Arc<Settings>,
    /// The leader epoch under which this shard has its partition.
    coordinator_epoch: i32,
    image: Option<Arc<Image>>,
    entries: BTreeMap<TransactionalId, Entry>,
    /// Those that have a transaction open whose end is not decided.
    ongoing: BTreeSet<TransactionalId>,
    /// Who waits for a producer id; `None` where the coordinator aborts by itself.
    waiting: BTreeMap<TransactionalId, Option<Asker<T>>>,
    /// Who adds partitions while the transaction before is ending.
    patient: Patient<T>,
    /// Transactions that are to be ended once more, by the time.
    retries: BTreeSet<(i64, TransactionalId)>,
    sweeps: Sweeps,
    /// Writes under way, in their order.
    writes: VecDeque<Writing<T>>,
    being_written: BTreeSet<TransactionalId>,
    tickets: u64,
}

/// What is known of a transactional id.
struct Entry {
    transaction: Transaction,
    /// Where the log says so.
    at: Offset,
    /// Present while the transaction is prepared.
    ending: Option<Ending>,
}

struct Asker<T> {
    token: T,
    command: Command,
}

/// What a step is taken with.
struct Step<'a, T> {
    now_ms: i64,
    out: &'a mut Vec<Effect<T>>,
}

impl<T> Transactions<T> {
    /// `coordinator_epoch` is the leader epoch of the shard's partition.
    pub fn new(settings: Arc<Settings>, coordinator_epoch: i32) -> Transactions<T> {
        Transactions {
            settings,
            coordinator_epoch,
            image: None,
            entries: BTreeMap::new(),
            ongoing: BTreeSet::new(),
            waiting: BTreeMap::new(),
            patient: Patient::default(),
            retries: BTreeSet::new(),
            sweeps: Sweeps::default(),
            writes: VecDeque::new(),
            being_written: BTreeSet::new(),
            tickets: 0,
        }
    }

    /// Applies a record that the log has. `None`: the transactional id is forgotten.
    fn apply(&mut self, id: &TransactionalId, at: Offset, next: Option<Transaction>) {
        if let Some(Ending { retry_at_ms: Some(at_ms), .. }) =
            self.entries.get(id).and_then(|entry| entry.ending.as_ref())
        {
            self.retries.remove(&(*at_ms, id.clone()));
        }
        self.ongoing.remove(id);
        let Some(transaction) = next else {
            self.entries.remove(id);
            return;
        };
        if transaction.state() == TransactionState::Ongoing {
            self.ongoing.insert(id.clone());
        }
        let is_prepared = transaction.state().is_prepared();
        let ending = is_prepared.then(|| Ending::of(&transaction.metadata.partitions));
        self.entries.insert(id.clone(), Entry { transaction, at, ending });
    }

    /// The cluster's level of `transaction.version`.
    fn level(&self) -> TransactionVersion {
        TransactionVersion(self.image.as_ref().map_or(0, |image| image.feature(TRANSACTION_VERSION)))
    }

    fn change(&self, now_ms: i64) -> Change {
        Change { now_ms, layout: self.level().layout() }
    }

    fn situation(&self, now_ms: i64, id: &TransactionalId, fresh_id: Option<ProducerId>) -> Situation<'_> {
        Situation {
            now_ms,
            settings: &self.settings,
            level: self.level(),
            transaction: self.entries.get(id).map(|entry| &entry.transaction),
            is_waiting: self.waiting.contains_key(id),
            fresh_id,
        }
    }

    fn ask(&mut self, step: &mut Step<'_, T>, token: T, command: Command) {
        match command {
            Command::ListTransactions(filters) => {
                let listed = self.list(step.now_ms, &filters);
                step.reply(token, Reply::TransactionsListed(Ok(listed)));
            }
            Command::DescribeTransaction { transactional_id } => {
                let described = self.describe(&transactional_id);
                step.reply(token, Reply::TransactionDescribed(described));
            }
            Command::MarkersWritten(written) => {
                step.reply(token, Reply::Noted(ErrorCode::None));
                self.markers_written(step, written);
            }
            Command::ProducerIdAllocated { transactional_id, result } => {
                step.reply(token, Reply::Noted(ErrorCode::None));
                self.producer_id_allocated(step, &transactional_id, result);
            }
            command => self.decide(step, Asker { token, command }, None),
        }
    }

    fn decide(&mut self, step: &mut Step<'_, T>, asker: Asker<T>, fresh_id: Option<ProducerId>) {
        let id = asker.command.transactional_id().expect("a command about one transactional id").clone();
        if self.has_patience(&id, &asker.command) {
            return self.wait_patiently(step.now_ms, id, asker);
        }
        let situation = self.situation(step.now_ms, &id, fresh_id);
        let decision = match &asker.command {
            Command::InitProducerId(init) => init::decide(&situation, init),
            Command::AddPartitions(add) => partitions::add(&situation, add),
            Command::VerifyPartitions(verify) => Decision::Reply(partitions::verify(&situation, verify)),
            Command::EndTxn(end) => end::decide(&situation, end),
            other => unreachable!("{other:?} is answered without a decision"),
        };
        match decision {
            Decision::Reply(reply) => step.reply(asker.token, reply),
            Decision::Write { next, reply } => {
                let answer = Answer { token: asker.token, command: asker.command, reply };
                self.write(step, &id, Some(next), Some(answer));
            }
            Decision::AllocateProducerId => self.allocate_producer_id(step, id, Some(asker)),
        }
    }

    /// Aborts an open transaction without being asked to.
    fn abort(&mut self, step: &mut Step<'_, T>, id: &TransactionalId, fresh_id: Option<ProducerId>) {
        let situation = self.situation(step.now_ms, id, fresh_id);
        let Some(current) = situation.transaction.filter(|current| current.is_overdue(step.now_ms)) else {
            return;
        };
        match end::abort_and_fence(&situation, current) {
            Some(next) => {
                let note =
                    format!("transactional id {id}: aborting a transaction that was open for too long");
                step.out.push(Effect::Note(Note(note)));
                self.write(step, id, Some(next), None);
            }
            None => self.allocate_producer_id(step, id.clone(), None),
        }
    }

    fn allocate_producer_id(&mut self, step: &mut Step<'_, T>, id: TransactionalId, asker: Option<Asker<T>>) {
        step.out.push(Effect::Errand(Errand::AllocateProducerId { transactional_id: id.clone() }));
        let before = self.waiting.insert(id, asker);
        assert!(before.is_none(), "who comes while another waits is told to try again");
    }

    fn producer_id_allocated(
        &mut self,
        step: &mut Step<'_, T>,
        id: &TransactionalId,
        result: Result<ProducerId, ErrorCode>,
    ) {
        let Some(asker) = self.waiting.remove(id) else {
            // Of another life of this shard. The producer id stays unused.
            return;
        };
        match (result, asker) {
            (Ok(fresh), Some(asker)) => self.decide(step, asker, Some(fresh)),
            (Ok(fresh), None) => self.abort(step, id, Some(fresh)),
            (Err(error), Some(asker)) => step.reply(asker.token, asker.command.refused(error)),
            // The next look for overdue transactions finds it again.
            (Err(_), None) => {}
        }
    }

    fn resign(&mut self, step: &mut Step<'_, T>, error: ErrorCode) {
        for answer in self.writes.drain(..).filter_map(|writing| writing.answer) {
            step.reply(answer.token, answer.command.refused(error));
        }
        for asker in std::mem::take(&mut self.waiting).into_values().flatten() {
            step.reply(asker.token, asker.command.refused(error));
        }
        for asker in self.patient.drain() {
            step.reply(asker.token, asker.command.refused(error));
        }
        self.entries.clear();
        self.ongoing.clear();
        self.retries.clear();
        self.being_written.clear();
    }
}

impl<T> Machine for Transactions<T> {
    type Token = T;
    type Command = Command;
    type Reply = Reply;
    type Record = TransactionRecord;
    type Errand = Errand;

    fn replay(&mut self, offset: Offset, _producer: Option<ProducerId>, record: &TransactionRecord) {
        let transaction = record.value.as_ref().map(Transaction::loaded);
        self.apply(&record.transactional_id, offset, transaction);
    }

    /// No transaction has records in `__transaction_state`.
    fn end_transaction(&mut self, _producer: ProducerId, _result: TransactionResult) {}

    /// Transactions that are prepared are ended with the first tick.
    fn loaded(&mut self, now_ms: i64) {
        self.sweeps.overdue_at_ms = now_ms + self.settings.timeout_check_interval_ms;
        self.sweeps.expired_at_ms = now_ms + self.settings.id_expiration_check_interval_ms;
        let is_prepared = |(_, entry): &(&TransactionalId, &Entry)| entry.ending.is_some();
        let prepared: Vec<TransactionalId> =
            self.entries.iter().filter(is_prepared).map(|(id, _)| id.clone()).collect();
        for id in prepared {
            self.end_at(now_ms, &id);
        }
    }

    fn step(&mut self, now_ms: i64, input: Input<T>, out: &mut Vec<Effect<T>>) {
        let step = &mut Step { now_ms, out };
        match input {
            Input::Written { ticket, result } => self.written(step, ticket, result),
            Input::Resign(error) => self.resign(step, error),
            Input::Ask { token, command } => {
                assert!(self.can_take(&command), "a write is under way that the command has to wait for");
                self.ask(step, token, command);
            }
            Input::Image(image) => self.image = Some(image),
            Input::Tick => {
                assert!(self.writes.is_empty(), "a write is under way");
                self.lose_patience(step);
                self.retry_endings(step);
                self.sweep(step);
            }
        }
    }

    fn next_deadline_ms(&self) -> Option<i64> {
        let retry = self.retries.first().map(|(at_ms, _)| *at_ms);
        [retry, self.patient.next_deadline_ms()].into_iter().flatten().chain(self.sweeps_at_ms()).min()
    }

    fn can_take(&self, command: &Command) -> bool {
        let is_written = |id| self.being_written.contains(id);
        command.only_reads() || !command.transactional_id().is_some_and(is_written)
    }

    fn outlasts_loading(_command: &Command) -> bool {
        false
    }

    fn refused(command: &Command, error: ErrorCode) -> Reply {
        command.refused(error)
    }

    fn withdrawn(reply: Reply, error: ErrorCode) -> Reply {
        reply.withdrawn(error)
    }

    fn transaction_ended(outcome: ErrorCode) -> Reply {
        Reply::Noted(outcome)
    }
}

impl Record for TransactionRecord {
    type Unreadable = Unreadable;

    fn to_key_value(&self) -> (Bytes, Option<Bytes>) {
        TransactionRecord::to_key_value(self)
    }

    fn from_key_value(key: &Bytes, value: Option<&Bytes>) -> Result<Option<TransactionRecord>, Unreadable> {
        TransactionRecord::from_key_value(key, value)
    }
}

impl<T> Step<'_, T> {
    fn reply(&mut self, token: T, reply: Reply) {
        self.out.push(Effect::Reply { token, reply });
    }
}
