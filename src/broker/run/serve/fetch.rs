//! A Fetch: which partitions it is for, what can be read, and waiting until there is enough. It must never know a
//! version. What is in memory is read at once; what is only on disk is read by threads that may wait.

use std::sync::Arc;
use std::time::Duration;

use ottla_core::partition::fence;
use ottla_core::session::{Context, FetchKey, FetchTopic, PartitionAnswer, Position, SessionRequest};
use ottla_log::FileRange;
use ottla_log::disk::worker;
use ottla_log::log::{Isolation, Offsets, ReadError};
use ottla_model::TopicName;
use ottla_model::image::Image;
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset, ProducerId};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tracing::error;

use crate::broker::Broker;
use crate::clock::now_ms;
use crate::net::warming::Cold as SentNext;
use crate::run::owners::partition::Partition;

/// A Fetch request of any version.
#[derive(Debug)]
pub(crate) struct FetchCommand {
    pub session: SessionRequest,
    pub by_id: bool,
    pub named: Vec<(FetchKey, Position)>,
    pub forgotten: Vec<FetchKey>,
    pub isolation: Isolation,
    pub max_wait: Duration,
    pub min_bytes: u64,
    pub max_bytes: usize,
}

/// The answer of one partition.
#[derive(Debug)]
pub(crate) struct PartitionRead {
    pub key: FetchKey,
    pub error: ErrorCode,
    pub offsets: Offsets,
    pub records: Option<FileRange>,
    /// Only for read_committed consumers.
    pub aborted: Option<Vec<(ProducerId, Offset)>>,
    /// The current leader, sent with errors that make a client ask another broker.
    pub current_epoch: LeaderEpoch,
}

/// The answer of all partitions.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub error: ErrorCode,
    pub session_id: i32,
    pub found: Vec<PartitionRead>,
}

impl Fetched {
    fn refused(error: ErrorCode, session_id: i32) -> Fetched {
        Fetched { error, session_id, found: Vec::new() }
    }
}

const NO_OFFSETS: Offsets = Offsets { log_start: -1, last_stable: -1, high_watermark: -1, log_end: -1 };

/// A Fetch after the first look: answered, or waiting.
pub(crate) enum Fetching {
    Done(Fetched),
    Waiting(Wait),
}

/// A Fetch that has found too little, or needs the disk.
pub(crate) struct Wait {
    broker: Arc<Broker>,
    request: Arc<Request>,
    until: Instant,
}

struct Request {
    command: FetchCommand,
    context: Context,
    targets: Vec<Target>,
    /// Topics that the client may not read.
    refused: Vec<(FetchTopic, ErrorCode)>,
}

/// A partition to read. It is looked up anew each time, because it may have been removed or added.
struct Target {
    key: FetchKey,
    position: Position,
}

/// The index or batches that say where the records are have to be read from disk first.
struct Cold;

/// Begins a Fetch. `check` says whether the client may read a topic.
pub(crate) fn fetch(
    broker: &Arc<Broker>,
    mut command: FetchCommand,
    check: impl Fn(&FetchTopic) -> Result<(), ErrorCode>,
) -> Fetching {
    let named = std::mem::take(&mut command.named);
    let forgotten = std::mem::take(&mut command.forgotten);
    let context = {
        let mut sessions = broker.sessions.lock();
        // Only an incremental request changes a session; for other requests, the list is not needed again.
        let update = if command.session.epoch > 0 { named.clone() } else { Vec::new() };
        sessions.begin(command.session, command.by_id, update, forgotten, now_ms())
    };
    let targets = match &context {
        Context::Refused(code) => return Fetching::Done(Fetched::refused(*code, 0)),
        Context::Incremental { id } => broker.sessions.lock().partitions(*id),
        // The last partition was just removed from the session, so there is nothing to read.
        Context::Sessionless if command.session.epoch > 0 => Vec::new(),
        Context::Sessionless | Context::Full => named,
    };
    let targets: Vec<_> = targets.into_iter().map(|(key, position)| Target { key, position }).collect();
    let refused = refused(&targets, check);
    let request = Request { command, context, targets, refused };
    if let Ok(found) = worker::cached_only(|| request.read(broker))
        && request.is_enough(&found)
    {
        return Fetching::Done(request.finish(broker, found));
    }
    let until = Instant::now() + request.command.max_wait;
    Fetching::Waiting(Wait { broker: broker.clone(), request: Arc::new(request), until })
}

