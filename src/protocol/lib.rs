//! The wire: everything about bytes that go to a client or come from one, and nothing about what a broker decides.
//!
//! A request is a frame: four bytes of size, a [`header`], a body. [`api`] has one row for each API that we serve: its key,
//! its versions, the version of its headers, the rights that it asks for. The types of most bodies come from the
//! `kafka-protocol` crate and pass through [`codec`], which first walks a message with bounds (`shape`), since that crate
//! reserves memory for whatever count a peer declares. Bodies on the hot path, and versions that the crate does not know yet,
//! have files of their own here ([`produce`], [`fetch`], [`list_offsets`], [`offsets`], ...).
//!
//! Records travel in batches. [`mod@batch`] is a view of a batch's bytes: its header, its checksum, its records, and a builder
//! for tests and for the broker's own records. [`compression`] has Kafka's four codecs, each with a limit on what it may
//! produce.
//!
//! Start with [`api`] for what is served, and with [`primitives`] for how anything is parsed: every length is checked
//! against the bytes that are there. State, clocks and I/O must never be in here.

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
pub mod quorum;
mod shape;
mod topic;
pub mod txn_markers;
pub mod txn_offsets;
pub mod unregister_controller;

pub use codec::Malformed;
pub use error::ErrorCode;
pub use ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};
pub use kafka_protocol::messages;
pub use kafka_protocol::protocol::{Decodable, Encodable, StrBytes, VersionRange};
pub use topic::TopicRef;
