//! Offsets are dense: from log start to log end every offset is there once (nothing is compacted in these runs).

use ottla_protocol::Offset;

use super::copy::{Copied, LogCopy};
use crate::verdict::{Verdict, Violation};

pub(crate) fn check(copy: &LogCopy) -> Verdict {
    let mut next = None;
    for (offset, what) in copy.batches.iter().flat_map(offsets) {
        // The log may start inside a batch.
        if next.map_or(offset > copy.offsets.log_start, |next| offset != next) {
            let what = format!("{what} at offset {offset}, where {next:?} comes next of {:?}", copy.offsets);
            return Err(Violation::new(NAME, what));
        }
        next = Some(offset + 1);
    }
    let end = next.unwrap_or(copy.offsets.log_start);
    if end != copy.offsets.log_end {
        return Err(Violation::new(NAME, format!("the records end at {end}, the log at {:?}", copy.offsets)));
    }
    Ok(())
}

// A marker has one, too.
fn offsets(batch: &Copied) -> Vec<(Offset, String)> {
    match batch.header.is_control() {
        true => vec![(batch.header.base_offset, "a marker".to_owned())],
        false => batch.records.iter().map(|(offset, record)| (*offset, record.to_string())).collect(),
    }
}

const NAME: &str = "offsets are dense";
