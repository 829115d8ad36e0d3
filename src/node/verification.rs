//! Batches of transactions before they are appended: is the transaction open in the partition already, or does its
//! coordinator have to be asked, and what follows from its answer (KIP-890)? It must never ask, wait or append: its shell
//! does, which is the broker or the simulator.

use std::collections::BTreeMap;

use ottla_core::coordinator::Producer;
use ottla_core::txn::{AddPartitions, VerifyPartitions};
use ottla_log::check::Rejected;
use ottla_model::txn::{Partitions, TransactionVersion, TransactionalId};
use ottla_model::{TopicName, TopicPartition, VerificationGuard};
use ottla_protocol::ErrorCode;

use crate::lane::Upcoming;

/// How a client takes part in transactions, which the versions of its requests tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// It adds partitions before it writes to them.
    Original,
    /// The same; it knows TRANSACTION_ABORTABLE.
    KnowsAbortable,
    /// A partition is added when it is written to.
    AddsByWriting,
}

/// The transaction of a request.
#[derive(Clone, Debug)]
pub struct Transaction {
    pub id: TransactionalId,
    pub producer: Producer,
    pub protocol: Protocol,
}

/// A batch may be appended, with this guard if there is one; or why it may not.
pub type Verified = Result<Option<VerificationGuard>, ErrorCode>;

/// Partitions that the coordinator has something against.
pub type Refused = BTreeMap<(TopicName, i32), ErrorCode>;

/// What the coordinator is asked.
#[derive(Clone, Debug)]
pub enum Question {
    /// To add the partitions.
    Add(AddPartitions),
    /// Whether the transaction has them.
    Verify(VerifyPartitions),
}

impl Protocol {
    pub fn of_produce(version: i16) -> Protocol {
        match version {
            12.. => Protocol::AddsByWriting,
            11 => Protocol::KnowsAbortable,
            _ => Protocol::Original,
        }
    }

    pub fn of_offset_commit(version: i16) -> Protocol {
        match version {
            5.. => Protocol::AddsByWriting,
            4 => Protocol::KnowsAbortable,
            _ => Protocol::Original,
        }
    }

    // What the coordinator says, as this client understands it. Producers expect INVALID_PRODUCER_EPOCH where others are
    // told PRODUCER_FENCED.
    fn told(self, code: ErrorCode) -> ErrorCode {
        match code {
            ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
            ErrorCode::TransactionAbortable if self == Protocol::Original => ErrorCode::InvalidTxnState,
            other => other,
        }
    }
}

impl Transaction {
    /// The batch as its lane has to know it.
    pub fn upcoming(&self, base_sequence: i32) -> Upcoming {
        let bumps_epoch = self.adds_by_writing();
        Upcoming { producer: self.producer, base_sequence, bumps_epoch }
    }

    pub fn adds_by_writing(&self) -> bool {
        self.protocol == Protocol::AddsByWriting
    }

    /// The partitions that the coordinator has to be asked about: those whose lanes gave out a guard. Empty: nobody is
    /// asked. `verifies` is `transaction.partition.verification.enable`.
    pub fn unverified(&self, verified: &[(TopicPartition, Verified)], verifies: bool) -> Partitions {
        let mut unverified = Partitions::new();
        if !self.adds_by_writing() && !verifies {
            return unverified;
        }
        for (partition, _) in verified.iter().filter(|(_, outcome)| matches!(outcome, Ok(Some(_)))) {
            unverified.entry(partition.topic.clone()).or_default().insert(partition.partition);
        }
        unverified
    }

    pub fn question(&self, partitions: Partitions) -> Question {
        let (transactional_id, producer) = (self.id.clone(), self.producer);
        match self.adds_by_writing() {
            true => Question::Add(AddPartitions {
                transactional_id,
                producer,
                partitions,
                client_version: TransactionVersion::EPOCH_BUMP,
            }),
            false => Question::Verify(VerifyPartitions { transactional_id, producer, partitions }),
        }
    }

    /// The coordinator has answered.
    pub fn refuse(&self, verified: &mut [(TopicPartition, Verified)], refused: &Refused) {
        for (partition, outcome) in verified.iter_mut().filter(|(_, outcome)| matches!(outcome, Ok(Some(_))))
        {
            if let Some(code) = refused.get(&(partition.topic.clone(), partition.partition)) {
                *outcome = Err(self.protocol.told(*code));
            }
        }
    }

    /// Whether a Produce is verified once more after a while. The last transaction of a client that adds partitions by
    /// writing may still be ending, and its producer waits longer before it repeats a Produce than that takes.
    pub fn is_tried_again(&self, verified: &[(TopicPartition, Verified)]) -> bool {
        let is_ending = |(_, outcome): &(_, Verified)| *outcome == Err(ErrorCode::ConcurrentTransactions);
        self.adds_by_writing() && verified.iter().any(is_ending)
    }
}

/// The answer to [`Question::Add`]: it is the same for all of the partitions.
pub fn refused_to_add(partitions: &Partitions, code: ErrorCode) -> Refused {
    match code {
        ErrorCode::None => Refused::new(),
        code => refused(partitions, code),
    }
}

/// The answer to [`Question::Verify`].
pub fn not_verified(verified: Vec<(TopicName, i32, ErrorCode)>) -> Refused {
    let refused = verified.into_iter().filter(|(.., code)| *code != ErrorCode::None);
    refused.map(|(topic, index, code)| ((topic, index), code)).collect()
}

/// All of the partitions, for the same reason.
pub fn refused(partitions: &Partitions, code: ErrorCode) -> Refused {
    let each =
        partitions.iter().flat_map(|(topic, indexes)| indexes.iter().map(move |index| (topic, *index)));
    each.map(|(topic, index)| ((topic.clone(), index), code)).collect()
}

/// Why a batch is refused, as its producer hears it. Older clients do not repeat a Produce after any retriable error:
/// NOT_ENOUGH_REPLICAS they do, without looking for another leader.
pub fn for_producers(code: ErrorCode, protocol: Protocol) -> Rejected {
    let rejected = |code, message: String| Rejected { code, message, record_errors: Vec::new() };
    let is_ending = code == ErrorCode::ConcurrentTransactions;
    match code {
        ErrorCode::InvalidTxnState => rejected(code, "Partition was not added to the transaction".into()),
        ErrorCode::NetworkException
        | ErrorCode::CoordinatorLoadInProgress
        | ErrorCode::CoordinatorNotAvailable
        | ErrorCode::NotCoordinator
        | ErrorCode::ConcurrentTransactions
            if !(is_ending && protocol == Protocol::AddsByWriting) =>
        {
            let why = code.name();
            let message = format!(
                "Unable to verify the partition has been added to the transaction. Underlying error: {why}"
            );
            rejected(ErrorCode::NotEnoughReplicas, message)
        }
        other => rejected(other, String::new()),
    }
}

/// The same for offsets. What a log says of its partition is said of the coordinator of the group.
pub fn for_committers(code: ErrorCode) -> ErrorCode {
    match code {
        ErrorCode::NetworkException => ErrorCode::CoordinatorLoadInProgress,
        ErrorCode::UnknownTopicOrPartition | ErrorCode::NotEnoughReplicas | ErrorCode::RequestTimedOut => {
            ErrorCode::CoordinatorNotAvailable
        }
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        other => other,
    }
}
