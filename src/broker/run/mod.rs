//! What runs the step functions of `ottla-node`: threads, mailboxes, timers and disk I/O. The step functions decide.

pub(crate) mod owners;
pub(crate) mod serve;
pub(crate) mod work;
