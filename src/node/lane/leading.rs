//! The leader's side of replication: what the other replicas have, and which of them are in sync. It must never change
//! the in-sync set by itself.

use ottla_core::partition::{Fetched, IsrAnswer, Leader, Leadership, LogEnds, Standing};
use ottla_model::NodeId;
use ottla_protocol::ErrorCode;

use super::ports::{Output, Waiters};
use super::{Acting, Lane, Role};

impl<W: Waiters> Lane<W> {
    pub(super) fn lead(&mut self, now_ms: i64, leadership: Leadership, out: &mut Vec<Output<W>>) {
        let log_end = self.log.log_end_offset();
        match &mut self.acting {
            Acting::Leader(leader) => {
                leader.lead(leadership, log_end, now_ms);
            }
            Acting::Follower(following) if following.follower.is_outdated_by(leadership.partition_epoch) => {
                self.refuse_all(ErrorCode::NotLeaderOrFollower, out);
                self.acting = Acting::of(self.host.id, Role::Leader(leadership), &self.log, now_ms);
            }
            Acting::Follower(_) => return,
        }
        self.advance(now_ms, out);
        // If a follower has left the in-sync set, appends that waited only for it are safe now.
        self.release(now_ms, out);
        self.release_deleted(now_ms, out);
        self.let_join(now_ms, out);
    }

    // If the disk is full, the first append tries again.
    pub(super) fn assign_epoch(&mut self, out: &mut Vec<Output<W>>) {
        let Acting::Leader(leader) = &self.acting else { return };
        let epoch = leader.epoch();
        if self.offline || self.log.last_epoch() == Some(epoch) {
            return;
        }
        match self.log.assign_epoch(epoch, self.log.log_end_offset()) {
            Err(error) if !error.is_full() => drop(self.failed(error.into(), out)),
            _ => {}
        }
    }

    pub(super) fn replica_fetched(
        &mut self,
        now_ms: i64,
        fetched: &Fetched,
        out: &mut Vec<Output<W>>,
    ) -> Result<(), ErrorCode> {
        let Acting::Leader(leader) = &mut self.acting else { return Err(ErrorCode::NotLeaderOrFollower) };
        out.extend(leader.fetched(fetched)?.map(Output::Propose));
        self.advance(now_ms, out);
        self.release(now_ms, out);
        self.release_deleted(now_ms, out);
        Ok(())
    }

    pub(super) fn stands(
        &mut self,
        now_ms: i64,
        replica: NodeId,
        standing: Standing,
        out: &mut Vec<Output<W>>,
    ) {
        let Acting::Leader(leader) = &mut self.acting else { return };
        leader.stands(replica, standing);
        self.advance(now_ms, out);
        self.release(now_ms, out);
        self.release_deleted(now_ms, out);
        self.let_join(now_ms, out);
    }

    pub(super) fn isr_answered(&mut self, now_ms: i64, answer: IsrAnswer, out: &mut Vec<Output<W>>) {
        let Acting::Leader(leader) = &mut self.acting else { return };
        let has_changed = answer.outcome.is_ok();
        out.extend(leader.answered(answer, now_ms).map(Output::Propose));
        self.advance(now_ms, out);
        self.release(now_ms, out);
        // After a refusal this would be the same proposal again. The next tick or another image is early enough for that.
        if has_changed {
            self.let_join(now_ms, out);
        }
    }

    pub(super) fn let_go_of_the_late(&mut self, now_ms: i64, out: &mut Vec<Output<W>>) {
        let (ends, timing) = (self.ends(), self.timing(now_ms));
        let Acting::Leader(leader) = &mut self.acting else { return };
        out.extend(leader.let_go_of_the_late(ends, timing).map(Output::Propose));
    }

    pub(super) fn let_join(&mut self, now_ms: i64, out: &mut Vec<Output<W>>) {
        let (ends, timing) = (self.ends(), self.timing(now_ms));
        let Acting::Leader(leader) = &mut self.acting else { return };
        out.extend(leader.let_join(ends, timing).map(Output::Propose));
    }

    pub(super) fn has_followers(&self) -> bool {
        matches!(&self.acting, Acting::Leader(leader) if leader.has_followers())
    }

    pub(super) fn ends(&self) -> LogEnds {
        LogEnds { log_end: self.log.log_end_offset(), safe_end: self.safe_end() }
    }

    pub(super) fn leader(&self) -> Result<&Leader, ErrorCode> {
        match &self.acting {
            Acting::Leader(leader) => Ok(leader),
            Acting::Follower(_) => Err(ErrorCode::NotLeaderOrFollower),
        }
    }
}
