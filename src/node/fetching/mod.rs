//! One fetcher: what this broker asks one leader for, for all of the partitions that it follows there with this fetcher. It
//! keeps the fetch session (KIP-227), so that a request costs what has changed since the one before: only partitions that
//! begin elsewhere now are named, and only those are looked at that an answer names.
//! It must never wait, connect or append: its shell sends the requests, and hands what comes to the lanes.

mod backoff;
mod session;
#[cfg(test)]
mod stories;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ottla_core::partition::Diverging;
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset};

use crate::lane::{Cut, FetchPosition};
use crate::replicas::Key;
pub use backoff::Backoff;
use session::Session;
pub use session::SessionFields;

/// Where a fetch of one partition begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub position: FetchPosition,
    pub log_start: Offset,
}

/// A Fetch request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub session: SessionFields,
    /// Partitions that the leader does not know yet, or not from there.
    pub named: Vec<(Key, Place)>,
    pub forgotten: Vec<Key>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send this, then say what came of it: [`Fetcher::answered`], or [`Fetcher::failed`].
    Fetch(Plan),
    /// Ask the lanes where to begin, then [`Fetcher::placed`].
    Place(Vec<Key>),
    /// Nothing before that time, unless something happens. `None`: nothing at all.
    Wait(Option<i64>),
}

/// The answer of a leader.
#[derive(Clone, Debug)]
pub struct Answer {
    pub error: ErrorCode,
    pub session_id: i32,
    pub partitions: Vec<(Key, Found)>,
}

/// What an answer says of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub error: ErrorCode,
    pub records: Bytes,
    pub high_watermark: Offset,
    pub log_start: Offset,
    pub diverging: Option<Diverging>,
}

/// What an answer asks for. A partition is not fetched again before [`Fetcher::done`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    Replicate {
        key: Key,
        position: FetchPosition,
        found: Found,
    },
    Cut {
        key: Key,
        position: FetchPosition,
        cut: Cut,
    },
    /// Ask the leader where its log begins and ends, then [`Fetcher::ends`].
    FindEnds {
        key: Key,
        position: FetchPosition,
    },
    /// The leader has refused the partition; it is fetched again later.
    Refused {
        key: Key,
        code: ErrorCode,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Its lane is asked where to begin, not before that time.
    Unplaced { from_ms: i64 },
    /// The leader is asked for it.
    Fetched(Place),
    /// Its lane has something to do first, or the leader was asked for something else.
    Away,
}

#[derive(Debug)]
struct Followed {
    state: State,
    backoff: Backoff,
}

/// The state of one fetcher.
#[derive(Debug)]
pub struct Fetcher {
    backoff_max_ms: i64,
    partitions: BTreeMap<Key, Followed>,
    /// How many of them are away.
    away: usize,
    /// The partitions that are not placed, by the time from which on they may be.
    unplaced: BTreeSet<(i64, Key)>,
    session: Session,
    /// Of the connection.
    backoff: Backoff,
    not_before_ms: i64,
}

impl Fetcher {
    /// Follows nothing so far. `backoff_max_ms`: `replica.fetch.backoff.ms`
    pub fn new(backoff_max_ms: i64) -> Fetcher {
        Fetcher {
            backoff_max_ms,
            partitions: BTreeMap::new(),
            away: 0,
            unplaced: BTreeSet::new(),
            session: Session::default(),
            backoff: Backoff::new(backoff_max_ms),
            not_before_ms: i64::MIN,
        }
    }

    /// Follows a partition from now on; or its leader has a new epoch, so that a refusal says nothing any more.
    pub fn follow(&mut self, now_ms: i64, key: Key) {
        self.leave(key);
        let backoff = Backoff::new(self.backoff_max_ms);
        self.partitions.insert(key, Followed { state: State::Away, backoff });
        self.away += 1;
        self.unplace(key, now_ms);
    }

    pub fn leave(&mut self, key: Key) {
        self.away(key);
        if self.partitions.remove(&key).is_some() {
            self.away -= 1;
        }
    }

    pub fn follows(&self, key: Key) -> bool {
        self.partitions.contains_key(&key)
    }

    pub fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    /// Whether a lane, or the leader, has still something to do before its partition is fetched again.
    pub fn waits_for_work(&self) -> bool {
        self.away > 0
    }

    /// What to do next. To be asked again after anything has happened.
    pub fn next(&mut self, now_ms: i64) -> Next {
        let due = self.unplaced.iter().take_while(|(from_ms, _)| *from_ms <= now_ms);
        let due: Vec<Key> = due.map(|(_, key)| *key).collect();
        if !due.is_empty() {
            return Next::Place(due);
        }
        let unplaced = self.unplaced.first().map(|(from_ms, _)| *from_ms);
        if !self.session.fetches_something() {
            return Next::Wait(unplaced);
        }
        if self.not_before_ms > now_ms {
            return Next::Wait(Some(unplaced.map_or(self.not_before_ms, |ms| ms.min(self.not_before_ms))));
        }
        Next::Fetch(self.session.plan())
    }

    /// Where a partition's lane wants to begin. `None`: it cannot say yet.
    pub fn placed(&mut self, now_ms: i64, key: Key, place: Option<Place>) {
        let Some(followed) = self.partitions.get(&key) else { return };
        let State::Unplaced { .. } = followed.state else { return };
        match place {
            None => self.unplace(key, now_ms + PLACE_AGAIN_MS),
            Some(place) => {
                self.away(key);
                self.set(key, State::Fetched(place));
                self.session.fetch(key, place);
            }
        }
    }

