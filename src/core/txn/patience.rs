//! Producers that are faster than the end of their last transaction. A client that adds partitions by writing (KIP-890) may
//! come before all partitions have the marker of its transaction before. Kafka refuses it with CONCURRENT_TRANSACTIONS, and the
//! leader that asks for it asks again each 20 ms. Here it waits at the coordinator, which knows best when it may go on; it is
//! refused when that takes too long. It must never know who asks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ottla_model::txn::TransactionalId;
use ottla_protocol::ErrorCode;

use super::command::Command;
use super::reply::Reply;
use super::{Asker, Step, Transactions};

/// Who waits for the end of a transaction.
pub(super) struct Patient<T> {
    ids: BTreeMap<TransactionalId, Group<T>>,
    /// The ids by the time at which those who wait are refused.
    until_ms: BTreeSet<(i64, TransactionalId)>,
}

/// Those who wait for one transactional id, in the order in which they came. The first one's patience is that of all.
struct Group<T> {
    until_ms: i64,
    askers: VecDeque<Asker<T>>,
}

impl<T> Default for Patient<T> {
    fn default() -> Patient<T> {
        Patient { ids: BTreeMap::new(), until_ms: BTreeSet::new() }
    }
}

impl<T> Patient<T> {
    pub fn next_deadline_ms(&self) -> Option<i64> {
        self.until_ms.first().map(|(until_ms, _)| *until_ms)
    }

    /// Everybody who waits.
    pub fn drain(&mut self) -> impl Iterator<Item = Asker<T>> + use<T> {
        self.until_ms.clear();
        std::mem::take(&mut self.ids).into_values().flat_map(|group| group.askers)
    }

    fn push(&mut self, id: TransactionalId, until_ms: i64, asker: Asker<T>) {
        let group = self.ids.entry(id.clone()).or_insert_with(|| {
            self.until_ms.insert((until_ms, id));
            Group { until_ms, askers: VecDeque::new() }
        });
        group.askers.push_back(asker);
    }

    fn pop(&mut self, id: &TransactionalId) -> Option<Asker<T>> {
        let group = self.ids.get_mut(id)?;
        let first = group.askers.pop_front();
        if group.askers.is_empty() {
            self.until_ms.remove(&(group.until_ms, id.clone()));
            self.ids.remove(id);
        }
        first
    }
}

impl<T> Transactions<T> {
    /// Whether the command has to wait for the end of a transaction, instead of being decided now.
    pub(super) fn has_patience(&self, id: &TransactionalId, command: &Command) -> bool {
        let Command::AddPartitions(add) = command else { return false };
        let is_prepared = self.entries.get(id).is_some_and(|entry| entry.transaction.state().is_prepared());
        is_prepared && add.client_version.bumps_epoch() && self.settings.adding_patience_ms > 0
    }

    pub(super) fn wait_patiently(&mut self, now_ms: i64, id: TransactionalId, asker: Asker<T>) {
        self.patient.push(id, now_ms + self.settings.adding_patience_ms, asker);
    }

    /// Decides about those who wait, one after the other, if their transaction before is complete.
    pub(super) fn let_in(&mut self, step: &mut Step<'_, T>, id: &TransactionalId) {
        // A decision may be written, and the next one depends on that: it comes after the write.
        while !self.being_written.contains(id)
            && !self.situation(step.now_ms, id, None).has_pending_transition()
            && let Some(asker) = self.patient.pop(id)
        {
            self.decide(step, asker, None);
        }
    }

    /// Refuses those who have waited for long enough.
    pub(super) fn lose_patience(&mut self, step: &mut Step<'_, T>) {
        while let Some((until_ms, id)) = self.patient.until_ms.first().cloned()
            && until_ms <= step.now_ms
        {
            while let Some(asker) = self.patient.pop(&id) {
                step.reply(asker.token, Reply::PartitionsAdded(ErrorCode::ConcurrentTransactions));
            }
        }
    }
}
