//! What a consumer has seen does not disappear, where acknowledged records do not.

use ottla_model::NodeId;
use ottla_protocol::Offset;

use super::acknowledged::missing;
use super::copy::LogCopy;
use super::ledger::{Fact, Ledger, RecordId};
use crate::verdict::{Verdict, Violation};

/// A consumer was given this record at that offset.
pub(crate) fn note(ledger: &mut Ledger, record: RecordId, offset: Offset) -> Verdict {
    let fact = ledger.facts.entry(offset).or_insert(Fact { record, acknowledged: false, seen: false });
    if fact.record != record {
        let what = format!("a consumer was given {record} at offset {offset}, where {} is", fact.record);
        return Err(Violation::new(NAME, what));
    }
    fact.seen = true;
    Ok(())
}

/// What is there now, after whatever has happened.
pub(crate) fn check(ledger: &Ledger, node: NodeId, copy: &LogCopy) -> Verdict {
    missing(ledger, node, copy, NAME, "given to a consumer", |fact| fact.seen)
}

const NAME: &str = "what was seen stays";
