//! The snapshot with which the storage tool founds a metadata log, `00000000000000000000-0000000000.checkpoint`: who votes
//! first (KIP-853), and the records with which the first active controller begins. It must never decide what these are.

use std::io;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use ottla_model::feature::MetadataVersion;
use ottla_model::record::MetadataRecord;
use ottla_protocol::batch::control::{ControlRecord, SnapshotFooter, SnapshotHeader};
use ottla_protocol::batch::{BatchBuilder, Compression};
use ottla_protocol::{LeaderEpoch, Offset};

use crate::disk::Disk;
use crate::metadata::{Membership, SnapshotId, folder};

/// Nothing of the log is in it, so it ends at offset 0.
pub const SNAPSHOT: SnapshotId = SnapshotId { end: 0, epoch: LeaderEpoch(0) };

/// What a controller is formatted with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    pub membership: Membership,
    pub records: Vec<MetadataRecord>,
}

impl Bootstrap {
    /// Writes the snapshot into the metadata log's folder, which is made for it. After a crash it is there whole, or not at
    /// all. The error for a record that `version` has no place for says so.
    pub fn write(
        &self,
        disk: &dyn Disk,
        metadata_log_dir: &Path,
        version: MetadataVersion,
        now_ms: i64,
    ) -> io::Result<()> {
        let encoded = self.encoded(version, now_ms).map_err(io::Error::other)?;
        let folder = folder(metadata_log_dir);
        disk.create_dir_all(&folder)?;
        disk.replace(&folder.join(SNAPSHOT.file_name()), &encoded)?;
        disk.sync_dir(metadata_log_dir)
    }

    fn encoded(&self, version: MetadataVersion, now_ms: i64) -> Result<Bytes, String> {
        let header = SnapshotHeader { version: 0, last_contained_log_timestamp: now_ms, raft_index: None };
        let header = std::iter::once(ControlRecord::SnapshotHeader(header)).chain(self.membership.records());
        let mut records = BatchBuilder::new(Compression::None);
        for record in &self.records {
            let encoded = record.encode_for(version).map_err(|why| why.to_string())?;
            records.append(now_ms, None, Some(&encoded), &[]);
        }
        let footer = ControlRecord::SnapshotFooter(SnapshotFooter { version: 0 });
        let batches = [control(now_ms, header), records, control(now_ms, std::iter::once(footer))];
        let (mut bytes, mut next) = (BytesMut::new(), 0);
        for batch in batches.iter().filter(|batch| !batch.is_empty()) {
            bytes.extend_from_slice(&batch.build(next, SNAPSHOT.epoch));
            next += batch.record_count() as Offset;
        }
        Ok(bytes.freeze())
    }
}

fn control(now_ms: i64, records: impl Iterator<Item = ControlRecord>) -> BatchBuilder {
    let mut batch = BatchBuilder::new(Compression::None).control();
    for record in records {
        batch.append_control(now_ms, &record);
    }
    batch
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use ottla_model::record::FeatureLevelRecord;
    use ottla_protocol::batch::control::{KRaftVersion, KRaftVoters};

    use super::*;
    use crate::disk::MemoryDisk;
    use crate::metadata::Loaded;

    #[test]
    fn what_is_written_is_read_again() {
        let (disk, dir) = (MemoryDisk::new(1), PathBuf::from("/meta"));
        disk.create_dir_all(&dir).expect("a folder");
        let level = FeatureLevelRecord { name: "metadata.version".into(), feature_level: 33 };
        let membership = Membership {
            version: Some(KRaftVersion { version: 0, kraft_version: 1 }),
            voters: Some(KRaftVoters { version: 0, voters: Vec::new() }),
        };
        let bootstrap = Bootstrap { membership: membership.clone(), records: vec![level.into()] };
        bootstrap.write(&disk, &dir, MetadataVersion::LATEST_PRODUCTION, 5).expect("written");
        let path = dir.join("__cluster_metadata-0/00000000000000000000-0000000000.checkpoint");
        let bytes = disk.read_to_vec(&path).expect("the snapshot").into();
        let loaded = Loaded::decode(SNAPSHOT, &bytes).expect("a snapshot");
        assert_eq!((loaded.membership, loaded.raft_index), (membership, None));
        assert_eq!(loaded.image.feature("metadata.version"), 33);
    }
}
