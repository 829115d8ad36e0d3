//! A consumer of everything: it fetches up to the high watermark and tells the judge what it was given.

use std::collections::BTreeMap;

use ottla_log::log::Isolation;
use ottla_model::is_internal;
use ottla_protocol::Offset;

use super::Around;
use crate::invariants::copy::read_from;
use crate::mutation::Mutation;
use crate::node::{Key, Node};
use crate::verdict::Violation;

/// One consumer and how far it has come.
#[derive(Default)]
pub(crate) struct Consumer {
    positions: BTreeMap<Key, Offset>,
}

impl Consumer {
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

    fn fetch(&mut self, node: &Node, key: Key, around: &mut Around<'_>) -> Result<(), Violation> {
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
        let upto = match around.mutation {
            Some(Mutation::ReadPastHighWatermark) => Isolation::LogEnd,
            _ => Isolation::HighWatermark,
        };
        let max_bytes = *around.dice.pick(&[1, 300, 64 << 10]);
        for batch in read_from(&partition.reader, *position, max_bytes, upto)? {
            for (offset, record) in batch.records {
                if offset < *position {
                    continue;
                }
                if offset > *position && !compacted {
                    let what = format!("{}: {position} is next, offset {offset} was given", partition.id);
                    return Err(Violation::new(NAME, what));
                }
                around
                    .judge
                    .consumed(key, offset, record)
                    .map_err(|v| Violation { what: format!("{}: {}", partition.id, v.what), ..v })?;
                *position = offset + 1;
            }
            if compacted {
                *position = (*position).max(batch.header.next_offset());
            }
        }
        Ok(())
    }
}

const NAME: &str = "a consumer misses nothing";
