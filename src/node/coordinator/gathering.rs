//! Records on their way to the log: gathered into batches, as long as they fit and none is of a transaction.
//! It must never know what the records say.

use std::collections::VecDeque;

use bytes::Bytes;
use ottla_core::coordinator::{InTransaction, Producer, Record, Ticket};
use ottla_model::VerificationGuard;
use ottla_protocol::LeaderEpoch;
use ottla_protocol::batch::control::ControlRecord;
use ottla_protocol::batch::{BatchBuilder, Compression};

use super::{Ending, ShardBatch};

/// Batches that nothing has been asked to append yet, in the order of the log.
pub(super) struct Gathering<T> {
    compression: Compression,
    /// A batch that has reached this size takes no more records. One write is never divided, however large it is.
    pub bytes_max: usize,
    closed: VecDeque<Gathered<T>>,
    /// Takes more records.
    open: Option<Open>,
}

pub(super) struct Gathered<T> {
    pub batch: ShardBatch,
    pub content: Content<T>,
}

/// What has to be done when the batch is in the log, or cannot be.
pub(super) enum Content<T> {
    Records(Vec<GatheredWrite>),
    Marker { token: T, ending: Ending },
}

/// Where in its batch a write begins.
pub(super) struct GatheredWrite {
    pub ticket: Ticket,
    pub index: i64,
}

struct Open {
    builder: BatchBuilder,
    places: Vec<GatheredWrite>,
    guard: Option<VerificationGuard>,
    opened_ms: i64,
}

impl<T> Content<T> {
    /// Who waits for a marker.
    pub fn token(self) -> Option<T> {
        match self {
            Content::Records(_) => None,
            Content::Marker { token, .. } => Some(token),
        }
    }
}

impl<T> Gathering<T> {
    pub fn new(compression: Compression) -> Gathering<T> {
        Gathering { compression, bytes_max: usize::MAX, closed: VecDeque::new(), open: None }
    }

    pub fn is_empty(&self) -> bool {
        self.closed.is_empty() && self.open.is_none()
    }

    /// When the batch that takes more records got its first.
    pub fn opened_ms(&self) -> Option<i64> {
        self.open.as_ref().map(|open| open.opened_ms)
    }

    /// Adds the records of one write. They go into one batch, and into one of their own if they are of a transaction.
    pub fn add<R: Record>(
        &mut self,
        now_ms: i64,
        ticket: Ticket,
        records: &[R],
        transaction: Option<InTransaction>,
    ) {
        let records: Vec<_> = records.iter().map(Record::to_key_value).collect();
        let bytes = |(key, value): &(Bytes, Option<Bytes>)| {
            RECORD_OVERHEAD_BYTES_MAX + key.len() + value.as_ref().map_or(0, Bytes::len)
        };
        let more: usize = records.iter().map(bytes).sum();
        let is_full = |open: &Open| open.builder.size_in_bytes().saturating_add(more) > self.bytes_max;
        if transaction.is_some() || self.open.as_ref().is_some_and(is_full) {
            self.close();
        }
        let compression = self.compression;
        let open = self.open.get_or_insert_with(|| Open {
            builder: builder(compression, transaction.map(|transaction| transaction.producer)),
            places: Vec::new(),
            guard: transaction.and_then(|transaction| transaction.guard),
            opened_ms: now_ms,
        });
        let index = i64::try_from(open.builder.record_count()).unwrap_or(i64::MAX);
        open.places.push(GatheredWrite { ticket, index });
        for (key, value) in &records {
            open.builder.append(now_ms, Some(key), value.as_deref(), &[]);
        }
        if transaction.is_some() || open.builder.size_in_bytes() >= self.bytes_max {
            self.close();
        }
    }

    /// Adds the marker that ends a transaction, behind everything that was added before.
    pub fn add_marker(&mut self, now_ms: i64, token: T, ending: Ending) {
        self.close();
        let bytes = marker(now_ms, &ending);
        let batch = ShardBatch { bytes, guard: None, transaction_version: ending.version.0 };
        self.closed.push_back(Gathered { batch, content: Content::Marker { token, ending } });
    }

    /// The open batch takes no more.
    pub fn close(&mut self) {
        if let Some(open) = self.open.take() {
            let bytes = open.builder.build(0, LeaderEpoch::NONE);
            let batch = ShardBatch { bytes, guard: open.guard, transaction_version: 0 };
            self.closed.push_back(Gathered { batch, content: Content::Records(open.places) });
        }
    }

    /// The next batch to append. One that takes more records is not.
    pub fn next(&mut self) -> Option<Gathered<T>> {
        self.closed.pop_front()
    }

    /// Gives everything up.
    pub fn drain(&mut self) -> impl Iterator<Item = Content<T>> {
        self.open = None;
        self.closed.drain(..).map(|gathered| gathered.content)
    }
}

/// The batch that ends a transaction in a partition.
pub fn marker(now_ms: i64, ending: &Ending) -> Bytes {
    let mut batch = builder(Compression::None, Some(ending.producer)).control();
    batch.append_control(now_ms, &ControlRecord::end_txn(ending.result, ending.coordinator_epoch));
    batch.build(0, LeaderEpoch::NONE)
}

/// Records of coordinators have no sequence: nobody retries them blindly.
fn builder(compression: Compression, transaction: Option<Producer>) -> BatchBuilder {
    const NO_SEQUENCE: i32 = -1;
    let batch = BatchBuilder::new(compression);
    match transaction {
        Some(producer) => batch.producer(producer.id, producer.epoch, NO_SEQUENCE).transactional(),
        None => batch,
    }
}

/// Lengths, attributes, timestamp and offset of a record without headers.
const RECORD_OVERHEAD_BYTES_MAX: usize = 36;
