//! What each producer appended last, and which transactions are open: idempotence (KIP-98, KIP-360) and the last
//! stable offset. Decides from headers; it must never read or write a file.

use std::collections::{BTreeMap, HashMap};

use ottla_protocol::batch::{BatchHeader, NO_SEQUENCE, decrement_sequence};
use ottla_protocol::{ErrorCode, Offset, ProducerEpoch, ProducerId};

use super::ActiveProducer;
use super::error::Refused;
use super::published::Position;
use super::verification::Verifications;
use crate::check::Origin;

/// Everything is a function of the batches up to `end`, of the expiry, and of the verifications that are going on.
#[derive(Debug)]
pub(super) struct Producers {
    entries: HashMap<i64, Producer>,
    /// By first offset.
    ongoing: BTreeMap<Offset, Txn>,
    /// Decided, but by a marker that is not replicated yet.
    unreplicated: BTreeMap<Offset, Txn>,
    pub verifications: Verifications,
    pub end: Offset,
    expiration_ms: i64,
}

/// One producer's state, as snapshots keep it, and its newest batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Producer {
    pub epoch: i16,
    pub coordinator_epoch: i32,
    pub last_timestamp: i64,
    pub txn_start: Option<Offset>,
    batches: [KnownBatch; BATCHES_KEPT],
    batches_len: u8,
}

/// An appended batch, enough to recognise it when it comes again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct KnownBatch {
    pub last_sequence: i32,
    pub last_offset: Offset,
    pub offset_delta: i32,
    pub timestamp: i64,
}

#[derive(Clone, Copy, Debug)]
struct Txn {
    producer_id: i64,
    first: Position,
    /// The marker's offset, once there is one.
    last: Option<Offset>,
}

/// A batch about to be appended, its offsets given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Incoming {
    pub header: BatchHeader,
    /// For control batches that end a transaction.
    pub marker: Option<Marker>,
    /// What is read again from our own disk counts as [`Origin::Replication`]: it was checked once.
    pub origin: Origin,
    /// What the client's verification gave it (KIP-890).
    pub guard: Option<super::Guard>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marker {
    pub commits: bool,
    pub coordinator_epoch: i32,
    pub timestamp: i64,
    /// From 2 on a marker's epoch is above that of the transaction's batches (KIP-890, KIP-1228).
    pub transaction_version: i16,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Verdict {
    /// It is there already.
    Duplicate(KnownBatch),
    New(Change),
}

/// What an append does to the producers, once it has happened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    producer_id: i64,
    producer: Producer,
    started: bool,
    pub ended: Option<Ended>,
    transactional: bool,
    control: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub producer_id: i64,
    pub first_offset: Offset,
    pub marker_offset: Offset,
    pub aborted: bool,
}

impl Producers {
    pub fn new(end: Offset, expiration_ms: i64) -> Producers {
        Producers {
            entries: HashMap::new(),
            ongoing: BTreeMap::new(),
            unreplicated: BTreeMap::new(),
            verifications: Verifications::default(),
            end,
            expiration_ms,
        }
    }

    /// Empty, with the same settings.
    pub fn afresh(&self, end: Offset) -> Producers {
        let mut fresh = Producers::new(end, self.expiration_ms);
        fresh.verifications.required = self.verifications.required;
        fresh
    }

    /// What these know of the same batches beyond what is written down: more of each producer's last batches, and what
    /// is being verified.
    pub fn take_over(&mut self, from: &mut Producers) {
        for (id, producer) in &mut self.entries {
            let before = from.entries.get(id);
            if let Some(before) =
                before.filter(|b| b.epoch == producer.epoch && b.last_seen() == producer.last_seen())
            {
                (producer.batches, producer.batches_len) = (before.batches, before.batches_len);
            }
        }
        self.verifications = std::mem::take(&mut from.verifications);
        self.expiration_ms = from.expiration_ms;
    }

    /// Changes after how long a producer that is not heard of is forgotten.
    pub fn expire_after(&mut self, expiration_ms: i64) {
        self.expiration_ms = expiration_ms;
    }

    /// Puts a producer in as a snapshot has it. Where its open transaction lies in the file is not known.
    pub fn load(&mut self, producer_id: i64, producer: Producer, now_ms: i64) {
        if producer.expired(now_ms, self.expiration_ms) {
            return;
        }
        if let Some(offset) = producer.txn_start {
            let first = Position { offset, ..UNKNOWN };
            self.ongoing.insert(offset, Txn { producer_id, first, last: None });
        }
        self.entries.insert(producer_id, producer);
    }

