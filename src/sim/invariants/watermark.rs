//! While a process lives, the offsets of its replicas only move forward, and the high watermark stays below what may yet
//! be lost.

use ottla_log::log::Offsets;
use ottla_protocol::Offset;

use super::ledger::{Promise, Replica};
use crate::marks::mark_if;
use crate::verdict::{Verdict, Violation};

pub(crate) fn check(
    promise: Promise,
    replica: &mut Replica,
    now: Offsets,
    recovery_point: Offset,
) -> Verdict {
    let wrong = |what: &str| {
        Err(Violation::new(
            NAME,
            format!("{what}: {now:?}, before {:?}, flushed to {recovery_point}", replica.offsets),
        ))
    };
    let ordered = now.log_start <= now.last_stable
        && now.last_stable <= now.high_watermark
        && now.high_watermark <= now.log_end;
    if !ordered || recovery_point > now.log_end {
        return wrong("offsets out of order");
    }
    if promise.outlives_power && now.high_watermark > recovery_point.max(now.log_start) {
        return wrong("consumers may see what is not flushed");
    }
    if let Some(before) = replica.offsets {
        let back = now.high_watermark < before.high_watermark;
        if back || now.log_start < before.log_start || now.log_end < before.log_end {
            return wrong("offsets went back");
        }
        mark_if(now.log_start > before.log_start, "retention moved the log start");
    }
    if recovery_point < replica.recovery_point {
        return wrong("the recovery point went back");
    }
    replica.offsets = Some(now);
    replica.recovery_point = recovery_point;
    Ok(())
}

const NAME: &str = "the high watermark only moves forward";