// Checks each topic only once: its partitions come one after the other.
fn refused(
    targets: &[Target],
    check: impl Fn(&FetchTopic) -> Result<(), ErrorCode>,
) -> Vec<(FetchTopic, ErrorCode)> {
    let mut refused = Vec::new();
    let mut last = None;
    for topic in targets.iter().map(|target| &target.key.topic) {
        if last != Some(topic)
            && let Err(code) = check(topic)
        {
            refused.push((topic.clone(), code));
        }
        last = Some(topic);
    }
    refused
}

impl Wait {
    /// Waits until there is enough, or the time is up. Then the answer is whatever there is.
    pub async fn answer(self) -> Fetched {
        let Wait { broker, request, until } = self;
        let woken = Arc::new(Notify::new());
        loop {
            let partitions = request.partitions(&broker);
            let registered: Vec<_> = partitions.iter().map(|p| p.wait(&woken)).collect();
            // Nothing wakes this task for a change between the last look and the registration, so look again.
            let found = look(&broker, &request).await;
            if request.is_enough(&found) {
                return request.finish(&broker, found);
            }
            let in_time = tokio::time::timeout_at(until, woken.notified()).await.is_ok();
            drop(registered);
            if !in_time {
                let found = look(&broker, &request).await;
                return request.finish(&broker, found);
            }
        }
    }
}

// Reads here if everything is in memory, and otherwise on a thread that may wait, which also reads the records that are
// sent first.
async fn look(broker: &Arc<Broker>, request: &Arc<Request>) -> Vec<PartitionRead> {
    if let Ok(found) = worker::cached_only(|| request.read(broker)) {
        return found;
    }
    let (tell, told) = oneshot::channel();
    let (reader, asked) = (broker.clone(), request.clone());
    broker.readers.run(move || {
        // If the connection has ended, nobody needs the answer.
        if !tell.is_closed() {
            let found = asked.read_waiting(&reader);
            let sent_next = SentNext::first_of(found.iter().filter_map(|found| found.records.as_ref()));
            sent_next.read();
            if tell.send(found).is_ok() {
                sent_next.read_ahead();
            }
        }
    });
    // No answer means that the job has panicked. If the same happens here, the panic is at least reported.
    told.await.unwrap_or_else(|_| request.read_waiting(broker))
}

impl Request {
    fn partitions(&self, broker: &Broker) -> Vec<Arc<Partition>> {
        let image = broker.image.load();
        self.targets.iter().filter_map(|target| self.resolve(broker, &image, &target.key).ok()).collect()
    }

    // The partition that a key means now.
    fn resolve(&self, broker: &Broker, image: &Image, key: &FetchKey) -> Result<Arc<Partition>, ErrorCode> {
        if let Some((_, code)) = self.refused.iter().find(|(topic, _)| *topic == key.topic) {
            return Err(*code);
        }
        let id = match &key.topic {
            FetchTopic::Id(id) => match broker.partitions.get(*id, key.partition) {
                Some(found) if !found.has_resigned() => return Ok(found),
                None if image.topic_by_id(*id).is_none() => return Err(ErrorCode::UnknownTopicId),
                _ => *id,
            },
            FetchTopic::Name(name) => topic_id(image, name)?,
        };
        broker.partitions.led(image, id, key.partition)
    }

    // Whether to answer at once: something went wrong, nothing is asked for, or there is as much as was asked for.
    fn is_enough(&self, found: &[PartitionRead]) -> bool {
        let bytes: usize = found.iter().map(|f| f.records.as_ref().map_or(0, |r| r.len)).sum();
        self.command.max_wait.is_zero()
            || found.is_empty()
            || bytes as u64 >= self.command.min_bytes
            || found.iter().any(|f| f.error != ErrorCode::None)
    }

    // Only on a thread that may wait for the disk.
    fn read_waiting(&self, broker: &Broker) -> Vec<PartitionRead> {
        let none = |target| failed(target, ErrorCode::KafkaStorageError, LeaderEpoch::NONE);
        self.read(broker).unwrap_or_else(|Cold| self.targets.iter().map(none).collect())
    }

