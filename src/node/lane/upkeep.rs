//! What has to be done to a log besides appending: swapping in cleaned segments, deleting records, and what is due by
//! time.

use ottla_log::log::{NotSwapped, Refused, Swap};
use ottla_protocol::{ErrorCode, Offset};

use super::ports::{Output, Waiters};
use super::{Acting, Deleting, Lane, refused};

impl<W: Waiters> Lane<W> {
    pub(super) fn swap(&mut self, now_ms: i64, swap: Swap, out: &mut Vec<Output<W>>) -> Result<(), String> {
        match self.log.swap_cleaned(swap, now_ms) {
            Ok(retired) => {
                out.push(Output::Retire(retired));
                Ok(())
            }
            Err(NotSwapped::Refused(why)) => Err(why.to_owned()),
            Err(NotSwapped::Io(error)) => {
                let why = error.to_string();
                let code = self.failed(error.into(), out);
                self.refuse_all(code, out);
                Err(why)
            }
        }
    }

    // As in Kafka, a topic that is only compacted refuses to delete records on request (KIP-107). The next tick removes
    // the segments below the new log start.
    pub(super) fn delete_records(&mut self, before: Option<Offset>) -> Result<Offset, Refused> {
        if self.offline {
            return Err(refused(ErrorCode::KafkaStorageError));
        }
        self.leader().map_err(refused)?;
        let policy = self.config.cleanup_policy;
        if policy.compact && !policy.delete {
            return Err(refused(ErrorCode::PolicyViolation));
        }
        let before = before.unwrap_or(self.log.high_watermark());
        if before < 0 {
            return Err(refused(ErrorCode::OffsetOutOfRange));
        }
        self.log.advance_log_start(before)?;
        Ok(before)
    }

    /// Answers deletions that have reached every replica, or whose clients have waited for too long.
    pub(super) fn release_deleted(&mut self, now_ms: i64, out: &mut Vec<Output<W>>) {
        let Acting::Leader(leader) = &self.acting else { return };
        if self.deleting.is_empty() {
            return;
        }
        let low_watermark = leader.low_watermark(self.log.log_start_offset());
        for deleting in std::mem::take(&mut self.deleting) {
            let token = deleting.token;
            if deleting.before <= low_watermark {
                out.push(Output::Deleted { token, outcome: Ok(low_watermark) });
            } else if deleting.deadline_ms <= now_ms {
                out.push(Output::Deleted { token, outcome: Err(refused(ErrorCode::RequestTimedOut)) });
            } else {
                self.deleting.push(Deleting { token, ..deleting });
            }
        }
    }

    pub(super) fn expire(&mut self, now_ms: i64, out: &mut Vec<Output<W>>) {
        if self.offline {
            return;
        }
        self.let_go_of_the_late(now_ms, out);
        self.let_join(now_ms, out);
        self.release(now_ms, out);
        self.release_deleted(now_ms, out);
    }

    pub(super) fn tick(&mut self, now_ms: i64, out: &mut Vec<Output<W>>) {
        if self.offline {
            return;
        }
        self.expire(now_ms, out);
        self.log.expire_producers(now_ms);
        if let Err(error) = self.log.roll_if_due(now_ms) {
            self.failed(error, out);
            // If the disk is full, deleting is what makes room.
            if self.offline {
                return;
            }
        }
        match self.log.delete_old_segments(now_ms) {
            Ok(retired) if !retired.is_empty() => out.push(Output::Retire(retired)),
            Ok(_) => {}
            Err(error) => {
                self.failed(error.into(), out);
                return;
            }
        }
        self.settle(now_ms, out);
    }
}
