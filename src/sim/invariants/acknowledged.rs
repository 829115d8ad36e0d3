//! Acknowledged is never lost: under any kill, and under a loss of power where the topic has `flush.messages=1`.

use ottla_model::NodeId;
use ottla_protocol::Offset;

use super::copy::LogCopy;
use super::ledger::{Fact, Ledger, RecordId};
use crate::marks::mark_if;
use crate::verdict::{Verdict, Violation};

/// A producer was told that this record is at that offset.
pub(crate) fn note(ledger: &mut Ledger, record: RecordId, offset: Offset) -> Verdict {
    let fact = ledger.facts.entry(offset).or_insert(Fact { record, acknowledged: false, seen: false });
    if fact.record != record {
        let what = format!("{record} was acknowledged at offset {offset}, where {} is", fact.record);
        return Err(Violation::new(NAME, what));
    }
    mark_if(fact.acknowledged, "a record was acknowledged twice");
    fact.acknowledged = true;
    Ok(())
}

/// What is there now, after whatever has happened.
pub(crate) fn check(ledger: &Ledger, node: NodeId, copy: &LogCopy) -> Verdict {
    missing(ledger, node, copy, NAME, "acknowledged", |fact| fact.acknowledged)
}

/// Every such fact must be in the log, unless retention took it, or it was promised nothing and lay at the end.
pub(super) fn missing(
    ledger: &Ledger,
    node: NodeId,
    copy: &LogCopy,
    name: &'static str,
    was: &str,
    counts: impl Fn(&Fact) -> bool,
) -> Verdict {
    let (start, end) = (copy.offsets.log_start, copy.offsets.log_end);
    let mut there = copy.records().peekable();
    for (offset, fact) in ledger.facts.range(start..).filter(|(_, fact)| counts(fact)) {
        if *offset >= end && !ledger.holds(node) {
            break;
        }
        while there.next_if(|(at, _)| at < offset).is_some() {}
        let found = there.peek().filter(|(at, _)| at == offset).map(|(_, record)| *record);
        let compacted = found.is_none() && *offset < end && ledger.may_be_compacted(*offset, fact.record);
        if found != Some(fact.record) && !compacted {
            let instead = found.map_or("nothing".to_owned(), |other| other.to_string());
            let what = format!(
                "{} was {was} at offset {offset}; there is {instead} (log {start} to {end}, after {:?})",
                fact.record,
                ledger.loss(node)
            );
            return Err(Violation::new(name, what));
        }
    }
    Ok(())
}

const NAME: &str = "acknowledged is never lost";
