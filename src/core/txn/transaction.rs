//! A transactional id, and how each step of its life changes what the log says of it. It must never know whether a step is
//! allowed, or who asked for it.

use ottla_model::txn::{Layout, Partitions, TransactionMetadata, TransactionState, TransactionVersion};
use ottla_protocol::batch::control::TransactionResult;
use ottla_protocol::{ProducerEpoch, ProducerId};

use crate::coordinator::Producer;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transaction {
    pub metadata: TransactionMetadata,
    /// The epoch that the same producer had before, in case that it never heard of its new one and asks again with the old
    /// (KIP-360). NONE if another producer had it. The log does not have it.
    pub last_epoch: ProducerEpoch,
}

/// Who changes a transaction, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pub now_ms: i64,
    /// How the record of the change is laid out.
    pub layout: Layout,
}

impl Transaction {
    /// A producer of a transactional id that nothing is known of.
    pub fn new(change: Change, producer_id: ProducerId, timeout_ms: i32) -> Transaction {
        let metadata = TransactionMetadata {
            layout: change.layout,
            producer_id,
            previous_producer_id: producer_id,
            next_producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch(0),
            timeout_ms,
            state: TransactionState::Empty,
            partitions: Partitions::new(),
            last_update_ms: change.now_ms,
            start_ms: None,
            client_version: TransactionVersion::ORIGINAL,
        };
        Transaction { metadata, last_epoch: ProducerEpoch::NONE }
    }

    pub fn loaded(metadata: &TransactionMetadata) -> Transaction {
        Transaction { metadata: metadata.clone(), last_epoch: ProducerEpoch::NONE }
    }

    /// A producer starts, or starts again, as this one.
    pub fn initialized(
        &self,
        change: Change,
        timeout_ms: i32,
        producer: Producer,
        last_epoch: ProducerEpoch,
    ) -> Transaction {
        let mut next = self.changed(change, TransactionState::Empty);
        next.metadata.producer_id = producer.id;
        next.metadata.producer_epoch = producer.epoch;
        next.metadata.timeout_ms = timeout_ms;
        next.metadata.partitions = Partitions::new();
        next.metadata.start_ms = None;
        next.last_epoch = last_epoch;
        next
    }

    /// A transaction begins with these partitions, or goes on with them.
    pub fn with_partitions(
        &self,
        change: Change,
        added: &Partitions,
        client_version: TransactionVersion,
    ) -> Transaction {
        let mut next = self.changed(change, TransactionState::Ongoing);
        if self.metadata.state != TransactionState::Ongoing {
            next.metadata.start_ms = Some(change.now_ms);
        }
        for (topic, partitions) in added {
            next.metadata.partitions.entry(topic.clone()).or_default().extend(partitions);
        }
        next.metadata.client_version = client_version;
        next
    }

    /// It is decided how the transaction ends. The epoch stays as it is.
    pub fn prepared(&self, change: Change, result: TransactionResult) -> Transaction {
        let state = match result {
            TransactionResult::Commit => TransactionState::PrepareCommit,
            TransactionResult::Abort => TransactionState::PrepareAbort,
        };
        let mut next = self.changed(change, state);
        next.metadata.next_producer_id = ProducerId::NONE;
        next.metadata.client_version = TransactionVersion::ORIGINAL;
        next
    }

    /// The same with the next epoch, so that nothing that is under way of this transaction gets into the next (KIP-890).
    /// `next_producer_id` is what the producer goes on with if this was its id's last epoch, else NONE.
    pub fn prepared_with_next_epoch(
        &self,
        change: Change,
        result: TransactionResult,
        next_producer_id: ProducerId,
        client_version: TransactionVersion,
    ) -> Transaction {
        let mut next = self.prepared(change, result);
        next.metadata.producer_epoch = self.next_epoch();
        next.metadata.next_producer_id = next_producer_id;
        next.metadata.client_version = client_version;
        // One that aborts without having begun a transaction begins it here.
        if self.metadata.state != TransactionState::Ongoing {
            next.metadata.start_ms = Some(change.now_ms);
        }
        next.last_epoch = self.metadata.producer_epoch;
        next
    }

    /// Aborted by the coordinator, with an epoch that fences the producer.
    pub fn fenced(&self, change: Change) -> Transaction {
        let mut next = self.prepared(change, TransactionResult::Abort);
        next.metadata.producer_epoch = self.next_epoch();
        next.last_epoch = ProducerEpoch::NONE;
        next
    }

    /// All partitions know how the prepared transaction has ended.
    pub fn completed(&self, change: Change) -> Transaction {
        let state = match self.metadata.state {
            TransactionState::PrepareCommit => TransactionState::CompleteCommit,
            TransactionState::PrepareAbort => TransactionState::CompleteAbort,
            other => unreachable!("a transaction that is {other} is not prepared"),
        };
        let mut next = self.changed(change, state);
        let producer = self.producer_after_completion();
        next.metadata.producer_id = producer.id;
        next.metadata.producer_epoch = producer.epoch;
        next.metadata.next_producer_id = ProducerId::NONE;
        next.metadata.partitions = Partitions::new();
        next
    }

    /// Who the producer of a prepared transaction is when that is complete.
    pub fn producer_after_completion(&self) -> Producer {
        let metadata = &self.metadata;
        if metadata.client_version.bumps_epoch() && metadata.next_producer_id.is_some() {
            return Producer { id: metadata.next_producer_id, epoch: ProducerEpoch(0) };
        }
        self.producer()
    }

    pub fn producer(&self) -> Producer {
        Producer { id: self.metadata.producer_id, epoch: self.metadata.producer_epoch }
    }

    pub fn state(&self) -> TransactionState {
        self.metadata.state
    }

    /// The highest epoch of all is never given to a producer: it remains for fencing the last one.
    pub fn next_epoch(&self) -> ProducerEpoch {
        ProducerEpoch(self.metadata.producer_epoch.0.saturating_add(1))
    }

    pub fn has_partitions(&self, asked: &Partitions) -> bool {
        asked.iter().all(|(topic, partitions)| {
            self.metadata.partitions.get(topic).is_some_and(|known| known.is_superset(partitions))
        })
    }

    /// Whether the transaction has been open for longer than its producer allowed.
    pub fn is_overdue(&self, now_ms: i64) -> bool {
        let deadline_ms =
            self.metadata.start_ms.unwrap_or(-1).saturating_add(i64::from(self.metadata.timeout_ms));
        self.metadata.state == TransactionState::Ongoing
            && self.metadata.timeout_ms != TIMEOUT_NEVER_MS
            && deadline_ms < now_ms
    }

    fn changed(&self, change: Change, state: TransactionState) -> Transaction {
        let mut next = self.clone();
        next.metadata.layout = change.layout;
        next.metadata.state = state;
        next.metadata.previous_producer_id = self.metadata.producer_id;
        next.metadata.last_update_ms = change.now_ms;
        next
    }
}

/// Whether an epoch is the last one that a producer may have under its id.
pub(super) fn is_exhausted(epoch: ProducerEpoch) -> bool {
    epoch >= EPOCH_LAST
}

/// The last epoch that a producer may have under its id.
pub(super) const EPOCH_LAST: ProducerEpoch = ProducerEpoch(i16::MAX - 1);

/// The timeout of a transaction with two-phase commit (KIP-939).
pub(super) const TIMEOUT_NEVER_MS: i32 = i32::MAX;