    fn read(&self, broker: &Broker) -> Result<Vec<PartitionRead>, Cold> {
        let image = broker.image.load();
        let mut left = self.command.max_bytes;
        // The first batch of the first partition with any records is returned whatever its size, or a client could never
        // go on.
        let mut nothing_yet = true;
        let mut found = Vec::with_capacity(self.targets.len());
        for target in &self.targets {
            let one = match self.resolve(broker, &image, &target.key) {
                Ok(partition) => self.read_one(&partition, target, left, nothing_yet)?,
                Err(code) => failed(target, code, LeaderEpoch::NONE),
            };
            if let Some(records) = &one.records {
                left = left.saturating_sub(records.len);
                nothing_yet = false;
            }
            found.push(one);
        }
        Ok(found)
    }

    fn read_one(
        &self,
        partition: &Partition,
        target: &Target,
        left: usize,
        at_least_one: bool,
    ) -> Result<PartitionRead, Cold> {
        let position = target.position;
        let epoch = partition.leader_epoch();
        if let Err(code) = fence(epoch, position.current_leader_epoch) {
            return Ok(failed(target, code, epoch));
        }
        let most = left.min(position.max_bytes.max(0) as usize);
        let isolation = self.command.isolation;
        let place = partition.place();
        let from = position.fetch_offset;
        let read = place.reader.read(from, most, isolation, at_least_one).and_then(|slice| {
            let aborted = || place.reader.aborted_transactions(from, slice.next_offset);
            let aborted = (isolation == Isolation::Committed).then(aborted).transpose()?;
            Ok((slice, aborted))
        });
        Ok(match read {
            Ok((slice, aborted)) => {
                // The leader may have changed during the read (KIP-320).
                if partition.leader_epoch() != epoch || partition.has_resigned() {
                    let code = ErrorCode::NotLeaderOrFollower;
                    return Ok(failed(target, code, partition.leader_epoch()));
                }
                let key = target.key.clone();
                let (offsets, records) = (slice.offsets, slice.range);
                PartitionRead { key, error: ErrorCode::None, offsets, records, aborted, current_epoch: epoch }
            }
            Err(ReadError::OutOfRange(_)) => failed(target, ErrorCode::OffsetOutOfRange, epoch),
            Err(error) if error.is_cold() => return Err(Cold),
            Err(ReadError::Io(_)) if partition.has_left(&place) => {
                self.read_one(partition, target, left, at_least_one)?
            }
            Err(ReadError::Io(error)) => {
                error!(partition = %partition.id, %error, "cannot read");
                failed(target, ErrorCode::KafkaStorageError, epoch)
            }
        })
    }

    fn finish(&self, broker: &Broker, found: Vec<PartitionRead>) -> Fetched {
        match self.context {
            Context::Sessionless | Context::Refused(_) => {
                Fetched { error: ErrorCode::None, session_id: 0, found }
            }
            Context::Full => {
                let served = self.targets.iter().zip(&found);
                let served = served.map(|(t, f)| (t.key.clone(), t.position, told(f)));
                let id = (rand::random::<u32>() >> 1) as i32;
                let session_id = broker.sessions.lock().create(id, self.command.by_id, served, now_ms());
                Fetched { error: ErrorCode::None, session_id, found }
            }
            Context::Incremental { id } => {
                let answers: Vec<_> = found.iter().map(|f| (f.key.clone(), told(f))).collect();
                match broker.sessions.lock().finish(self.command.session, &answers) {
                    Err(code) => Fetched::refused(code, 0),
                    Ok(mention) => {
                        let mut mention = mention.into_iter();
                        let found = found.into_iter().filter(|_| mention.next().unwrap_or(true)).collect();
                        Fetched { error: ErrorCode::None, session_id: id, found }
                    }
                }
            }
        }
    }
}

fn told(found: &PartitionRead) -> PartitionAnswer {
    PartitionAnswer {
        error: found.error,
        records: found.records.is_some(),
        high_watermark: found.offsets.high_watermark,
        log_start_offset: found.offsets.log_start,
        redirect: false,
    }
}

fn failed(target: &Target, error: ErrorCode, current_epoch: LeaderEpoch) -> PartitionRead {
    let key = target.key.clone();
    PartitionRead { key, error, offsets: NO_OFFSETS, records: None, aborted: None, current_epoch }
}

fn topic_id(image: &Image, name: &TopicName) -> Result<ottla_model::TopicId, ErrorCode> {
    image.topic(name).map(|topic| topic.id).ok_or(ErrorCode::UnknownTopicOrPartition)
}
