//! Flushes, one at a time: requested here, run elsewhere, and accounted for here.

use ottla_log::log::{Log, LogError};
use ottla_protocol::Offset;

use super::ports::{Output, Waiters};
use super::{Flushing, Lane};

impl<W: Waiters> Lane<W> {
    pub(super) fn flush(&mut self, out: &mut Vec<Output<W>>) {
        match &mut self.flushing {
            Flushing::Running { more } => *more = true,
            Flushing::Idle => match self.log.flush_begin() {
                Ok(ticket) => {
                    self.flushing = Flushing::Running { more: false };
                    out.push(Output::Flush(ticket));
                }
                Err(error) => {
                    let code = self.failed(error.into(), out);
                    self.refuse_all(code, out);
                }
            },
        }
    }

    pub(super) fn flushed(
        &mut self,
        now_ms: i64,
        up_to: Offset,
        result: std::io::Result<()>,
        out: &mut Vec<Output<W>>,
    ) {
        let more = matches!(self.flushing, Flushing::Running { more: true });
        self.flushing = Flushing::Idle;
        if let Err(error) = result {
            // The kernel may have dropped the pages: everything acknowledged before is on disk, nothing newer is certain.
            let failed = LogError::Io { doing: "flush", source: error };
            let code = self.failed(failed.into(), out);
            self.refuse_all(code, out);
            self.refuse_move(out);
            return;
        }
        self.log.flush_end(up_to);
        let moved = self.relocate(now_ms, out);
        // Compared with the log end and not with the ticket's end: the log may have been truncated and appended to since.
        let behind = self.log.recovery_point() < self.log.log_end_offset();
        if moved || !behind {
            self.must_flush = false;
        }
        if (more && !moved && behind) || self.log.needs_flush_to_append() {
            self.flush(out);
        }
        self.settle(now_ms, out);
    }
}

/// After this many bytes the log is flushed although nothing asks for it, so that a loss of power costs a node without
/// followers no more than that. Most of these bytes are on the device by then ([`Output::WriteOut`]).
pub(super) const WRITE_BEHIND_BYTES: u64 = 32 << 20;

// An error has taken the log offline, which the next input reports.
pub(super) fn flush_now(log: &mut Log) -> Result<(), LogError> {
    let ticket = log.flush_begin()?;
    let up_to = ticket.up_to;
    ticket.run().map_err(|source| LogError::Io { doing: "flush", source })?;
    log.flush_end(up_to);
    Ok(())
}
