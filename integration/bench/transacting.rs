//! A thin client with transactions: each producer is a thread with a connection to each leader and one to its coordinator, and
//! sends what a Java producer sends for `transaction.version` 2 (KIP-890): one Produce to each leader, then EndTxn. So the
//! client takes hardly any CPU time from the brokers.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use ottla_protocol::api::ApiKey;
use ottla_protocol::batch::{BatchHeader, HEADER_BYTES};
use ottla_protocol::header::read_response_header;
use ottla_protocol::messages::{
    EndTxnRequest, FindCoordinatorRequest, InitProducerIdRequest, ProducerId, TransactionalId,
};
use ottla_protocol::produce::{ProducePartition, ProduceRequest, ProduceResponse, ProduceTopic};
use ottla_protocol::{ErrorCode, StrBytes};

use crate::histogram::Histogram;
use crate::produce::{PRODUCE_VERSION, Shape, batch_of, frame_of};
use crate::section::Target;
use crate::setup::{Setup, Topic, accept, retry};

/// What transactions came to, as a client saw them.
#[derive(Debug)]
pub struct Transacted {
    pub count: u64,
    pub elapsed: Duration,
    /// The commit: p50 and p99 in milliseconds.
    pub commit: (f64, f64),
    /// From the first record to the answered commit.
    pub whole: (f64, f64),
    /// CPU seconds of the client.
    pub client_cpu: f64,
    /// How often a leader took no records yet, mostly because the transaction before was still ending.
    pub refused: u64,
}

/// How many producers there are at once, and how many transactions a second they begin together. `None`: each begins the next
/// one when one is committed.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    pub producers: usize,
    pub per_second: Option<f64>,
}

/// Producers write transactions for so long: as many records as `shape` says to each partition of `topic`.
pub fn run(
    target: &Target<'_>,
    topic: &Topic,
    shape: Shape,
    crowd: Crowd,
    time: Duration,
) -> Result<Transacted> {
    let leaders = target.setup()?.leaders(topic)?;
    let batch = batch_of(shape);
    let mut all = Vec::with_capacity(crowd.producers);
    for index in 0..crowd.producers {
        let id = format!("{}-{index}-{}", topic.name, std::process::id());
        all.push(Producer::start(target, id, topic, &leaders, batch.clone())?);
    }
    let before = cpu_time();
    let began = Instant::now();
    // They begin one after the other within the time of one transaction.
    let every = crowd.per_second.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(1.0 / rate));
    let start = |(index, producer): (usize, Producer)| {
        let times = Times { first: began + every * index as u32, every: every * crowd.producers as u32 };
        std::thread::spawn(move || producer.run(times, began + time))
    };
    let threads: Vec<_> = all.into_iter().enumerate().map(start).collect();
    let (mut commits, mut wholes) = (Histogram::default(), Histogram::default());
    let (mut count, mut refused) = (0, 0);
    for thread in threads {
        let seen = thread.join().map_err(|_| anyhow::anyhow!("a producer panicked"))??;
        for (commit, whole) in &seen.durations {
            commits.record(*commit);
            wholes.record(*whole);
        }
        count += seen.durations.len() as u64;
        refused += seen.refused;
    }
    let pair = |of: &Histogram| (of.quantile_ms(0.5), of.quantile_ms(0.99));
    Ok(Transacted {
        count,
        elapsed: began.elapsed(),
        commit: pair(&commits),
        whole: pair(&wholes),
        client_cpu: (cpu_time() - before).as_secs_f64(),
        refused,
    })
}

/// Commits and whole transactions of one producer.
#[derive(Default)]
struct Seen {
    durations: Vec<(Duration, Duration)>,
    refused: u64,
}

struct Producer {
    id: TransactionalId,
    now: (ProducerId, i16),
    topic: Topic,
    /// What every partition gets, but for the producer.
    batch: Bytes,
    coordinator: Setup,
    leaders: Vec<Leader>,
}

/// When a producer begins its transactions, at the earliest.
#[derive(Clone, Copy)]
struct Times {
    first: Instant,
    every: Duration,
}

struct Leader {
    connection: Setup,
    partitions: Vec<i32>,
}

