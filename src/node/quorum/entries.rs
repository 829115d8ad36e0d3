//! Raft entries as record batches: metadata records that are proposed, and Kafka's leader-change control batch, which begins
//! a term. The leader makes them, with the offsets that they have in the log.

use bytes::{Bytes, BytesMut};
use ottla_model::NodeId;
use ottla_protocol::batch::control::{ControlRecord, LeaderChangeMessage, Voter};
use ottla_protocol::batch::{BatchBuilder, BatchHeader, Compression, HEADER_BYTES};
use ottla_protocol::{LeaderEpoch, Offset};
use uuid::Uuid;

/// The batch that begins a term; the very first one may found the quorum.
pub(super) fn leader_change(
    leader: NodeId,
    voters: &[NodeId],
    granting: &[NodeId],
    founders: impl IntoIterator<Item = ControlRecord>,
    now_ms: i64,
) -> Bytes {
    // Version 0: voters by id alone, as long as their directories are not known to each other.
    let named = |nodes: &[NodeId]| -> Vec<Voter> {
        nodes.iter().map(|node| Voter { id: node.0, directory_id: Uuid::nil() }).collect()
    };
    let (voters, granting_voters) = (named(voters), named(granting));
    let message = LeaderChangeMessage { version: 0, leader_id: leader.0, voters, granting_voters };
    control_batch(std::iter::once(ControlRecord::LeaderChange(message)).chain(founders), now_ms)
}

pub(super) fn control_batch(records: impl IntoIterator<Item = ControlRecord>, now_ms: i64) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None).control();
    for record in records {
        builder.append_control(now_ms, &record);
    }
    builder.build(0, LeaderEpoch(0))
}

/// A batch of metadata records, proposed as one entry: all of them are agreed on, or none.
pub fn metadata_batch(records: impl IntoIterator<Item = Bytes>, now_ms: i64) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    for record in records {
        builder.append(now_ms, None, Some(&record), &[]);
    }
    builder.build(0, LeaderEpoch(0))
}

/// `batch` at the place where it stands in the log. Neither field is covered by the checksum.
pub(super) fn at(batch: &[u8], base_offset: Offset, epoch: LeaderEpoch) -> Option<Bytes> {
    let mut header = BatchHeader::parse(batch).ok()?;
    header.base_offset = base_offset;
    header.partition_leader_epoch = epoch.0;
    let mut bytes = BytesMut::from(batch);
    bytes[..HEADER_BYTES].copy_from_slice(&header.to_bytes());
    Some(bytes.freeze())
}

/// How many offsets an entry takes. None: it holds no batch.
pub(super) fn record_count(data: &[u8]) -> Option<i64> {
    let header = BatchHeader::parse(data).ok()?;
    Some(i64::from(header.last_offset_delta) + 1)
}
