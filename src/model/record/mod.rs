//! The records of the metadata log, `__cluster_metadata`: Kafka's 27, every field of every version, and their frame.
//! `image` applies them; this file must never know where they are stored.

#[macro_use]
mod declare;
#[cfg(test)]
pub(crate) mod sample;
mod table;
#[cfg(test)]
mod tests;
mod wire;

use std::fmt;

use bytes::{Bytes, BytesMut};
use ottla_protocol::primitives::{ReadError, Reader, Writer};

use crate::feature::MetadataVersion;
use crate::ids::NodeId;
pub use table::*;
pub use wire::Unwritable;

/// One row of Kafka's table of metadata records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordType {
    pub key: i16,
    /// The name in Kafka's tools, `TopicRecord`.
    pub name: &'static str,
    /// The highest version; the lowest is 0.
    pub latest: i16,
}

/// The leader of a partition after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaderChange {
    Unchanged,
    Nobody,
    To(NodeId),
}

/// How a broker's fence changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FencingChange {
    Unfence = -1,
    Unchanged = 0,
    Fence = 1,
}

/// Bytes that are never shown in a log line.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub Bytes);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A quota's value. Two values are equal if their bits are, so that a NaN in the log equals itself and an image its copy.
#[derive(Clone, Copy, Debug)]
pub struct QuotaValue(pub f64);

impl PartialEq for QuotaValue {
    fn eq(&self, other: &QuotaValue) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for QuotaValue {}

/// The kind of resource that a configuration belongs to.
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

/// Why bytes could not be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("the frame of a metadata record: {0}")]
    Frame(ReadError),
    #[error("frame version {0} of a metadata record, only {FRAME_VERSION} is known")]
    UnknownFrame(u32),
    #[error("metadata record type {0} is unknown")]
    UnknownType(u32),
    #[error("{record} version {version}, only 0 to {latest} are known")]
    UnknownVersion { record: &'static str, version: u32, latest: i16 },
    #[error("{record} version {version}: {error}")]
    Malformed { record: &'static str, version: i16, error: ReadError },
}

impl MetadataRecord {
    /// The record at its highest version, framed.
    ///
    /// Panics on a string longer than `STRING_BYTES_MAX`: if a record contains strings of a client, call
    /// [`MetadataRecord::encode_at`], or limit them first.
    pub fn encode(&self) -> Bytes {
        self.framed(self.record_type().latest)
    }

    /// The record at `version`, framed. Refused if a set field has no place in that version, or a string is too long.
    pub fn encode_at(&self, version: i16) -> Result<Bytes, Unwritable> {
        let RecordType { name: record, latest, .. } = self.record_type();
        if !(0..=latest).contains(&version) {
            return Err(Unwritable::NoSuchVersion { record, version });
        }
        self.check_body(version)?;
        Ok(self.framed(version))
    }

    /// The record as a cluster at `metadata_version` writes it, framed. Refused as by [`MetadataRecord::encode_at`].
    pub fn encode_for(&self, metadata_version: MetadataVersion) -> Result<Bytes, Unwritable> {
        self.encode_at(self.version_for(metadata_version))
    }

    /// The record for a snapshot, framed: at the version of a cluster at `metadata_version`, or, if that version has no
    /// place for a set field, at the lowest one that has. After a downgrade, or because of another writer, a log may
    /// contain fields that its level has no place for; a snapshot that dropped them would lose data.
    pub fn encode_whole(&self, metadata_version: MetadataVersion) -> Result<Bytes, Unwritable> {
        let written = self.version_for(metadata_version);
        let later =
            || (written + 1..=self.record_type().latest).find_map(|version| self.encode_at(version).ok());
        self.encode_at(written).or_else(|why| later().ok_or(why))
    }

    /// The record version that a cluster at `metadata_version` writes, so that all of its nodes can read it.
    pub fn version_for(&self, metadata_version: MetadataVersion) -> i16 {
        let first_at =
            |versions: &[MetadataVersion]| versions.iter().filter(|v| **v <= metadata_version).count() as i16;
        match self {
            MetadataRecord::RegisterBroker(_) => first_at(&[
                MetadataVersion::MINIMUM,
                MetadataVersion::ZK_MIGRATION,
                MetadataVersion::DIRECTORIES,
                MetadataVersion::CORDONED_DIRECTORIES,
            ]),
            MetadataRecord::Partition(_) | MetadataRecord::PartitionChange(_) => {
                first_at(&[MetadataVersion::DIRECTORIES, MetadataVersion::ELIGIBLE_LEADER_REPLICAS])
            }
            // The lowest version with a place for all set fields.
            MetadataRecord::BrokerRegistrationChange(_) => {
                let latest = self.record_type().latest;
                (0..latest).find(|version| self.check_body(*version).is_ok()).unwrap_or(latest)
            }
            _ => self.record_type().latest,
        }
    }

    /// Parses a framed record. All of `bytes` must be used.
    pub fn decode(bytes: &[u8]) -> Result<MetadataRecord, RecordError> {
        MetadataRecord::decode_versioned(bytes).map(|(record, _)| record)
    }

    /// Parses a framed record; also returns its version.
    pub fn decode_versioned(bytes: &[u8]) -> Result<(MetadataRecord, i16), RecordError> {
        let mut from = Reader::new(bytes);
        let mut head = || from.uvarint().map_err(RecordError::Frame);
        let frame = head()?;
        if frame != FRAME_VERSION {
            return Err(RecordError::UnknownFrame(frame));
        }
        let (key, version) = (head()?, head()?);
        let row =
            RECORD_TYPES.iter().find(|row| row.key as u32 == key).ok_or(RecordError::UnknownType(key))?;
        let RecordType { name: record, latest, .. } = *row;
        let Some(version) = i16::try_from(version).ok().filter(|version| *version <= latest) else {
            return Err(RecordError::UnknownVersion { record, version, latest });
        };
        let body = MetadataRecord::read_body(key, version, &mut from).ok_or(RecordError::UnknownType(key))?;
        let whole = body.and_then(|body| from.finish().map(|()| body));
        whole.map(|body| (body, version)).map_err(|error| RecordError::Malformed { record, version, error })
    }

    fn framed(&self, version: i16) -> Bytes {
        let mut bytes = BytesMut::new();
        let mut to = Writer::new(&mut bytes);
        to.uvarint(FRAME_VERSION);
        to.uvarint(self.record_type().key as u32);
        to.uvarint(version as u32);
        self.write_body(version, &mut to);
        bytes.freeze()
    }
}

const FRAME_VERSION: u32 = 1;
