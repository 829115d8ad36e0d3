//! Which observers have fetched, up to where and when, for DescribeQuorum (KIP-836).
//! It must never influence what is agreed on.

use std::collections::BTreeMap;

use ottla_protocol::Offset;

use super::voters::ReplicaKey;

/// How far an observer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObserverState {
    pub log_end_offset: Offset,
    /// When it fetched last, ms.
    pub last_fetch_ms: i64,
    /// When it last had everything that the leader had, ms; -1 if it never had.
    pub last_caught_up_ms: i64,
    /// Where the leader's log ended at its last fetch.
    leader_end: Offset,
}

/// The observers of one leader. A new leader begins without any.
#[derive(Debug, Default)]
pub(super) struct Followers(BTreeMap<ReplicaKey, ObserverState>);

impl Followers {
    /// An observer has everything below `offset`.
    pub fn fetched(&mut self, key: ReplicaKey, offset: Offset, leader_end: Offset, now_ms: i64) {
        if !self.0.contains_key(&key) {
            self.make_room(now_ms);
        }
        let before = self.0.get(&key).copied();
        // Kafka's rule: who has now what the leader had at the fetch before was caught up then.
        let had_all_then = |before: &ObserverState| before.leader_end > 0 && offset >= before.leader_end;
        let caught_up_ms = match before {
            _ if offset >= leader_end => now_ms,
            Some(before) if had_all_then(&before) => before.last_fetch_ms,
            _ => -1,
        };
        let last_caught_up_ms =
            before.map_or(caught_up_ms, |before| before.last_caught_up_ms.max(caught_up_ms));
        let last_fetch_ms = before.map_or(now_ms, |before| before.last_fetch_ms.max(now_ms));
        let state = ObserverState { log_end_offset: offset, last_fetch_ms, last_caught_up_ms, leader_end };
        self.0.insert(key, state);
    }

    /// Those that were heard of in the last five minutes.
    pub fn states(&self, now_ms: i64) -> Vec<(ReplicaKey, ObserverState)> {
        let heard = self.0.iter().filter(|(_, state)| now_ms - state.last_fetch_ms < SESSION_MS);
        heard.map(|(key, state)| (*key, *state)).collect()
    }

    /// Whether this observer has had everything, and was heard within the last hour: Kafka's rule for whoever is to vote.
    pub fn has_caught_up(&self, key: ReplicaKey, now_ms: i64) -> bool {
        self.0
            .get(&key)
            .is_some_and(|state| state.last_caught_up_ms > 0 && state.last_fetch_ms > now_ms - RECENTLY_MS)
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    // Whoever invents node ids must not fill the memory: the one that was silent for longest makes room.
    fn make_room(&mut self, now_ms: i64) {
        if self.0.len() < OBSERVERS_MAX {
            return;
        }
        self.0.retain(|_, state| now_ms - state.last_fetch_ms < SESSION_MS);
        let oldest = self.0.iter().min_by_key(|(_, state)| state.last_fetch_ms).map(|(key, _)| *key);
        if let Some(oldest) = oldest.filter(|_| self.0.len() >= OBSERVERS_MAX) {
            self.0.remove(&oldest);
        }
    }
}

/// As Kafka's.
const SESSION_MS: i64 = 300_000;
const RECENTLY_MS: i64 = 3_600_000;
const OBSERVERS_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use ottla_model::NodeId;

    use super::*;

    fn seen(followers: &Followers, now_ms: i64) -> Vec<(i32, Offset, i64, i64)> {
        let row = |(key, state): (ReplicaKey, ObserverState)| {
            (key.id.0, state.log_end_offset, state.last_fetch_ms, state.last_caught_up_ms)
        };
        followers.states(now_ms).into_iter().map(row).collect()
    }

    #[test]
    fn who_has_what_the_leader_had_before_was_caught_up_then() {
        let (mut followers, key) = (Followers::default(), ReplicaKey::of(NodeId(4)));
        let rows = [
            // now, the observer's end, the leader's end; caught up at
            (100, 0, 10, -1),
            (200, 10, 20, 100),
            (300, 15, 25, 100),
            (400, 25, 25, 400),
            (500, 25, 30, 400),
        ];
        for (now_ms, offset, leader_end, caught_up_ms) in rows {
            followers.fetched(key, offset, leader_end, now_ms);
            assert_eq!(seen(&followers, now_ms), [(4, offset, now_ms, caught_up_ms)]);
        }
        assert_eq!(seen(&followers, 500 + SESSION_MS), []);
        assert!(followers.has_caught_up(key, 500 + SESSION_MS));
        assert!(!followers.has_caught_up(key, 500 + RECENTLY_MS));
        assert!(!followers.has_caught_up(ReplicaKey::of(NodeId(5)), 500));
        followers.fetched(ReplicaKey::of(NodeId(5)), 3, 30, 500);
        assert!(!followers.has_caught_up(ReplicaKey::of(NodeId(5)), 500));
    }

    #[test]
    fn those_that_are_invented_make_room_for_each_other() {
        let mut followers = Followers::default();
        for id in 0..3 * OBSERVERS_MAX as i32 {
            followers.fetched(ReplicaKey::of(NodeId(id)), 0, 10, i64::from(id));
        }
        let states = seen(&followers, 5_000);
        assert_eq!(states.len(), OBSERVERS_MAX);
        assert_eq!(states[0].0, 2 * OBSERVERS_MAX as i32, "the newest are there");
    }
}
