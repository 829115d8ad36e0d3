//! What a log must hold, in the simplest form: batches in order, and what follows from them.

use std::collections::BTreeMap;

use super::super::*;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub base: Offset,
    pub epoch: i32,
    pub kind: Kind,
    /// Producer id, and sequence of the first record. `None`: a marker, or a batch without a producer.
    pub producer: Option<(i64, i32)>,
    pub timestamps: Vec<i64>,
    pub values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Plain,
    InTransaction,
    Marker(TransactionResult),
}

impl Batch {
    pub fn end(&self) -> Offset {
        self.base + self.values.len() as i64
    }

    pub fn is_of(&self, producer: i64) -> bool {
        self.producer.is_some_and(|(id, _)| id == producer)
    }

    pub fn is_marker(&self) -> bool {
        matches!(self.kind, Kind::Marker(_))
    }

    pub fn checked(&self, world: &World) -> CheckedBatch {
        match (self.kind, self.producer) {
            (Kind::Marker(result), Some((id, _))) => {
                world.checked(end_of_txn(id, 0, result, 0, self.timestamps[0]), Origin::Coordinator)
            }
            _ => world.checked(self.builder(), Origin::Client),
        }
    }

    fn builder(&self) -> BatchBuilder {
        let mut builder = BatchBuilder::new(Compression::None);
        if let Some((id, sequence)) = self.producer {
            builder = builder.producer(ProducerId(id), ProducerEpoch(0), sequence);
        }
        if self.kind == Kind::InTransaction {
            builder = builder.transactional();
        }
        for (timestamp, value) in self.timestamps.iter().zip(&self.values) {
            builder.append(*timestamp, None, Some(value.as_bytes()), &[]);
        }
        builder
    }
}

/// The next sequence of each producer.
pub fn next_sequences<'a>(batches: impl Iterator<Item = &'a Batch>) -> BTreeMap<i64, i32> {
    let known = batches.filter(|b| !b.is_marker()).filter_map(|b| Some((b.producer?, b.values.len())));
    known.map(|((id, sequence), records)| (id, sequence + records as i32)).collect()
}

#[derive(Debug, Default)]
pub struct Transactions {
    /// Producer and first offset of each transaction that is neither committed nor aborted.
    pub open: BTreeMap<i64, Offset>,
    /// Producer and first offset, in the order of their markers.
    pub aborted: Vec<(i64, Offset)>,
}

pub fn transactions<'a>(batches: impl Iterator<Item = &'a Batch>) -> Transactions {
    let mut all = Transactions::default();
    for batch in batches {
        let Some((id, _)) = batch.producer else { continue };
        match batch.kind {
            Kind::Plain => {}
            Kind::InTransaction => drop(all.open.entry(id).or_insert(batch.base)),
            Kind::Marker(result) => {
                let begun = all.open.remove(&id).filter(|_| result == TransactionResult::Abort);
                all.aborted.extend(begun.map(|first| (id, first)));
            }
        }
    }
    all
}
