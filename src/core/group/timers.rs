//! The alarms of a shard, ordered by the time at which they are due. Setting, moving and removing one costs O(log n), and
//! so does a heartbeat. It must never read a clock.

use std::collections::{BTreeMap, BTreeSet};

use ottla_model::group::{GroupId, MemberId};

/// Something that is due at a time. Each alarm has at most one time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Alarm {
    /// The session of a member ends, or the time in which a pending member has to join with its id.
    Session { group: GroupId, member: MemberId },
    /// The time to join is over.
    Join { group: GroupId },
    /// The time to sync is over.
    Sync { group: GroupId },
    /// It is time to look for expired offsets.
    Expiry,
}

#[derive(Debug, Default)]
pub struct Timers {
    queue: BTreeSet<(i64, Alarm)>,
    due: BTreeMap<Alarm, i64>,
}

impl Timers {
    /// Sets the alarm, or moves it.
    pub fn set(&mut self, alarm: Alarm, due_ms: i64) {
        if let Some(before) = self.due.insert(alarm.clone(), due_ms) {
            if before == due_ms {
                return;
            }
            self.queue.remove(&(before, alarm.clone()));
        }
        self.queue.insert((due_ms, alarm));
    }

    pub fn cancel(&mut self, alarm: Alarm) {
        if let Some(due_ms) = self.due.remove(&alarm) {
            self.queue.remove(&(due_ms, alarm));
        }
    }

    /// Removes and returns the earliest alarm that is due.
    pub fn pop(&mut self, now_ms: i64) -> Option<Alarm> {
        if self.next()? > now_ms {
            return None;
        }
        let (_, alarm) = self.queue.pop_first()?;
        self.due.remove(&alarm);
        Some(alarm)
    }

    pub fn next(&self) -> Option<i64> {
        self.queue.first().map(|(due_ms, _)| *due_ms)
    }

    #[cfg(test)]
    pub fn is_set(&self, alarm: &Alarm) -> bool {
        self.due.contains_key(alarm)
    }

    #[cfg(test)]
    pub fn alarms(&self) -> impl Iterator<Item = &Alarm> {
        assert_eq!(self.queue.len(), self.due.len());
        self.due.keys()
    }
}
