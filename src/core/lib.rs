//! What a broker decides: synchronous, pure state machines. State, input and the time go in, effects come out.
//! Nothing in here may open a socket or a file, read a clock, draw a random number or start a task; `clippy.toml`
//! bans those, and hash maps, whose order would make two runs of one seed differ.

pub mod connection;
pub mod controller;
pub mod coordinator;
pub mod group;
pub mod partition;
pub mod session;
