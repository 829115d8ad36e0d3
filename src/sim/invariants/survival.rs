//! What a process had written outlives its death, and what was flushed outlives the power. Nobody needs to have been
//! told: a flush that is reported done is a promise between the disk and everything built on it. And nothing leaves at
//! the front but by retention.

use super::copy::LogCopy;
use super::ledger::{Loss, Promise, Replica};
use crate::verdict::{Verdict, Violation};

pub(crate) fn check(promise: Promise, replica: &Replica, copy: &LogCopy) -> Verdict {
    if promise.keeps_all && copy.offsets.log_start > 0 {
        return Err(Violation::new(NAME, format!("{:?}, and nothing was to be deleted", copy.offsets)));
    }
    let Some(before) = replica.offsets else { return Ok(()) };
    let least = match replica.loss {
        Loss::Nothing | Loss::Process => before.log_end,
        Loss::Power => replica.recovery_point,
    };
    if copy.offsets.log_end < least {
        let what = format!("the log ends at {}, it had to keep {least}: {before:?}", copy.offsets.log_end);
        return Err(Violation::new(NAME, what));
    }
    Ok(())
}

const NAME: &str = "written outlives a kill, flushed outlives the power";
