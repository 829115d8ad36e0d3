//! DescribeTransactions v0 (KIP-664). There is no transaction coordinator yet, so no transactional id is known.

use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::api::ApiKey;
use ottla_protocol::messages::describe_transactions_response::TransactionState;
use ottla_protocol::messages::{DescribeTransactionsRequest, DescribeTransactionsResponse};
use ottla_protocol::{ErrorCode, codec};

use super::{Begun, now};
use crate::broker::Broker;

pub(super) fn begin(_broker: &Arc<Broker>, version: i16, body: Bytes) -> Begun {
    let request: DescribeTransactionsRequest =
        codec::decode(ApiKey::DescribeTransactions.code(), version, body)?;
    let unknown = |id| {
        let code = ErrorCode::TransactionalIdNotFound.code();
        TransactionState::default().with_error_code(code).with_transactional_id(id)
    };
    let states = request.transactional_ids.into_iter().map(unknown).collect();
    Ok(now(&DescribeTransactionsResponse::default().with_transaction_states(states), version))
}
