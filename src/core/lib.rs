//! What a broker decides, as state machines that are synchronous and pure: state, an input and the time go in, effects
//! come out. Each machine can be read, tested and run a million times without a broker.
//!
//! * [`partition`]: one replica of a partition, as leader or follower: the high watermark, the in-sync replicas.
//! * [`group`]: consumer groups: who is a member, who has which partitions, what was committed.
//! * [`txn`]: transactions: which producer may write under a transactional id, and how each transaction ends.
//! * [`coordinator`]: the contract that any coordinator's machine keeps, as groups and transactions do.
//! * [`controller`]: what the active controller answers to a command, and which metadata records that takes.
//! * [`session`]: fetch sessions (KIP-227): which changes a fetcher has to be sent.
//! * [`connection`]: in which order the requests of one connection start and its answers are sent.
//!
//! The stories beside each machine (`stories.rs`) read like the KIPs that they come from, and are the best place to start.
//!
//! Nothing in here may open a socket or a file, read a clock, draw a random number or start a task. `clippy.toml` forbids
//! that, and also hash maps, whose order would make two runs of one seed differ.

pub mod connection;
pub mod controller;
pub mod coordinator;
pub mod group;
pub mod partition;
pub mod question;
pub mod session;
pub mod txn;
