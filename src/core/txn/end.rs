//! EndTxn: how a transaction ends, for clients of before KIP-890 and for those that bump epochs, and the abort that a
//! coordinator decides by itself. It must never know how partitions are told.

use ottla_model::txn::TransactionState;
use ottla_protocol::batch::control::TransactionResult;
use ottla_protocol::{ErrorCode, ProducerEpoch, ProducerId};

use super::command::EndTxn;
use super::reply::Reply;
use super::situation::{Decision, Situation};
use super::transaction::{EPOCH_LAST, Transaction, is_exhausted};

pub(super) fn decide(situation: &Situation<'_>, end: &EndTxn) -> Decision {
    if end.transactional_id.is_empty() {
        return refuse(ErrorCode::InvalidRequest);
    }
    let Some(current) = situation.transaction else {
        // A transactional id may wait for its first producer id.
        return refuse(ErrorCode::InvalidProducerIdMapping);
    };
    match end.client_version.bumps_epoch() {
        true => decide_with_epoch_bump(situation, current, end),
        false => decide_as_before(situation, current, end),
    }
}

/// Of a client that keeps its epoch. A producer's state says whether it asks again.
fn decide_as_before(situation: &Situation<'_>, current: &Transaction, end: &EndTxn) -> Decision {
    if current.metadata.producer_id != end.producer.id {
        return refuse(ErrorCode::InvalidProducerIdMapping);
    }
    // Comes before the state: who is fenced is to hear that, whatever its successor does (apache/kafka#20534).
    if current.metadata.producer_epoch != end.producer.epoch {
        return refuse(ErrorCode::ProducerFenced);
    }
    if situation.has_pending_transition() {
        return refuse(ErrorCode::ConcurrentTransactions);
    }
    match (current.state(), end.result) {
        (TransactionState::Ongoing, result) => Decision::Write {
            next: current.prepared(situation.change(), result),
            reply: Reply::TransactionEnds(Ok(None)),
        },
        (TransactionState::CompleteCommit, TransactionResult::Commit)
        | (TransactionState::CompleteAbort, TransactionResult::Abort) => {
            Decision::Reply(Reply::TransactionEnds(Ok(None)))
        }
        _ => refuse(ErrorCode::InvalidTxnState),
    }
}

/// Of a client that has another epoch for each transaction (KIP-890). If it asks with the epoch of before it asks again;
/// with the current one it means the next transaction, which may abort without having begun: the client does not know
/// whether any of its partitions was added.
fn decide_with_epoch_bump(situation: &Situation<'_>, current: &Transaction, end: &EndTxn) -> Decision {
    // Comes first: the producer may already be the one that it is going to be.
    if situation.has_pending_transition() {
        return refuse(ErrorCode::ConcurrentTransactions);
    }
    let asks = match who_asks(current, end) {
        Ok(asks) => asks,
        Err(error) => return refuse(error),
    };
    match (current.state(), end.result, asks) {
        (TransactionState::Ongoing, ..) | (_, TransactionResult::Abort, Asks::ForTheFirstTime) => {
            match end_with_next_epoch(situation, current, end) {
                Some(next) => {
                    let producer = next.producer_after_completion();
                    Decision::Write { next, reply: Reply::TransactionEnds(Ok(Some(producer))) }
                }
                None => Decision::AllocateProducerId,
            }
        }
        (TransactionState::CompleteCommit, TransactionResult::Commit, Asks::Again)
        | (TransactionState::CompleteAbort, TransactionResult::Abort, Asks::Again) => {
            Decision::Reply(Reply::TransactionEnds(Ok(Some(current.producer()))))
        }
        _ => refuse(ErrorCode::InvalidTxnState),
    }
}

enum Asks {
    ForTheFirstTime,
    /// For a transaction that is complete: the client has not heard of it.
    Again,
}

fn who_asks(current: &Transaction, end: &EndTxn) -> Result<Asks, ErrorCode> {
    let (metadata, asked) = (&current.metadata, end.producer);
    let is_complete =
        matches!(metadata.state, TransactionState::CompleteCommit | TransactionState::CompleteAbort);
    // The transaction took the last epoch of its id, and the producer has another id since.
    let asks_again_as_former_id = asked.id == metadata.previous_producer_id
        && asked.epoch == EPOCH_LAST
        && metadata.producer_epoch == ProducerEpoch(0);
    let asks_again = i32::from(metadata.producer_epoch.0) == i32::from(asked.epoch.0) + 1;
    // Stricter than Kafka: where the end has not bumped the epoch, InitProducerId has, and it was another process that was
    // given the present one. That one must not be shared with whom it has fenced.
    let end_has_bumped = metadata.client_version.bumps_epoch();
    if metadata.producer_id != asked.id && !asks_again_as_former_id {
        return Err(ErrorCode::InvalidProducerIdMapping);
    }
    if is_complete && end_has_bumped && (asks_again || asks_again_as_former_id) {
        return Ok(Asks::Again);
    }
    match metadata.producer_epoch == asked.epoch {
        true => Ok(Asks::ForTheFirstTime),
        false => Err(ErrorCode::ProducerFenced),
    }
}

/// `None`: the epochs of the producer's id are used up, and there is no fresh id for it yet.
fn end_with_next_epoch(
    situation: &Situation<'_>,
    current: &Transaction,
    end: &EndTxn,
) -> Option<Transaction> {
    let next_id = next_producer_id(situation, current)?;
    Some(current.prepared_with_next_epoch(situation.change(), end.result, next_id, end.client_version))
}

/// Aborts an open transaction that its producer does not end: another producer takes over, or it has been open for too
/// long. Its producer is fenced by the next epoch. How is up to the cluster's level, as it is no client that asks.
/// `None`: a fresh producer id is needed first.
pub(super) fn abort_and_fence(situation: &Situation<'_>, current: &Transaction) -> Option<Transaction> {
    if !situation.level.bumps_epoch() {
        return Some(current.fenced(situation.change()));
    }
    let next_id = next_producer_id(situation, current)?;
    let result = TransactionResult::Abort;
    Some(current.prepared_with_next_epoch(situation.change(), result, next_id, situation.level))
}

/// NONE if the producer goes on with the id that it has.
fn next_producer_id(situation: &Situation<'_>, current: &Transaction) -> Option<ProducerId> {
    match is_exhausted(current.metadata.producer_epoch) {
        true => situation.fresh_id,
        false => Some(ProducerId::NONE),
    }
}

fn refuse(error: ErrorCode) -> Decision {
    Decision::Reply(Reply::TransactionEnds(Err(error)))
}
