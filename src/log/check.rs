//! What a batch must be before a log takes it: the rules of Kafka's produce validation, outside the lane and pure.
//! Must never know offsets of a log or the state of a producer.

use bytes::Bytes;
use ottla_model::TopicPartition;
use ottla_model::config::TopicConfig;
use ottla_protocol::ErrorCode;
use ottla_protocol::batch::BatchHeader;

/// What to check against.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    pub partition: &'a TopicPartition,
    pub topic: &'a TopicConfig,
    pub origin: Origin,
    pub now_ms: i64,
    /// Version of the Produce request; of no meaning for other origins.
    pub produce_version: i16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Client,
    Coordinator,
    /// Checked and stamped by a leader already: checksums only, any number of batches, a partial last one is left out.
    Replication,
}

/// A batch that may be appended. Comes from `check` only, so its checksum and records are right.
#[derive(Clone, Debug)]
pub struct CheckedBatch {
    /// As it goes to disk, but for the base offset and the leader epoch (which the checksum does not cover). With
    /// `message.timestamp.type=LogAppendTime` it is stamped with `Rules::now_ms`; its checksum is right for `body`.
    pub header: BatchHeader,
    body: Bytes,
}

impl CheckedBatch {
    /// What follows the header: the records, compressed if the header says so.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    pub fn size_in_bytes(&self) -> usize {
        self.header.size_in_bytes()
    }
}

/// Why not, for the reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    pub code: ErrorCode,
    pub message: String,
    /// Index in the batch, and what is wrong with that record. At most a thousand of them.
    pub record_errors: Vec<(i32, String)>,
}

pub fn check(records: Bytes, rules: &Rules<'_>) -> Result<Vec<CheckedBatch>, Rejected> {
    let _ = (records, rules);
    Err(Rejected { code: ErrorCode::UnknownServerError, message: String::new(), record_errors: Vec::new() })
}
