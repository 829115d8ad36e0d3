//! EndTxn v0-5 (KIP-98, KIP-588 PRODUCER_FENCED from v2, KIP-890: TRANSACTION_ABORTABLE from v4, another epoch for each
//! transaction from v5).

use bytes::Bytes;
use ottla_core::coordinator::Producer;
use ottla_core::txn::EndTxn;
use ottla_model::txn::TransactionVersion;
use ottla_protocol::ErrorCode;
use ottla_protocol::api::{Operation, Resource};
use ottla_protocol::batch::control::TransactionResult;
use ottla_protocol::messages::{EndTxnRequest, EndTxnResponse};

use super::context::{Begun, Context};
use super::groups::shared;
use super::transactions::{producer, told};

/// From this version on a client bumps epochs, and is told the next one.
const EPOCH_BUMP_SINCE: i16 = 5;

pub(super) fn begin(context: &Context<'_>, body: Bytes) -> Begun {
    let Context { broker, version, .. } = *context;
    let request: EndTxnRequest = context.read(body)?;
    let permitted = context.check(Operation::Write, Resource::TransactionalId, &request.transactional_id);
    if let Err(code) = permitted {
        return Ok(context.now(response(Err(code), version)));
    }
    let answer = broker.transactions.ask(EndTxn {
        transactional_id: shared(&request.transactional_id.0),
        producer: producer(request.producer_id, request.producer_epoch),
        result: if request.committed { TransactionResult::Commit } else { TransactionResult::Abort },
        client_version: match version {
            EPOCH_BUMP_SINCE.. => TransactionVersion::EPOCH_BUMP,
            _ => TransactionVersion::ORIGINAL,
        },
    });
    Ok(context.later(async move { response(answer.await, version) }))
}

fn response(outcome: Result<Option<Producer>, ErrorCode>, version: i16) -> EndTxnResponse {
    let response = EndTxnResponse::default();
    match outcome {
        Err(code) => response.with_error_code(told(code, version).code()),
        Ok(Some(next)) if version >= EPOCH_BUMP_SINCE => {
            response.with_producer_id(next.id.0.into()).with_producer_epoch(next.epoch.0)
        }
        Ok(_) => response,
    }
}
