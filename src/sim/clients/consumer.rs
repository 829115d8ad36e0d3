//! A consumer of everything, or of what is committed: it fetches up to the high watermark or the last stable offset, passes
//! over aborted records as Kafka's clients do, and tells the judge what it was given.

use std::collections::{BTreeMap, BTreeSet};

use ottla_log::log::Isolation;
use ottla_model::is_internal;
use ottla_protocol::Offset;

use super::around::Around;
use crate::invariants::copy::{Copied, read_from};
use crate::invariants::ledger::RecordId;
use crate::marks::mark_if;
use crate::mutation::Mutation;
use crate::node::{Key, Node};
use crate::verdict::{Verdict, Violation};

/// One consumer and how far it has come.
pub(crate) struct Consumer {
    upto: Isolation,
    positions: BTreeMap<Key, Offset>,
}

impl Consumer {
    pub fn of_everything() -> Consumer {
        Consumer { upto: Isolation::HighWatermark, positions: BTreeMap::new() }
    }

    /// It reads committed.
    pub fn of_what_is_committed() -> Consumer {
        Consumer { upto: Isolation::Committed, positions: BTreeMap::new() }
    }

    pub fn wake(&mut self, around: &mut Around<'_>) -> Result<i64, Violation> {
        if let Some(node) = around.node {
            let consumed = node.partitions.iter().filter(|(_, partition)| !is_internal(&partition.id.topic));
            let keys: Vec<Key> = consumed.map(|(key, _)| *key).collect();
            let all = around.finishing || around.dice.percent(20);
            let chosen = if all || keys.is_empty() { keys } else { vec![*around.dice.pick(&keys)] };
            for key in chosen {
                self.fetch(node, key, around)?;
            }
        }
        Ok(around.dice.between(2, 60))
    }

    fn fetch(&mut self, node: &Node, key: Key, around: &mut Around<'_>) -> Verdict {
        let partition = &node.partitions[&key];
        let offsets = partition.reader.offsets();
        let position = self.positions.entry(key).or_insert(offsets.log_start);
        if *position > offsets.log_end {
            if !around.judge.ledger(key).lossy {
                let what = format!("{}: a consumer at {position}, the log has {offsets:?}", partition.id);
                return Err(Violation::new(NAME, what));
            }
            // `auto.offset.reset`: it reads everything again, and it had better be the same.
            *position = offsets.log_start;
        }
        *position = (*position).max(offsets.log_start);
        let compacted = around.judge.ledger(key).promise.compaction.is_some();
        let upto = match (around.mutation, self.upto) {
            (Some(Mutation::ReadPastHighWatermark), _) => Isolation::LogEnd,
            (Some(Mutation::ReadPastLastStable), Isolation::Committed) => Isolation::HighWatermark,
            (_, upto) => upto,
        };
        let max_bytes = *around.dice.pick(&[1, 300, 64 << 10]);
        let batches = read_from(&partition.reader, *position, max_bytes, upto)?;
        let mut aborted = match self.upto {
            Isolation::Committed => Aborted::among(node, key, *position, &batches)?,
            _ => Aborted::default(),
        };
        for batch in batches {
            let is_aborted = aborted.has(&batch);
            let next = batch.header.next_offset();
            // A marker has an offset, and nothing for a consumer.
            let passes = batch.header.is_control() || is_aborted;
            if passes && batch.header.base_offset > *position && !compacted {
                return Err(missed(&partition.id, *position, batch.header.base_offset));
            }
            let given = if passes { Vec::new() } else { batch.records };
            for (offset, record) in given {
                if offset < *position {
                    continue;
                }
                if offset > *position && !compacted {
                    return Err(missed(&partition.id, *position, offset));
                }
                tell(self.upto, around, key, offset, record)
                    .map_err(|v| Violation { what: format!("{}: {}", partition.id, v.what), ..v })?;
                *position = offset + 1;
            }
            if compacted || passes {
                *position = (*position).max(next);
            }
        }
        Ok(())
    }
}

fn tell(upto: Isolation, around: &mut Around<'_>, key: Key, offset: Offset, record: RecordId) -> Verdict {
    if upto == Isolation::Committed {
        around.judge.transactions.read(record)?;
    }
    around.judge.consumed(key, offset, record)
}

/// Aborted transactions, as a Fetch tells of them: whose records are passed over, from where on, until their marker.
#[derive(Default)]
struct Aborted {
    begin: Vec<(i64, Offset)>,
    open: BTreeSet<i64>,
}

impl Aborted {
    fn among(node: &Node, key: Key, from: Offset, batches: &[Copied]) -> Result<Aborted, Violation> {
        let Some(last) = batches.last() else { return Ok(Aborted::default()) };
        let reader = &node.partitions[&key].reader;
        let found = reader.aborted_transactions(from, last.header.next_offset());
        let found = found.map_err(|e| Violation::new("a log reads back", e.to_string()))?;
        let mut begin: Vec<(i64, Offset)> = found.into_iter().map(|(id, first)| (id.0, first)).collect();
        begin.sort_by_key(|(_, first)| *first);
        Ok(Aborted { begin, open: BTreeSet::new() })
    }

    /// In the order of the log.
    fn has(&mut self, batch: &Copied) -> bool {
        let begun = self.begin.partition_point(|(_, first)| *first <= batch.header.last_offset());
        self.open.extend(self.begin.drain(..begun).map(|(id, _)| id));
        let producer = batch.header.producer_id;
        if batch.marker == Some(false) {
            self.open.remove(&producer);
        }
        let is_aborted =
            batch.header.is_transactional() && !batch.header.is_control() && self.open.contains(&producer);
        mark_if(is_aborted, "a reader of what is committed passed over aborted records");
        is_aborted
    }
}

fn missed(id: &ottla_model::TopicPartition, position: Offset, given: Offset) -> Violation {
    Violation::new(NAME, format!("{id}: {position} is next, offset {given} was given"))
}

const NAME: &str = "a consumer misses nothing";
