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
pub use broker::{Broker, Topic, broker, broker_alone, broker_with};
pub use template::Template;

use anyhow::{Result, bail};
use ottla_protocol::ErrorCode;
use std::time::Instant;

/// The code as Kafka names it, for assertions that say more than a number.
pub fn name_of(code: i16) -> &'static str {
    ErrorCode::from_code(code).name()
}

/// Asks until there is an answer: a broker may learn of a change a moment after the controller has made it.
/// Each attempt is a round trip, so nothing spins.
pub async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    while start.elapsed() < broker::PATIENCE {
        if let Some(answer) = attempt().await? {
            return Ok(answer);
        }
    }
    bail!("{what}: still not so after {:?}", broker::PATIENCE)
}
