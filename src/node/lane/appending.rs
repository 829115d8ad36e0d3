//! Producers' batches: appended in the order in which they arrive, and answered once the answer is true. It must never
//! answer earlier.

use std::collections::VecDeque;
use std::sync::Arc;

use ottla_core::partition::Acks;
use ottla_log::log::{AppendError, Appended, LogError, Refused};
use ottla_protocol::{ErrorCode, Offset};

use super::flushing::WRITE_BEHIND_BYTES;
use super::ports::{Answered, Append, Output, Waiters};
use super::{Acting, Flushing, Held, Lane, refused};

impl<W: Waiters> Lane<W> {
    // Appends that arrived together go to disk in one write. The start of a new epoch is durable before the first of them
    // (KAFKA-7415).
    pub(super) fn append(&mut self, now_ms: i64, appends: &mut Vec<Append<W>>, out: &mut Vec<Output<W>>) {
        if appends.is_empty() {
            return;
        }
        let mut batches = Vec::with_capacity(appends.len());
        let mut waiting = Vec::with_capacity(appends.len());
        for append in appends.drain(..) {
            match self.admit(&append) {
                Ok(()) => {
                    batches.push(append.batch);
                    waiting.push((append.token, append.answered, append.acks, append.deadline_ms));
                }
                Err(refused) => out.push(Output::Reply { token: append.token, outcome: Err(refused) }),
            }
        }
        if batches.is_empty() {
            return;
        }
        let log_end = self.log.log_end_offset();
        match self.log.append(&batches, self.leader_epoch(), now_ms) {
            Ok(outcomes) => {
                if let Acting::Leader(leader) = &mut self.acting {
                    leader.grows(log_end, now_ms);
                }
                for ((token, answered, acks, deadline_ms), outcome) in waiting.into_iter().zip(outcomes) {
                    match outcome {
                        Ok(appended) if answered == Answered::WhenSafe => {
                            self.hold(token, appended, acks, deadline_ms);
                        }
                        Ok(appended) => out.push(Output::Reply { token, outcome: Ok(appended) }),
                        Err(refused) => out.push(Output::Reply { token, outcome: Err(refused) }),
                    }
                }
                self.settle(now_ms, out);
            }
            Err(error) => {
                let code = self.failed(error, out);
                for (token, ..) in waiting {
                    out.push(Output::Reply { token, outcome: Err(refused(code)) });
                }
            }
        }
    }

    fn admit(&self, append: &Append<W>) -> Result<(), Refused> {
        if self.offline {
            return Err(refused(ErrorCode::KafkaStorageError));
        }
        // A config that has changed since the check may forbid this batch: the producer retries, and the batch is checked
        // again.
        if !Arc::ptr_eq(&append.checked_against, &self.config) {
            return Err(refused(ErrorCode::NotLeaderOrFollower));
        }
        let leader = self.leader().map_err(refused)?;
        leader.accepts(append.acks, self.config.min_insync_replicas).map_err(refused)
    }

    fn hold(&mut self, token: W::Append, appended: Appended, acks: Acks, deadline_ms: i64) {
        let next_offset = appended.last_offset + 1;
        self.held.push_back(Held { token, appended, next_offset, acks, deadline_ms });
    }

    // Flushes if the topic asks for it, advances the high watermark as far as it is safe, and answers the appends that
    // are safe now.
    pub(super) fn settle(&mut self, now_ms: i64, out: &mut Vec<Output<W>>) {
        if self.log.unflushed_messages() >= self.config.flush_messages {
            self.must_flush = true;
        }
        // A rolled segment and `flush.ms` ask for a flush, too, but no append waits for that one.
        let behind = self.log.unflushed_bytes() >= WRITE_BEHIND_BYTES && self.flushing == Flushing::Idle;
        if self.must_flush || self.log.flush_due(now_ms) || behind {
            self.flush(out);
        }
        out.extend(self.log.write_out().map(Output::WriteOut));
        self.advance(now_ms, out);
        self.release(now_ms, out);
    }

    // The log end; while a flush is due, only as much of it as is durable, because no more may become visible.
    pub(super) fn safe_end(&self) -> Offset {
        if self.must_flush { self.log.recovery_point() } else { self.log.log_end_offset() }
    }

    pub(super) fn advance(&mut self, now_ms: i64, out: &mut Vec<Output<W>>) {
        let (ends, timing) = (self.ends(), self.timing(now_ms));
        let high_watermark = match &mut self.acting {
            Acting::Leader(leader) => leader.advance(ends, timing),
            Acting::Follower(following) => following.leader_high_watermark.min(ends.safe_end),
        };
        if high_watermark > self.log.high_watermark() {
            self.log.advance_high_watermark(high_watermark);
            out.push(Output::Advanced);
        }
    }

    pub(super) fn release(&mut self, now_ms: i64, out: &mut Vec<Output<W>>) {
        let safe_end = self.safe_end();
        let high_watermark = self.log.high_watermark();
        let mut rest = VecDeque::new();
        while let Some(held) = self.held.pop_front() {
            let reached = if held.acks == Acks::All { high_watermark } else { safe_end };
            if held.next_offset <= reached {
                let outcome = self.still_in_sync(held.acks).map(|()| held.appended).map_err(refused);
                out.push(Output::Reply { token: held.token, outcome });
            } else if held.deadline_ms <= now_ms {
                out.push(Output::Reply {
                    token: held.token,
                    outcome: Err(refused(ErrorCode::RequestTimedOut)),
                });
            } else {
                rest.push_back(held);
            }
        }
        self.held = rest;
        self.release_followed(out);
    }

    // Checked again, because the in-sync set may have become too small since the append.
    fn still_in_sync(&self, acks: Acks) -> Result<(), ErrorCode> {
        match &self.acting {
            Acting::Leader(leader) if acks == Acks::All => {
                leader.acknowledges(self.config.min_insync_replicas)
            }
            _ => Ok(()),
        }
    }

    pub(super) fn failed(&mut self, error: AppendError, out: &mut Vec<Output<W>>) -> ErrorCode {
        match error {
            // The log is whole, and there may be room again: the producer may retry.
            AppendError::DiskFull { waits_for_flush, .. } => {
                if !waits_for_flush {
                    out.push(Output::Full);
                }
                if self.log.needs_flush_to_append() && self.flushing == Flushing::Idle {
                    self.flush(out);
                }
            }
            AppendError::Io(error) => {
                if !std::mem::replace(&mut self.offline, true) {
                    let disk = matches!(error, LogError::Io { .. }) && !error.is_full();
                    out.push(Output::Offline { why: error.to_string(), disk });
                }
            }
        }
        ErrorCode::KafkaStorageError
    }

    pub(super) fn refuse_all(&mut self, code: ErrorCode, out: &mut Vec<Output<W>>) {
        let held = self.held.drain(..);
        out.extend(held.map(|h| Output::Reply { token: h.token, outcome: Err(refused(code)) }));
        let deleting = self.deleting.drain(..);
        out.extend(deleting.map(|d| Output::Deleted { token: d.token, outcome: Err(refused(code)) }));
        if let Acting::Follower(following) = &mut self.acting {
            let held = following.held.drain(..);
            out.extend(held.map(|(token, _)| Output::Followed { token, outcome: Err(refused(code)) }));
        }
    }
}
