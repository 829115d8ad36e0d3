//! Batches of transactions before they are appended: their lanes are asked, and their coordinator if it has to be, here or
//! on another broker. What Kafka's `AddPartitionsToTxnManager` does.
//! It must never append, nor decide: `node::verification` does.

mod elsewhere;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ottla_log::disk::worker;
use ottla_model::TopicPartition;
use ottla_model::txn::Partitions;
use ottla_node::lane::Input;
use ottla_node::verification::{
    Question, Refused, Transaction, Verified, not_verified, refused, refused_to_add,
};
use ottla_protocol::ErrorCode;
use tokio::sync::oneshot;

pub(crate) use elsewhere::Joining;

use crate::broker::Broker;
use crate::run::owners::partition::Partition;

/// What is known of each batch, in the order of the batches.
type Outcomes = Vec<(TopicPartition, Verified)>;

/// Verifies one batch for each partition, given by its first sequence, or adds the partitions to the transaction.
pub(crate) async fn verify(
    broker: &Broker,
    transaction: &Transaction,
    batches: &[(Arc<Partition>, i32)],
) -> Outcomes {
    let mut verified = begin(transaction, batches).await;
    let verifies = broker.config().transaction_partition_verification_enable;
    let unverified = transaction.unverified(&verified, verifies);
    if !unverified.is_empty() {
        let refused = ask(broker, transaction, unverified).await;
        transaction.refuse(&mut verified, &refused);
    }
    verified
}

/// The same, and it is tried again for a while where the producer's last transaction is still ending.
pub(crate) async fn verify_patiently(
    broker: &Broker,
    transaction: &Transaction,
    batches: &[(Arc<Partition>, i32)],
) -> Outcomes {
    let (pause_max, patience) = {
        let config = broker.config();
        let patience = config.add_partitions_to_txn_retry_backoff_max_ms.min(config.request_timeout_ms);
        (ms(config.add_partitions_to_txn_retry_backoff_ms), ms(patience))
    };
    let (began, mut pause) = (Instant::now(), PAUSE_MIN);
    loop {
        let verified = verify(broker, transaction, batches).await;
        if !transaction.is_tried_again(&verified) || began.elapsed() >= patience {
            return verified;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(pause_max);
    }
}

// A guard for each partition where the transaction is not open.
async fn begin(transaction: &Transaction, batches: &[(Arc<Partition>, i32)]) -> Outcomes {
    // The task that runs this may be on another thread than before, which serves clients, too.
    worker::mark();
    let begun = batches.iter().map(|(partition, base_sequence)| {
        let (token, outcome) = oneshot::channel();
        let upcoming = transaction.upcoming(*base_sequence);
        partition.submit(Input::Verify { token, upcoming });
        (partition.id.clone(), outcome)
    });
    let mut verified = Vec::with_capacity(batches.len());
    for (partition, outcome) in begun.collect::<Vec<_>>() {
        verified.push((partition, outcome.await.unwrap_or(Err(ErrorCode::NotLeaderOrFollower))));
    }
    verified
}

// What the coordinator has against some of the partitions.
async fn ask(broker: &Broker, transaction: &Transaction, partitions: Partitions) -> Refused {
    match broker.transactions.coordinator_of(&transaction.id) {
        None => refused(&partitions, ErrorCode::CoordinatorNotAvailable),
        Some(here) if here == broker.me => ask_here(broker, transaction, partitions).await,
        Some(elsewhere) => {
            let unanswered = refused(&partitions, ErrorCode::NetworkException);
            let joining = Joining {
                id: transaction.id.clone(),
                producer: transaction.producer,
                partitions,
                adds: transaction.adds_by_writing(),
            };
            broker.joining.send(elsewhere, joining).await.unwrap_or(unanswered)
        }
    }
}

async fn ask_here(broker: &Broker, transaction: &Transaction, partitions: Partitions) -> Refused {
    match transaction.question(partitions.clone()) {
        Question::Add(add) => refused_to_add(&partitions, broker.transactions.ask(add).await),
        Question::Verify(verify) => not_verified(broker.transactions.ask(verify).await),
    }
}

fn ms(setting: i32) -> Duration {
    Duration::from_millis(setting.max(0).unsigned_abs().into())
}

/// The ends of most transactions are written within this.
const PAUSE_MIN: Duration = Duration::from_millis(1);
