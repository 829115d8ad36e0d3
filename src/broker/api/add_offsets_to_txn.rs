//! AddOffsetsToTxn v0-4 (KIP-98, KIP-588 PRODUCER_FENCED from v2, KIP-890 TRANSACTION_ABORTABLE from v4). Adds the partition
//! of `__consumer_offsets` that has the group.

use bytes::Bytes;
use ottla_core::txn::AddPartitions;
use ottla_model::GROUP_METADATA_TOPIC;
use ottla_model::txn::{Partitions, TransactionVersion};
use ottla_node::coordinator::shard_of;
use ottla_protocol::api::{Operation, Resource};
use ottla_protocol::messages::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};

use super::context::{Begun, Context};
use super::groups::shared;
use super::transactions::{producer, told};

pub(super) fn begin(context: &Context<'_>, body: Bytes) -> Begun {
    let Context { broker, version, .. } = *context;
    let request: AddOffsetsToTxnRequest = context.read(body)?;
    let permitted = context
        .check(Operation::Write, Resource::TransactionalId, &request.transactional_id)
        .and_then(|()| context.check(Operation::Read, Resource::Group, &request.group_id));
    let response = AddOffsetsToTxnResponse::default();
    if let Err(code) = permitted {
        return Ok(context.now(response.with_error_code(code.code())));
    }
    let shard = broker.groups.shard_of(&request.group_id).unwrap_or_else(|| {
        let partitions = usize::try_from(broker.config().offsets_topic_num_partitions).unwrap_or(0);
        shard_of(&request.group_id, partitions)
    });
    let answer = broker.transactions.ask(AddPartitions {
        transactional_id: shared(&request.transactional_id.0),
        producer: producer(request.producer_id, request.producer_epoch),
        partitions: Partitions::from([(GROUP_METADATA_TOPIC.into(), [shard].into())]),
        // A client that bumps epochs adds the partition by committing to it.
        client_version: TransactionVersion::ORIGINAL,
    });
    Ok(context.later(async move { response.with_error_code(told(answer.await, version).code()) }))
}
