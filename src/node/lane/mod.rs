//! A lane: the one owner of a replica's log. It appends in the order in which inputs arrive, keeps the leader epoch and
//! the high watermark, holds back replies until they are true, and says what has to be flushed or deleted. It leads or
//! follows, as the controller says.
//! It must never know who waits for a reply: a token comes in with a request and goes out with its outcome.

mod appending;
#[cfg(test)]
mod fixtures;
mod flushing;
mod following;
mod leading;
mod moving;
mod ports;
#[cfg(test)]
mod replication;
#[cfg(test)]
mod restarts;
#[cfg(test)]
mod stories;
mod upkeep;
mod verifying;

use std::collections::VecDeque;
use std::sync::Arc;

use ottla_core::partition::{Acks, Follower, Followership, Leader, Leadership, Timing};
use ottla_log::log::{Appended, Log, LogReader, Refused};
use ottla_model::NodeId;
use ottla_model::config::TopicConfig;
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset};

use flushing::flush_now;
use moving::Moving;
pub use ports::{
    Answered, Append, Cut, FetchPosition, FromLeader, Input, LeftBehind, Output, Upcoming, Waiters,
};

/// The broker that a lane runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    pub id: NodeId,
    /// `replica.lag.time.max.ms`
    pub replica_lag_time_max_ms: i64,
}

/// The role that the controller gives a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    Leader(Leadership),
    Follower(Followership),
}

/// An append that is in the log, and whose reply would not be true yet.
#[derive(Debug)]
struct Held<W: Waiters> {
    token: W::Append,
    appended: Appended,
    /// The reply is true once the log is flushed, or replicated, up to this offset.
    next_offset: Offset,
    acks: Acks,
    deadline_ms: i64,
}

/// Records that are deleted here, and not everywhere yet.
#[derive(Debug)]
struct Deleting<W: Waiters> {
    token: W::Deletion,
    before: Offset,
    deadline_ms: i64,
}

/// The role of this replica, with the state that goes with it.
#[derive(Debug)]
enum Acting<W: Waiters> {
    Leader(Leader),
    Follower(Following<W>),
}

#[derive(Debug)]
struct Following<W: Waiters> {
    follower: Follower,
    /// The high watermark in the leader's last answer. It may be above what this replica has, or has flushed.
    leader_high_watermark: Offset,
    /// Tokens of the leader's records that were appended, each with the offset up to which the log has to be safe before
    /// the token is answered. The next fetch, which tells the leader of them, waits for that.
    held: Vec<(W::Fetcher, Offset)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flushing {
    Idle,
    /// A ticket is running. `more`: another flush is due after it.
    Running {
        more: bool,
    },
}

/// The owner of one replica's log.
#[derive(Debug)]
pub struct Lane<W: Waiters> {
    host: Host,
    log: Log,
    acting: Acting<W>,
    config: Arc<TopicConfig>,
    held: VecDeque<Held<W>>,
    deleting: Vec<Deleting<W>>,
    flushing: Flushing,
    /// Records above the recovery point must be flushed before they may become visible.
    must_flush: bool,
    /// Waits for the flush that is under way, which is of the log as it is.
    moving: Option<Moving<W::Move>>,
    offline: bool,
}

impl<W: Waiters> Lane<W> {
    /// Takes over an opened log, with the high watermark of its checkpoint. If this is the only replica, the whole log is
    /// committed, and readers see that from the beginning. Records that a killed process had not flushed stay invisible
    /// until they are flushed: otherwise a producer's retry would find its batch here and be acknowledged, and a loss of
    /// power could then take it.
    pub fn new(host: Host, mut log: Log, role: Role, config: Arc<TopicConfig>, now_ms: i64) -> Lane<W> {
        let acting = Acting::of(host.id, role, &log, now_ms);
        log.require_verification(true);
        let must_flush = log.unflushed_messages() >= config.flush_messages && flush_now(&mut log).is_err();
        let flushing = Flushing::Idle;
        let (held, deleting, moving) = (VecDeque::new(), Vec::new(), None);
        let offline = false;
        let mut lane =
            Lane { host, log, acting, config, held, deleting, flushing, must_flush, moving, offline };
        lane.advance(now_ms, &mut Vec::new());
        lane
    }

