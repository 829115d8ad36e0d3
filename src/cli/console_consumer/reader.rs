//! Positions in partitions and the records that come next. It must never print.

use anyhow::Result;
use ottla_client::Cluster;
use ottla_client::consume::{Fetched, Isolation, PollLimits, Position};
use ottla_protocol::ErrorCode;
use ottla_protocol::batch::{BatchHeader, DecompressLimit, Record, TimestampType, batches, records};
use std::collections::BTreeSet;

/// A record with what only its batch and partition know.
pub(super) struct Delivered {
    pub(super) partition: i32,
    pub(super) leader_epoch: i32,
    pub(super) timestamp_type: &'static str,
    pub(super) record: Record,
}

/// Reads on in many partitions at once.
pub(super) struct Reader {
    positions: Vec<Position>,
    limits: PollLimits,
    /// Records that were printed.
    pub(super) delivered: i64,
}

/// More than any broker takes in one batch by default, and less than hurts.
const BATCH_UNPACKED_MAX: DecompressLimit = DecompressLimit(1 << 30);

impl Reader {
    pub(super) fn new(positions: Vec<Position>, limits: PollLimits) -> Reader {
        Reader { positions, limits, delivered: 0 }
    }

    /// The next records of all partitions, after a wait if there are none.
    pub(super) async fn poll(&mut self, cluster: &Cluster) -> Result<Vec<Delivered>> {
        let mut delivered = Vec::new();
        for (index, outcome) in cluster.poll(&self.positions, self.limits).await {
            let position = &mut self.positions[index];
            match outcome {
                Ok(fetched) => take(&fetched, self.limits.isolation, position, &mut delivered)?,
                Err(error) if error.code() == Some(ErrorCode::OffsetOutOfRange) => {
                    // As `auto.offset.reset` does for this tool: on with what is there.
                    let partitions = [position.partition];
                    let found =
                        cluster.list_offsets(&position.topic, &partitions, -1, self.limits.isolation).await?;
                    position.offset = found.first().map_or(position.offset, |found| found.offset);
                }
                Err(error) if error.is_retriable() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(delivered)
    }
}

/// Moves the position past what was fetched and keeps the records that a consumer sees.
fn take(
    fetched: &Fetched,
    isolation: Isolation,
    position: &mut Position,
    to: &mut Vec<Delivered>,
) -> Result<()> {
    let mut aborted = Aborted::new(fetched);
    for batch in batches(&fetched.records) {
        let (header, bytes) = match batch {
            Ok(batch) => batch,
            // The fetch limit has cut it; it comes whole next time.
            Err(error) if error.is_incomplete() => break,
            Err(error) => return Err(error.into()),
        };
        let hidden = isolation == Isolation::ReadCommitted && aborted.hides(&header, &bytes);
        if !header.is_control() && !hidden {
            let timestamp_type = match header.timestamp_type() {
                TimestampType::CreateTime => "CreateTime",
                TimestampType::LogAppendTime => "LogAppendTime",
            };
            for record in records(&bytes, BATCH_UNPACKED_MAX)? {
                let record = record?;
                if record.offset >= position.offset {
                    let (partition, leader_epoch) = (position.partition, header.partition_leader_epoch);
                    to.push(Delivered { partition, leader_epoch, timestamp_type, record });
                }
            }
        }
        position.offset = position.offset.max(header.next_offset());
    }
    Ok(())
}

/// Which producers' records belong to an aborted transaction at the batch that is looked at (KIP-98).
struct Aborted {
    /// First offset and producer, the nearest last.
    ahead: Vec<(i64, i64)>,
    open: BTreeSet<i64>,
}

impl Aborted {
    fn new(fetched: &Fetched) -> Aborted {
        let mut ahead: Vec<(i64, i64)> = fetched.aborted.iter().map(|(id, offset)| (*offset, *id)).collect();
        ahead.sort_by(|a, b| b.cmp(a));
        Aborted { ahead, open: BTreeSet::new() }
    }

    fn hides(&mut self, header: &BatchHeader, bytes: &bytes::Bytes) -> bool {
        while let Some((_, producer)) = self.ahead.pop_if(|(first, _)| *first <= header.last_offset()) {
            self.open.insert(producer);
        }
        if header.is_control() && is_abort(bytes) {
            self.open.remove(&header.producer_id);
        }
        header.is_transactional() && self.open.contains(&header.producer_id)
    }
}

/// A control record's key is its version and its type; type 0 is an abort.
fn is_abort(batch: &bytes::Bytes) -> bool {
    let first = records(batch, BATCH_UNPACKED_MAX).ok().and_then(|mut records| records.next()?.ok());
    first.and_then(|record| record.key).is_some_and(|key| key.get(2..4) == Some(&[0, 0]))
}
