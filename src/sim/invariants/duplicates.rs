//! An idempotent producer's record is in the log once, and in the order in which it was sent.

use std::collections::BTreeMap;

use ottla_protocol::Offset;

use super::copy::LogCopy;
use super::ledger::{Ledger, RecordId};
use crate::verdict::{Verdict, Violation};

/// Somebody was told of a record at this offset.
pub(crate) fn placed(ledger: &mut Ledger, record: RecordId, offset: Offset) -> Verdict {
    if !ledger.idempotent.contains(&record.client) {
        return Ok(());
    }
    match ledger.places.insert(record, offset) {
        Some(other) if other != offset && !ledger.lossy => {
            Err(Violation::new(NAME, format!("{record} is at offset {other} and at {offset}")))
        }
        _ => Ok(()),
    }
}

/// The whole log, and what retention has taken of it.
pub(crate) fn check(ledger: &mut Ledger, copy: &LogCopy) -> Verdict {
    let mut last: BTreeMap<u32, (u32, Offset)> = BTreeMap::new();
    for (offset, record) in copy.records() {
        placed(ledger, record, offset)?;
        if !ledger.idempotent.contains(&record.client) || ledger.lossy {
            continue;
        }
        if let Some((number, at)) = last.insert(record.client, (record.number, offset))
            && number >= record.number
        {
            let what = format!("{record} is at offset {offset}, behind number {number} at {at}");
            return Err(Violation::new(NAME, what));
        }
    }
    Ok(())
}

const NAME: &str = "idempotent records are there once and in order";
