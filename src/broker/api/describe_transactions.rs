//! DescribeTransactions v0 (KIP-664). There is no transaction coordinator yet, so no transactional id is known.

use bytes::Bytes;
use ottla_protocol::ErrorCode;
use ottla_protocol::api::{Operation, Resource};
use ottla_protocol::messages::describe_transactions_response::TransactionState;
use ottla_protocol::messages::{DescribeTransactionsRequest, DescribeTransactionsResponse, TransactionalId};

use super::context::{Begun, Context};

pub(super) fn begin(context: &Context<'_>, body: Bytes) -> Begun {
    let request: DescribeTransactionsRequest = context.read(body)?;
    let unknown = |id: TransactionalId| {
        let permitted = context.check(Operation::Describe, Resource::TransactionalId, &id);
        let code = permitted.err().unwrap_or(ErrorCode::TransactionalIdNotFound);
        TransactionState::default().with_error_code(code.code()).with_transactional_id(id)
    };
    let states = request.transactional_ids.into_iter().map(unknown).collect();
    Ok(context.now(DescribeTransactionsResponse::default().with_transaction_states(states)))
}