    /// Whether the batch may be appended, and what that would change. Only for batches with a producer id.
    pub fn judge(&self, batch: &Incoming) -> Result<Verdict, Refused> {
        let header = &batch.header;
        let current = self.entries.get(&header.producer_id);
        if batch.origin == Origin::Client
            && let Some(seen) = current.and_then(|producer| producer.duplicate(header))
        {
            return Ok(Verdict::Duplicate(seen));
        }
        let mut producer = current.copied().unwrap_or(Producer::UNSEEN);
        if batch.origin != Origin::Replication && header.is_transactional() {
            self.check_verified(&producer, batch)?;
        }
        let mut change = Change {
            producer_id: header.producer_id,
            producer,
            started: false,
            ended: None,
            transactional: header.is_transactional(),
            control: header.is_control(),
        };
        match batch.marker {
            Some(marker) => {
                producer.check_marker(&marker, batch)?;
                change.ended = producer.txn_start.map(|first_offset| Ended {
                    producer_id: header.producer_id,
                    first_offset,
                    marker_offset: header.base_offset,
                    aborted: !marker.commits,
                });
                producer.end_txn(header.producer_epoch, &marker);
            }
            // A control batch without a marker: its transaction has been compacted away, and all that is left of it
            // is the epoch that fences.
            None if header.is_control() => {
                if header.producer_epoch > producer.epoch {
                    producer.enter_epoch(header.producer_epoch);
                    producer.last_timestamp = header.max_timestamp;
                }
            }
            None => {
                self.check_data(&producer, batch)?;
                producer.add(header);
                if producer.txn_start.is_none() && header.is_transactional() {
                    producer.txn_start = Some(header.base_offset);
                    change.started = true;
                }
            }
        }
        change.producer = producer;
        Ok(Verdict::New(change))
    }

    fn check_data(&self, producer: &Producer, batch: &Incoming) -> Result<(), Refused> {
        let header = &batch.header;
        if header.producer_epoch < producer.epoch {
            stale_epoch(batch, producer.epoch)?;
        }
        if batch.origin == Origin::Client {
            self.verifications.check_sequence(header, producer.last_seen().is_none())?;
            producer.check_sequence(header)?;
        }
        if producer.txn_start.is_some() && !header.is_transactional() && batch.origin != Origin::Replication {
            let message =
                format!("Producer {} has a transaction open and sent a batch outside it", header.producer_id);
            return Err(Refused::new(ErrorCode::InvalidTxnState, message));
        }
        Ok(())
    }

    fn check_verified(&self, producer: &Producer, batch: &Incoming) -> Result<(), Refused> {
        let header = &batch.header;
        if self.has_open_txn(header.producer_id, header.producer_epoch) {
            return Ok(());
        }
        // The epoch comes first: a fenced producer may recover, one without a transaction may not.
        if header.producer_epoch < producer.epoch && !header.is_control() {
            stale_epoch(batch, producer.epoch)?;
        }
        self.verifications.check(header, batch.guard)
    }

    /// KIP-890: what is asked before a transaction is verified with its coordinator.
    pub fn has_open_txn(&self, producer_id: i64, epoch: i16) -> bool {
        self.entries.get(&producer_id).is_some_and(|p| p.txn_start.is_some() && p.epoch == epoch)
    }

    pub fn epoch(&self, producer_id: i64) -> Option<i16> {
        self.entries.get(&producer_id).map(|producer| producer.epoch)
    }

    /// Makes the producer what the change says, so that the next batch can be judged. Returns what undoes it.
    pub fn apply(&mut self, change: &Change) -> (i64, Option<Producer>) {
        (change.producer_id, self.entries.insert(change.producer_id, change.producer))
    }

    pub fn undo(&mut self, (producer_id, before): (i64, Option<Producer>)) {
        match before {
            Some(producer) => self.entries.insert(producer_id, producer),
            None => self.entries.remove(&producer_id),
        };
    }

    /// The batch is in the log, at `position`: what it began or ended counts from now on.
    pub fn settle(&mut self, change: &Change, position: Position) {
        if change.started {
            let txn = Txn { producer_id: change.producer_id, first: position, last: None };
            self.ongoing.insert(position.offset, txn);
        }
        if change.transactional {
            self.verifications.settled(change.producer_id, change.producer.epoch, change.control);
        }
        if let Some(ended) = change.ended
            && let Some(txn) = self.ongoing.remove(&ended.first_offset)
        {
            self.unreplicated.insert(ended.first_offset, Txn { last: Some(ended.marker_offset), ..txn });
        }
    }

