//! What has to be done to a log besides appending: swapping in cleaned segments, deleting records, and what is due by
//! time.

use ottla_log::log::{NotSwapped, Refused, Swap};
use ottla_protocol::{ErrorCode, Offset};

use super::ports::{Output, Waiters};
use super::{Lane, refused};

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
        Ok(self.log.log_start_offset())
    }

    pub(super) fn tick(&mut self, now_ms: i64, out: &mut Vec<Output<W>>) {
        if self.offline {
            return;
        }
        self.let_go_of_the_late(now_ms, out);
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
