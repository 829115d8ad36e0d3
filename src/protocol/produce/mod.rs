//! Produce, versions 3 to 13, both directions, written by hand: records stay slices of the frame that they came in. It
//! must never look inside a batch.
//!
//! KIP-98 (v3), KIP-467 (v8: record errors), KIP-482 (v9: flexible), KIP-951 (v10: where the leader is),
//! KIP-890 (v11, v12: same bytes), KIP-516 (v13: topic ids).

mod request;
mod response;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;

pub use crate::leader_hint::{CurrentLeader, NodeEndpoint};
use crate::primitives::Form;
use crate::topic::Naming;
pub use crate::topic::TopicRef;
use crate::{ErrorCode, Offset};

/// The request of a producer.
#[derive(Clone, Debug, PartialEq)]
pub struct ProduceRequest {
    pub transactional_id: Option<StrBytes>,
    /// 0: no response; 1: the leader has the records; -1: every in-sync replica has them. A peer may send any number.
    pub acks: i16,
    pub timeout_ms: i32,
    pub topics: Vec<ProduceTopic>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ProduceTopic {
    /// By id from version 13 on, by name before.
    pub topic: TopicRef,
    pub partitions: Vec<ProducePartition>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ProducePartition {
    pub index: i32,
    pub records: Option<Bytes>,
}

/// The broker's response.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProduceResponse {
    pub topics: Vec<ProduceTopicResponse>,
    pub throttle_time_ms: i32,
    /// Addresses of the leaders named by partitions, from version 10 on.
    pub node_endpoints: Vec<NodeEndpoint>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ProduceTopicResponse {
    /// By id from version 13 on, by name before.
    pub topic: TopicRef,
    pub partitions: Vec<ProducePartitionResponse>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ProducePartitionResponse {
    pub index: i32,
    pub error: ErrorCode,
    /// The offset of the first record; -1: none was appended.
    pub base_offset: Offset,
    /// Set for topics with LogAppendTime; otherwise -1.
    pub log_append_time_ms: i64,
    /// From version 5 on; otherwise -1.
    pub log_start_offset: Offset,
    /// The records because of which the batch was refused, from version 8 on.
    pub record_errors: Vec<RecordError>,
    /// From version 8 on. If it is too long for a string, it is cut.
    pub error_message: Option<StrBytes>,
    /// From version 10 on.
    pub current_leader: Option<CurrentLeader>,
}

/// A record because of which its batch was refused.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordError {
    /// The record's position in its batch.
    pub batch_index: i32,
    pub message: Option<StrBytes>,
}

impl ProducePartitionResponse {
    /// A response with an error and nothing else.
    pub fn failed(index: i32, error: ErrorCode) -> ProducePartitionResponse {
        ProducePartitionResponse {
            index,
            error,
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset: -1,
            record_errors: Vec::new(),
            error_message: None,
            current_leader: None,
        }
    }
}

const VERSIONS: std::ops::RangeInclusive<i16> = 3..=13;

fn form_of(version: i16) -> Form {
    Form::of(version, 9)
}

fn naming_of(version: i16) -> Naming {
    Naming::of(version, 13, form_of(version))
}
