//! A Produce on its way into the logs. The batch of each partition is checked here, outside its lane, and the answers of
//! the lanes are collected.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use ottla_core::partition::Acks;
use ottla_log::check::{Origin, Rejected, Rules, check};
use ottla_log::log::{Appended, Refused};
use ottla_model::VerificationGuard;
use ottla_node::lane::{Answered, Append, Input};
use ottla_protocol::{ErrorCode, Offset};
use parking_lot::Mutex;
use tokio::time::{Sleep, sleep};

use crate::clock::now_ms;
use crate::run::owners::partition::Partition;
use crate::run::owners::waiter::Appender;

/// One partition's part of a Produce.
pub(crate) struct Share {
    pub partition: Result<Arc<Partition>, Rejected>,
    pub records: Option<Bytes>,
    /// For the first batch of a transaction: it was verified.
    pub guard: Option<VerificationGuard>,
}

/// The outcome for one partition.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub result: Result<Stored, Rejected>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    pub base_offset: Offset,
    pub log_append_time_ms: i64,
    pub log_start_offset: Offset,
}

/// How a Produce is to be processed.
pub(crate) struct ProduceOptions {
    pub acks: Acks,
    pub timeout_ms: i32,
    pub version: i16,
}

/// Collects the answers of all partitions.
struct Gathering {
    outcomes: Vec<Option<Outcome>>,
    missing: usize,
    waker: Option<Waker>,
}

/// The place for one partition's answer. If it is dropped without one, that counts as an answer, too, so that nothing
/// waits for ever.
pub(crate) struct Slot {
    gathering: Arc<Mutex<Gathering>>,
    index: usize,
    partition: Arc<Partition>,
    filled: bool,
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Slot({})", self.index)
    }
}

impl Slot {
    pub fn fill(mut self, outcome: Result<Appended, Refused>) {
        let result = match outcome {
            Ok(appended) => Ok(Stored {
                base_offset: appended.base_offset,
                log_append_time_ms: appended.log_append_time_ms,
                log_start_offset: self.partition.place().reader.offsets().log_start,
            }),
            Err(refused) => Err(reject(refused.code)),
        };
        self.put(result);
    }

    /// The partition is not on this broker any more.
    pub fn refuse(mut self) {
        self.put(Err(reject(ErrorCode::NotLeaderOrFollower)));
    }

    fn put(&mut self, result: Result<Stored, Rejected>) {
        self.filled = true;
        fill(&self.gathering, self.index, result);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !self.filled {
            fill(&self.gathering, self.index, Err(reject(ErrorCode::KafkaStorageError)));
        }
    }
}

fn fill(gathering: &Mutex<Gathering>, index: usize, result: Result<Stored, Rejected>) {
    let mut gathering = gathering.lock();
    gathering.outcomes[index] = Some(Outcome { result });
    gathering.missing -= 1;
    if gathering.missing == 0
        && let Some(waker) = gathering.waker.take()
    {
        waker.wake();
    }
}

/// As in Kafka, only errors of the records themselves, and of their transaction, have a message.
pub(crate) fn reject(code: ErrorCode) -> Rejected {
    Rejected { code, message: String::new(), record_errors: Vec::new() }
}

/// A Produce in progress. Its outcomes are in the order of its shares.
pub(crate) struct Producing {
    gathering: Arc<Mutex<Gathering>>,
    /// Those that may wait for other replicas, and for how long; lanes look at the time only when something happens.
    waits_for: Vec<Arc<Partition>>,
    timeout_ms: i32,
    timeout: Option<Pin<Box<Sleep>>>,
}

impl Producing {
    /// The outcomes, if every lane has answered already.
    pub fn now(&self) -> Option<Vec<Outcome>> {
        let mut gathering = self.gathering.lock();
        (gathering.missing == 0).then(|| take(&mut gathering))
    }
}

impl Future for Producing {
    type Output = Vec<Outcome>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Vec<Outcome>> {
        {
            let mut gathering = self.gathering.lock();
            if gathering.missing == 0 {
                return Poll::Ready(take(&mut gathering));
            }
            gathering.waker = Some(context.waker().clone());
        }
        if !self.waits_for.is_empty() {
            let for_ms = self.timeout_ms.max(0) as u64;
            let timeout = self.timeout.get_or_insert_with(|| Box::pin(sleep(Duration::from_millis(for_ms))));
            if timeout.as_mut().poll(context).is_ready() {
                // Nobody holds the lock here: a lane may answer at once.
                for partition in std::mem::take(&mut self.waits_for) {
                    partition.submit(Input::Expire);
                }
            }
        }
        Poll::Pending
    }
}

fn take(gathering: &mut Gathering) -> Vec<Outcome> {
    let outcomes = std::mem::take(&mut gathering.outcomes);
    outcomes
        .into_iter()
        .map(|o| o.unwrap_or(Outcome { result: Err(reject(ErrorCode::UnknownServerError)) }))
        .collect()
}

/// Checks every share and passes it to its lane.
pub(crate) fn produce(shares: Vec<Share>, options: &ProduceOptions) -> Producing {
    let now = now_ms();
    let outcomes = shares.iter().map(|_| None).collect();
    let gathering = Arc::new(Mutex::new(Gathering { outcomes, missing: shares.len(), waker: None }));
    let of = |share: &Share| share.partition.as_ref().ok().cloned();
    let waits_for = match options.acks {
        Acks::All => shares.iter().filter_map(of).collect(),
        Acks::None | Acks::Leader => Vec::new(),
    };
    for (index, share) in shares.into_iter().enumerate() {
        if let Err(rejected) = submit(share, options, now, index, &gathering) {
            fill(&gathering, index, Err(rejected));
        }
    }
    Producing { gathering, waits_for, timeout_ms: options.timeout_ms, timeout: None }
}

fn submit(
    share: Share,
    options: &ProduceOptions,
    now: i64,
    index: usize,
    gathering: &Arc<Mutex<Gathering>>,
) -> Result<(), Rejected> {
    let partition = share.partition?;
    let records = share.records.ok_or_else(|| reject(ErrorCode::InvalidRecord))?;
    let config = partition.config.load_full();
    let rules = Rules {
        partition: &partition.id,
        topic: &config,
        origin: Origin::Client,
        now_ms: now,
        produce_version: options.version,
    };
    let mut batches = check(records, &rules)?;
    let mut batch = batches.pop().ok_or_else(|| reject(ErrorCode::InvalidRecord))?;
    batch.guard = share.guard;
    let slot = Slot { gathering: gathering.clone(), index, partition: partition.clone(), filled: false };
    let token = Appender::Producer(slot);
    let deadline_ms = now + i64::from(options.timeout_ms.max(0));
    partition.submit(Input::Append(Append {
        token,
        batch,
        acks: options.acks,
        answered: Answered::WhenSafe,
        checked_against: config,
        deadline_ms,
    }));
    Ok(())
}
