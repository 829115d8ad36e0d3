//! Control records, which the cluster writes for itself: ends of transactions (KIP-98), and the records of the quorum
//! (KIP-595, KIP-630, KIP-853). Their bytes are Kafka's.

use bytes::{Bytes, BytesMut};
use uuid::Uuid;

use crate::primitives::{Form, Problem, ReadError, Reader, Tags, Writer};

/// The contents of a control record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlRecord {
    EndTxn(EndTxnMarker),
    LeaderChange(LeaderChangeMessage),
    SnapshotHeader(SnapshotHeader),
    SnapshotFooter(SnapshotFooter),
    KRaftVersion(KRaftVersion),
    KRaftVoters(KRaftVoters),
    /// A type of a later version. It is to be ignored, as clients do.
    Unknown {
        type_id: i16,
        value: Bytes,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransactionResult {
    Abort,
    Commit,
}

/// The end of a producer's transaction in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndTxnMarker {
    pub result: TransactionResult,
    pub coordinator_epoch: i32,
}

/// The first record of a leader epoch in the metadata log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaderChangeMessage {
    /// 0, as Kafka writes it; version 1 has the voters' directory ids.
    pub version: i16,
    pub leader_id: i32,
    pub voters: Vec<Voter>,
    pub granting_voters: Vec<Voter>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Voter {
    pub id: i32,
    /// Nil in version 0.
    pub directory_id: Uuid,
}

/// The first record of a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotHeader {
    pub version: i16,
    /// Append time, in ms, of the last log record that the snapshot contains.
    pub last_contained_log_timestamp: i64,
    /// The Raft index of the last batch that the snapshot contains: a tagged field of ours, which Kafka passes over. `None`:
    /// Kafka wrote the snapshot.
    pub raft_index: Option<i64>,
}

/// Far above the tags that Kafka's schemas count from 0.
const RAFT_INDEX_TAG: u32 = 10_000;

/// The last record of a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotFooter {
    pub version: i16,
}

/// The quorum's feature level. With level 0 the set of voters is fixed, with level 1 it can change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KRaftVersion {
    pub version: i16,
    pub kraft_version: i16,
}

/// The voters from this record on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KRaftVoters {
    pub version: i16,
    pub voters: Vec<VoterNode>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoterNode {
    pub id: i32,
    pub directory_id: Uuid,
    pub endpoints: Vec<VoterEndpoint>,
    pub kraft_version_min: i16,
    pub kraft_version_max: i16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoterEndpoint {
    /// The name of the listener.
    pub name: String,
    pub host: String,
    pub port: u16,
}

impl ControlRecord {
    pub fn end_txn(result: TransactionResult, coordinator_epoch: i32) -> ControlRecord {
        ControlRecord::EndTxn(EndTxnMarker { result, coordinator_epoch })
    }

    /// Kafka's number of the control record type.
    pub fn type_id(&self) -> i16 {
        match self {
            ControlRecord::EndTxn(EndTxnMarker { result: TransactionResult::Abort, .. }) => 0,
            ControlRecord::EndTxn(EndTxnMarker { result: TransactionResult::Commit, .. }) => 1,
            ControlRecord::LeaderChange(_) => 2,
            ControlRecord::SnapshotHeader(_) => 3,
            ControlRecord::SnapshotFooter(_) => 4,
            ControlRecord::KRaftVersion(_) => 5,
            ControlRecord::KRaftVoters(_) => 6,
            ControlRecord::Unknown { type_id, .. } => *type_id,
        }
    }

    pub fn key(&self) -> Bytes {
        written(|w| {
            w.i16(KEY_VERSION);
            w.i16(self.type_id());
        })
    }

    pub fn value(&self) -> Bytes {
        written(|w| match self {
            ControlRecord::EndTxn(marker) => marker.write(w),
            ControlRecord::LeaderChange(message) => message.write(w),
            ControlRecord::SnapshotHeader(header) => {
                w.i16(header.version);
                w.i64(header.last_contained_log_timestamp);
                let mut tags = Tags::new();
                if let Some(index) = header.raft_index {
                    tags.field(RAFT_INDEX_TAG, |w| w.i64(index));
                }
                w.tagged_fields(FORM, &tags);
            }
            ControlRecord::SnapshotFooter(footer) => {
                w.i16(footer.version);
                w.no_tagged_fields(FORM);
            }
            ControlRecord::KRaftVersion(record) => {
                w.i16(record.version);
                w.i16(record.kraft_version);
                w.no_tagged_fields(FORM);
            }
            ControlRecord::KRaftVoters(voters) => voters.write(w),
            ControlRecord::Unknown { value, .. } => w.raw(value),
        })
    }

    /// Parses key and value of a record in a control batch. Later versions are parsed as the last known one, as in Kafka;
    /// fields that they have added at the end are ignored.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<ControlRecord, ReadError> {
        let mut r = Reader::new(value);
        let r = &mut r;
        Ok(match type_of(key)? {
            0 => ControlRecord::EndTxn(EndTxnMarker::read(r, TransactionResult::Abort)?),
            1 => ControlRecord::EndTxn(EndTxnMarker::read(r, TransactionResult::Commit)?),
            2 => ControlRecord::LeaderChange(LeaderChangeMessage::read(r)?),
            3 => {
                let (version, last_contained_log_timestamp) = (version(r)?, r.i64()?);
                let mut raft_index = None;
                r.tagged_fields(FORM, |tag, r| {
                    if tag == RAFT_INDEX_TAG {
                        raft_index = Some(r.i64()?);
                    }
                    Ok::<_, ReadError>(())
                })?;
                ControlRecord::SnapshotHeader(SnapshotHeader {
                    version,
                    last_contained_log_timestamp,
                    raft_index,
                })
            }
            4 => {
                let footer = SnapshotFooter { version: version(r)? };
                r.skip_tagged_fields(FORM)?;
                ControlRecord::SnapshotFooter(footer)
            }
            5 => {
                let record = KRaftVersion { version: version(r)?, kraft_version: r.i16()? };
                r.skip_tagged_fields(FORM)?;
                ControlRecord::KRaftVersion(record)
            }
            6 => ControlRecord::KRaftVoters(KRaftVoters::read(r)?),
            type_id => ControlRecord::Unknown { type_id, value: Bytes::copy_from_slice(value) },
        })
    }
}

