//! What a shard does by itself as time passes: it aborts transactions that have been open for too long, and forgets
//! transactional ids that nobody has used for long.

use std::ops::Bound;

use ottla_model::txn::TransactionalId;

use super::{Step, Transactions};

/// When it is time to look, and where a look that was too long for one step goes on.
#[derive(Debug, Default)]
pub(super) struct Sweeps {
    pub overdue_at_ms: i64,
    pub expired_at_ms: i64,
    expired_from: Option<TransactionalId>,
}

impl<T> Transactions<T> {
    pub(super) fn sweep(&mut self, step: &mut Step<'_, T>) {
        if self.sweeps.overdue_at_ms <= step.now_ms {
            self.abort_overdue(step);
        }
        if self.sweeps.expired_at_ms <= step.now_ms {
            self.forget_expired(step);
        }
    }

    pub(super) fn sweeps_at_ms(&self) -> Option<i64> {
        let overdue = (!self.ongoing.is_empty()).then_some(self.sweeps.overdue_at_ms);
        let expired = (!self.entries.is_empty()).then_some(self.sweeps.expired_at_ms);
        overdue.into_iter().chain(expired).min()
    }

    fn abort_overdue(&mut self, step: &mut Step<'_, T>) {
        let is_overdue = |id: &&TransactionalId| {
            !self.waiting.contains_key(*id) && self.entries[*id].transaction.is_overdue(step.now_ms)
        };
        let overdue: Vec<TransactionalId> =
            self.ongoing.iter().filter(is_overdue).take(CHANGES_MAX).cloned().collect();
        if overdue.len() < CHANGES_MAX {
            self.sweeps.overdue_at_ms = step.now_ms + self.settings.timeout_check_interval_ms;
        }
        for id in overdue {
            self.abort(step, &id, None);
        }
    }

    fn forget_expired(&mut self, step: &mut Step<'_, T>) {
        let unused_since_ms = step.now_ms - self.settings.id_expiration_ms;
        let from = self.sweeps.expired_from.take().map_or(Bound::Unbounded, Bound::Included);
        let mut expired = Vec::new();
        for (visited, (id, entry)) in
            self.entries.range::<TransactionalId, _>((from, Bound::Unbounded)).enumerate()
        {
            if visited == VISITS_MAX || expired.len() == CHANGES_MAX {
                self.sweeps.expired_from = Some(id.clone());
                break;
            }
            let is_at_rest = !self.ongoing.contains(id)
                && entry.ending.is_none()
                && !self.waiting.contains_key(id)
                && !self.being_written.contains(id);
            if is_at_rest && entry.transaction.metadata.last_update_ms <= unused_since_ms {
                expired.push(id.clone());
            }
        }
        if self.sweeps.expired_from.is_none() {
            self.sweeps.expired_at_ms = step.now_ms + self.settings.id_expiration_check_interval_ms;
        }
        for id in expired {
            self.write(step, &id, None, None);
        }
    }
}

/// Of one step.
const CHANGES_MAX: usize = 1_000;
const VISITS_MAX: usize = 20_000;
