//! The follower's side of replication: the leader's records, byte for byte, and nothing else. If the topic asks for
//! flushes, the follower must never report records to its leader that a loss of power could take. So the outcome of an
//! append, for which the next fetch waits, comes after the flush.

use bytes::Bytes;
use ottla_core::partition::{Follower, Followership};
use ottla_log::log::{LogError, Refused};
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset};

use super::ports::{Cut, FetchPosition, FromLeader, Output, Waiters};
use super::{Acting, Lane, Role, refused};

impl<W: Waiters> Lane<W> {
    /// Records that were fetched from an earlier leader are not used any more, and clients that wait here for a leader
    /// are sent away.
    pub(super) fn follow(&mut self, now_ms: i64, followership: Followership, out: &mut Vec<Output<W>>) {
        let known = match &self.acting {
            Acting::Leader(leader) => leader.partition_epoch(),
            Acting::Follower(following) => following.follower.partition_epoch(),
        };
        if followership.partition_epoch < known || followership.epoch < self.leader_epoch() {
            return;
        }
        let leads_on = followership.epoch == self.leader_epoch();
        match &mut self.acting {
            Acting::Follower(following) if leads_on => following.follower = Follower::new(followership),
            _ => {
                self.refuse_all(ErrorCode::NotLeaderOrFollower, out);
                self.acting = Acting::of(self.host.id, Role::Follower(followership), &self.log, now_ms);
            }
        }
    }

    /// If the log has changed since the fetch, for example by a truncation, the leader's records do not fit, and are
    /// ignored.
    pub(super) fn replicate(
        &mut self,
        now_ms: i64,
        token: W::Fetcher,
        from_leader: FromLeader,
        out: &mut Vec<Output<W>>,
    ) {
        let FromLeader { fetched, records, high_watermark, log_start } = from_leader;
        let outcome = self.follows(fetched).and_then(|()| match self.position() == Some(fetched) {
            true => self.append_followed(now_ms, records, fetched.under, out),
            false => Ok(()),
        });
        if let Err(refused) = outcome {
            // What the leader has removed makes room here, too.
            if self.position() == Some(fetched) {
                self.advance_log_start(log_start);
            }
            return out.push(Output::Followed { token, outcome: Err(refused) });
        }
        let log_end = self.log.log_end_offset();
        if let Acting::Follower(following) = &mut self.acting {
            following.leader_high_watermark = high_watermark;
            following.held.push((token, log_end));
        }
        self.settle(now_ms, out);
        self.advance_log_start(log_start);
    }

    // As far as the high watermark goes here. A later fetch brings the leader's log start again.
    fn advance_log_start(&mut self, leaders: Offset) {
        let _ = self.log.advance_log_start(leaders.min(self.log.high_watermark()));
    }

    fn append_followed(
        &mut self,
        now_ms: i64,
        records: Bytes,
        epoch: LeaderEpoch,
        out: &mut Vec<Output<W>>,
    ) -> Result<(), Refused> {
        match self.log.append_as_follower(records, epoch, now_ms) {
            Err(error) => Err(refused(self.failed(error, out))),
            Ok(followed) => followed.map(drop),
        }
    }

    fn follows(&self, fetched: FetchPosition) -> Result<(), Refused> {
        if self.offline {
            return Err(refused(ErrorCode::KafkaStorageError));
        }
        match &self.acting {
            Acting::Leader(_) => Err(refused(ErrorCode::NotLeaderOrFollower)),
            Acting::Follower(following) => following.follower.admits(fetched.under).map_err(refused),
        }
    }

    /// Truncates the log as the leader's answer asks. Returns the log end afterwards.
    pub(super) fn cut(
        &mut self,
        now_ms: i64,
        fetched: FetchPosition,
        cut: Cut,
        out: &mut Vec<Output<W>>,
    ) -> Result<Offset, Refused> {
        self.follows(fetched)?;
        // The log has changed since that fetch, so the answer does not apply to it: records appended since must not be
        // removed.
        if self.position() != Some(fetched) {
            return Ok(self.log.log_end_offset());
        }
        self.cut_log(now_ms, cut).map_err(|error| refused(self.failed(error.into(), out)))?;
        // The durable part ends at the truncation now, and some of what was to be flushed is gone.
        self.settle(now_ms, out);
        Ok(self.log.log_end_offset())
    }

    fn cut_log(&mut self, now_ms: i64, cut: Cut) -> Result<(), LogError> {
        match cut {
            Cut::Start { log_start } => {
                self.advance_log_start(log_start);
                Ok(())
            }
            Cut::All { start } => self.log.truncate_fully(start, now_ms),
            Cut::End { diverging, log_start } => {
                let (epoch, end) = self.log.epoch_end_offset(diverging.epoch);
                let known = epoch.is_some().then_some((epoch, end));
                match Follower::cut(diverging, known, self.log.log_end_offset()) {
                    to if to <= log_start && log_start > 0 => self.log.truncate_fully(log_start, now_ms),
                    to => self.log.truncate_to(to, now_ms).map(drop),
                }
            }
        }
    }

    /// Reports the records that are safe now, so that the next fetch may tell the leader of them.
    pub(super) fn release_followed(&mut self, out: &mut Vec<Output<W>>) {
        let (safe_end, log_end) = (self.safe_end(), self.log.log_end_offset());
        let Acting::Follower(following) = &mut self.acting else { return };
        for (token, until) in std::mem::take(&mut following.held) {
            if until <= safe_end || safe_end >= log_end {
                out.push(Output::Followed { token, outcome: Ok(log_end) });
            } else {
                following.held.push((token, until));
            }
        }
    }
}
