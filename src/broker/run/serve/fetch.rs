//! A Fetch: which partitions it is for, what can be read, and waiting until there is enough. It must never know a
//! version. What is in memory is read at once; what is only on disk is read by threads that may wait.
//!
//! Other replicas fetch up to the log end, and only from the leader; their progress is noted by the lanes of the partitions
//! before they are answered. Consumers fetch up to the high watermark, from followers, too (KIP-392).

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ottla_core::partition::{Diverging, Fetched as Progress, fence};
use ottla_core::session::{Context, FetchKey, FetchTopic, PartitionAnswer, Position, SessionRequest};
use ottla_log::FileRange;
use ottla_log::disk::worker;
use ottla_log::log::{Isolation, Offsets, ReadError};
use ottla_model::image::Image;
use ottla_model::{NodeId, TopicId, TopicName};
use ottla_node::lane::Input;
use ottla_node::replicas::standing;
use ottla_protocol::{ErrorCode, Offset, ProducerId};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tracing::error;

use crate::broker::Broker;
use crate::clock::now_ms;
use crate::net::warming::Cold as SentNext;
use crate::run::owners::partition::{For, Partition};
use crate::run::owners::throttling::Filling;
use crate::run::serve::nearest::{Nearest, preferred};
use crate::run::serve::noting::Noting;
use crate::run::serve::parting::parted;
use crate::run::serve::watch::Watch;

/// A Fetch request of any version.
#[derive(Debug)]
pub(crate) struct FetchCommand {
    pub reader: Reader,
    pub session: SessionRequest,
    pub by_id: bool,
    pub named: Vec<(FetchKey, Position)>,
    pub forgotten: Vec<FetchKey>,
    pub isolation: Isolation,
    pub max_wait: Duration,
    pub min_bytes: u64,
    pub max_bytes: usize,
}

/// Who fetches.
#[derive(Clone, Debug)]
pub(crate) enum Reader {
    /// A consumer that does not know that it may read from followers.
    OfLeaders,
    Consumer(Nearest),
    Replica {
        id: NodeId,
        broker_epoch: i64,
    },
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
    /// Where the reader's log and this one part.
    pub diverging: Option<Diverging>,
    /// The replica that the consumer should read from instead.
    pub preferred: Option<NodeId>,
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
    command: Arc<FetchCommand>,
    context: Context,
    /// Of a session of another replica: the targets are only those partitions that may have changed.
    watch: Option<Arc<Watch>>,
    targets: Vec<Target>,
    /// Topics that the client may not read.
    refused: Vec<(FetchTopic, ErrorCode)>,
    /// Who says to be a replica may not be one.
    barred: Option<ErrorCode>,
    /// Begun by the first look at all partitions, for another replica.
    noting: OnceLock<Noting>,
}

