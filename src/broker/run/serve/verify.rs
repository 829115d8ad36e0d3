//! Batches of transactions before they are appended: is the transaction open in the partition already, or does its
//! coordinator have to be asked (KIP-890)? What Kafka's `AddPartitionsToTxnManager` does.
//! It must never append.

mod elsewhere;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ottla_core::coordinator::Producer;
use ottla_core::txn::{AddPartitions, VerifyPartitions};
use ottla_log::disk::worker;
use ottla_model::txn::{Partitions, TransactionVersion, TransactionalId};
use ottla_model::{TopicName, VerificationGuard};
use ottla_node::lane::{Input, Upcoming};
use ottla_protocol::ErrorCode;
use tokio::sync::oneshot;

pub(crate) use elsewhere::Joining;

use crate::broker::Broker;
use crate::run::owners::partition::Partition;

/// How a client takes part in transactions, which the versions of its requests tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// It adds partitions before it writes to them.
    Original,
    /// The same; it knows TRANSACTION_ABORTABLE.
    KnowsAbortable,
    /// A partition is added when it is written to.
    AddsByWriting,
}

/// The transaction of a request.
#[derive(Clone, Debug)]
pub(crate) struct Transaction {
    pub id: TransactionalId,
    pub producer: Producer,
    pub protocol: Protocol,
}

/// A batch may be appended, with this guard if there is one; or why it may not.
pub(crate) type Verified = Result<Option<VerificationGuard>, ErrorCode>;

/// Partitions that the coordinator has something against.
type Refused = BTreeMap<(TopicName, i32), ErrorCode>;

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

/// Verifies one batch for each partition, given by its first sequence, or adds the partitions to the transaction.
pub(crate) async fn verify(
    broker: &Broker,
    transaction: &Transaction,
    batches: &[(Arc<Partition>, i32)],
) -> Vec<Verified> {
    let mut verified = begin(transaction, batches).await;
    let mut unverified = Partitions::new();
    for ((partition, _), outcome) in batches.iter().zip(&verified) {
        if let Ok(Some(_)) = outcome {
            unverified.entry(partition.id.topic.clone()).or_default().insert(partition.id.partition);
        }
    }
    let adds = transaction.protocol == Protocol::AddsByWriting;
    let asks = adds || broker.config().transaction_partition_verification_enable;
    if unverified.is_empty() || !asks {
        return verified;
    }
    let refused = ask(broker, transaction, unverified).await;
    for ((partition, _), outcome) in batches.iter().zip(&mut verified) {
        if let Ok(Some(_)) = outcome
            && let Some(code) = refused.get(&(partition.id.topic.clone(), partition.id.partition))
        {
            *outcome = Err(transaction.protocol.told(*code));
        }
    }
    verified
}

/// The same for a client that adds partitions by writing. Its last transaction may still be ending, and its producer waits
/// longer before it repeats a Produce than that takes: so it is tried again here, for a while.
pub(crate) async fn verify_patiently(
    broker: &Broker,
    transaction: &Transaction,
    batches: &[(Arc<Partition>, i32)],
) -> Vec<Verified> {
    let (pause_max, patience) = {
        let config = broker.config();
        let patience = config.add_partitions_to_txn_retry_backoff_max_ms.min(config.request_timeout_ms);
        (ms(config.add_partitions_to_txn_retry_backoff_ms), ms(patience))
    };
    let (began, mut pause) = (Instant::now(), PAUSE_MIN);
    loop {
        let verified = verify(broker, transaction, batches).await;
        let is_ending = verified.contains(&Err(ErrorCode::ConcurrentTransactions));
        let again = is_ending && transaction.protocol == Protocol::AddsByWriting;
        if !again || began.elapsed() >= patience {
            return verified;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(pause_max);
    }
}

// A guard for each partition where the transaction is not open.
async fn begin(transaction: &Transaction, batches: &[(Arc<Partition>, i32)]) -> Vec<Verified> {
    // The task that runs this may be on another thread than before, which serves clients, too.
    worker::mark();
    let begun = batches.iter().map(|(partition, base_sequence)| {
        let (token, outcome) = oneshot::channel();
        let upcoming = Upcoming {
            producer: transaction.producer,
            base_sequence: *base_sequence,
            bumps_epoch: transaction.protocol == Protocol::AddsByWriting,
        };
        partition.submit(Input::Verify { token, upcoming });
        outcome
    });
    let mut verified = Vec::with_capacity(batches.len());
    for outcome in begun.collect::<Vec<_>>() {
        verified.push(outcome.await.unwrap_or(Err(ErrorCode::NotLeaderOrFollower)));
    }
    verified
}

// What the coordinator has against some of the partitions.
async fn ask(broker: &Broker, transaction: &Transaction, partitions: Partitions) -> Refused {
    match broker.transactions.coordinator_of(&transaction.id) {
        None => all(&partitions, ErrorCode::CoordinatorNotAvailable),
        Some(here) if here == broker.me => ask_here(broker, transaction, partitions).await,
        Some(elsewhere) => {
            let unanswered = all(&partitions, ErrorCode::NetworkException);
            let joining = Joining {
                id: transaction.id.clone(),
                producer: transaction.producer,
                partitions,
                adds: transaction.protocol == Protocol::AddsByWriting,
            };
            broker.joining.send(elsewhere, joining).await.unwrap_or(unanswered)
        }
    }
}

async fn ask_here(broker: &Broker, transaction: &Transaction, partitions: Partitions) -> Refused {
    let (transactional_id, producer) = (transaction.id.clone(), transaction.producer);
    if transaction.protocol == Protocol::AddsByWriting {
        let add = AddPartitions {
            transactional_id,
            producer,
            partitions: partitions.clone(),
            client_version: TransactionVersion::EPOCH_BUMP,
        };
        return match broker.transactions.ask(add).await {
            ErrorCode::None => BTreeMap::new(),
            code => all(&partitions, code),
        };
    }
    let verify = VerifyPartitions { transactional_id, producer, partitions };
    let verified = broker.transactions.ask(verify).await;
    let refused = verified.into_iter().filter(|(.., code)| *code != ErrorCode::None);
    refused.map(|(topic, index, code)| ((topic, index), code)).collect()
}

fn all(partitions: &Partitions, code: ErrorCode) -> Refused {
    let each =
        partitions.iter().flat_map(|(topic, indexes)| indexes.iter().map(move |index| (topic, *index)));
    each.map(|(topic, index)| ((topic.clone(), index), code)).collect()
}

fn ms(setting: i32) -> Duration {
    Duration::from_millis(setting.max(0).unsigned_abs().into())
}

/// The ends of most transactions are written within this.
const PAUSE_MIN: Duration = Duration::from_millis(1);
