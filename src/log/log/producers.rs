//! What each producer appended last, and which transactions are open: idempotence (KIP-98, KIP-360) and the last
//! stable offset. Decides from headers; it must never read or write a file.

use std::collections::{BTreeMap, HashMap};

use ottla_model::VerificationGuard;
use ottla_protocol::batch::{BatchHeader, NO_SEQUENCE, decrement_sequence};
use ottla_protocol::{ErrorCode, Offset, ProducerEpoch, ProducerId};

use super::ActiveProducer;
use super::error::Refused;
use super::published::Position;
use super::verification::{Pending, Verifications};
use crate::check::Origin;

/// How to take one change back.
#[derive(Debug)]
pub(super) struct Undo {
    producer_id: i64,
    before: Option<Producer>,
    verified: Option<Pending>,
}

/// All of it follows from the batches up to `end`, the expiration time, and the verifications in progress.
#[derive(Debug)]
pub(super) struct Producers {
    entries: HashMap<i64, Producer>,
    /// Open transactions, by first offset.
    ongoing: BTreeMap<Offset, Txn>,
    /// Transactions with a marker that is not below the high watermark yet.
    unreplicated: BTreeMap<Offset, Txn>,
    pub verifications: Verifications,
    pub end: Offset,
    expiration_ms: i64,
}

/// One producer's state, as in snapshots, and its newest batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Producer {
    pub epoch: i16,
    pub coordinator_epoch: i32,
    pub last_timestamp: i64,
    pub txn_start: Option<Offset>,
    batches: [KnownBatch; BATCHES_KEPT],
    batches_len: u8,
}

/// What is kept of an appended batch: enough to recognise it when the producer sends it again.
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
    /// The marker's offset. `None`: the transaction is open.
    last: Option<Offset>,
}