    /// The last stable offset that the transaction index remembers with an ended transaction: before it is settled.
    pub fn last_stable_with(&self, ended: &Ended) -> Offset {
        let others = self.ongoing.values().find(|txn| txn.producer_id != ended.producer_id);
        others.map_or(ended.marker_offset + 1, |txn| txn.first.offset)
    }

    /// For batches that are in the log already. An ended transaction comes with what the transaction index remembers.
    pub fn replay(
        &mut self,
        header: BatchHeader,
        position: Position,
        marker: Option<Marker>,
    ) -> Option<(Ended, Offset)> {
        self.end = header.next_offset();
        if !header.has_producer_id() {
            return None;
        }
        let batch = Incoming { header, marker, origin: Origin::Replication, guard: None };
        let Ok(Verdict::New(change)) = self.judge(&batch) else { return None };
        self.apply(&change);
        let ended = change.ended.map(|ended| (ended, self.last_stable_with(&ended)));
        self.settle(&change, position);
        ended
    }

    /// Markers below the high watermark are final.
    pub fn replicated(&mut self, high_watermark: Offset) {
        self.unreplicated.retain(|_, txn| txn.last.is_none_or(|last| last >= high_watermark));
    }

    pub fn log_start_moved(&mut self, log_start: Offset) {
        self.replicated(log_start);
        self.end = self.end.max(log_start);
    }

    /// Where the first transaction begins whose outcome is open or not replicated.
    pub fn first_unstable(&self) -> Option<Position> {
        let firsts =
            [&self.ongoing, &self.unreplicated].map(|txns| txns.values().next().map(|txn| txn.first));
        firsts.into_iter().flatten().min_by_key(|first| first.offset)
    }

    /// An open transaction outlives its producer's idleness (KAFKA-9144).
    pub fn expire(&mut self, now_ms: i64) {
        self.entries.retain(|_, producer| !producer.expired(now_ms, self.expiration_ms));
        self.verifications.expire(now_ms, self.expiration_ms);
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.unreplicated.is_empty()
    }

    /// Sorted by id.
    pub fn all(&self) -> Vec<(i64, Producer)> {
        let mut all = self.entries.iter().map(|(id, producer)| (*id, *producer)).collect::<Vec<_>>();
        all.sort_by_key(|(id, _)| *id);
        all
    }

    pub fn active(&self) -> Vec<ActiveProducer> {
        let describe = |(id, producer): (i64, Producer)| ActiveProducer {
            producer_id: ProducerId(id),
            producer_epoch: ProducerEpoch(producer.epoch),
            last_sequence: producer.last_seen().map_or(NO_SEQUENCE, |seen| seen.last_sequence),
            last_timestamp: producer.last_timestamp,
            coordinator_epoch: producer.coordinator_epoch,
            current_transaction_start: producer.txn_start,
        };
        self.all().into_iter().map(describe).collect()
    }
}

impl Producer {
    const UNSEEN: Producer = Producer {
        epoch: ProducerEpoch::NONE.0,
        coordinator_epoch: -1,
        last_timestamp: -1,
        txn_start: None,
        batches: [KnownBatch { last_sequence: 0, last_offset: 0, offset_delta: 0, timestamp: 0 };
            BATCHES_KEPT],
        batches_len: 0,
    };

    /// From a snapshot, which keeps one batch.
    pub fn snapshot(
        epoch: i16,
        coordinator_epoch: i32,
        last_timestamp: i64,
        txn_start: Option<Offset>,
        seen: Option<KnownBatch>,
    ) -> Producer {
        let mut producer =
            Producer { epoch, coordinator_epoch, last_timestamp, txn_start, ..Producer::UNSEEN };
        seen.into_iter().for_each(|seen| producer.push(seen));
        producer
    }

    pub fn last_seen(&self) -> Option<KnownBatch> {
        self.seen().last().copied()
    }

    /// The same with the batches of an earlier entry of the same snapshot in front of its own.
    pub fn after(self, before: &Producer) -> Producer {
        if before.epoch != self.epoch {
            return self;
        }
        let mut batches = *before;
        self.seen().iter().for_each(|seen| batches.push(*seen));
        Producer { batches: batches.batches, batches_len: batches.batches_len, ..self }
    }

    /// The last batches, the newest one last.
    pub fn seen(&self) -> &[KnownBatch] {
        &self.batches[..self.batches_len.into()]
    }

    fn is_unseen(&self) -> bool {
        self.epoch == ProducerEpoch::NONE.0
    }

