//! A transaction is atomic over its partitions: of its records all are committed or none is, and in the end, where one is,
//! all are there.

use super::attempt::Attempt;
use super::fates::{Fate, Fates};
use super::ledger::RecordId;
use crate::verdict::{Verdict, Violation};

/// At any time: how a transaction ends is decided before its first marker.
pub(crate) fn check(attempt: &Attempt, fates: &Fates) -> Verdict {
    match (first(attempt, fates, Some(Fate::Committed)), first(attempt, fates, Some(Fate::Aborted))) {
        (Some(committed), Some(aborted)) => Err(Violation::new(
            NAME,
            format!("{committed} is committed, {aborted} of the same transaction is aborted"),
        )),
        _ => Ok(()),
    }
}

/// When nothing is open any more.
pub(crate) fn finished(attempt: &Attempt, fates: &Fates) -> Verdict {
    match (first(attempt, fates, Some(Fate::Committed)), first(attempt, fates, None)) {
        (Some(committed), Some(missing)) => Err(Violation::new(
            NAME,
            format!("{committed} is committed, {missing} of the same transaction is not there"),
        )),
        _ => Ok(()),
    }
}

fn first(attempt: &Attempt, fates: &Fates, wanted: Option<Fate>) -> Option<RecordId> {
    attempt.records.iter().copied().find(|record| fates.of.get(record).copied() == wanted)
}

const NAME: &str = "a transaction is atomic over its partitions";
