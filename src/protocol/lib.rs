//! The wire: frames, headers, the API table, codecs, error codes and the record-batch view.
//! It must never know what a broker decides: no state, no clocks, no I/O.

pub mod api;
pub mod api_versions;
pub mod batch;
pub mod codec;
pub mod compression;
pub mod delete_groups;
pub mod describe_log_dirs;
pub mod error;
pub mod fetch;
pub mod header;
pub mod ids;
mod leader_hint;
pub mod list_offsets;
pub mod offsets;
pub mod primitives;
pub mod produce;
mod shape;
mod topic;

pub use codec::Malformed;
pub use error::ErrorCode;
pub use ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};
pub use kafka_protocol::messages;
pub use kafka_protocol::protocol::{Decodable, Encodable, StrBytes, VersionRange};
pub use topic::TopicRef;
