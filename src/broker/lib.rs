//! The shell of a broker: the only crate that joins Tokio, threads, sockets and clocks to state. What it carries out is
//! decided in `ottla-core` and `ottla-node`; a decision in here is in the wrong place, since the simulator cannot see it.
//!
//! * `boot` goes from a configuration to a broker that serves, and back to directories that are marked clean.
//! * `net` accepts connections, reads frames and writes answers. It knows no topic.
//! * `request` is all that `net` and `api` know of each other: who asks, and what goes back.
//! * `api` has one file for each API: it reads a request, asks for the caller's rights, and makes the response.
//! * `run/owners` are the owners of state: partitions, the controller's thread, coordinators, log directories, the image.
//! * `run/work` goes on in the background: flushes, the cleaner, moves between directories, housekeeping.
//! * `run/serve` is what handlers of requests have in common: produce, fetch, list offsets, create topics, alter configs.
//! * `node.rs` is what all of a node shares, `broker.rs` what a broker has besides.
//!
//! ARCHITECTURE.md walks through a Produce, a Fetch, a JoinGroup and a CreateTopics, file by file.

mod api;
mod authorizer;
mod boot;
mod broker;
mod clock;
mod loggers;
mod net;
mod node;
mod request;
mod run;
mod stop;
mod travels;

pub use boot::{BootError, Failure, Options, Server, start};
pub use loggers::LogFilter;
