//! No aborted record is seen: a reader of what is committed is given records of transactions that their producers have asked
//! to commit, and of none that is aborted. And nothing is committed that nobody asked to commit.

use ottla_protocol::batch::control::TransactionResult;

use super::attempt::Attempt;
use super::fates::Fate;
use super::ledger::RecordId;
use crate::verdict::{Verdict, Violation};

/// A reader of what is committed was given this record.
pub(crate) fn read(attempt: &mut Attempt, record: RecordId) -> Verdict {
    attempt.read = true;
    match attempt.asked_to_commit && attempt.answered != Some(TransactionResult::Abort) {
        true => Ok(()),
        false => Err(Violation::new(NAME, format!("{record} was read as committed: {}", known(attempt)))),
    }
}

/// What a log says of it.
pub(crate) fn check(attempt: &Attempt, record: RecordId, fate: Fate) -> Verdict {
    let may_commit = attempt.asked_to_commit && attempt.answered != Some(TransactionResult::Abort);
    if fate == Fate::Committed && !may_commit {
        return Err(Violation::new(NAME, format!("{record} is committed: {}", known(attempt))));
    }
    if fate == Fate::Aborted && attempt.read {
        let what = format!("{record} is aborted, and a record of its transaction was read as committed");
        return Err(Violation::new(NAME, what));
    }
    Ok(())
}

fn known(attempt: &Attempt) -> String {
    match attempt.answered {
        Some(result) => format!("its transaction ended with {result:?}"),
        None => "nobody has asked to commit its transaction".to_owned(),
    }
}

const NAME: &str = "no aborted record is seen";
