//! While a process lives its offsets only move forward, and the high watermark stays below what may yet be lost.

use ottla_log::log::Offsets;
use ottla_protocol::Offset;

use super::ledger::Ledger;
use super::{Verdict, Violation};

pub(crate) fn check(ledger: &mut Ledger, now: Offsets, recovery_point: Offset) -> Verdict {
    let wrong = |what: &str| {
        Err(Violation::new(
            NAME,
            format!("{what}: {now:?}, before {:?}, flushed to {recovery_point}", ledger.offsets),
        ))
    };
    let ordered = now.log_start <= now.last_stable
        && now.last_stable <= now.high_watermark
        && now.high_watermark <= now.log_end;
    if !ordered || recovery_point > now.log_end {
        return wrong("offsets out of order");
    }
    if ledger.promise.outlives_power && now.high_watermark > recovery_point.max(now.log_start) {
        return wrong("consumers may see what is not flushed");
    }
    if let Some(before) = ledger.offsets {
        let back = now.high_watermark < before.high_watermark;
        if back || now.log_start < before.log_start || now.log_end < before.log_end {
            return wrong("offsets went back");
        }
    }
    if recovery_point < ledger.recovery_point {
        return wrong("the recovery point went back");
    }
    ledger.offsets = Some(now);
    ledger.recovery_point = recovery_point;
    Ok(())
}

const NAME: &str = "the high watermark only moves forward";
