//! What a check says: all is well, or which invariant is broken and how.

/// What was broken, and how.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub invariant: &'static str,
    pub what: String,
}

impl Violation {
    pub fn new(invariant: &'static str, what: impl Into<String>) -> Violation {
        Violation { invariant, what: what.into() }
    }
}

pub(crate) type Verdict = Result<(), Violation>;
