//! Produce, versions 3 to 13, both directions, by hand: records stay slices of the frame that they came in.
//! Never looks inside a batch.
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

/// What a producer asks.
#[derive(Clone, Debug, PartialEq)]
pub struct ProduceRequest {
    pub transactional_id: Option<StrBytes>,
    /// 0: no answer, 1: the leader has it, -1: every in-sync replica has it. A peer may send anything.
    pub acks: i16,
    pub timeout_ms: i32,
    pub topics: Vec<ProduceTopic>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ProduceTopic {
    /// Its id from version 13 on, before that its name.
    pub topic: TopicRef,
    pub partitions: Vec<ProducePartition>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ProducePartition {
    pub index: i32,
    pub records: Option<Bytes>,
}

/// What the broker answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProduceResponse {
    pub topics: Vec<ProduceTopicResponse>,
    pub throttle_time_ms: i32,
    /// The leaders that partitions name, from version 10 on.
    pub node_endpoints: Vec<NodeEndpoint>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ProduceTopicResponse {
    /// Its id from version 13 on, before that its name.
    pub topic: TopicRef,
    pub partitions: Vec<ProducePartitionResponse>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ProducePartitionResponse {
    pub index: i32,
    pub error: ErrorCode,
    /// The offset of the first record, or -1.
    pub base_offset: Offset,
    /// Set for topics with LogAppendTime, otherwise -1.
    pub log_append_time_ms: i64,
    /// From version 5 on, otherwise -1.
    pub log_start_offset: Offset,
    /// The records that made the batch fail, from version 8 on.
    pub record_errors: Vec<RecordError>,
    /// From version 8 on. Longer than a string may be, it is cut.
    pub error_message: Option<StrBytes>,
    /// From version 10 on.
    pub current_leader: Option<CurrentLeader>,
}

/// A record that made its batch fail.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordError {
    /// The record's place in its batch.
    pub batch_index: i32,
    pub message: Option<StrBytes>,
}

impl ProducePartitionResponse {
    /// An answer that tells an error and nothing else.
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
