//! A log that is replaced by its copy in another directory.

use ottla_log::log::{LogError, NotMoved, Relocation};
use ottla_protocol::ErrorCode;
use uuid::Uuid;

use super::Lane;
use super::ports::{Output, Waiters};

/// A move that waits for its turn.
#[derive(Debug)]
pub(super) struct Moving<T> {
    pub token: T,
    pub copy: Box<Relocation>,
    pub unique: Uuid,
}

impl<W: Waiters> Lane<W> {
    // Producers wait meanwhile: what is missing is copied, and all of it is synced. Whether the log has moved. The folder that
    // it leaves loses the live name in the same turn: later a topic that was made anew could have a log of that name.
    pub(super) fn relocate(&mut self, now_ms: i64, out: &mut Vec<Output<W>>) -> bool {
        let Some(Moving { token, copy, unique }) = self.moving.take() else { return false };
        let outcome = match self.log.relocate(copy, now_ms) {
            Err(NotMoved::Torn(error)) => {
                // The disk of the other directory has failed.
                self.offline = true;
                out.push(Output::Offline { why: error.to_string(), disk: false });
                self.refuse_all(ErrorCode::KafkaStorageError, out);
                Err(NotMoved::Torn(error))
            }
            Ok(left) => {
                self.must_flush = false;
                Ok(left.delete(unique))
            }
            Err(not_moved) => Err(not_moved),
        };
        let moved = outcome.is_ok();
        out.push(Output::Relocated { token, outcome });
        if moved {
            self.settle(now_ms, out);
        }
        moved
    }

    pub(super) fn refuse_move(&mut self, out: &mut Vec<Output<W>>) {
        if let Some(Moving { token, copy, .. }) = self.moving.take() {
            copy.abandon();
            let dir = self.log.dir().to_owned();
            out.push(Output::Relocated { token, outcome: Err(NotMoved::Failed(LogError::Offline { dir })) });
        }
    }
}
