//! What is known when something is decided about one transactional id, and what a decision can be. It must never know
//! how that is carried out.

use ottla_model::txn::TransactionVersion;
use ottla_protocol::ProducerId;

use super::reply::Reply;
use super::settings::Settings;
use super::transaction::{Change, Transaction};

pub(super) struct Situation<'a> {
    pub now_ms: i64,
    pub settings: &'a Settings,
    /// The cluster's level of `transaction.version`.
    pub level: TransactionVersion,
    /// `None`: nothing is known of the transactional id.
    pub transaction: Option<&'a Transaction>,
    /// Whether another command about the transactional id waits for a producer id.
    pub is_waiting: bool,
    /// What an earlier [`Decision::AllocateProducerId`] has led to.
    pub fresh_id: Option<ProducerId>,
}

#[derive(Debug)]
pub(super) enum Decision {
    Reply(Reply),
    /// What the log is to say, and what is answered when it does.
    Write {
        next: Transaction,
        reply: Reply,
    },
    /// Nothing can be decided without a producer id that nobody has had.
    AllocateProducerId,
}

impl Situation<'_> {
    pub fn change(&self) -> Change {
        Change { now_ms: self.now_ms, layout: self.level.layout() }
    }

    /// Whether something that was decided before is still being carried out: a producer id is awaited, or the partitions
    /// of a transaction are being told how it ended. Kafka calls it a pending transition, and has clients try again.
    pub fn has_pending_transition(&self) -> bool {
        self.is_waiting || self.transaction.is_some_and(|transaction| transaction.state().is_prepared())
    }
}
