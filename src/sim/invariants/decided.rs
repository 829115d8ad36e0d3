//! What a producer was told of the end of its transaction is never undone: a commit that was answered stays a commit.

use ottla_protocol::batch::control::TransactionResult;

use super::attempt::Attempt;
use super::fates::Fate;
use super::ledger::RecordId;
use crate::verdict::{Verdict, Violation};

/// A producer is told.
pub(crate) fn answered(attempt: &Attempt, result: TransactionResult) -> Verdict {
    match attempt.answered.filter(|before| *before != result) {
        Some(before) => {
            let what = format!("client {} was told {before:?}, and then {result:?}", attempt.client);
            Err(Violation::new(NAME, what))
        }
        None => Ok(()),
    }
}

/// What a log says of one of its records.
pub(crate) fn check(attempt: &Attempt, record: RecordId, fate: Fate) -> Verdict {
    if attempt.answered == Some(TransactionResult::Commit) && fate == Fate::Aborted {
        let what =
            format!("{record} is aborted, and client {} was told that it is committed", attempt.client);
        return Err(Violation::new(NAME, what));
    }
    Ok(())
}

const NAME: &str = "an answered commit is never undone";
