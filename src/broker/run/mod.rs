//! What drives the step functions of `ottla-node`: threads, mailboxes, timers and disk I/O. Decisions are theirs.

pub(crate) mod owners;
pub(crate) mod serve;
pub(crate) mod work;