/// A partition to read. It is looked up anew each time, because it may have been removed or added.
#[derive(Clone)]
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
    let is_replica = matches!(command.reader, Reader::Replica { .. });
    // A replica has the right to all topics, or to none.
    let barred = if is_replica { check(&FetchTopic::Id(TopicId::nil())).err() } else { None };
    let mut watch = None;
    let targets = match &context {
        Context::Refused(code) => return Fetching::Done(Fetched::refused(*code, 0)),
        Context::Incremental { id } => {
            let sessions = broker.sessions.lock();
            watch = sessions.companion(*id).filter(|_| is_replica).cloned().flatten();
            match &watch {
                Some(watch) => {
                    watch.mark(named.into_iter().map(|(key, _)| key));
                    sessions.some_partitions(*id, watch.take())
                }
                None => sessions.partitions(*id),
            }
        }
        // The last partition was just removed from the session, so there is nothing to read.
        Context::Sessionless if command.session.epoch > 0 => Vec::new(),
        Context::Sessionless | Context::Full => named,
    };
    let targets: Vec<_> = targets.into_iter().map(|(key, position)| Target { key, position }).collect();
    let refused = refused(&targets, check);
    let (command, noting) = (Arc::new(command), OnceLock::new());
    let request = Request { command, context, watch, targets, refused, barred, noting };
    if let Ok(found) = worker::cached_only(|| request.read(broker))
        && request.is_noted()
    {
        let found = request.as_noted(found);
        if request.is_enough(&found) {
            return Fetching::Done(request.finish(broker, found));
        }
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
        match self.request.watch.clone() {
            Some(watch) => self.watch(&watch).await,
            None => self.look_each_time().await,
        }
    }

    // What is marked after the request was made is marked for its next look.
    async fn watch(self, watch: &Watch) -> Fetched {
        let Wait { broker, mut request, until } = self;
        loop {
            let found = request.as_noted(look(&broker, &request).await);
            if request.is_enough(&found) {
                return request.noted(&broker, found, until).await;
            }
            if tokio::time::timeout_at(until, watch.woken()).await.is_err() {
                request = request.widened(&broker, watch);
                let found = look(&broker, &request).await;
                return request.noted(&broker, found, until).await;
            }
            request = request.widened(&broker, watch);
        }
    }

    async fn look_each_time(self) -> Fetched {
        let Wait { broker, request, until } = self;
        let woken = Arc::new(Notify::new());
        loop {
            let partitions = request.partitions(&broker);
            let registered: Vec<_> = partitions.iter().map(|p| p.wait(request.waits_for(), &woken)).collect();
            // Nothing wakes this task for a change between the last look and the registration, so look again.
            let found = request.as_noted(look(&broker, &request).await);
            if request.is_enough(&found) {
                return request.noted(&broker, found, until).await;
            }
            let in_time = tokio::time::timeout_at(until, woken.notified()).await.is_ok();
            drop(registered);
            if !in_time {
                let found = look(&broker, &request).await;
                return request.noted(&broker, found, until).await;
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
    // With the partitions that have changed since, behind the others: notes are told apart by their places.
    fn widened(self: Arc<Request>, broker: &Broker, watch: &Watch) -> Arc<Request> {
        let Context::Incremental { id } = self.context else { return self };
        let mut changed = watch.take();
        for target in &self.targets {
            changed.remove(&target.key);
        }
        if changed.is_empty() {
            return self;
        }
        let more = broker.sessions.lock().some_partitions(id, changed);
        let more = more.into_iter().map(|(key, position)| Target { key, position });
        let noting = OnceLock::new();
        if let Some(noted) = self.noting.get() {
            let _ = noting.set(noted.clone());
        }
        Arc::new(Request {
            command: self.command.clone(),
            context: Context::Incremental { id },
            watch: self.watch.clone(),
            targets: self.targets.iter().cloned().chain(more).collect(),
            refused: self.refused.clone(),
            barred: self.barred,
            noting,
        })
    }

    fn partitions(&self, broker: &Broker) -> Vec<Arc<Partition>> {
        let image = broker.image.load();
        self.targets.iter().filter_map(|target| self.resolve(broker, &image, &target.key).ok()).collect()
    }

    // The partition that a key means now.
    fn resolve(&self, broker: &Broker, image: &Image, key: &FetchKey) -> Result<Arc<Partition>, ErrorCode> {
        if let Some(code) = self.barred {
            return Err(code);
        }
        if let Some((_, code)) = self.refused.iter().find(|(topic, _)| *topic == key.topic) {
            return Err(*code);
        }
        let id = match &key.topic {
            FetchTopic::Id(id) => *id,
            FetchTopic::Name(name) => topic_id(image, name)?,
        };
        let found = match self.command.reader {
            Reader::Consumer(_) => broker.partitions.replica(image, id, key.partition),
            Reader::OfLeaders | Reader::Replica { .. } => broker.partitions.led(image, id, key.partition),
        };
        match found {
            // It leads as soon as what the leader before has sent is appended.
            Ok(found) if self.is_replica() && !found.leads() => Err(ErrorCode::NotLeaderOrFollower),
            Err(ErrorCode::UnknownTopicOrPartition)
                if matches!(key.topic, FetchTopic::Id(_)) && image.topic_by_id(id).is_none() =>
            {
                Err(ErrorCode::UnknownTopicId)
            }
            found => found,
        }
    }

    fn is_replica(&self) -> bool {
        matches!(self.command.reader, Reader::Replica { .. })
    }

    fn waits_for(&self) -> For {
        if self.is_replica() { For::LogEnd } else { For::HighWatermark }
    }

    // Whether to answer at once: something went wrong, nothing is asked for, or there is as much as was asked for.
    fn is_enough(&self, found: &[PartitionRead]) -> bool {
        let bytes: usize = found.iter().map(|f| f.records.as_ref().map_or(0, |r| r.len)).sum();
        self.command.max_wait.is_zero()
            || found.is_empty() && self.watch.is_none()
            || bytes as u64 >= self.command.min_bytes
            || found.iter().any(|f| f.error != ErrorCode::None || f.redirects())
    }

    // The next request looks at these again, whether or not something happens to them. If a lane has not taken note yet, it
    // may still refuse to, and nobody would hear of that.
    fn unfinished(&self, found: &[PartitionRead]) -> Vec<FetchKey> {
        let noted = self.is_noted();
        let is_left = |(target, read): &(&Target, &PartitionRead)| {
            !noted || !told(read).leaves_nothing_to_do(&target.position, read.offsets.log_end)
        };
        self.targets.iter().zip(found).filter(is_left).map(|(target, _)| target.key.clone()).collect()
    }

    fn is_noted(&self) -> bool {
        self.noting.get().is_none_or(Noting::is_done)
    }

    // With the refusals of lanes.
    fn as_noted(&self, mut found: Vec<PartitionRead>) -> Vec<PartitionRead> {
        for (place, code) in self.noting.get().map_or(Vec::new(), Noting::refused) {
            found[place] = failed(&self.targets[place], code);
        }
        found
    }

    // A lane whose disk stalls must not hold the other partitions for longer than the fetcher is ready to wait.
    async fn noted(&self, broker: &Broker, found: Vec<PartitionRead>, until: Instant) -> Fetched {
        if let Some(noting) = self.noting.get() {
            let _ = tokio::time::timeout_at(until, noting.done()).await;
        }
        self.finish(broker, self.as_noted(found))
    }

    // Tells each lane how far the replica is. What is refused or has diverged says nothing of that.
    fn note(&self, broker: &Broker, image: &Image, id: NodeId, broker_epoch: i64, found: &[PartitionRead]) {
        let noting = Noting::default();
        let (at_ms, standing) = (now_ms(), standing(image, id));
        for (place, (target, read)) in self.targets.iter().zip(found).enumerate() {
            if read.error != ErrorCode::None || read.diverging.is_some() {
                continue;
            }
            let partition = match self.resolve(broker, image, &target.key) {
                Ok(partition) => partition,
                Err(code) => {
                    noting.refuse(place, code);
                    continue;
                }
            };
            let fetched = Progress {
                replica: id,
                believed: target.position.current_leader_epoch,
                log_end: target.position.fetch_offset,
                log_start: target.position.log_start_offset,
                broker_epoch,
                standing,
                leader_end: read.offsets.log_end,
                at_ms,
            };
            partition.submit(Input::ReplicaFetched { token: noting.note(place), fetched });
        }
        // Two threads never read for one request at a time.
        let _ = self.noting.set(noting);
    }

    // Only on a thread that may wait for the disk.
    fn read_waiting(&self, broker: &Broker) -> Vec<PartitionRead> {
        let none = |target| failed(target, ErrorCode::KafkaStorageError);
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
            let resolved = self.resolve(broker, &image, &target.key);
            if let (Some(watch), Ok(partition)) = (&self.watch, &resolved) {
                partition.watch(watch, &target.key);
            }
            let one = match resolved {
                Ok(partition) => match self.prefer(broker, &image, &partition, target) {
                    Some(preferred) => preferred,
                    None => self.read_next(broker, &image, &partition, target, left, nothing_yet)?,
                },
                Err(code) => failed(target, code),
            };
            if let Some(records) = &one.records {
                left = left.saturating_sub(records.len);
                nothing_yet = false;
            }
            found.push(one);
        }
        if let Reader::Replica { id, broker_epoch } = self.command.reader
            && self.noting.get().is_none()
        {
            self.note(broker, &image, id, broker_epoch, &found);
        }
        Ok(found)
    }

    // The answer to a consumer that should read from a replica nearer to it.
    fn prefer(
        &self,
        broker: &Broker,
        image: &Image,
        partition: &Arc<Partition>,
        target: &Target,
    ) -> Option<PartitionRead> {
        let Reader::Consumer(nearest) = &self.command.reader else { return None };
        let id = preferred(broker, image, partition, nearest, target.position.fetch_offset)?;
        let offsets = partition.place().reader.offsets();
        Some(PartitionRead { offsets, preferred: Some(id), ..failed(target, ErrorCode::None) })
    }

    // No records for a replica that is filled too fast; whether it is where it says is looked at all the same.
    fn read_next(
        &self,
        broker: &Broker,
        image: &Image,
        partition: &Partition,
        target: &Target,
        left: usize,
        at_least_one: bool,
    ) -> Result<PartitionRead, Cold> {
        let Reader::Replica { id, .. } = self.command.reader else {
            return self.read_one(partition, target, left, at_least_one);
        };
        let topic = partition.config.load();
        let filling = Filling::by_leader(&broker.config(), &topic, broker.me, id);
        if broker.sent.holds_back(&filling, image, partition) {
            return self.read_one(partition, target, 0, false);
        }
        let read = self.read_one(partition, target, left, at_least_one)?;
        let bytes = read.records.as_ref().map_or(0, |records| records.len);
        broker.sent.pass(&filling, image, partition, bytes);
        Ok(read)
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
            return Ok(failed(target, code));
        }
        let most = left.min(position.max_bytes.max(0) as usize);
        let isolation = self.command.isolation;
        let place = partition.place();
        let from = position.fetch_offset;
        match parted(&place.reader, epoch, &position) {
            Ok(None) => {}
            Ok(diverging) => {
                let offsets = place.reader.offsets();
                return Ok(PartitionRead { offsets, diverging, ..failed(target, ErrorCode::None) });
            }
            Err(code) => return Ok(failed(target, code)),
        }
        let read = place.reader.read(from, most, isolation, at_least_one).and_then(|slice| {
            let aborted = || place.reader.aborted_transactions(from, slice.next_offset);
            let aborted = (isolation == Isolation::Committed).then(aborted).transpose()?;
            Ok((slice, aborted))
        });
        Ok(match read {
            Ok((slice, aborted)) => {
                // The leader may have changed during the read (KIP-320).
                let resigned =
                    partition.has_resigned() && !matches!(self.command.reader, Reader::Consumer(_));
                if partition.leader_epoch() != epoch || resigned {
                    return Ok(failed(target, ErrorCode::NotLeaderOrFollower));
                }
                let (offsets, records) = (slice.offsets, slice.range);
                PartitionRead { offsets, records, aborted, ..failed(target, ErrorCode::None) }
            }
            Err(ReadError::OutOfRange(_)) => failed(target, ErrorCode::OffsetOutOfRange),
            Err(error) if error.is_cold() => return Err(Cold),
            Err(ReadError::Io(_)) if partition.has_left(&place) => {
                self.read_one(partition, target, left, at_least_one)?
            }
            Err(ReadError::Io(error)) => {
                error!(partition = %partition.id, %error, "cannot read");
                failed(target, ErrorCode::KafkaStorageError)
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
                let watch = self.is_replica().then(Arc::<Watch>::default);
                if let Some(watch) = &watch {
                    // Nobody has told it of what has changed since these were read.
                    watch.mark(self.targets.iter().map(|target| target.key.clone()));
                }
                let session_id =
                    broker.sessions.lock().create(id, self.command.by_id, served, watch, now_ms());
                Fetched { error: ErrorCode::None, session_id, found }
            }
            Context::Incremental { id } => {
                if let Some(watch) = &self.watch {
                    watch.mark(self.unfinished(&found));
                }
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
        redirect: found.redirects(),
    }
}

impl PartitionRead {
    /// The reader has to do something else first.
    fn redirects(&self) -> bool {
        self.diverging.is_some() || self.preferred.is_some()
    }
}

fn failed(target: &Target, error: ErrorCode) -> PartitionRead {
    let key = target.key.clone();
    let (records, aborted, diverging, preferred) = (None, None, None, None);
    PartitionRead { key, error, offsets: NO_OFFSETS, records, aborted, diverging, preferred }
}

fn topic_id(image: &Image, name: &TopicName) -> Result<TopicId, ErrorCode> {
    image.topic(name).map(|topic| topic.id).ok_or(ErrorCode::UnknownTopicOrPartition)
}
