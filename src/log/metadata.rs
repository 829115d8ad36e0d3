//! Snapshots of the metadata log as files (KIP-630), `<end offset>-<epoch>.checkpoint`: their names and their contents.
//! It must never write one, nor decide anything from what it reads.

use std::path::Path;

use bytes::Bytes;
use ottla_model::image::Image;
use ottla_model::record::MetadataRecord;
use ottla_protocol::batch::control::{ControlRecord, KRaftVersion, KRaftVoters};
use ottla_protocol::batch::{DecompressLimit, batches, records, verify_crc};
use ottla_protocol::{LeaderEpoch, Offset};

/// How many bytes a batch of metadata records may decompress to.
pub const DECOMPRESSED_MAX: DecompressLimit = DecompressLimit(256 << 20);

/// The name of a snapshot: the offset `end`, below which it has everything, and the epoch of the last record below `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotId {
    pub end: Offset,
    pub epoch: LeaderEpoch,
}

impl SnapshotId {
    pub fn file_name(self) -> String {
        format!("{:020}-{:010}.checkpoint", self.end, self.epoch.0)
    }

    /// `None`: the name is not that of a snapshot.
    pub fn parse(name: &str) -> Option<SnapshotId> {
        let (end, epoch) = name.strip_suffix(".checkpoint")?.split_once('-')?;
        let id = SnapshotId { end: end.parse().ok()?, epoch: LeaderEpoch(epoch.parse().ok()?) };
        (id.end >= 0).then_some(id)
    }
}

/// What the records of the metadata log say about the quorum (KIP-853). Without such records the configured quorum
/// counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    pub version: Option<KRaftVersion>,
    pub voters: Option<KRaftVoters>,
}

impl Membership {
    pub fn notice(&mut self, record: &ControlRecord) {
        match record {
            ControlRecord::KRaftVersion(version) => self.version = Some(*version),
            ControlRecord::KRaftVoters(voters) => self.voters = Some(voters.clone()),
            _ => {}
        }
    }

    /// The level of `kraft.version`; 0 where nothing is said of it.
    pub fn kraft_version(&self) -> i16 {
        self.version.map_or(0, |version| version.kraft_version)
    }

    pub fn records(&self) -> impl Iterator<Item = ControlRecord> {
        let version = self.version.map(ControlRecord::KRaftVersion);
        version.into_iter().chain(self.voters.clone().map(ControlRecord::KRaftVoters))
    }
}

/// The contents of a snapshot.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub id: SnapshotId,
    pub image: Image,
    pub membership: Membership,
    /// The Raft index of the last batch that it holds. `None`: whoever wrote it does not count batches.
    pub raft_index: Option<u64>,
}

impl Loaded {
    /// The error says what is wrong with the file; the caller adds which file it is.
    pub fn decode(id: SnapshotId, bytes: &Bytes) -> Result<Loaded, String> {
        let mut membership = Membership::default();
        let mut found = Vec::new();
        let (mut ended, mut raft_index) = (false, None);
        for batch in batches(bytes) {
            let (header, batch) = batch.map_err(|e| e.to_string())?;
            if !verify_crc(&batch) {
                return Err(format!("the batch of record {} has a wrong checksum", header.base_offset));
            }
            for record in records(&batch, DECOMPRESSED_MAX).map_err(|e| e.to_string())? {
                let record = record.map_err(|e| e.to_string())?;
                let value = record.value.unwrap_or_default();
                if header.is_control() {
                    let key = record.key.unwrap_or_default();
                    let control = ControlRecord::decode(&key, &value).map_err(|e| e.to_string())?;
                    ended |= matches!(control, ControlRecord::SnapshotFooter(_));
                    if let ControlRecord::SnapshotHeader(header) = &control {
                        raft_index = header.raft_index;
                    }
                    membership.notice(&control);
                } else {
                    found.push(MetadataRecord::decode(&value).map_err(|e| e.to_string())?);
                }
            }
        }
        if !ended {
            return Err("it has no end".into());
        }
        let raft_index = raft_index.map(|index| checked_index(index, id)).transpose()?;
        let image = Image::from_records(id.end - 1, id.epoch, &found).map_err(|e| e.to_string())?;
        Ok(Loaded { id, image, membership, raft_index })
    }
}

// Every batch has a record, so there are never more batches than offsets.
fn checked_index(index: i64, id: SnapshotId) -> Result<u64, String> {
    match u64::try_from(index) {
        Ok(checked) if (1..=id.end).contains(&index) => Ok(checked),
        _ => Err(format!("it names the Raft index {index}")),
    }
}

/// The newest snapshot among the file names of a folder.
pub fn newest<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<SnapshotId> {
    names.into_iter().filter_map(SnapshotId::parse).max()
}

/// The control records of a batch of the log, without those that cannot be read.
pub fn control_records(batch: &Bytes) -> Vec<ControlRecord> {
    let Ok(read) = records(batch, DECOMPRESSED_MAX) else { return Vec::new() };
    if !read.header().is_control() {
        return Vec::new();
    }
    let read = read.filter_map(|record| {
        let record = record.ok()?;
        ControlRecord::decode(&record.key.unwrap_or_default(), &record.value.unwrap_or_default()).ok()
    });
    read.collect()
}

/// The folder of the metadata log in its log directory.
pub fn folder(metadata_log_dir: &Path) -> std::path::PathBuf {
    metadata_log_dir.join(format!("{}-0", ottla_model::CLUSTER_METADATA_TOPIC))
}