    fn duplicate(&self, header: &BatchHeader) -> Option<KnownBatch> {
        let wanted = (header.base_sequence, header.last_sequence());
        let same = |seen: &&KnownBatch| (seen.first_sequence(), seen.last_sequence) == wanted;
        self.seen().iter().find(same).copied().filter(|_| self.epoch == header.producer_epoch)
    }

    fn check_sequence(&self, header: &BatchHeader) -> Result<(), Refused> {
        let first = header.base_sequence;
        let refuse = |why: String| {
            let message = format!("Sequence {first} of producer {} {why}", header.producer_id);
            Err(Refused::new(ErrorCode::OutOfOrderSequenceNumber, message))
        };
        // Nothing is known of the producer, perhaps because retention took its batches: any sequence will do.
        if self.is_unseen() {
            return Ok(());
        }
        if header.producer_epoch != self.epoch {
            let (new, old) = (header.producer_epoch, self.epoch);
            return if first == 0 {
                Ok(())
            } else {
                refuse(format!("is the first of epoch {new} after {old}, not 0"))
            };
        }
        let last = self.last_seen().map_or(NO_SEQUENCE, |seen| seen.last_sequence);
        let follows = if last == i32::MAX { first == 0 } else { first == last + 1 };
        if follows { Ok(()) } else { refuse(format!("does not follow {last}")) }
    }

    fn check_marker(&self, marker: &Marker, batch: &Incoming) -> Result<(), Refused> {
        let epoch = batch.header.producer_epoch;
        // A marker sent again after its transaction had ended carries the epoch that it left behind (KAFKA-19999).
        let again = epoch == self.epoch && (self.txn_start.is_none() || epoch == i16::MAX);
        if epoch < self.epoch || (marker.transaction_version >= 2 && epoch == self.epoch && !again) {
            stale_epoch(batch, self.epoch)?;
        }
        if self.coordinator_epoch > marker.coordinator_epoch && batch.origin != Origin::Replication {
            let message = format!(
                "Coordinator epoch {} of a marker for producer {} is below {}",
                marker.coordinator_epoch, batch.header.producer_id, self.coordinator_epoch
            );
            return Err(Refused::new(ErrorCode::TransactionCoordinatorFenced, message));
        }
        Ok(())
    }

    fn add(&mut self, header: &BatchHeader) {
        self.enter_epoch(header.producer_epoch);
        self.push(KnownBatch {
            last_sequence: header.last_sequence(),
            last_offset: header.last_offset(),
            offset_delta: header.last_offset_delta,
            timestamp: header.max_timestamp,
        });
        self.last_timestamp = header.max_timestamp;
    }

    fn end_txn(&mut self, epoch: i16, marker: &Marker) {
        self.enter_epoch(epoch);
        self.coordinator_epoch = marker.coordinator_epoch;
        self.last_timestamp = marker.timestamp;
        self.txn_start = None;
    }

    fn enter_epoch(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.batches_len = 0;
        }
    }

    fn push(&mut self, seen: KnownBatch) {
        if usize::from(self.batches_len) == BATCHES_KEPT {
            self.batches.rotate_left(1);
            self.batches_len -= 1;
        }
        self.batches[usize::from(self.batches_len)] = seen;
        self.batches_len += 1;
    }

    fn expired(&self, now_ms: i64, expiration_ms: i64) -> bool {
        self.txn_start.is_none() && now_ms.saturating_sub(self.last_timestamp) >= expiration_ms
    }
}

impl KnownBatch {
    pub fn first_offset(&self) -> Offset {
        self.last_offset - i64::from(self.offset_delta)
    }

    fn first_sequence(&self) -> i32 {
        match self.last_sequence {
            NO_SEQUENCE => NO_SEQUENCE,
            last => decrement_sequence(last, self.offset_delta),
        }
    }
}

fn stale_epoch(batch: &Incoming, current: i16) -> Result<(), Refused> {
    let BatchHeader { producer_id, producer_epoch, .. } = batch.header;
    let message =
        format!("Epoch {producer_epoch} of producer {producer_id} is not above its last one, {current}");
    if batch.origin == Origin::Replication {
        tracing::warn!(offset = batch.header.base_offset, "{message}");
        return Ok(());
    }
    Err(Refused::new(ErrorCode::InvalidProducerEpoch, message))
}

/// Where in the file a transaction starts that came from a snapshot: to be looked up.
const UNKNOWN: Position = Position { offset: -1, base: -1, at: 0 };
const BATCHES_KEPT: usize = 5;
