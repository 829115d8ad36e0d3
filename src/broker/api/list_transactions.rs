//! ListTransactions v0-2 (KIP-664, KIP-994 durations from v1, KIP-1152 patterns from v2): what this broker coordinates.
//! Patterns have the syntax of Rust's regular expressions, which lacks Java's look-around and references.

use std::sync::Arc;

use bytes::Bytes;
use ottla_core::txn::{ListTransactions, NamePattern};
use ottla_protocol::api::{Operation, Resource};
use ottla_protocol::messages::list_transactions_response::TransactionState;
use ottla_protocol::messages::{ListTransactionsRequest, ListTransactionsResponse, TransactionalId};
use ottla_protocol::{ErrorCode, ProducerId};
use regex::Regex;

use super::answers::text;
use super::context::{Begun, Context};
use super::groups::text_of;

pub(super) fn begin(context: &Context<'_>, body: Bytes) -> Begun {
    let request: ListTransactionsRequest = context.read(body)?;
    let failed = |code: ErrorCode| ListTransactionsResponse::default().with_error_code(code.code());
    let filters = match filters(&request) {
        Ok(filters) => filters,
        Err(code) => return Ok(context.now(failed(code))),
    };
    let (broker, kept) = (context.broker.clone(), context.rights().keep());
    Ok(context.later(async move {
        let unknown = filters.unknown_states().map(|name| text(name)).collect();
        let mut response = ListTransactionsResponse::default().with_unknown_state_filters(unknown);
        for shard in broker.transactions.list(&filters).await {
            let listed = match shard {
                Ok(listed) => listed,
                Err(code) => return failed(code),
            };
            let shown = listed.into_iter().filter(|transaction| {
                let id = &transaction.transactional_id;
                kept.rights().may(Operation::Describe, Resource::TransactionalId, id)
            });
            response.transaction_states.extend(shown.map(|transaction| {
                TransactionState::default()
                    .with_transactional_id(TransactionalId(text_of(&transaction.transactional_id)))
                    .with_producer_id(transaction.producer_id.0.into())
                    .with_transaction_state(text(transaction.state.name()))
            }));
        }
        response
    }))
}

fn filters(request: &ListTransactionsRequest) -> Result<ListTransactions, ErrorCode> {
    let pattern = request.transactional_id_pattern.as_ref().filter(|pattern| !pattern.is_empty());
    Ok(ListTransactions {
        states: request.state_filters.iter().map(|state| state.to_string()).collect(),
        producer_ids: request.producer_id_filters.iter().map(|id| ProducerId(id.0)).collect(),
        duration_ms: Some(request.duration_filter).filter(|ms| *ms >= 0),
        transactional_ids: pattern.map(|pattern| compiled(pattern)).transpose()?,
    })
}

// A transactional id has to match as a whole.
fn compiled(pattern: &str) -> Result<NamePattern, ErrorCode> {
    // Compiled by itself first: an unbalanced bracket must not meet the ones that are put around it.
    let wrong = |_| ErrorCode::InvalidRegularExpression;
    Regex::new(pattern).map_err(wrong)?;
    let whole = Regex::new(&format!("^(?:{pattern})$")).map_err(wrong)?;
    Ok(NamePattern(Arc::new(move |id| whole.is_match(id))))
}