/// The type id in a control record's key.
pub fn type_of(key: &[u8]) -> Result<i16, ReadError> {
    let mut r = Reader::new(key);
    version(&mut r)?;
    r.i16()
}

impl EndTxnMarker {
    fn read(r: &mut Reader<'_>, result: TransactionResult) -> Result<EndTxnMarker, ReadError> {
        version(r)?;
        Ok(EndTxnMarker { result, coordinator_epoch: r.i32()? })
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.i16(END_TXN_VERSION);
        w.i32(self.coordinator_epoch);
    }
}

impl LeaderChangeMessage {
    fn read(r: &mut Reader<'_>) -> Result<LeaderChangeMessage, ReadError> {
        let version = version(r)?;
        let has_directory = version >= 1;
        let element_bytes_min = if has_directory { 21 } else { 5 };
        let voter = |r: &mut Reader<'_>| {
            let id = r.i32()?;
            let directory_id = if has_directory { r.uuid()? } else { Uuid::nil() };
            r.skip_tagged_fields(FORM)?;
            Ok::<_, ReadError>(Voter { id, directory_id })
        };
        let message = LeaderChangeMessage {
            version,
            leader_id: r.i32()?,
            voters: r.array_of(FORM, element_bytes_min, voter)?,
            granting_voters: r.array_of(FORM, element_bytes_min, voter)?,
        };
        r.skip_tagged_fields(FORM)?;
        Ok(message)
    }

    fn write(&self, w: &mut Writer<'_>) {
        let voter = |w: &mut Writer<'_>, voter: &Voter| {
            w.i32(voter.id);
            if self.version >= 1 {
                w.uuid(voter.directory_id);
            }
            w.no_tagged_fields(FORM);
        };
        w.i16(self.version);
        w.i32(self.leader_id);
        w.array_of(FORM, self.voters.iter(), voter);
        w.array_of(FORM, self.granting_voters.iter(), voter);
        w.no_tagged_fields(FORM);
    }
}

impl KRaftVoters {
    fn read(r: &mut Reader<'_>) -> Result<KRaftVoters, ReadError> {
        let voters = KRaftVoters { version: version(r)?, voters: r.array_of(FORM, 27, VoterNode::read)? };
        r.skip_tagged_fields(FORM)?;
        Ok(voters)
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.i16(self.version);
        w.array_of(FORM, self.voters.iter(), |w, voter| voter.write(w));
        w.no_tagged_fields(FORM);
    }
}

impl VoterNode {
    fn read(r: &mut Reader<'_>) -> Result<VoterNode, ReadError> {
        let id = r.i32()?;
        let directory_id = r.uuid()?;
        let endpoints = r.array_of(FORM, 5, VoterEndpoint::read)?;
        let (kraft_version_min, kraft_version_max) = (r.i16()?, r.i16()?);
        r.skip_tagged_fields(FORM)?;
        r.skip_tagged_fields(FORM)?;
        Ok(VoterNode { id, directory_id, endpoints, kraft_version_min, kraft_version_max })
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.i32(self.id);
        w.uuid(self.directory_id);
        w.array_of(FORM, self.endpoints.iter(), |w, endpoint| endpoint.write(w));
        // Each voter's version range is a structure inside the voter, so two structures end here.
        w.i16(self.kraft_version_min);
        w.i16(self.kraft_version_max);
        w.no_tagged_fields(FORM);
        w.no_tagged_fields(FORM);
    }
}

impl VoterEndpoint {
    fn read(r: &mut Reader<'_>) -> Result<VoterEndpoint, ReadError> {
        let (name, host) = (r.string(FORM)?.to_owned(), r.string(FORM)?.to_owned());
        let port = r.u16()?;
        r.skip_tagged_fields(FORM)?;
        Ok(VoterEndpoint { name, host, port })
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.string(FORM, &self.name);
        w.string(FORM, &self.host);
        w.u16(self.port);
        w.no_tagged_fields(FORM);
    }
}

fn version(r: &mut Reader<'_>) -> Result<i16, ReadError> {
    let at = r.clone();
    match r.i16()? {
        version if version < 0 => Err(at.error(Problem::Value(version.into()))),
        version => Ok(version),
    }
}

fn written(write: impl FnOnce(&mut Writer<'_>)) -> Bytes {
    let mut buf = BytesMut::new();
    write(&mut Writer::new(&mut buf));
    buf.freeze()
}

const FORM: Form = Form::Flexible;
const KEY_VERSION: i16 = 0;
const END_TXN_VERSION: i16 = 0;
