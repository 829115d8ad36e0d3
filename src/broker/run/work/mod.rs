//! Background work, on threads and timers of its own, without a request.

pub(crate) mod asker;
pub(crate) mod cleaner;
pub(crate) mod fetchers;
pub(crate) mod flusher;
pub(crate) mod heart;
pub(crate) mod housekeeping;
pub(crate) mod introduction;
pub(crate) mod joining;
pub(crate) mod lookout;
pub(crate) mod messenger;
pub(crate) mod mover;
pub(crate) mod post;
pub(crate) mod progress;
pub(crate) mod registrar;
pub(crate) mod threads;
