//! Marks where a run enters a rare state. A test holds that all seeds together reach every mark, so that a world in which
//! something never happens any more is noticed. A mark must never influence a run.

use std::cell::RefCell;
use std::collections::BTreeSet;

/// What a run has reached.
pub(crate) type Marks = BTreeSet<&'static str>;

thread_local! {
    // A run has a thread for itself, and places that have nothing else in common have something to mark.
    static REACHED: RefCell<Marks> = RefCell::default();
}

/// The run that this thread is at has come here.
pub(crate) fn mark(what: &'static str) {
    REACHED.with_borrow_mut(|reached| reached.insert(what));
}

pub(crate) fn mark_if(reached: bool, what: &'static str) {
    if reached {
        mark(what);
    }
}

/// What was reached since the last time.
pub(crate) fn take() -> Marks {
    REACHED.take()
}
