//! What the protocol tests stand on: a broker to talk to, requests in short, and byte templates.
//! It must never know anything of a broker but its address and process: all it learns comes over the wire.
//!
//! `cargo test -p protocol-tests` builds and starts the ottla of this workspace on free loopback ports.
//! `OTTLA_BIN=path` takes a built one; `PROTOCOL_TESTS_ADDRESS=host:port` points the tests at a broker that
//! runs already, Apache Kafka's too (with default settings). Limits that are ours alone are then left out.

pub mod batches;
pub mod broker;
pub mod requests;
pub mod template;

pub use batches::{Batch, batch};
pub use broker::{Broker, Topic, broker};
pub use template::Template;

use ottla_protocol::ErrorCode;

/// The code as Kafka names it, for assertions that say more than a number.
pub fn name_of(code: i16) -> &'static str {
    ErrorCode::from_code(code).name()
}
