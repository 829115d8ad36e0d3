//! What a leader knows of another replica: how far it has fetched, and when it was last caught up. It must never decide
//! who is in sync.

use ottla_model::NodeId;
use ottla_protocol::{LeaderEpoch, Offset};

/// A fetch of a follower. It shows how far the follower is: everything below `log_end` is in its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetched {
    pub replica: NodeId,
    /// The leader epoch in the request; -1: none.
    pub believed: LeaderEpoch,
    pub log_end: Offset,
    pub log_start: Offset,
    /// The broker epoch in the request (KIP-903); -1: none.
    pub broker_epoch: i64,
    pub standing: Standing,
    /// The end of the leader's log when it was read for this fetch.
    pub leader_end: Offset,
    pub at_ms: i64,
}

/// How long a replica that was refused waits at least until it is proposed once more, and twice as long each time: nothing tells
/// its leader that the reason is gone. It is when it fetches next, or when the leader looks who is late.
const TURNED_AWAY_MS: i64 = 1_000;
const TURNED_AWAY_MS_MAX: i64 = 32_000;

/// What the metadata image says of another broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The epoch of its registration. `None`: the broker is unknown or fenced.
    pub broker_epoch: Option<i64>,
    /// The broker is in controlled shutdown.
    pub shutting_down: bool,
}

/// Another replica. Offsets are -1 until it has fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Replica {
    pub log_end: Offset,
    pub log_start: Offset,
    /// The leader's log end at the replica's last fetch, and the time of that fetch.
    last_fetch: (Offset, Option<i64>),
    /// When the replica was last caught up. `None`: never in this leadership.
    caught_up_ms: Option<i64>,
    /// The broker epoch in its last fetch.
    pub broker_epoch: Option<i64>,
    standing: Option<Standing>,
    /// The controller has refused to let it join. It may ask again from this time on, and waits so long if it is refused again.
    turned_away: Option<(i64, i64)>,
}

impl Replica {
    /// A replica under a new leader. A member of the in-sync set gets the full `replica.lag.time.max.ms` to show that it
    /// is caught up.
    pub fn new(now_ms: i64, in_sync: bool) -> Replica {
        Replica {
            log_end: -1,
            log_start: -1,
            last_fetch: (-1, None),
            caught_up_ms: in_sync.then_some(now_ms),
            broker_epoch: None,
            standing: None,
            turned_away: None,
        }
    }

    /// The same leader goes on in a new epoch, with its log end at `leader_end`.
    pub fn lead_again(&mut self, now_ms: i64, leader_end: Offset, in_sync: bool) {
        self.last_fetch = (leader_end, in_sync.then_some(now_ms));
        self.caught_up_ms = in_sync.then_some(now_ms);
        self.turned_away = None;
    }

    /// Whether the fetch has a broker epoch from before the broker's current registration.
    pub fn is_stale(fetched: &Fetched) -> bool {
        let registered = fetched.standing.broker_epoch;
        fetched.broker_epoch != -1 && registered.is_some_and(|epoch| epoch > fetched.broker_epoch)
    }

    /// A follower that asks for the leader's log end is caught up now. One that asks for what was the log end at its
    /// previous fetch was caught up at that time: with a steady stream of records, no follower ever asks for the log end
    /// itself.
    ///
    /// What the fetch says of the follower's broker counts only while nothing else is known: the fetch may have been read
    /// under an image that is older than what was heard since ([`stands`](Replica::stands)).
    pub fn fetched(&mut self, fetched: &Fetched) {
        let (end_then, then_ms) = self.last_fetch;
        let caught_up_ms = match fetched.log_end {
            end if end >= fetched.leader_end => Some(fetched.at_ms),
            end if end >= end_then => then_ms,
            _ => None,
        };
        self.caught_up_ms = self.caught_up_ms.max(caught_up_ms);
        if fetched.log_end > self.log_end {
            // It has room, if that was why.
            self.turned_away = None;
        }
        self.log_end = fetched.log_end;
        self.log_start = fetched.log_start;
        self.last_fetch = (end_then.max(fetched.leader_end), Some(fetched.at_ms));
        self.broker_epoch = Some(fetched.broker_epoch);
        self.standing.get_or_insert(fetched.standing);
    }

    /// The leader's log is about to grow.
    pub fn grows(&mut self, leader_end: Offset, now_ms: i64) {
        if self.log_end == leader_end {
            self.caught_up_ms = self.caught_up_ms.max(Some(now_ms));
        }
    }

    pub fn caught_up_ms(&self) -> Option<i64> {
        self.caught_up_ms
    }

    /// Whether its broker is alive, as far as is known here.
    pub fn is_alive(&self) -> bool {
        self.standing.is_none_or(|standing| standing.broker_epoch.is_some())
    }

    pub fn stands(&mut self, standing: Standing) {
        if self.standing.replace(standing) != Some(standing) {
            self.turned_away = None;
        }
    }

    /// The controller has refused to let it join the in-sync set, and knows why.
    pub fn turn_away(&mut self, now_ms: i64) {
        let pause_ms = self.turned_away.map_or(TURNED_AWAY_MS, |(_, pause_ms)| pause_ms);
        self.turned_away = Some((now_ms + pause_ms, (pause_ms * 2).min(TURNED_AWAY_MS_MAX)));
    }

    /// Whether the controller may think otherwise by now.
    pub fn may_ask(&self, now_ms: i64) -> bool {
        self.turned_away.is_none_or(|(until_ms, _)| now_ms >= until_ms)
    }

    /// Whether it has everything that the leader has, or had it at most `replica.lag.time.max.ms` ago.
    pub fn is_caught_up(&self, leader_end: Offset, now_ms: i64, lag_time_max_ms: i64) -> bool {
        let lately = |at_ms: i64| now_ms.saturating_sub(at_ms) <= lag_time_max_ms;
        self.log_end == leader_end || self.caught_up_ms.is_some_and(lately)
    }

    /// Whether it may join the in-sync set: it is not fenced, not shutting down, and fetched with its current broker
    /// epoch.
    pub fn is_eligible(&self) -> bool {
        let Some((said, standing)) = self.broker_epoch.zip(self.standing) else { return false };
        let same_life = standing.broker_epoch.is_some_and(|registered| said == -1 || said == registered);
        same_life && !standing.shutting_down
    }
}