impl Producer {
    fn start(
        target: &Target<'_>,
        id: String,
        topic: &Topic,
        addresses: &[String],
        batch: Bytes,
    ) -> Result<Producer> {
        let mut coordinator = find_coordinator(target, &id)?;
        let id = TransactionalId(StrBytes::from_string(id));
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(id.clone()))
            .with_transaction_timeout_ms(60_000)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        let now = retry(READY_WITHIN, || {
            let response = coordinator.call(&request, 5)?;
            accept(response.error_code)?;
            Ok((response.producer_id, response.producer_epoch))
        })
        .with_context(|| format!("{id:?} cannot start"))?;
        let mut leaders: Vec<(&String, Leader)> = Vec::new();
        for (index, address) in addresses.iter().enumerate() {
            match leaders.iter_mut().find(|(known, _)| *known == address) {
                Some((_, leader)) => leader.partitions.push(index as i32),
                None => {
                    let connection = Setup::connect(address, READY_WITHIN)?;
                    leaders.push((address, Leader { connection, partitions: vec![index as i32] }));
                }
            }
        }
        let leaders = leaders.into_iter().map(|(_, leader)| leader).collect();
        Ok(Producer { id, now, topic: topic.clone(), batch, coordinator, leaders })
    }

    fn run(mut self, times: Times, until: Instant) -> Result<Seen> {
        let mut seen = Seen::default();
        let mut next = times.first;
        while Instant::now() < until {
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            next += times.every;
            let began = Instant::now();
            seen.refused += self.produce()?;
            let written = Instant::now();
            self.commit()?;
            seen.durations.push((written.elapsed(), began.elapsed()));
        }
        Ok(seen)
    }

    /// Returns how often a leader took nothing yet.
    fn produce(&mut self) -> Result<u64> {
        let frames: Vec<Bytes> = self.leaders.iter().map(|leader| self.frame(&leader.partitions)).collect();
        for (leader, frame) in self.leaders.iter_mut().zip(&frames) {
            leader.connection.send(frame)?;
        }
        let mut refused = 0;
        for (leader, frame) in self.leaders.iter_mut().zip(&frames) {
            while !is_written(leader.connection.receive()?)? {
                refused += 1;
                std::thread::sleep(RETRY_BACKOFF);
                leader.connection.send(frame)?;
            }
        }
        Ok(refused)
    }

    fn commit(&mut self) -> Result<()> {
        let (id, epoch) = self.now;
        let request = EndTxnRequest::default()
            .with_transactional_id(self.id.clone())
            .with_producer_id(id)
            .with_producer_epoch(epoch)
            .with_committed(true);
        let response = self.coordinator.call(&request, 5)?;
        accept(response.error_code).context("EndTxn")?;
        self.now = (response.producer_id, response.producer_epoch);
        Ok(())
    }

    // Each transaction has an epoch of its own, so its sequences begin at 0.
    fn frame(&self, partitions: &[i32]) -> Bytes {
        let (id, epoch) = self.now;
        let mut header = BatchHeader::parse(&self.batch).expect("we have made it");
        let body = &self.batch[HEADER_BYTES..];
        header.attributes |= TRANSACTIONAL;
        (header.producer_id, header.producer_epoch, header.base_sequence) = (id.0, epoch, 0);
        header.crc = header.crc_with(body);
        let batch = Bytes::from([&header.to_bytes()[..], body].concat());
        let partition = |index: &i32| ProducePartition { index: *index, records: Some(batch.clone()) };
        let topic = ProduceTopic {
            topic: self.topic.id.clone(),
            partitions: partitions.iter().map(partition).collect(),
        };
        let transactional_id = Some(self.id.0.clone());
        let request = ProduceRequest { transactional_id, acks: -1, timeout_ms: 30_000, topics: vec![topic] };
        frame_of(ApiKey::Produce, PRODUCE_VERSION, 0, |buf| request.write(PRODUCE_VERSION, buf))
    }
}

/// A connection to the coordinator of a transactional id, as soon as there is one.
fn find_coordinator(target: &Target<'_>, id: &str) -> Result<Setup> {
    let mut setup = target.setup()?;
    let request = FindCoordinatorRequest::default()
        .with_key_type(OF_TRANSACTIONS)
        .with_coordinator_keys(vec![StrBytes::from_string(id.into())]);
    let address = retry(READY_WITHIN, || {
        let response = setup.call(&request, 4)?;
        let found = response.coordinators.first().context("the answer names no coordinator")?;
        accept(found.error_code)?;
        Ok(format!("{}:{}", &*found.host, found.port))
    })?;
    Setup::connect(&address, READY_WITHIN)
}

/// Whether all partitions have their batches. If not, all are sent again: a batch that is there already is known by its sequence.
fn is_written(mut answer: Bytes) -> Result<bool> {
    read_response_header(&mut answer, ApiKey::Produce.row(), PRODUCE_VERSION)?;
    let response = ProduceResponse::read(PRODUCE_VERSION, answer)?;
    let errors: Vec<ErrorCode> =
        response.topics.iter().flat_map(|topic| topic.partitions.iter().map(|one| one.error)).collect();
    ensure!(!errors.is_empty(), "the answer names no partition");
    let refused: Vec<ErrorCode> = errors.into_iter().filter(|error| *error != ErrorCode::None).collect();
    if refused.iter().all(|error| PASSING.contains(error)) {
        return Ok(refused.is_empty());
    }
    bail!("Produce is answered with {refused:?}")
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

const READY_WITHIN: Duration = Duration::from_secs(60);
/// `retry.backoff.ms` of a Java producer.
const RETRY_BACKOFF: Duration = Duration::from_millis(100);
/// The transaction before is still ending, or a topic is new.
const PASSING: [ErrorCode; 7] = [
    ErrorCode::ConcurrentTransactions,
    ErrorCode::NotLeaderOrFollower,
    ErrorCode::UnknownTopicId,
    ErrorCode::UnknownTopicOrPartition,
    ErrorCode::CoordinatorNotAvailable,
    ErrorCode::NotCoordinator,
    ErrorCode::NotEnoughReplicas,
];
const OF_TRANSACTIONS: i8 = 1;
/// In a batch's attributes.
const TRANSACTIONAL: i16 = 0x10;
