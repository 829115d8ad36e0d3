//! A shard on its way from its log into memory: read and replayed a piece at a time, so that whoever reads decides when it goes on.
//! It must never append, and never serve anybody.

use bytes::Bytes;
use ottla_core::coordinator::Machine;
use ottla_log::log::{Isolation, LogReader, Offsets};
use ottla_protocol::Offset;
use ottla_protocol::batch::batches;

use super::{LoadError, Shard, ShardSettings};

/// A shard that does not have its whole log yet.
pub struct Loading<M: Machine> {
    shard: Shard<M>,
    /// Of the log, when the loading began.
    offsets: Offsets,
    /// What lies below is in the shard.
    at: Offset,
}

impl<M: Machine> Loading<M> {
    /// `machine` is empty, and the log has these offsets.
    pub fn new(machine: M, terms: ShardSettings, offsets: Offsets) -> Loading<M> {
        Loading { shard: Shard::new(machine, terms), offsets, at: offsets.log_start }
    }

    /// Whether there is nothing more to read. A log that is empty is done at once.
    pub fn is_done(&self) -> bool {
        self.at >= self.offsets.log_end
    }

    /// Reads and replays the next piece: so many bytes, or one batch that is larger.
    pub fn read_on(&mut self, reader: &LogReader, bytes_max: usize) -> Result<(), LoadError> {
        let wrong = |why: String| LoadError::Read { offset: self.at, why };
        let slice =
            reader.read(self.at, bytes_max, Isolation::LogEnd, true).map_err(|e| wrong(e.to_string()))?;
        let Some(range) = slice.range else {
            // The log's last records have been deleted: nothing lies before its end.
            self.at = self.offsets.log_end;
            return Ok(());
        };
        let bytes = Bytes::from(range.read().map_err(|e| wrong(e.to_string()))?);
        for batch in batches(&bytes) {
            let (_, batch) = match batch {
                Err(error) if error.is_incomplete() => break,
                batch => batch.map_err(|source| LoadError::Batch { offset: self.at, source })?,
            };
            self.shard.replay(&batch)?;
        }
        if self.shard.applied() <= self.at {
            return Err(LoadError::Read { offset: self.at, why: "there is no whole batch".into() });
        }
        self.at = self.shard.applied();
        Ok(())
    }

    /// How far the shard has come.
    pub fn applied(&self) -> Offset {
        self.at
    }

    /// The shard serves from now on.
    pub fn finish(mut self, now_ms: i64) -> Shard<M> {
        self.shard.loaded(now_ms, self.offsets.log_end, self.offsets.high_watermark);
        self.shard
    }
}