    /// The log's reader, which others share.
    pub fn reader(&self) -> Arc<LogReader> {
        self.log.reader()
    }

    /// The epoch of the leader that this replica is, or follows.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        match &self.acting {
            Acting::Leader(leader) => leader.epoch(),
            Acting::Follower(following) => following.follower.epoch(),
        }
    }

    /// Whether the replica leads, as of the last turn. To be asked before reading for another replica: an input with a
    /// new role may still be in the queue, behind records that have to be appended first.
    pub fn leads(&self) -> bool {
        matches!(self.acting, Acting::Leader(_))
    }

    /// The leader's view of the replicas. An error: this replica does not lead.
    pub fn leadership(&self) -> Result<&Leader, ErrorCode> {
        self.leader()
    }

    /// The position for the next fetch from the leader. `None`: this replica leads, or a loss of power could still take
    /// its last records although the topic asks for flushes. The leader takes a fetch as the promise that everything
    /// below it is durable.
    pub fn fetch_position(&self) -> Option<FetchPosition> {
        self.position().filter(|position| self.safe_end() >= position.log_end)
    }

    fn position(&self) -> Option<FetchPosition> {
        let Acting::Follower(following) = &self.acting else { return None };
        let (log_end, last_epoch) = (self.log.log_end_offset(), self.log.last_epoch());
        Some(FetchPosition { under: following.follower.epoch(), log_end, last_epoch })
    }

    pub fn config(&self) -> &Arc<TopicConfig> {
        &self.config
    }

    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Returns the log, to be closed or deleted. Waiting requests are answered with NOT_LEADER_OR_FOLLOWER.
    pub fn into_log(mut self, out: &mut Vec<Output<W>>) -> Log {
        self.refuse_all(ErrorCode::NotLeaderOrFollower, out);
        self.refuse_move(out);
        self.log
    }

    /// Whether a turn with these inputs may wait for the disk longer than a write takes. Such a turn must not run on a
    /// thread that serves clients.
    pub fn may_wait<'a>(&self, now_ms: i64, inputs: impl Iterator<Item = &'a Input<W>>) -> bool
    where
        W: 'a,
    {
        let mut appends = Vec::new();
        let mut from_leader = None;
        for input in inputs {
            match input {
                Input::Append(append) => appends.push(&append.batch),
                // Where a second one begins is known after the first.
                Input::Replicate { .. } if from_leader.is_some() => return true,
                Input::Replicate { from_leader: found, .. } => from_leader = Some(found),
                Input::ExpireProducersAfter(_) | Input::DeleteRecords { .. } => {}
                Input::Verify { .. } | Input::Expire => {}
                Input::ReplicaFetched { .. } | Input::Stands { .. } | Input::IsrAnswered(_) => {}
                // These inputs change the epoch or the size of segments, which decide about the appends behind them.
                Input::Lead(_) | Input::Follow(_) | Input::Configure(_) => return true,
                Input::Flushed { .. } if self.moving.is_none() && !self.log.flush_waits() => {}
                Input::Flushed { .. } | Input::Settle | Input::Tick => return true,
                Input::SwapCleaned { .. } | Input::Relocate { .. } => return true,
                Input::Cut { .. } => return true,
            }
        }
        // A flush that an append asks for may open files of rolled segments. If a flush is running, the next one starts
        // after it.
        let opens = self.flushing == Flushing::Idle && self.log.flush_waits();
        let grows = !appends.is_empty() || from_leader.is_some();
        let leader_epoch = self.leader_epoch();
        (grows && opens)
            || from_leader.is_some_and(|found| self.log.follow_waits(&found.records, now_ms))
            || (!appends.is_empty() && self.log.append_waits(appends.into_iter(), leader_epoch, now_ms))
    }

    /// One turn of the owner: all inputs since the last turn.
    pub fn step(
        &mut self,
        now_ms: i64,
        inputs: impl IntoIterator<Item = Input<W>>,
        out: &mut Vec<Output<W>>,
    ) {
        let log_end = self.log.log_end_offset();
        let mut appends = Vec::new();
        for input in inputs {
            if let Input::Append(append) = input {
                appends.push(append);
                continue;
            }
            self.append(now_ms, &mut appends, out);
            self.take(now_ms, input, out);
        }
        self.append(now_ms, &mut appends, out);
        if self.log.log_end_offset() != log_end && self.has_followers() {
            out.push(Output::Grown);
        }
    }

    fn take(&mut self, now_ms: i64, input: Input<W>, out: &mut Vec<Output<W>>) {
        match input {
            Input::Append(append) => self.append(now_ms, &mut vec![append], out),
            Input::Verify { token, upcoming } => {
                let outcome = self.verify(now_ms, &upcoming);
                out.push(Output::Verifying { token, outcome });
            }
            Input::Lead(leadership) => self.lead(now_ms, leadership, out),
            Input::Follow(followership) => self.follow(now_ms, followership, out),
            Input::Settle => self.assign_epoch(out),
            Input::Configure(config) => {
                self.log.set_config(config.clone());
                self.config = config;
            }
            Input::ExpireProducersAfter(ms) => self.log.set_producer_id_expiration_ms(ms),
            Input::SwapCleaned { token, swap } => {
                let outcome = self.swap(now_ms, *swap, out);
                out.push(Output::Swapped { token, outcome });
            }
            Input::Relocate { token, copy, unique } => {
                self.refuse_move(out);
                self.moving = Some(Moving { token, copy, unique });
                if self.flushing == Flushing::Idle {
                    self.relocate(now_ms, out);
                }
            }
            Input::DeleteRecords { token, before, deadline_ms } => match self.delete_records(before) {
                Ok(before) => {
                    self.deleting.push(Deleting { token, before, deadline_ms });
                    self.release_deleted(now_ms, out);
                }
                Err(refused) => out.push(Output::Deleted { token, outcome: Err(refused) }),
            },
            Input::Flushed { up_to, result } => self.flushed(now_ms, up_to, result, out),
            Input::ReplicaFetched { token, fetched } => {
                let outcome = self.replica_fetched(now_ms, &fetched, out);
                out.push(Output::Noted { token, outcome });
            }
            Input::Stands { replica, standing } => self.stands(now_ms, replica, standing, out),
            Input::IsrAnswered(answer) => self.isr_answered(now_ms, answer, out),
            Input::Replicate { token, from_leader } => self.replicate(now_ms, token, from_leader, out),
            Input::Cut { token, fetched, cut } => {
                let outcome = self.cut(now_ms, fetched, cut, out);
                out.push(Output::Followed { token, outcome });
            }
            Input::Expire => self.expire(now_ms, out),
            Input::Tick => self.tick(now_ms, out),
        }
    }

    fn timing(&self, now_ms: i64) -> Timing {
        Timing {
            now_ms,
            lag_time_max_ms: self.host.replica_lag_time_max_ms,
            min_insync_replicas: self.config.min_insync_replicas,
        }
    }
}

impl<W: Waiters> Acting<W> {
    fn of(me: NodeId, role: Role, log: &Log, now_ms: i64) -> Acting<W> {
        let high_watermark = log.high_watermark();
        match role {
            Role::Leader(leadership) => {
                let log_end = log.log_end_offset();
                Acting::Leader(Leader::new(me, leadership, high_watermark, log_end, now_ms))
            }
            Role::Follower(followership) => Acting::Follower(Following {
                follower: Follower::new(followership),
                leader_high_watermark: high_watermark,
                held: Vec::new(),
            }),
        }
    }
}

fn refused(code: ErrorCode) -> Refused {
    Refused { code, message: code.message().to_owned() }
}
