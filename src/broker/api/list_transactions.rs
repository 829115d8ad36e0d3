//! ListTransactions v0-2 (KIP-664, KIP-994 durations from v1, KIP-1152 patterns from v2). There is no transaction coordinator
//! yet, so there are no transactional ids; patterns are not looked at.

use bytes::Bytes;
use ottla_protocol::messages::{ListTransactionsRequest, ListTransactionsResponse};

use super::context::{Begun, Context};

/// Kafka's names of a transaction's states.
const STATES: [&str; 8] = [
    "Empty",
    "Ongoing",
    "PrepareCommit",
    "PrepareAbort",
    "CompleteCommit",
    "CompleteAbort",
    "Dead",
    "PrepareEpochFence",
];

pub(super) fn begin(context: &Context<'_>, body: Bytes) -> Begun {
    let request: ListTransactionsRequest = context.read(body)?;
    let unknown = request.state_filters.into_iter().filter(|state| !STATES.contains(&state.as_str()));
    let response = ListTransactionsResponse::default().with_unknown_state_filters(unknown.collect());
    Ok(context.now(response))
}
