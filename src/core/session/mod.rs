//! Incremental fetch sessions (KIP-227): which partitions a fetcher follows without naming them each time, and which of
//! them a response must include. One bounded cache for the whole broker, shared by all connections. It must never read a
//! log or know versions: the caller resolves topics, reads, and asks what to send.

mod cache;
#[cfg(test)]
mod stories;

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_model::TopicId;
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset};

pub use cache::{Limits, Sessions};

/// The session fields of a request: id 0 and epoch 0 ask for a new session, epoch -1 for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionRequest {
    pub id: i32,
    pub epoch: i32,
}

/// The epoch with which a fetcher asks for no session, or closes the one that it names.
pub const FINAL_EPOCH: i32 = -1;
/// The epoch of a request that names all of its partitions and asks for a session.
pub const INITIAL_EPOCH: i32 = 0;

/// A partition as the fetcher names it: by topic id from Fetch v13 on, by name before.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FetchKey {
    pub topic: FetchTopic,
    pub partition: i32,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FetchTopic {
    Id(TopicId),
    Name(Arc<str>),
}

/// The position of the fetcher in one partition, as it last sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub fetch_offset: Offset,
    pub max_bytes: i32,
    pub current_leader_epoch: LeaderEpoch,
    pub last_fetched_epoch: LeaderEpoch,
    /// The log start offset of a follower; -1 from a consumer.
    pub log_start_offset: Offset,
}

/// How a request is to be served.
#[derive(Debug, PartialEq, Eq)]
pub enum Context {
    /// Serve what the request names, and keep nothing.
    Sessionless,
    /// Serve what the request names, then pass it to [`Sessions::create`].
    Full,
    /// Serve the partitions of this session, and answer with the changes.
    Incremental { id: i32 },
    /// The request names a session that does not exist, or has another epoch.
    Refused(ErrorCode),
}

/// The parts of a partition's answer that decide whether the response includes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionAnswer {
    pub error: ErrorCode,
    pub records: bool,
    pub high_watermark: Offset,
    pub log_start_offset: Offset,
    /// The answer has a preferred replica or a diverging epoch, which is always included.
    pub redirect: bool,
}

impl PartitionAnswer {
    /// Whether a request of another replica need not look at the partition again before something happens to it: the
    /// replica has everything that the leader has, and the leader knows that. What was told does not count: a replica that
    /// could not use it names no other position, and is told once more, as by Kafka's leaders, which look at every partition
    /// each time. Otherwise it would lack the records until others come.
    pub fn leaves_nothing_to_do(&self, position: &Position, log_end: Offset) -> bool {
        self.error == ErrorCode::None && !self.redirect && position.fetch_offset >= log_end
    }
}

/// One partition of a session.
#[derive(Clone, Debug)]
struct Followed {
    position: Position,
    high_watermark: Offset,
    log_start_offset: Offset,
    /// Its place in the order of service. A partition that had records moves to the end, so that one busy partition
    /// cannot use up `max_bytes` for all others.
    turn: u64,
}

impl Followed {
    fn new(position: Position, turn: u64) -> Followed {
        Followed { position, high_watermark: -1, log_start_offset: -1, turn }
    }

    fn remember(&mut self, told: &PartitionAnswer) {
        self.high_watermark = told.high_watermark;
        self.log_start_offset = told.log_start_offset;
    }

    // An error is included in every response until it is gone. The remembered state is dropped, so that the next answer
    // without an error counts as a change.
    fn worth_telling(&mut self, told: &PartitionAnswer) -> bool {
        if told.error != ErrorCode::None {
            self.high_watermark = -1;
            return true;
        }
        let changed = told.records
            || told.redirect
            || self.high_watermark != told.high_watermark
            || self.log_start_offset != told.log_start_offset;
        self.remember(told);
        changed
    }
}

#[derive(Debug)]
struct Session {
    epoch: i32,
    by_id: bool,
    partitions: BTreeMap<FetchKey, Followed>,
    order: BTreeMap<u64, FetchKey>,
    next_turn: u64,
    created_ms: i64,
    used_ms: i64,
}

impl Session {
    fn new(by_id: bool, now_ms: i64) -> Session {
        Session {
            epoch: 1,
            by_id,
            partitions: BTreeMap::new(),
            order: BTreeMap::new(),
            next_turn: 0,
            created_ms: now_ms,
            used_ms: now_ms,
        }
    }

    fn follow(&mut self, key: FetchKey, position: Position) {
        if let Some(known) = self.partitions.get_mut(&key) {
            known.position = position;
            return;
        }
        let turn = self.take_turn(key.clone());
        self.partitions.insert(key, Followed::new(position, turn));
    }

    fn forget(&mut self, key: &FetchKey) {
        if let Some(gone) = self.partitions.remove(key) {
            self.order.remove(&gone.turn);
        }
    }

    fn requeue(&mut self, key: &FetchKey) {
        let turn = self.take_turn(key.clone());
        if let Some(followed) = self.partitions.get_mut(key) {
            self.order.remove(&followed.turn);
            followed.turn = turn;
        }
    }

    fn take_turn(&mut self, key: FetchKey) -> u64 {
        let turn = self.next_turn;
        self.next_turn += 1;
        self.order.insert(turn, key);
        turn
    }
}

/// The epoch after `epoch`; it wraps to 1, since 0 and -1 have meanings of their own.
pub fn next_epoch(epoch: i32) -> i32 {
    match epoch {
        FINAL_EPOCH => FINAL_EPOCH,
        i32::MAX => 1,
        _ => epoch + 1,
    }
}
