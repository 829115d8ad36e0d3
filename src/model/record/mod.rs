//! The records of the metadata log, `__cluster_metadata`: Kafka's 27, every field of every version, and their
//! frame. What they do to the cluster is `image`'s; where they are stored is nobody's business here.

#[macro_use]
mod declare;
mod table;
mod wire;

use std::fmt;

use bytes::Bytes;

use crate::ids::NodeId;
pub use table::*;
use wire::{In, Out};
pub use wire::{STRING_BYTES_MAX, Unwritable, Wrong};

/// One row of Kafka's table of metadata records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordType {
    pub key: i16,
    /// As Kafka's tools print it, `TopicRecord`.
    pub name: &'static str,
    /// The highest version; the lowest is 0.
    pub latest: i16,
}

/// Who leads a partition from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaderChange {
    Unchanged,
    Nobody,
    To(NodeId),
}

/// What becomes of a broker's fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FencingChange {
    Unfence = -1,
    Unchanged = 0,
    Fence = 1,
}

/// Bytes that never show in a log line.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub Bytes);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A quota's value. The same if its bits are: a NaN from the log equals itself and an image its copy.
#[derive(Clone, Copy, Debug)]
pub struct QuotaValue(pub f64);

impl PartialEq for QuotaValue {
    fn eq(&self, other: &QuotaValue) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for QuotaValue {}

/// What a configuration belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceType {
    Topic,
    Broker,
    BrokerLogger,
    ClientMetrics,
    Group,
}

impl ResourceType {
    /// Kafka's code on the wire and in records.
    pub fn code(self) -> i8 {
        match self {
            ResourceType::Topic => 2,
            ResourceType::Broker => 4,
            ResourceType::BrokerLogger => 8,
            ResourceType::ClientMetrics => 16,
            ResourceType::Group => 32,
        }
    }

    pub fn from_code(code: i8) -> Option<ResourceType> {
        use ResourceType::*;
        [Topic, Broker, BrokerLogger, ClientMetrics, Group].into_iter().find(|r| r.code() == code)
    }
}

/// The leader was elected from the in-sync set, or has recovered.
pub const LEADER_RECOVERED: i8 = 0;
/// The leader was elected uncleanly and is still recovering (KIP-704).
pub const LEADER_RECOVERING: i8 = 1;
/// In a change: the recovery state stays.
pub const LEADER_RECOVERY_UNCHANGED: i8 = -1;

/// Why bytes are no metadata record that we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("a metadata record has no readable frame: {0}")]
    Frame(Wrong),
    #[error("a metadata record has frame version {0}, only {FRAME_VERSION} is known")]
    UnknownFrame(u32),
    #[error("metadata record type {0} is unknown")]
    UnknownType(u32),
    #[error("{record} has version {version}, only 0 to {latest} are known")]
    UnknownVersion { record: &'static str, version: u32, latest: i16 },
    #[error("{record} version {version}: {wrong}")]
    Malformed { record: &'static str, version: i16, wrong: Wrong },
}

impl MetadataRecord {
    /// The record at its highest version, framed.
    ///
    /// A string longer than `STRING_BYTES_MAX` is written all the same, and read again by us, but not by
    /// Kafka: whoever builds a record from a client's words asks [`MetadataRecord::encode_at`] first.
    pub fn encode(&self) -> Bytes {
        self.framed(self.record_type().latest).0
    }

    /// The record at `version`, framed. Refused where that would lose a field that is set, and where Kafka
    /// could not read it.
    pub fn encode_at(&self, version: i16) -> Result<Bytes, Unwritable> {
        if !(0..=self.record_type().latest).contains(&version) {
            return Err(Unwritable::NoSuchVersion { version });
        }
        match self.framed(version) {
            (bytes, None) => Ok(bytes),
            (_, Some(why)) => Err(why),
        }
    }

    /// Reads a framed record. All of `bytes` must be used.
    pub fn decode(bytes: &[u8]) -> Result<MetadataRecord, RecordError> {
        MetadataRecord::decode_versioned(bytes).map(|(record, _)| record)
    }

    /// Reads a framed record and the version it was written at.
    pub fn decode_versioned(bytes: &[u8]) -> Result<(MetadataRecord, i16), RecordError> {
        let mut input = In(bytes);
        let mut head = || input.uvarint().map_err(RecordError::Frame);
        let (frame, key, version) = (head()?, head()?, head()?);
        if frame != FRAME_VERSION {
            return Err(RecordError::UnknownFrame(frame));
        }
        let row =
            RECORD_TYPES.iter().find(|row| row.key as u32 == key).ok_or(RecordError::UnknownType(key))?;
        let RecordType { key, name: record, latest } = *row;
        let Some(version) = i16::try_from(version).ok().filter(|version| *version <= latest) else {
            return Err(RecordError::UnknownVersion { record, version, latest });
        };
        let body = MetadataRecord::read_body(key, version, &mut input)
            .ok_or(RecordError::UnknownType(key as u32))?;
        let read = body.and_then(|body| input.finish().map(|()| body));
        read.map(|body| (body, version)).map_err(|wrong| RecordError::Malformed { record, version, wrong })
    }

    fn framed(&self, version: i16) -> (Bytes, Option<Unwritable>) {
        let mut out = Out::default();
        out.uvarint(FRAME_VERSION);
        out.uvarint(self.record_type().key as u32);
        out.uvarint(version as u32);
        self.write_body(version, &mut out);
        out.finish()
    }
}

const FRAME_VERSION: u32 = 1;
