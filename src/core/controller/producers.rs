//! Blocks of producer ids, one broker at a time (KIP-730), so that no id is ever handed out twice.

use ottla_model::record::{MetadataRecord, ProducerIdsRecord};
use ottla_protocol::ErrorCode;

use super::brokers::known;
use super::{AllocateProducerIds, Decision, ProducerIdBlock, Refusal, View};

/// Kafka's PRODUCER_ID_BLOCK_SIZE.
const BLOCK: i32 = 1_000;

pub(super) fn allocate(
    view: &View<'_>,
    allocate: &AllocateProducerIds,
) -> Decision<Result<ProducerIdBlock, Refusal>> {
    let AllocateProducerIds { broker: id, epoch } = *allocate;
    if let Err(refusal) = known(view.image, id, epoch) {
        return Decision::only(Err(refusal));
    }
    let first = view.image.next_producer_id();
    if first > i64::MAX - i64::from(BLOCK) {
        return Decision::only(Err(ErrorCode::UnknownServerError.into()));
    }
    let record = ProducerIdsRecord {
        broker_id: Some(id),
        broker_epoch: epoch,
        next_producer_id: first + i64::from(BLOCK),
    };
    let answer = Ok(ProducerIdBlock { first, len: BLOCK });
    Decision { records: vec![MetadataRecord::ProducerIds(record)], answer }
}
