//! Fetch, versions 4 to 18, both directions, written by hand. A response is written as parts, so that records can go from
//! file to socket without being copied here. It must never look inside a batch.
//!
//! KIP-98 (v4: isolation), KIP-107 (v5: log start), KIP-227 (v7: sessions), KIP-320 (v9: leader epoch),
//! KIP-392 (v11: racks), KIP-595 (v12: flexible, divergence), KIP-516 (v13: topic ids), KIP-405 (v14: same
//! bytes), KIP-903 (v15: replica epoch), KIP-951 (v16: node endpoints), KIP-853 (v17: directory id),
//! KIP-1166 (v18: the replica's high watermark).

mod request;
mod response;
#[cfg(test)]
mod tests;

use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

pub use crate::leader_hint::{CurrentLeader, NodeEndpoint};
use crate::primitives::Form;
use crate::topic::Naming;
pub use crate::topic::TopicRef;
use crate::{ErrorCode, LeaderEpoch, Offset, ProducerId};
pub use response::Part;

/// The request of a consumer or a replica.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchRequest {
    /// A tagged field, from version 12 on.
    pub cluster_id: Option<StrBytes>,
    /// The broker id of a follower; negative for consumers.
    pub replica_id: i32,
    /// From version 15 on; otherwise -1.
    pub replica_epoch: i64,
    pub max_wait_ms: i32,
    pub min_bytes: i32,
    pub max_bytes: i32,
    pub isolation_level: IsolationLevel,
    /// From version 7 on. 0: a new session, or none.
    pub session_id: i32,
    /// From version 7 on. 0: opens a session; -1: closes it, or asks for none.
    pub session_epoch: i32,
    pub topics: Vec<FetchTopic>,
    /// Partitions to be removed from the session, from version 7 on.
    pub forgotten_topics: Vec<ForgottenTopic>,
    /// From version 11 on; otherwise empty.
    pub rack_id: StrBytes,
}

/// Whether a reader sees records of transactions that are not committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(i8)]
pub enum IsolationLevel {
    #[default]
    ReadUncommitted = 0,
    ReadCommitted = 1,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FetchTopic {
    /// By id from version 13 on, by name before.
    pub topic: TopicRef,
    pub partitions: Vec<FetchPartition>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FetchPartition {
    pub index: i32,
    /// The leader epoch that the reader knows, from version 9 on.
    pub current_leader_epoch: LeaderEpoch,
    pub fetch_offset: Offset,
    /// The epoch of the reader's last record, from version 12 on.
    pub last_fetched_epoch: LeaderEpoch,
    /// The replica's log start, from version 5 on; -1 for consumers.
    pub log_start_offset: Offset,
    pub max_bytes: i32,
    /// A tagged field, from version 17 on.
    pub replica_directory_id: Uuid,
    /// A tagged field, from version 18 on. -1: the replica does not know it. [`HIGH_WATERMARK_UNSUPPORTED`]: the replica
    /// does not send it.
    pub high_watermark: Offset,
}

/// The high watermark in the request of a replica that does not send it.
pub const HIGH_WATERMARK_UNSUPPORTED: Offset = i64::MAX;

#[derive(Clone, Debug, PartialEq)]
pub struct ForgottenTopic {
    /// By id from version 13 on, by name before.
    pub topic: TopicRef,
    pub partitions: Vec<i32>,
}

/// The broker's response. `T` is the type of records before they are sent: a range of a file, or bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchResponse<T> {
    pub throttle_time_ms: i32,
    /// From version 7 on.
    pub error: ErrorCode,
    /// From version 7 on.
    pub session_id: i32,
    pub topics: Vec<FetchTopicResponse<T>>,
    /// Addresses of the leaders named by partitions, from version 16 on.
    pub node_endpoints: Vec<NodeEndpoint>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FetchTopicResponse<T> {
    /// By id from version 13 on, by name before.
    pub topic: TopicRef,
    pub partitions: Vec<FetchPartitionResponse<T>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FetchPartitionResponse<T> {
    pub index: i32,
    pub error: ErrorCode,
    pub high_watermark: Offset,
    pub last_stable_offset: Offset,
    /// From version 5 on; otherwise -1.
    pub log_start_offset: Offset,
    /// The epoch from which on the reader's log differs from the leader's, and its end, from version 12 on.
    pub diverging_epoch: Option<EpochEndOffset>,
    /// From version 12 on.
    pub current_leader: Option<CurrentLeader>,
    /// The snapshot that the reader has to fetch instead of the log, from version 12 on.
    pub snapshot_id: Option<SnapshotId>,
    /// `None` (null) for a reader of uncommitted records; otherwise a list, which may be empty.
    pub aborted_transactions: Option<Vec<AbortedTransaction>>,
    /// From version 11 on; otherwise -1.
    pub preferred_read_replica: i32,
    /// `None` is written as zero bytes and not as null: Kafka never sends null, and old clients do not expect it.
    pub records: Option<T>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEndOffset {
    pub epoch: LeaderEpoch,
    pub end_offset: Offset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotId {
    pub end_offset: Offset,
    pub epoch: LeaderEpoch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: ProducerId,
    pub first_offset: Offset,
}

impl IsolationLevel {
    /// The isolation level with this number on the wire.
    pub fn from_code(code: i8) -> Option<IsolationLevel> {
        match code {
            0 => Some(IsolationLevel::ReadUncommitted),
            1 => Some(IsolationLevel::ReadCommitted),
            _ => None,
        }
    }
}

/// The request of a consumer without a session or partitions; the limits are those of a Java consumer.
impl Default for FetchRequest {
    fn default() -> FetchRequest {
        FetchRequest {
            cluster_id: None,
            replica_id: -1,
            replica_epoch: -1,
            max_wait_ms: 500,
            min_bytes: 1,
            max_bytes: 50 << 20,
            isolation_level: IsolationLevel::ReadUncommitted,
            session_id: 0,
            session_epoch: -1,
            topics: Vec::new(),
            forgotten_topics: Vec::new(),
            rack_id: StrBytes::new(),
        }
    }
}

impl FetchPartition {
    /// The partition in a request of a consumer that knows no epochs.
    pub fn new(index: i32, fetch_offset: Offset, max_bytes: i32) -> FetchPartition {
        FetchPartition {
            index,
            current_leader_epoch: LeaderEpoch::NONE,
            fetch_offset,
            last_fetched_epoch: LeaderEpoch::NONE,
            log_start_offset: -1,
            max_bytes,
            replica_directory_id: Uuid::nil(),
            high_watermark: HIGH_WATERMARK_UNSUPPORTED,
        }
    }
}

/// A response without partitions.
impl<T> Default for FetchResponse<T> {
    fn default() -> FetchResponse<T> {
        FetchResponse {
            throttle_time_ms: 0,
            error: ErrorCode::None,
            session_id: 0,
            topics: Vec::new(),
            node_endpoints: Vec::new(),
        }
    }
}

impl<T> FetchPartitionResponse<T> {
    /// A response with an error and nothing else.
    pub fn failed(index: i32, error: ErrorCode) -> FetchPartitionResponse<T> {
        FetchPartitionResponse {
            index,
            error,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            diverging_epoch: None,
            current_leader: None,
            snapshot_id: None,
            aborted_transactions: None,
            preferred_read_replica: -1,
            records: None,
        }
    }
}

const VERSIONS: std::ops::RangeInclusive<i16> = 4..=18;

fn form_of(version: i16) -> Form {
    Form::of(version, 12)
}

fn naming_of(version: i16) -> Naming {
    Naming::of(version, 13, form_of(version))
}
