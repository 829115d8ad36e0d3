//! The wire, seen from outside: what every Kafka client may rely on. All tests share one broker.
//! See `protocol-tests/lib.rs` for how to point them at another.

mod alter_configs;
mod apis;
mod cluster_admin;
mod compat_log;
mod compat_topics;
mod compat_versions;
mod configs;
mod coordinators;
mod create_topics;
mod delete_topics;
mod golden;
mod groups;
mod hostile_batches;
mod hostile_frames;
mod idempotence;
mod limits;
mod list_offsets;
mod loggers;
mod long_poll;
mod operations;
mod ordering;
mod partitions_admin;
mod pipelining;
mod sessions;
mod spellings;
mod transactions;
mod versions;
