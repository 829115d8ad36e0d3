//! What the transaction coordinator's APIs share.

use ottla_core::coordinator::Producer;
use ottla_core::txn::for_clients_before_producer_fenced;
use ottla_protocol::messages::ProducerId as WireId;
use ottla_protocol::{ErrorCode, ProducerEpoch, ProducerId};

/// The first version of AddPartitionsToTxn, AddOffsetsToTxn and EndTxn whose clients know PRODUCER_FENCED (KIP-588).
const PRODUCER_FENCED_SINCE: i16 = 2;

/// An error as a client of that version knows it.
pub(super) fn told(error: ErrorCode, version: i16) -> ErrorCode {
    if version < PRODUCER_FENCED_SINCE { for_clients_before_producer_fenced(error) } else { error }
}

pub(super) fn producer(id: WireId, epoch: i16) -> Producer {
    Producer { id: ProducerId(id.0), epoch: ProducerEpoch(epoch) }
}