    /// A partition's lane has no room for anything: to fetch for it is to throw away what comes, and a leader that hears of a follower
    /// that has everything waits for it with the next record. The leader is to be asked where its log starts, which is no
    /// fetch: what it has removed makes room here ([`at_start`]).
    pub fn has_no_room(&mut self, now_ms: i64, key: Key) {
        if self.partitions.get(&key).is_some_and(|followed| matches!(followed.state, State::Unplaced { .. }))
        {
            self.rest(now_ms, key);
        }
    }

    /// The leader's answer to the last plan. A partition whose place has changed since then is passed over. The leader takes
    /// it for told, so that the next request asks for everything anew.
    pub fn answered(&mut self, now_ms: i64, answer: Answer) -> Vec<Work> {
        self.backoff.reset();
        if answer.error != ErrorCode::None {
            // The leader has lost the session. It is asked for a new one at once, but not again and again.
            if !self.session.is_new() {
                self.session.reset();
                return Vec::new();
            }
            self.failed(now_ms);
            return Vec::new();
        }
        let mut work = Vec::new();
        let mut passed_over = false;
        for (key, found) in answer.partitions {
            let asked = self.session.asked(key);
            match self.partitions.get(&key).map(|followed| followed.state) {
                Some(State::Fetched(here)) if asked == Some(here) => {
                    self.away(key);
                    work.push(self.work(now_ms, key, here.position, found));
                }
                followed => passed_over |= followed.is_some(),
            }
        }
        self.session.answered(answer.session_id);
        if passed_over {
            self.session.reset();
        }
        work
    }

    fn work(&mut self, now_ms: i64, key: Key, position: FetchPosition, found: Found) -> Work {
        match (found.error, found.diverging) {
            (ErrorCode::None, None) => Work::Replicate { key, position, found },
            (ErrorCode::None, Some(diverging)) => {
                let log_start = found.log_start;
                Work::Cut { key, position, cut: Cut::End { diverging, log_start } }
            }
            (ErrorCode::OffsetOutOfRange, _) => Work::FindEnds { key, position },
            (code, _) => {
                self.rest(now_ms, key);
                Work::Refused { key, code }
            }
        }
    }

    /// Where the leader's log starts and ends, after it has said that a position is out of range. `None`: it did not say.
    /// Returns what the lane has to cut off. A leader that was elected uncleanly may end below the follower; a follower that
    /// was away for long may end below the leader's start.
    pub fn ends(
        &mut self,
        now_ms: i64,
        key: Key,
        position: FetchPosition,
        ends: Option<(Offset, Offset)>,
    ) -> Option<Cut> {
        let (start, end) = match ends {
            Some(ends) => ends,
            None => {
                self.rest(now_ms, key);
                return None;
            }
        };
        if end < position.log_end {
            let diverging = Diverging { epoch: LeaderEpoch::NONE, end_offset: end };
            return Some(Cut::End { diverging, log_start: start });
        }
        if start > position.log_end {
            return Some(Cut::All { start });
        }
        // The leader has changed in between.
        self.rest(now_ms, key);
        None
    }

    /// The lane has done its work on a partition, or refused it.
    pub fn done(&mut self, now_ms: i64, key: Key, went_well: bool) {
        let Some(followed) = self.partitions.get_mut(&key) else { return };
        if followed.state != State::Away {
            return;
        }
        match went_well {
            true => {
                followed.backoff.reset();
                self.unplace(key, now_ms);
            }
            false => self.rest(now_ms, key),
        }
    }

    /// No answer has come, and none will: the connection is gone.
    pub fn failed(&mut self, now_ms: i64) {
        self.not_before_ms = now_ms + self.backoff.next_ms();
        self.session.reset();
    }

    /// The last plan was given up for a newer one.
    pub fn interrupted(&mut self) {
        self.session.reset();
    }

    // The leader, or the lane, does not want it now.
    fn rest(&mut self, now_ms: i64, key: Key) {
        if let Some(followed) = self.partitions.get_mut(&key) {
            let from_ms = now_ms + followed.backoff.next_ms();
            self.unplace(key, from_ms);
        }
    }

    fn unplace(&mut self, key: Key, from_ms: i64) {
        self.away(key);
        self.set(key, State::Unplaced { from_ms });
        self.unplaced.insert((from_ms, key));
    }

    // The partition is neither fetched nor waits for its place.
    fn away(&mut self, key: Key) {
        let Some(followed) = self.partitions.get_mut(&key) else { return };
        match std::mem::replace(&mut followed.state, State::Away) {
            State::Unplaced { from_ms } => drop(self.unplaced.remove(&(from_ms, key))),
            State::Fetched(_) => self.session.leave(key),
            State::Away => return,
        }
        self.away += 1;
    }

    // Of a partition that is away.
    fn set(&mut self, key: Key, state: State) {
        if let Some(followed) = self.partitions.get_mut(&key) {
            followed.state = state;
            self.away -= 1;
        }
    }
}

/// What a follower that does not fetch removes, where its leader's log starts at `start`. `None`: nothing.
pub fn at_start(place: Place, start: Offset) -> Option<Cut> {
    match start > place.position.log_end {
        true => Some(Cut::All { start }),
        false => (start > place.log_start).then_some(Cut::Start { log_start: start }),
    }
}

/// How soon a lane that could not say where to begin is asked again: it waits for a flush.
const PLACE_AGAIN_MS: i64 = 5;
