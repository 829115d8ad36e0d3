//! TxnOffsetCommit v0-6 (KIP-98, KIP-447 members and generations from v3, KIP-890: TRANSACTION_ABORTABLE from v4, adds the
//! offsets to the transaction from v5; KIP-1319 topic ids from v6). Topics that do not exist are answered here, as in
//! OffsetCommit.

use std::sync::Arc;

use bytes::Bytes;
use ottla_core::coordinator::{InTransaction, Producer};
use ottla_core::group::CommitOffsets;
use ottla_node::verification::{Protocol, Transaction, for_committers};
use ottla_protocol::ErrorCode;
use ottla_protocol::api::{Operation, Resource};
use ottla_protocol::txn_offsets::{TOPIC_IDS_SINCE, TxnOffsetCommitRequest, TxnOffsetCommitResponse};

use super::context::{Begun, Context};
use super::groups::shared;
use super::offset_commit::{Known, command, resolve, response};
use crate::broker::Broker;
use crate::run::serve::verify::verify;

/// Offsets have no sequence.
const NO_SEQUENCE: i32 = -1;

pub(super) fn begin(context: &Context<'_>, body: Bytes) -> Begun {
    let Context { broker, version, .. } = *context;
    let request = TxnOffsetCommitRequest::read(version, &body)?;
    let permitted = context
        .check(Operation::Write, Resource::TransactionalId, &request.transactional_id)
        .and_then(|()| context.check(Operation::Read, Resource::Group, &request.commit.group_id));
    if let Err(code) = permitted {
        let refused = vec![Err(code); request.commit.topics.len()];
        return Ok(context.now(answer(&request, &refused, Vec::new())));
    }
    let topics = resolve(context, &request.commit, &broker.image.load(), version >= TOPIC_IDS_SINCE);
    let commit =
        CommitOffsets { knows_group_id_not_found: version >= 6, ..command(&request.commit, &topics) };
    if commit.topics.is_empty() {
        return Ok(context.now(answer(&request, &topics, Vec::new())));
    }
    let transaction = Transaction {
        id: shared(&request.transactional_id),
        producer: Producer { id: request.producer_id, epoch: request.producer_epoch },
        protocol: Protocol::of_offset_commit(version),
    };
    let broker = broker.clone();
    Ok(context.later(async move {
        let codes = commit_offsets(&broker, transaction, commit).await;
        let codes = codes.into_iter().map(|code| told(code, version)).collect();
        answer(&request, &topics, codes)
    }))
}

// An error for each offset, in the order of the command.
async fn commit_offsets(
    broker: &Arc<Broker>,
    transaction: Transaction,
    mut commit: CommitOffsets,
) -> Vec<ErrorCode> {
    let offsets = commit.topics.iter().map(|topic| topic.partitions.len()).sum();
    let verified = match broker.groups.partition_of(&commit.group) {
        _ if commit.group.is_empty() => Err(ErrorCode::InvalidGroupId),
        None => Err(ErrorCode::NotCoordinator),
        Some(partition) => {
            let verified = verify(broker, &transaction, &[(partition, NO_SEQUENCE)]).await;
            let only = verified.into_iter().next().map(|(_, outcome)| outcome);
            only.unwrap_or(Err(ErrorCode::UnknownServerError)).map_err(for_committers)
        }
    };
    match verified {
        Err(code) => vec![code; offsets],
        Ok(guard) => {
            commit.transaction = Some(InTransaction { producer: transaction.producer, guard });
            let committed = broker.groups.ask(commit).await;
            let each = committed.topics.into_iter().flat_map(|topic| topic.partitions);
            each.map(|(_, code)| code).collect()
        }
    }
}

// Older producers do not expect that a coordinator is loading (KAFKA-7296).
fn told(code: ErrorCode, version: i16) -> ErrorCode {
    match code {
        ErrorCode::CoordinatorLoadInProgress if version < 2 => ErrorCode::CoordinatorNotAvailable,
        other => other,
    }
}

fn answer(
    request: &TxnOffsetCommitRequest,
    topics: &[Known],
    codes: Vec<ErrorCode>,
) -> TxnOffsetCommitResponse {
    let topics = response(&request.commit, topics, &mut codes.into_iter());
    TxnOffsetCommitResponse { throttle_time_ms: 0, topics }
}
