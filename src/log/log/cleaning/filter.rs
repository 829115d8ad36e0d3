//! What becomes of one batch: kept as it is, written anew with fewer records, or dropped. The rules are Kafka's. It must
//! never do any I/O.

use std::collections::HashMap;

use bytes::Bytes;
use ottla_protocol::batch::{
    BatchBuilder, BatchError, BatchHeader, DecompressLimit, crc_of, empty_batch, records,
};
use ottla_protocol::compression::CompressionError;
use ottla_protocol::{LeaderEpoch, Offset};

use super::job::LastRecord;
use super::keys::KeyReader;
use super::offset_map::OffsetMap;
use super::transactions::Discard;

pub(super) struct Filter<'a> {
    pub map: &'a OffsetMap,
    pub producers: &'a HashMap<i64, LastRecord>,
    /// See [`super::Cleaning`].
    pub last_flushed: &'a HashMap<i64, Offset>,
    pub now_ms: i64,
    pub delete_retention_ms: i64,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Keep,
    Rewrite(Bytes),
    Drop,
}

/// Which records stay.
struct Chosen {
    stays: Vec<bool>,
    count: usize,
    has_tombstones: bool,
}

impl Filter<'_> {
    /// `ends`: no batch follows in the segment, so the batch must stay, perhaps empty, to keep the segment's last offset.
    pub fn judge(
        &mut self,
        header: &BatchHeader,
        bytes: &[u8],
        discard: Discard,
        ends: bool,
    ) -> Result<Verdict, String> {
        let horizon_passed = header.delete_horizon().is_some_and(|horizon| horizon <= self.now_ms);
        // A marker is kept until its horizon has passed even if its transaction is gone: a reader may still be in the
        // middle of it.
        let discarded = discard.can_discard && (!header.is_control() || horizon_passed);
        let marker_of_nothing = discard.can_discard && header.is_control();
        let remembers = ends || self.is_last_of_producer(header);
        if discarded {
            return Ok(if remembers { emptied(header) } else { Verdict::Drop });
        }
        check_crc(header, bytes)?;
        let chosen = match header.is_control() {
            true => Chosen::all(header, false),
            false => self.choose(header, bytes, horizon_passed).map_err(|e| e.to_string())?,
        };
        let whole = chosen.count == chosen.stays.len();
        let horizon = (chosen.has_tombstones || marker_of_nothing) && header.delete_horizon().is_none();
        if chosen.count == 0 {
            return Ok(if remembers { emptied(header) } else { Verdict::Drop });
        }
        if whole && !horizon {
            return Ok(Verdict::Keep);
        }
        match self.rewrite(header, bytes, &chosen, horizon) {
            Ok(bytes) => Ok(Verdict::Rewrite(bytes)),
            Err(BatchError::Compression(CompressionError::TooLarge { .. })) => Ok(Verdict::Keep),
            Err(e) => Err(e.to_string()),
        }
    }

    /// Whether the batch has to stay because it is the last data batch of its producer, which has the last sequence number, or
    /// its last marker, which has the epoch (KAFKA-14055). Kafka keeps no more. But if the last batch is not flushed, a loss of
    /// power may take it after cleaning has removed the batch before it. The log would then know nothing of a producer that
    /// was told that its batch is stored, and would refuse its next one. So the last batch that is flushed stays, too. If
    /// that one is not in the dirty part, every batch that may be it stays.
    fn is_last_of_producer(&self, header: &BatchHeader) -> bool {
        let last = self.producers.get(&header.producer_id).filter(|_| header.has_producer_id());
        let Some(last) = last else { return false };
        let is_last = match last.data_offset {
            Some(offset) => header.last_offset() == offset,
            None => header.is_control() && header.producer_epoch == last.epoch,
        };
        let flushed = self.last_flushed.get(&header.producer_id);
        is_last || last.may_be_lost && flushed.is_none_or(|offset| header.last_offset() == *offset)
    }

    fn choose(&self, header: &BatchHeader, bytes: &[u8], tombstones_go: bool) -> Result<Chosen, BatchError> {
        let mut chosen = Chosen { stays: Vec::new(), count: 0, has_tombstones: false };
        KeyReader::new(self.map.seed()).each(bytes, |record, hash| {
            let offset = header.base_offset + i64::from(record.offset_delta);
            let newest = |hash| self.map.get(hash).is_none_or(|newest| offset >= newest);
            let stays = offset > self.map.latest
                || hash.is_some_and(newest) && !(record.value_is_null && tombstones_go);
            chosen.stays.push(stays);
            chosen.count += usize::from(stays);
            chosen.has_tombstones |= stays && record.value_is_null;
        })?;
        Ok(chosen)
    }

    fn rewrite(
        &self,
        header: &BatchHeader,
        bytes: &[u8],
        chosen: &Chosen,
        horizon: bool,
    ) -> Result<Bytes, BatchError> {
        let mut builder = BatchBuilder::retaining(header);
        if horizon {
            builder = builder.delete_horizon(self.now_ms.saturating_add(self.delete_retention_ms));
        }
        let bytes = Bytes::copy_from_slice(bytes);
        for (at, record) in records(&bytes, REWRITTEN_MAX)?.enumerate() {
            let record = record?;
            if chosen.stays.get(at).copied().unwrap_or(true) {
                builder.append_at((record.offset - header.base_offset) as i32, &record);
            }
        }
        Ok(builder.build(header.base_offset, LeaderEpoch(header.partition_leader_epoch)))
    }
}

impl Chosen {
    fn all(header: &BatchHeader, has_tombstones: bool) -> Chosen {
        let count = usize::try_from(header.record_count).unwrap_or(0);
        Chosen { stays: vec![true; count], count, has_tombstones }
    }
}

/// A batch that is empty already stays as it is.
fn emptied(header: &BatchHeader) -> Verdict {
    if header.record_count == 0 { Verdict::Keep } else { Verdict::Rewrite(empty_batch(header)) }
}

/// A damaged batch is not written anew: it would get a checksum that is right.
pub(super) fn check_crc(header: &BatchHeader, bytes: &[u8]) -> Result<(), String> {
    let (stored, computed) = (header.crc, crc_of(bytes));
    if stored == computed { Ok(()) } else { Err(BatchError::Crc { stored, computed }.to_string()) }
}

/// A batch has to fit in memory to be written anew. A larger one stays whole, which is always correct.
const REWRITTEN_MAX: DecompressLimit = DecompressLimit(256 << 20);
