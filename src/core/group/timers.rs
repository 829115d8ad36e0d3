//! What a shard waits for, by the time it falls due. Setting, moving and dropping an alarm costs O(log n), so a
//! heartbeat does too. Never looks at a clock.

use std::collections::{BTreeMap, BTreeSet};

use ottla_model::group::{GroupId, MemberId};

/// One thing that can fall due. There is at most one time for each.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Alarm {
    /// A member, or one that was given an id and has not come back with it, was not heard of.
    Session { group: GroupId, member: MemberId },
    /// The time to join is over.
    Join { group: GroupId },
    /// The time to sync is over.
    Sync { group: GroupId },
    /// Expired offsets are looked for.
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

    /// The earliest alarm that is due, which is no longer set then.
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
