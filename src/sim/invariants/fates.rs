//! What the logs say became of each record of a transaction: a reader of them finds its marker, or none. It must never judge.

use std::collections::BTreeMap;

use ottla_log::log::Isolation;
use ottla_model::is_internal;

use super::copy::LogCopy;
use super::ledger::RecordId;
use crate::node::Node;
use crate::verdict::Violation;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Committed,
    Aborted,
    /// No marker has come.
    Open,
}

/// Of all records of transactions that are in the logs.
#[derive(Debug, Default)]
pub(crate) struct Fates {
    pub of: BTreeMap<RecordId, Fate>,
}

/// What the partitions that this node leads say.
pub(crate) fn fates(node: &Node) -> Result<Fates, Violation> {
    let mut fates = Fates::default();
    for partition in node.partitions.values() {
        if partition.resigned || partition.offline || is_internal(&partition.id.topic) {
            continue;
        }
        let copy = LogCopy::read(&partition.reader, Isolation::LogEnd)?;
        let mut open: BTreeMap<i64, Vec<RecordId>> = BTreeMap::new();
        for batch in copy.batches.iter().filter(|batch| batch.header.is_transactional()) {
            let records = open.entry(batch.header.producer_id).or_default();
            records.extend(batch.records.iter().map(|(_, record)| *record));
            if let Some(commits) = batch.marker {
                let fate = if commits { Fate::Committed } else { Fate::Aborted };
                fates.of.extend(records.drain(..).map(|record| (record, fate)));
            }
        }
        fates.of.extend(open.into_values().flatten().map(|record| (record, Fate::Open)));
    }
    Ok(fates)
}
