//! What producers did in transactions, and what they were told: the facts that everything about transactions is held
//! against. It must never be filled from what the node says of itself.

use std::collections::BTreeMap;

use ottla_core::coordinator::Producer;
use ottla_core::group::Reply as GroupReply;
use ottla_core::txn::Reply;
use ottla_model::txn::TransactionalId;
use ottla_protocol::batch::control::TransactionResult;
use ottla_protocol::{ErrorCode, Offset};

use super::attempt::{Attempt, AttemptId, Inputs, LoopId};
use super::fates::{Fates, fates};
use super::fenced::Fences;
use super::ledger::RecordId;
use super::together::Loops;
use super::{atomic, decided, stable, uncommitted};
use crate::node::{Key, Node};
use crate::verdict::{Verdict, Violation};

/// All transactions.
#[derive(Debug, Default)]
pub(crate) struct TransactionLedger {
    pub attempts: BTreeMap<AttemptId, Attempt>,
    of_record: BTreeMap<RecordId, AttemptId>,
    under_way: BTreeMap<u64, Asked>,
    loops: Loops,
    fences: Fences,
    last_stable: BTreeMap<Key, Offset>,
}

/// A question, and what was known when it was sent.
#[derive(Debug)]
enum Asked {
    Init { id: TransactionalId, goes_on: bool },
    End(AttemptId, TransactionResult),
    Position(LoopId, Offset),
}

/// What clients say.
impl TransactionLedger {
    /// An application begins a transaction.
    pub fn begins(&mut self, client: usize, inputs: Option<Inputs>) -> AttemptId {
        let id = AttemptId(self.attempts.len() as u64);
        let (records, asked_to_commit, answered, read) = Default::default();
        self.attempts.insert(id, Attempt { client, records, inputs, asked_to_commit, answered, read });
        id
    }

    pub fn writes(&mut self, attempt: AttemptId, records: impl Iterator<Item = RecordId>) {
        for record in records {
            self.of_record.insert(record, attempt);
            if let Some(attempt) = self.attempts.get_mut(&attempt) {
                attempt.records.insert(record);
            }
        }
    }

    pub fn asks_to_end(&mut self, request: u64, attempt: AttemptId, result: TransactionResult) {
        if let Some(known) = self.attempts.get_mut(&attempt) {
            known.asked_to_commit |= result == TransactionResult::Commit;
        }
        self.under_way.insert(request, Asked::End(attempt, result));
    }

    /// `goes_on`: it has said who it was (KIP-360).
    pub fn asks_to_init(&mut self, request: u64, id: &TransactionalId, goes_on: bool) {
        self.under_way.insert(request, Asked::Init { id: id.clone(), goes_on });
    }

    pub fn asks_position(&mut self, request: u64, of: &LoopId) {
        let floor = self.loops.floor(of);
        self.under_way.insert(request, Asked::Position(of.clone(), floor));
    }
}

/// What the node says.
impl TransactionLedger {
    /// A shard of the coordinator answers. If a producer was told who it is, so is the caller.
    pub fn answered(
        &mut self,
        request: u64,
        reply: &Reply,
    ) -> Result<Option<(TransactionalId, Producer)>, Violation> {
        match (self.under_way.remove(&request), reply) {
            (Some(Asked::Init { id, goes_on }), Reply::ProducerInitialized(Ok(producer))) => {
                self.fences.initialized(&id, *producer, goes_on)?;
                Ok(Some((id, *producer)))
            }
            (Some(Asked::End(attempt, result)), Reply::TransactionEnds(Ok(_))) => {
                self.ends(attempt, result)?;
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    fn ends(&mut self, id: AttemptId, result: TransactionResult) -> Verdict {
        let Some(attempt) = self.attempts.get_mut(&id) else { return Ok(()) };
        decided::answered(attempt, result)?;
        attempt.answered = Some(result);
        if let (Some(inputs), TransactionResult::Commit) = (&attempt.inputs, result) {
            self.loops.committed(inputs);
        }
        Ok(())
    }

    /// A shard of the group coordinator answers.
    pub fn group_answered(&mut self, request: u64, reply: &GroupReply) -> Verdict {
        let Some(Asked::Position(of, floor)) = self.under_way.remove(&request) else { return Ok(()) };
        let GroupReply::OffsetsFetched(fetched) = reply else { return Ok(()) };
        let one = fetched.topics.first().and_then(|topic| topic.partitions.first());
        match one.filter(|one| fetched.error == ErrorCode::None && one.error == ErrorCode::None) {
            Some(one) => self.loops.told(&of, floor, one.offset, &self.attempts),
            None => Ok(()),
        }
    }

    /// A reader of what is committed was given a record.
    pub fn read(&mut self, record: RecordId) -> Verdict {
        let Some(id) = self.of_record.get(&record) else { return Ok(()) };
        match self.attempts.get_mut(id) {
            Some(attempt) => uncommitted::read(attempt, record),
            None => Ok(()),
        }
    }

    /// After every event at the node.
    pub fn watch(&mut self, node: &Node) -> Verdict {
        for (key, partition) in &node.partitions {
            let offsets = partition.reader.offsets();
            stable::watch(self.last_stable.entry(*key).or_default(), &partition.id, offsets)?;
            self.fences.watch(*key, &partition.id, &partition.reader)?;
        }
        Ok(())
    }

    /// The process is gone: whoever waits for its answers waits in vain.
    pub fn ended(&mut self) {
        self.under_way.clear();
        self.last_stable.clear();
    }

    /// Whether every partition says what it has to of every transaction, as far as that is decided there.
    pub fn audit(&mut self, node: &Node) -> Verdict {
        self.held_against(&fates(node)?)
    }

    fn held_against(&self, fates: &Fates) -> Verdict {
        for (record, fate) in &fates.of {
            let Some(attempt) = self.of_record.get(record).and_then(|id| self.attempts.get(id)) else {
                continue;
            };
            decided::check(attempt, *record, *fate)?;
            uncommitted::check(attempt, *record, *fate)?;
        }
        self.attempts.values().try_for_each(|attempt| atomic::check(attempt, fates))
    }

    /// When nothing is open any more.
    pub fn finish(&mut self, node: &Node) -> Verdict {
        let fates = fates(node)?;
        self.held_against(&fates)?;
        self.attempts.values().try_for_each(|attempt| atomic::finished(attempt, &fates))?;
        self.loops.finish(node, &self.attempts, &fates)
    }
}
