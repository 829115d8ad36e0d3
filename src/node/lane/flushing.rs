//! Flushes, one at a time: asked for here, run elsewhere, counted here.

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
            // The kernel may have dropped the pages: what was acknowledged before is on disk, nothing newer is sure.
            let failed = LogError::Io { doing: "flush", source: error };
            let code = self.failed(failed.into(), out);
            self.refuse_all(code, out);
            self.refuse_move(out);
            return;
        }
        self.log.flush_end(up_to);
        let moved = self.relocate(now_ms, out);
        // Not what the ticket was up to: the log may have been cut meanwhile, and grown again.
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

/// So much is flushed where nothing asks for it: a loss of power then costs a node without others no more than that. Most of it
/// is on the device by then ([`Output::WriteOut`]).
pub(super) const WRITE_BEHIND_BYTES: u64 = 32 << 20;

// An error has taken the log offline, and whoever comes first is told so.
pub(super) fn flush_now(log: &mut Log) -> Result<(), LogError> {
    let ticket = log.flush_begin()?;
    let up_to = ticket.up_to;
    ticket.run().map_err(|source| LogError::Io { doing: "flush", source })?;
    log.flush_end(up_to);
    Ok(())
}
