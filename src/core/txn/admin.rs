//! ListTransactions and DescribeTransactions: what an operator sees. It must never change anything.

use ottla_model::txn::{TransactionState, TransactionalId};
use ottla_protocol::ErrorCode;

use super::Transactions;
use super::command::ListTransactions;
use super::reply::{DescribedTransaction, ListedTransaction};
use super::transaction::Transaction;

impl<T> Transactions<T> {
    pub(super) fn list(&self, now_ms: i64, filters: &ListTransactions) -> Vec<ListedTransaction> {
        let listed =
            self.entries.iter().filter(|(id, entry)| passes(filters, now_ms, id, &entry.transaction));
        let transactions = listed.map(|(id, entry)| ListedTransaction {
            transactional_id: id.clone(),
            producer_id: entry.transaction.metadata.producer_id,
            state: entry.transaction.state(),
        });
        transactions.collect()
    }

    pub(super) fn describe(&self, id: &TransactionalId) -> Result<DescribedTransaction, ErrorCode> {
        if id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        let entry = self.entries.get(id).ok_or(ErrorCode::TransactionalIdNotFound)?;
        let metadata = &entry.transaction.metadata;
        let partitions = entry.ending.as_ref().map_or(&metadata.partitions, |ending| &ending.unmarked);
        Ok(DescribedTransaction {
            producer: entry.transaction.producer(),
            state: metadata.state,
            timeout_ms: metadata.timeout_ms,
            start_ms: metadata.start_ms,
            partitions: partitions.clone(),
        })
    }
}

impl ListTransactions {
    /// The filters that name no state.
    pub fn unknown_states(&self) -> impl Iterator<Item = &String> {
        let is_known = |name: &str| state_named(name).is_some() || NEVER_LISTED.contains(&name);
        self.states.iter().filter(move |name| !is_known(name))
    }
}

fn passes(filters: &ListTransactions, now_ms: i64, id: &TransactionalId, transaction: &Transaction) -> bool {
    let metadata = &transaction.metadata;
    // As in Kafka, one that has never begun has been open since just before 1970.
    let open_ms = now_ms - metadata.start_ms.unwrap_or(-1);
    (filters.producer_ids.is_empty() || filters.producer_ids.contains(&metadata.producer_id))
        && (filters.states.is_empty() || filters.states.iter().any(|name| name == metadata.state.name()))
        && filters.duration_ms.is_none_or(|longer_than_ms| open_ms > longer_than_ms)
        && filters.transactional_ids.as_ref().is_none_or(|pattern| pattern.0(id))
}

fn state_named(name: &str) -> Option<TransactionState> {
    TransactionState::ALL.into_iter().find(|state| state.name() == name)
}

/// States of Kafka's that no transactional id is ever seen in.
const NEVER_LISTED: [&str; 2] = ["Dead", "PrepareEpochFence"];
