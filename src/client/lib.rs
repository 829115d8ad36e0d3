//! A small asynchronous Kafka client: connections, version negotiation, cluster metadata and the calls that
//! replica fetchers, forwarding, the command-line tools and the tests make.
//! It must never know how a broker works inside: it sees only what any Kafka client sees.

pub mod admin;
pub mod cluster;
pub mod connection;
pub mod consume;
mod error;
mod frames;
pub mod produce;
pub mod raw;
mod retry;
#[cfg(test)]
mod tests;
mod transport;
pub mod versions;

pub use cluster::{Cluster, ClusterOptions};
pub use connection::{Connection, Options, Pending};
pub use error::ClientError;
pub use kafka_protocol::protocol::{HeaderVersion, Message, Request};
pub use raw::RawConnection;
pub use transport::Security;
pub use versions::Versions;

/// What every call of this crate returns.
pub type Result<T> = std::result::Result<T, ClientError>;
