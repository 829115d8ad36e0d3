//! Which partitions a transaction has: AddPartitionsToTxn, AddOffsetsToTxn, and the verification by a partition's leader
//! (KIP-890). It must never know which partitions exist.

use ottla_model::txn::TransactionState;
use ottla_protocol::ErrorCode;

use super::command::{AddPartitions, VerifyPartitions};
use super::reply::Reply;
use super::situation::{Decision, Situation};
use super::transaction::Transaction;
use crate::coordinator::Producer;

pub(super) fn add(situation: &Situation<'_>, add: &AddPartitions) -> Decision {
    let told = |error| Decision::Reply(Reply::PartitionsAdded(error));
    if add.transactional_id.is_empty() {
        return told(ErrorCode::InvalidRequest);
    }
    // Comes first: the producer may already be the one that it is going to be.
    if situation.has_pending_transition() {
        return told(ErrorCode::ConcurrentTransactions);
    }
    let current = match check_producer(situation, add.producer) {
        Ok(current) => current,
        Err(error) => return told(error),
    };
    if current.state() == TransactionState::Ongoing && current.has_partitions(&add.partitions) {
        return told(ErrorCode::None);
    }
    Decision::Write {
        next: current.with_partitions(situation.change(), &add.partitions, add.client_version),
        reply: Reply::PartitionsAdded(ErrorCode::None),
    }
}

/// A partition that is not in the transaction has TRANSACTION_ABORTABLE: its producer cannot commit, and need not be
/// closed.
pub(super) fn verify(situation: &Situation<'_>, verify: &VerifyPartitions) -> Reply {
    let outcome = if verify.transactional_id.is_empty() {
        Err(ErrorCode::InvalidRequest)
    } else {
        check_producer(situation, verify.producer)
    };
    let current = match outcome {
        Ok(current) if current.state().is_prepared() => Err(ErrorCode::ConcurrentTransactions),
        other => other,
    };
    Reply::all_verified(&verify.partitions, |topic, partition| match current {
        Err(error) => error,
        Ok(current) => {
            let known = current.metadata.partitions.get(topic);
            match known.is_some_and(|partitions| partitions.contains(&partition)) {
                true => ErrorCode::None,
                false => ErrorCode::TransactionAbortable,
            }
        }
    })
}

fn check_producer<'a>(situation: &Situation<'a>, producer: Producer) -> Result<&'a Transaction, ErrorCode> {
    let current = situation.transaction.ok_or(ErrorCode::InvalidProducerIdMapping)?;
    if current.metadata.producer_id != producer.id {
        return Err(ErrorCode::InvalidProducerIdMapping);
    }
    if current.metadata.producer_epoch != producer.epoch {
        return Err(ErrorCode::ProducerFenced);
    }
    Ok(current)
}
