//! InitProducerId with a transactional id: a producer takes over from whoever had the id before, or goes on after an error.
//! It must never know where producer ids come from.

use ottla_model::txn::TransactionState;
use ottla_protocol::{ErrorCode, ProducerEpoch};

use super::command::InitProducerId;
use super::end;
use super::reply::Reply;
use super::settings::Settings;
use super::situation::{Decision, Situation};
use super::transaction::{TIMEOUT_NEVER_MS, Transaction, is_exhausted};
use crate::coordinator::Producer;

pub(super) fn decide(situation: &Situation<'_>, init: &InitProducerId) -> Decision {
    if let Err(error) = check_request(situation.settings, init) {
        return refuse(error);
    }
    if situation.has_pending_transition() {
        return refuse(ErrorCode::ConcurrentTransactions);
    }
    let Some(current) = situation.transaction else {
        return match situation.fresh_id {
            Some(id) => initialized(Transaction::new(situation.change(), id, timeout_ms(init))),
            None => Decision::AllocateProducerId,
        };
    };
    if !init.expected.is_none_or(|expected| may_be(current, expected)) {
        return refuse(ErrorCode::ProducerFenced);
    }
    if current.state() == TransactionState::Ongoing {
        // The producer is answered when it comes again, and gets another epoch then: this one only fences who had the
        // transaction.
        return match end::abort_and_fence(situation, current) {
            Some(next) => Decision::Write { next, reply: told(ErrorCode::ConcurrentTransactions) },
            None => Decision::AllocateProducerId,
        };
    }
    start_again(situation, init, current)
}

fn check_request(settings: &Settings, init: &InitProducerId) -> Result<(), ErrorCode> {
    if init.transactional_id.is_empty() {
        return Err(ErrorCode::InvalidRequest);
    }
    if init.enable_two_phase_commit && !settings.two_phase_commit {
        return Err(ErrorCode::TransactionalIdAuthorizationFailed);
    }
    if init.keep_prepared_transaction {
        return Err(ErrorCode::UnsupportedVersion);
    }
    let is_timeout_allowed = (1..=settings.timeout_max_ms).contains(&init.timeout_ms);
    if !init.enable_two_phase_commit && !is_timeout_allowed {
        return Err(ErrorCode::InvalidTransactionTimeout);
    }
    Ok(())
}

/// Whether a producer that takes itself for `expected` may be the current one. Its epoch is looked at later, unless it
/// was the last one of the id before: then the answer may be lost that gave it its new id (KIP-360).
fn may_be(current: &Transaction, expected: Producer) -> bool {
    expected.id == current.metadata.producer_id
        || (expected.id == current.metadata.previous_producer_id && is_exhausted(expected.epoch))
}

/// No transaction is open.
fn start_again(situation: &Situation<'_>, init: &InitProducerId, current: &Transaction) -> Decision {
    let next = |producer, last_epoch| {
        initialized(current.initialized(situation.change(), timeout_ms(init), producer, last_epoch))
    };
    let producer = current.producer();
    // A new producer takes over, and whoever was there before is not to come back.
    let last_epoch = match init.expected {
        None => ProducerEpoch::NONE,
        Some(expected) if expected.epoch == producer.epoch => producer.epoch,
        // It asks again, and gets the answer that it did not get. (Kafka has UNKNOWN_SERVER_ERROR for it if the epoch that
        // it was given is the last one.)
        Some(expected) if expected.epoch == current.last_epoch => return next(producer, current.last_epoch),
        Some(_) => return refuse(ErrorCode::ProducerFenced),
    };
    if !is_exhausted(producer.epoch) {
        return next(Producer { id: producer.id, epoch: current.next_epoch() }, last_epoch);
    }
    match situation.fresh_id {
        Some(id) => next(Producer { id, epoch: ProducerEpoch(0) }, last_epoch),
        None => Decision::AllocateProducerId,
    }
}

fn timeout_ms(init: &InitProducerId) -> i32 {
    if init.enable_two_phase_commit { TIMEOUT_NEVER_MS } else { init.timeout_ms }
}

fn initialized(next: Transaction) -> Decision {
    let reply = Reply::ProducerInitialized(Ok(next.producer()));
    Decision::Write { next, reply }
}

fn refuse(error: ErrorCode) -> Decision {
    Decision::Reply(told(error))
}

fn told(error: ErrorCode) -> Reply {
    Reply::ProducerInitialized(Err(error))
}
