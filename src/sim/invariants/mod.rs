//! What must hold, one file each, and the judge who asks them all. It must never influence what is judged: it reads logs
//! as a client would and images as the publisher does.

pub(crate) mod acknowledged;
pub(crate) mod atomic;
pub(crate) mod attempt;
pub(crate) mod committed;
pub(crate) mod compacted;
pub(crate) mod copy;
pub(crate) mod decided;
pub(crate) mod dense;
pub(crate) mod duplicates;
pub(crate) mod epochs;
pub(crate) mod fates;
pub(crate) mod fenced;
pub(crate) mod generations;
pub(crate) mod groups;
pub(crate) mod ledger;
pub(crate) mod metadata;
pub(crate) mod owners;
pub(crate) mod producer_ids;
pub(crate) mod seen;
pub(crate) mod stable;
pub(crate) mod survival;
pub(crate) mod together;
pub(crate) mod transactions;
pub(crate) mod uncommitted;
pub(crate) mod watermark;
pub(crate) mod whole;

use std::collections::BTreeMap;

use ottla_core::group::Reply;
use ottla_log::log::{Isolation, Offsets};
use ottla_model::{NodeId, TopicId, is_internal};
use ottla_node::coordinator::groups::offsets_topic;
use ottla_protocol::Offset;

use crate::node::{Key, Node};
use crate::verdict::{Verdict, Violation};
use copy::LogCopy;
use ledger::{Ledger, Loss, Promise, RecordId, Replica};

/// Everything that is known: of the cluster (what was promised to whom), and of each node apart (what its process had, and
/// how it ended).
#[derive(Debug, Default)]
pub(crate) struct Judge {
    promises: BTreeMap<TopicId, Promise>,
    ledgers: BTreeMap<Key, Ledger>,
    pub metadata: metadata::Metadata,
    pub producer_ids: producer_ids::ProducerIds,
    epochs: BTreeMap<NodeId, epochs::Epochs>,
    pub groups: groups::GroupLedger,
    pub transactions: transactions::TransactionLedger,
    offsets_topic: Option<TopicId>,
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

    /// After every event at this node.
    pub fn watch(&mut self, id: NodeId, node: &Node) -> Verdict {
        for (key, partition) in &node.partitions {
            let Some(log) = partition.log() else { continue };
            let of_partition =
                |v: Violation| Violation { what: format!("{} at {id}: {}", partition.id, v.what), ..v };
            let ledger = self.ledger(*key);
            if !partition.resigned && !is_internal(&partition.id.topic) {
                compacted::watch(ledger, id, &partition.reader, log.recovery_point())
                    .map_err(of_partition)?;
            }
            watermark::check(ledger.promise, ledger.replica(id), log.offsets(), log.recovery_point())
                .map_err(of_partition)?;
        }
        self.transactions.watch(node)
    }

    /// A new image is in force at this node.
    pub fn published(&mut self, id: NodeId, node: &Node) -> Verdict {
        self.offsets_topic = offsets_topic(&node.image).map(|topic| topic.id);
        self.epochs.entry(id).or_default().published(id, &node.image)?;
        self.metadata.published(id, &node.image)
    }

    /// The process of this node is gone, and so is what only it knew.
    pub fn ended(&mut self, id: NodeId, loss: Loss) {
        self.ledgers.values_mut().for_each(|ledger| ledger.ended(id, loss));
        self.epochs.entry(id).or_default().ended();
        let of_offsets = self.offsets_topic.and_then(|topic| self.promises.get(&topic));
        let outlives_power = of_offsets.is_some_and(|promise| promise.outlives_power);
        self.groups.ended(loss == Loss::Power && !outlives_power);
        self.transactions.ended();
    }

    /// Reads every log of this node whole and holds it against what is known.
    pub fn audit(&mut self, id: NodeId, node: &Node) -> Verdict {
        self.metadata.booted(id, &node.image)?;
        self.epochs.entry(id).or_default().restarted(id, &node.image)?;
        for (key, partition) in &node.partitions {
            let of_partition =
                |v: Violation| Violation { what: format!("{} at {id}: {}", partition.id, v.what), ..v };
            if is_internal(&partition.id.topic) {
                self.examine_ends(id, *key, partition.reader.offsets()).map_err(of_partition)?;
                continue;
            }
            let copy = LogCopy::read(&partition.reader, Isolation::LogEnd).map_err(of_partition)?;
            self.examine(id, *key, !partition.resigned, &copy, None).map_err(of_partition)?;
        }
        self.transactions.audit(node)?;
        self.groups.audit(node, &self.metadata)
    }

    /// A group's question is answered.
    pub fn group_answered(&mut self, now_ms: i64, request: u64, reply: &Reply) -> Verdict {
        self.groups.answered(now_ms, request, reply, &self.metadata)
    }

    // A coordinator's log: what its records mean is `groups`' to say.
    fn examine_ends(&mut self, id: NodeId, key: Key, offsets: Offsets) -> Verdict {
        let copy = LogCopy { offsets, batches: Vec::new() };
        let ledger = self.ledger(key);
        survival::check(ledger.promise, ledger.replica(id), &copy)?;
        *ledger.replica(id) = Replica::default();
        Ok(())
    }

    /// The files of a log are others now: it is read whole, and held against what is known.
    pub fn rearranged(&mut self, id: NodeId, node: &Node, key: Key, now_ms: i64) -> Verdict {
        let here = node.partitions.get(&key);
        let Some(partition) = here.filter(|here| !here.offline && !is_internal(&here.id.topic)) else {
            return Ok(());
        };
        let of_partition =
            |v: Violation| Violation { what: format!("{} at {id}: {}", partition.id, v.what), ..v };
        let copy = LogCopy::read(&partition.reader, Isolation::LogEnd).map_err(of_partition)?;
        self.examine(id, key, !partition.resigned, &copy, Some(now_ms)).map_err(of_partition)
    }

    // Every replica keeps what its own node had; what clients were told is with whoever leads. Without a time: it has passed
    // since the files were last changed.
    fn examine(&mut self, id: NodeId, key: Key, leads: bool, copy: &LogCopy, now_ms: Option<i64>) -> Verdict {
        let ledger = self.ledger(key);
        match ledger.promise.compaction {
            None => dense::check(copy)?,
            Some(compaction) if leads => compacted::check(ledger, compaction, copy, now_ms)?,
            Some(_) => {}
        }
        epochs::check(copy)?;
        survival::check(ledger.promise, ledger.replica(id), copy)?;
        if leads {
            acknowledged::check(ledger, id, copy)?;
            seen::check(ledger, id, copy)?;
            ledger.settle(id, copy);
            duplicates::check(ledger, copy)?;
        }
        // A new process may begin with another high watermark and recovery point.
        *ledger.replica(id) = Replica::default();
        Ok(())
    }

    /// At the end of a run, when everybody had the time to finish: what every log holds of whom.
    pub fn summary(&self) -> (usize, usize) {
        let facts = || self.ledgers.values().flat_map(|ledger| ledger.facts.values());
        (facts().filter(|fact| fact.acknowledged).count(), facts().filter(|fact| fact.seen).count())
    }
}
