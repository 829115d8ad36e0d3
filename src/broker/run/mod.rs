//! What drives the step functions of `ottla-node`: threads, mailboxes, timers and disk I/O. Decisions are theirs.

pub(crate) mod cleaner;
pub(crate) mod configs;
pub(crate) mod controller;
pub(crate) mod coordinator;
pub(crate) mod create;
pub(crate) mod delete_records;
pub(crate) mod fetch;
pub(crate) mod flusher;
pub(crate) mod groups;
pub(crate) mod housekeeping;
pub(crate) mod list_offsets;
pub(crate) mod mover;
pub(crate) mod partition;
pub(crate) mod partitions;
pub(crate) mod produce;
pub(crate) mod producer_ids;
pub(crate) mod progress;
pub(crate) mod publisher;
pub(crate) mod registrar;
pub(crate) mod settings;
pub(crate) mod storage;
pub(crate) mod threads;
pub(crate) mod volume;
pub(crate) mod waiter;
