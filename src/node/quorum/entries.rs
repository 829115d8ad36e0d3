//! Between Raft entries and record batches: an entry's data is the batch as it was proposed, at offset 0; the empty
//! entry that begins a term is Kafka's leader-change control batch.

use bytes::{Bytes, BytesMut};
use ottla_model::NodeId;
use ottla_protocol::batch::control::{LeaderChangeMessage, Voter};
use ottla_protocol::batch::{BatchBuilder, BatchHeader, Compression};
use ottla_protocol::{LeaderEpoch, Offset};

/// The batch that begins a term.
pub(super) fn leader_change(leader: NodeId, voters: &[NodeId], now_ms: i64) -> Bytes {
    let voters: Vec<Voter> = voters.iter().map(|id| Voter::new(id.0)).collect();
    let message = LeaderChangeMessage::new(leader.0, voters.clone(), voters);
    BatchBuilder::control_record(now_ms, message.key(), message.value())
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
    let mut head = [0; ottla_protocol::batch::HEADER_BYTES];
    header.write(&mut head);
    bytes[..head.len()].copy_from_slice(&head);
    Some(bytes.freeze())
}