/// A batch that is about to be appended, with its offsets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Incoming {
    pub header: BatchHeader,
    /// Only for control batches that end a transaction.
    pub marker: Option<Marker>,
    /// A batch that is read again from the log counts as [`Origin::Replication`]: it was checked before it was appended.
    pub origin: Origin,
    /// The guard of the verification that the broker made for this batch (KIP-890).
    pub guard: Option<VerificationGuard>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marker {
    pub commits: bool,
    pub coordinator_epoch: i32,
    pub timestamp: i64,
    /// From version 2 on, a marker's epoch is above that of the transaction's batches (KIP-890, KIP-1228).
    pub transaction_version: i16,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Verdict {
    /// The batch was appended before.
    Duplicate(KnownBatch),
    New(Change),
}

/// How an append changes the producer state.
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

    /// An empty state with the same settings.
    pub fn afresh(&self, end: Offset) -> Producers {
        let mut fresh = Producers::new(end, self.expiration_ms);
        fresh.verifications.required = self.verifications.required;
        fresh
    }

    /// Adds what `from`, of the same log, knows of producers and the batches here do not say: what was in batches that retention
    /// or compaction has removed. A transaction of which nothing is left here is over for readers.
    pub fn take_over(&mut self, from: &Producers) {
        for (id, known) in &from.entries {
            let txn_start = self.entries.get(id).and_then(|here| here.txn_start);
            self.entries.insert(*id, Producer { txn_start, ..*known });
        }
        self.expiration_ms = from.expiration_ms;
    }

    /// The producers whose batches are all below `start`. Their transactions are over for readers of what is there.
    pub fn ended_before(&self, start: Offset) -> Vec<(i64, Producer)> {
        let ended = |producer: &Producer| producer.last_seen().is_some_and(|last| last.last_offset < start);
        let known = self.all().into_iter().filter(|(_, producer)| ended(producer));
        known.map(|(id, producer)| (id, Producer { txn_start: None, ..producer })).collect()
    }

    /// Changes how long an idle producer is remembered.
    pub fn expire_after(&mut self, expiration_ms: i64) {
        self.expiration_ms = expiration_ms;
    }

    /// Adds a producer from a snapshot. The position of its open transaction in the file is not known yet.
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

    /// Decides whether the batch may be appended, and what the append changes. Only for batches with a producer id.
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
            // A control batch without a marker: compaction has removed its transaction and its record, and the batch is
            // kept for the epoch, which fences older producers.
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
        // The epoch is checked first: after a fenced epoch a producer may recover, after a missing transaction it may
        // not.
        if header.producer_epoch < producer.epoch && !header.is_control() {
            stale_epoch(batch, producer.epoch)?;
        }
        self.verifications.check(header, batch.guard)
    }

    /// Whether the transaction is open here, in which case it needs no verification with its coordinator (KIP-890).
    pub fn has_open_txn(&self, producer_id: i64, epoch: i16) -> bool {
        self.entries.get(&producer_id).is_some_and(|p| p.txn_start.is_some() && p.epoch == epoch)
    }

    pub fn epoch(&self, producer_id: i64) -> Option<i16> {
        self.entries.get(&producer_id).map(|producer| producer.epoch)
    }

    /// Applies the change to the producer, so that the next batch can be judged: also one that is written together with this
    /// one. A marker must be known to whoever was verified before it.
    pub fn apply(&mut self, change: &Change) -> Undo {
        let Change { producer_id, producer, transactional, control, .. } = *change;
        let before = self.entries.insert(producer_id, producer);
        let verified = if transactional {
            self.verifications.settled(producer_id, producer.epoch, control)
        } else {
            None
        };
        Undo { producer_id, before, verified }
    }

    /// The last change that was applied was not written.
    pub fn undo(&mut self, Undo { producer_id, before, verified }: Undo) {
        match before {
            Some(producer) => self.entries.insert(producer_id, producer),
            None => self.entries.remove(&producer_id),
        };
        if let Some(pending) = verified {
            self.verifications.restore(producer_id, pending);
        }
    }

    /// The batch was appended at `position`: from now on its transaction counts as begun or ended.
    pub fn settle(&mut self, change: &Change, position: Position) {
        if change.started {
            let txn = Txn { producer_id: change.producer_id, first: position, last: None };
            self.ongoing.insert(position.offset, txn);
        }
        if let Some(ended) = change.ended
            && let Some(txn) = self.ongoing.remove(&ended.first_offset)
        {
            self.unreplicated.insert(ended.first_offset, Txn { last: Some(ended.marker_offset), ..txn });
        }
    }

    /// The last stable offset for the transaction index entry of an ended transaction. To be called before `settle`.
    pub fn last_stable_with(&self, ended: &Ended) -> Offset {
        let others = self.ongoing.values().find(|txn| txn.producer_id != ended.producer_id);
        others.map_or(ended.marker_offset + 1, |txn| txn.first.offset)
    }

    /// Applies a batch that is in the log already. If it ends a transaction, this also returns the last stable offset for
    /// the transaction index.
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

    /// Forgets ended transactions whose markers are below the high watermark: they are final.
    pub fn replicated(&mut self, high_watermark: Offset) {
        self.unreplicated.retain(|_, txn| txn.last.is_none_or(|last| last >= high_watermark));
    }

    pub fn log_start_moved(&mut self, log_start: Offset) {
        self.replicated(log_start);
        self.end = self.end.max(log_start);
    }

    /// Where the first transaction begins that is open, or whose marker is not replicated.
    pub fn first_unstable(&self) -> Option<Position> {
        let firsts =
            [&self.ongoing, &self.unreplicated].map(|txns| txns.values().next().map(|txn| txn.first));
        firsts.into_iter().flatten().min_by_key(|first| first.offset)
    }

    /// A producer with an open transaction does not expire (KAFKA-9144).
    pub fn expire(&mut self, now_ms: i64) {
        self.entries.retain(|_, producer| !producer.expired(now_ms, self.expiration_ms));
        self.verifications.expire(now_ms, self.expiration_ms);
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.unreplicated.is_empty()
    }

    /// All producers, sorted by id.
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

    /// A producer from an entry of a snapshot, which has one batch.
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

    /// The same producer, with the batches of an earlier entry of the same snapshot before its own.
    pub fn after(self, before: &Producer) -> Producer {
        if before.epoch != self.epoch {
            return self;
        }
        let mut batches = *before;
        self.seen().iter().for_each(|seen| batches.push(*seen));
        Producer { batches: batches.batches, batches_len: batches.batches_len, ..self }
    }

    /// The last batches, the newest one at the end.
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
        // Nothing is known of the producer, perhaps because retention has removed its batches: any sequence is accepted.
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
        // A marker that is sent again after its transaction has ended has the epoch that the first marker set
        // (KAFKA-19999).
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

/// The position of a transaction that came from a snapshot. It has to be looked up.
const UNKNOWN: Position = Position { offset: -1, base: -1, at: 0 };
const BATCHES_KEPT: usize = 5;
