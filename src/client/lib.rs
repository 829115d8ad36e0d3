//! A small asynchronous Kafka client, for the command-line tools and the tests.
//!
//! [`Connection`] is one connection to one broker: requests go out in order, answers are matched by correlation id.
//! [`Versions`] chooses the version of each request that both sides speak. [`Cluster`] adds the bootstrap list, the metadata
//! of the cluster and one connection for each broker; [`admin`], [`produce`] and [`consume`] are calls on it.
//! [`RawConnection`] sends any bytes at all, for tests that say wrong things on purpose.
//!
//! The crate never knows how a broker works inside: it sees what any Kafka client sees.

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
