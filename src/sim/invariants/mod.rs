//! What must hold, one file each, and the judge who asks them all. It must never influence what is judged: it reads logs
//! as a client would and images as the publisher does.

pub(crate) mod acknowledged;
pub(crate) mod copy;
pub(crate) mod dense;
pub(crate) mod duplicates;
pub(crate) mod epochs;
pub(crate) mod ledger;
pub(crate) mod metadata;
pub(crate) mod producer_ids;
pub(crate) mod seen;
pub(crate) mod survival;
pub(crate) mod watermark;

use std::collections::BTreeMap;

use ottla_log::log::Isolation;
use ottla_model::TopicId;
use ottla_protocol::Offset;

use crate::node::{Key, Node};
use copy::LogCopy;
use ledger::{Ledger, Loss, Promise, RecordId};

/// What was broken, and how.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub invariant: &'static str,
    pub what: String,
}

impl Violation {
    pub fn new(invariant: &'static str, what: impl Into<String>) -> Violation {
        Violation { invariant, what: what.into() }
    }
}

pub(crate) type Verdict = Result<(), Violation>;

/// Everything that is known of what was promised to whom.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    promises: BTreeMap<TopicId, Promise>,
    ledgers: BTreeMap<Key, Ledger>,
    pub metadata: metadata::Metadata,
    pub producer_ids: producer_ids::ProducerIds,
    epochs: epochs::Epochs,
}

impl Judge {
    /// A topic was created, and with these settings. Known before anything is sent to it.
    pub fn promise(&mut self, topic: TopicId, promise: Promise) {
        self.promises.insert(topic, promise);
    }

    pub fn ledger(&mut self, key: Key) -> &mut Ledger {
        let promise = self.promises.get(&key.0).copied().unwrap_or_default();
        self.ledgers.entry(key).or_insert_with(|| Ledger::new(promise))
    }

    /// A producer was told that its batch is stored.
    pub fn acknowledged(&mut self, key: Key, base_offset: Offset, records: &[RecordId]) -> Verdict {
        let ledger = self.ledger(key);
        for (record, offset) in records.iter().zip(base_offset..) {
            duplicates::placed(ledger, *record, offset)?;
            acknowledged::note(ledger, *record, offset)?;
        }
        Ok(())
    }

    /// A consumer was given a record.
    pub fn consumed(&mut self, key: Key, offset: Offset, record: RecordId) -> Verdict {
        let ledger = self.ledger(key);
        duplicates::placed(ledger, record, offset)?;
        seen::note(ledger, record, offset)
    }

    /// After every event.
    pub fn watch(&mut self, node: &Node) -> Verdict {
        for (key, partition) in &node.partitions {
            let Some(log) = partition.log() else { continue };
            watermark::check(self.ledger(*key), log.offsets(), log.recovery_point())
                .map_err(|v| Violation { what: format!("{}: {}", partition.id, v.what), ..v })?;
        }
        Ok(())
    }

    /// A new image is in force.
    pub fn published(&mut self, node: &Node) -> Verdict {
        self.epochs.published(&node.image)?;
        self.metadata.published(&node.image)
    }

    /// The process is gone, and so is what only it knew.
    pub fn ended(&mut self, loss: Loss) {
        self.ledgers.values_mut().for_each(|ledger| ledger.ended(loss));
        self.epochs.ended();
    }

    /// Reads every log whole and holds it against what is known.
    pub fn audit(&mut self, node: &Node) -> Verdict {
        self.metadata.booted(&node.image)?;
        self.epochs.restarted(&node.image)?;
        for (key, partition) in &node.partitions {
            let of_partition =
                |v: Violation| Violation { what: format!("{}: {}", partition.id, v.what), ..v };
            let copy = LogCopy::read(&partition.reader, Isolation::LogEnd).map_err(of_partition)?;
            self.examine(*key, &copy).map_err(of_partition)?;
        }
        Ok(())
    }

    fn examine(&mut self, key: Key, copy: &LogCopy) -> Verdict {
        let ledger = self.ledger(key);
        dense::check(copy)?;
        epochs::check(copy)?;
        survival::check(ledger, copy)?;
        acknowledged::check(ledger, copy)?;
        seen::check(ledger, copy)?;
        ledger.settle(copy);
        duplicates::check(ledger, copy)
    }

    /// At the end of a run, when everybody had the time to finish: what every log holds of whom.
    pub fn summary(&self) -> (usize, usize) {
        let facts = || self.ledgers.values().flat_map(|ledger| ledger.facts.values());
        (facts().filter(|fact| fact.acknowledged).count(), facts().filter(|fact| fact.seen).count())
    }
}
