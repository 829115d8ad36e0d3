//! What a leader knows of another replica: how far it has fetched, and when it last had everything. It must never decide
//! who is in sync.

use ottla_model::NodeId;
use ottla_protocol::{LeaderEpoch, Offset};

/// A fetch of a follower, which tells its leader how far it is: everything below `log_end` is in its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetched {
    pub replica: NodeId,
    /// The leader epoch that the follower believes in; -1 is none.
    pub believed: LeaderEpoch,
    pub log_end: Offset,
    pub log_start: Offset,
    /// Of the follower's registration, as it says; -1 where it does not (KIP-903).
    pub broker_epoch: i64,
    pub standing: Standing,
    /// Where the leader's log ended when it was read for this fetch.
    pub leader_end: Offset,
    pub at_ms: i64,
}

/// What the metadata image says of another broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Of its registration. None: it is unknown or fenced.
    pub broker_epoch: Option<i64>,
    /// It is about to leave (controlled shutdown).
    pub shutting_down: bool,
}

/// Another replica. Offsets are -1 while nothing is known of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Replica {
    pub log_end: Offset,
    pub log_start: Offset,
    /// Where the leader's log ended at its last fetch, and when that was.
    last_fetch: (Offset, Option<i64>),
    /// When it last had all that the leader had. None: never, or not in this leadership.
    caught_up_ms: Option<i64>,
    /// As it said when it last fetched.
    pub broker_epoch: Option<i64>,
    standing: Option<Standing>,
}

impl Replica {
    /// Under a new leader. Who is in sync has the time that everybody has to show it.
    pub fn new(now_ms: i64, in_sync: bool) -> Replica {
        Replica {
            log_end: -1,
            log_start: -1,
            last_fetch: (-1, None),
            caught_up_ms: in_sync.then_some(now_ms),
            broker_epoch: None,
            standing: None,
        }
    }

    /// Its leader leads on under another epoch, in which its log ends at `leader_end` so far.
    pub fn lead_again(&mut self, now_ms: i64, leader_end: Offset, in_sync: bool) {
        self.last_fetch = (leader_end, in_sync.then_some(now_ms));
        self.caught_up_ms = in_sync.then_some(now_ms);
    }

    /// Whether the fetch comes from an earlier life of that broker than the one that is registered.
    pub fn is_stale(fetched: &Fetched) -> bool {
        let registered = fetched.standing.broker_epoch;
        fetched.broker_epoch != -1 && registered.is_some_and(|epoch| epoch > fetched.broker_epoch)
    }

    /// A follower that asks for the leader's end has everything now. One that asks for where the leader ended at its last fetch
    /// had everything then: with a steady stream of records nobody ever asks for the end.
    pub fn fetched(&mut self, fetched: &Fetched) {
        let (end_then, then_ms) = self.last_fetch;
        let caught_up_ms = match fetched.log_end {
            end if end >= fetched.leader_end => Some(fetched.at_ms),
            end if end >= end_then => then_ms,
            _ => None,
        };
        self.caught_up_ms = self.caught_up_ms.max(caught_up_ms);
        self.log_end = fetched.log_end;
        self.log_start = fetched.log_start;
        self.last_fetch = (end_then.max(fetched.leader_end), Some(fetched.at_ms));
        self.broker_epoch = Some(fetched.broker_epoch);
        self.standing = Some(fetched.standing);
    }

    pub fn stands(&mut self, standing: Standing) {
        self.standing = Some(standing);
    }

    /// It has what the leader has, or had it not longer ago than `replica.lag.time.max.ms`.
    pub fn is_caught_up(&self, leader_end: Offset, now_ms: i64, lag_time_max_ms: i64) -> bool {
        let lately = |at_ms: i64| now_ms.saturating_sub(at_ms) <= lag_time_max_ms;
        self.log_end == leader_end || self.caught_up_ms.is_some_and(lately)
    }

    /// Whether it may join the in-sync set: alive, staying, and in the same life in which it fetched.
    pub fn is_eligible(&self) -> bool {
        let Some((said, standing)) = self.broker_epoch.zip(self.standing) else { return false };
        let same_life = standing.broker_epoch.is_some_and(|registered| said == -1 || said == registered);
        same_life && !standing.shutting_down
    }
}
