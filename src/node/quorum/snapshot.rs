//! Snapshots of the metadata log in Kafka's format (KIP-630): `<end offset>-<epoch>.checkpoint` beside the log, the
//! whole image as record batches between a header and a footer. What a start reads instead of the log's beginning.
//! It must never decide when one is due.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ottla_log::disk::OpenHow;
use ottla_log::log::{Log, LogError};
use ottla_log::metadata::Loaded;
pub use ottla_log::metadata::{Membership, SnapshotId};
use ottla_log::{Disk, DiskFile};
use ottla_model::feature::MetadataVersion;
use ottla_model::image::Image;
use ottla_protocol::batch::control::{ControlRecord, SnapshotFooter, SnapshotHeader};
use ottla_protocol::batch::{BatchBuilder, BatchHeader, Compression};
use ottla_protocol::{LeaderEpoch, Offset};

use super::agreed::Keep;
use super::batches::read_batch;
use super::error::QuorumError;

/// Records of one batch at most, and their bytes.
const BATCH_RECORDS_MAX: usize = 1024;
const BATCH_BYTES_MAX: usize = 256 << 10;

/// A snapshot that is due: everything it holds, and where it goes. Writing it may take a while, and needs nobody.
#[derive(Clone, Debug)]
pub struct Snapshot {
    image: Arc<Image>,
    raft_index: Option<u64>,
    membership: Membership,
    dir: PathBuf,
    /// When the last record that it holds was written, ms.
    timestamp_ms: i64,
}

impl Snapshot {
    pub(crate) fn new(
        image: Arc<Image>,
        raft_index: Option<u64>,
        membership: Membership,
        dir: PathBuf,
        timestamp_ms: i64,
    ) -> Snapshot {
        Snapshot { image, raft_index, membership, dir, timestamp_ms }
    }

    pub fn id(&self) -> SnapshotId {
        SnapshotId { end: self.image.offset + 1, epoch: self.image.epoch }
    }

    /// Raft index of the last batch that it holds, if that is known.
    pub fn raft_index(&self) -> Option<u64> {
        self.raft_index
    }

    /// Writes the file so that it is there whole, or not at all.
    pub fn write(&self, disk: &dyn Disk) -> io::Result<SnapshotId> {
        let id = self.id();
        let (path, part) = (self.dir.join(id.file_name()), self.dir.join(format!("{}.part", id.file_name())));
        let written = self.write_part(disk, &part).and_then(|()| disk.rename(&part, &path));
        if let Err(error) = written {
            // Half of a snapshot would keep room that a full disk has not; what cannot be removed goes at the next start.
            let _ = disk.remove_file(&part);
            return Err(error);
        }
        disk.sync_dir(&self.dir)?;
        Ok(id)
    }

    fn write_part(&self, disk: &dyn Disk, part: &Path) -> io::Result<()> {
        let file = disk.open(part, OpenHow::CreateEmpty)?;
        file.write_at(&self.encoded(), 0)?;
        file.sync()
    }

    fn encoded(&self) -> Bytes {
        let mut out = Encoder { bytes: BytesMut::new(), next: 0, epoch: self.image.epoch };
        let header = SnapshotHeader {
            version: 0,
            last_contained_log_timestamp: self.timestamp_ms,
            raft_index: self.raft_index.map(|index| index as i64),
        };
        let first = std::iter::once(ControlRecord::SnapshotHeader(header)).chain(self.membership.records());
        out.control(self.timestamp_ms, first);
        let version = self.image.metadata_version().unwrap_or(MetadataVersion::LATEST_PRODUCTION);
        let mut batch = BatchBuilder::new(Compression::None);
        for record in self.image.records() {
            // What is in an image came from a record.
            let encoded =
                record.encode_whole(version).unwrap_or_else(|why| panic!("an unwritable record: {why}"));
            batch.append(self.timestamp_ms, None, Some(&encoded), &[]);
            if batch.record_count() >= BATCH_RECORDS_MAX || batch.size_in_bytes() >= BATCH_BYTES_MAX {
                out.batch(&std::mem::replace(&mut batch, BatchBuilder::new(Compression::None)));
            }
        }
        out.batch(&batch);
        out.control(self.timestamp_ms, [ControlRecord::SnapshotFooter(SnapshotFooter { version: 0 })]);
        out.bytes.freeze()
    }
}

struct Encoder {
    bytes: BytesMut,
    next: Offset,
    epoch: LeaderEpoch,
}

impl Encoder {
    fn control(&mut self, timestamp_ms: i64, records: impl IntoIterator<Item = ControlRecord>) {
        let mut batch = BatchBuilder::new(Compression::None).control();
        for record in records {
            batch.append_control(timestamp_ms, &record);
        }
        self.batch(&batch);
    }

    fn batch(&mut self, batch: &BatchBuilder) {
        if !batch.is_empty() {
            self.bytes.extend_from_slice(&batch.build(self.next, self.epoch));
            self.next += batch.record_count() as Offset;
        }
    }
}

/// The newest snapshot in a directory that can be read whole, besides the one at offset 0, which only names voters and
/// is read too. Files that were never finished are removed.
pub(crate) fn newest(disk: &dyn Disk, dir: &Path) -> io::Result<Option<Loaded>> {
    let mut ids = BTreeSet::new();
    for entry in disk.list(dir)? {
        if entry.name.ends_with(".checkpoint.part") {
            disk.remove_file(&dir.join(&entry.name))?;
        }
        ids.extend(SnapshotId::parse(&entry.name));
    }
    let Some(id) = ids.last().copied() else { return Ok(None) };
    let bytes = disk.read_to_vec(&dir.join(id.file_name()))?;
    let broken = |why: String| io::Error::other(format!("snapshot {}: {why}", id.file_name()));
    Loaded::decode(id, &bytes.into()).map(Some).map_err(broken)
}

/// All but the newest.
pub(crate) fn older(disk: &dyn Disk, dir: &Path, newest: SnapshotId) -> io::Result<Vec<PathBuf>> {
    let entries = disk.list(dir)?;
    let older = entries.iter().filter(|e| SnapshotId::parse(&e.name).is_some_and(|id| id < newest));
    Ok(older.map(|entry| dir.join(&entry.name)).collect())
}

/// Whether the log holds the snapshot's last record under the snapshot's epoch, and so everything that came before, too (the log
/// matching property). Otherwise the log is not yet, or no longer, that of the snapshot: a snapshot from another node is on the
/// disk before what it replaces is cut off.
pub(crate) fn is_in(log: &Log, id: SnapshotId) -> Result<bool, QuorumError> {
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    if end < id.end || start > id.end {
        return Ok(false);
    }
    if start == id.end {
        return Ok(true);
    }
    let last = BatchHeader::parse(&read_batch(log, id.end - 1)?);
    Ok(last.is_ok_and(|header| header.partition_leader_epoch == id.epoch.0))
}

/// A snapshot is on the disk: older ones are useless, and what it holds may leave the log, as far as there is too much. Returns
/// whether the log begins where the snapshot ends now.
pub(crate) fn replace_older(
    disk: &dyn Disk,
    log: &mut Log,
    id: SnapshotId,
    keep: &Keep,
    age_ms: i64,
    now_ms: i64,
) -> Result<bool, QuorumError> {
    let older = older(disk, log.dir(), id).map_err(QuorumError::Snapshot)?;
    let too_large = keep.bytes >= 0 && log.size() > keep.bytes as u64;
    let too_old = keep.ms >= 0 && age_ms > keep.ms;
    // What is agreed on is below the high watermark; and if it is not, it stays for the next time.
    let begins = (too_large || too_old) && log.advance_log_start(id.end).is_ok();
    if begins {
        for retired in log.delete_old_segments(now_ms)? {
            retired.run().map_err(|source| LogError::Io { doing: "removing old segments", source })?;
        }
    }
    older.iter().try_for_each(|path| disk.remove_file(path)).map_err(QuorumError::Snapshot)?;
    Ok(begins)
}

/// A snapshot that comes from another node, piece by piece: a file that has its own name only once it is whole.
pub(crate) struct Partial {
    id: SnapshotId,
    file: Arc<dyn DiskFile>,
    part: PathBuf,
    written: u64,
}

impl Partial {
    pub fn begin(disk: &dyn Disk, dir: &Path, id: SnapshotId) -> io::Result<Partial> {
        let part = dir.join(format!("{}.part", id.file_name()));
        let file = disk.open(&part, OpenHow::CreateEmpty)?;
        Ok(Partial { id, file, part, written: 0 })
    }

    pub fn id(&self) -> SnapshotId {
        self.id
    }

    /// How much of it is here.
    pub fn written(&self) -> u64 {
        self.written
    }

    pub fn append(&mut self, bytes: &Bytes) -> io::Result<()> {
        self.file.write_at(bytes, self.written)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// The file is on the disk under its own name when this returns, is whole, and `expected` of what it holds.
    pub fn finish(self, disk: &dyn Disk, expected: impl FnOnce(&Loaded) -> bool) -> io::Result<Loaded> {
        let finished = self.named(disk, expected);
        if finished.is_err() {
            self.abandon(disk);
        }
        finished
    }

    fn named(&self, disk: &dyn Disk, expected: impl FnOnce(&Loaded) -> bool) -> io::Result<Loaded> {
        self.file.sync()?;
        let bytes = disk.read_to_vec(&self.part)?;
        let loaded = Loaded::decode(self.id, &bytes.into()).map_err(io::Error::other)?;
        if !expected(&loaded) {
            return Err(io::Error::other("it is another snapshot than was offered"));
        }
        let path = self.part.with_extension("");
        disk.rename(&self.part, &path)?;
        disk.sync_dir(path.parent().unwrap_or(&path))?;
        Ok(loaded)
    }

    /// What is left of it is worth nothing; what cannot be removed goes at the next start.
    pub fn abandon(self, disk: &dyn Disk) {
        let _ = disk.remove_file(&self.part);
    }
}

#[cfg(test)]
mod tests {
    use ottla_log::disk::{Fault, MemoryDisk, Operation};
    use ottla_model::record::{FeatureLevelRecord, TopicRecord};
    use ottla_protocol::batch::control::{KRaftVersion, KRaftVoters};
    use uuid::Uuid;

    use super::*;

    fn image(topics: u128) -> Arc<Image> {
        let level = FeatureLevelRecord { name: "metadata.version".into(), feature_level: 25 };
        let mut image = Image::empty();
        image.apply_in_place(0, LeaderEpoch(4), &level.into()).unwrap();
        for n in 1..=topics {
            let record = TopicRecord { name: format!("topic-{n}"), topic_id: Uuid::from_u128(n) };
            image.apply_in_place(n as Offset, LeaderEpoch(4), &record.into()).unwrap();
        }
        Arc::new(image)
    }

    fn stage() -> (MemoryDisk, PathBuf) {
        let (disk, dir) = (MemoryDisk::new(1), PathBuf::from("/meta"));
        disk.create_dir_all(&dir).unwrap();
        (disk, dir)
    }

    fn membership() -> Membership {
        let version = Some(KRaftVersion { version: 0, kraft_version: 1 });
        Membership { version, voters: Some(KRaftVoters { version: 0, voters: Vec::new() }) }
    }

    #[test]
    fn a_snapshot_says_what_the_image_was() {
        let (disk, dir) = stage();
        // More than one batch holds.
        let snapshot = Snapshot::new(image(3_000), Some(17), membership(), dir.clone(), 77);
        let id = snapshot.write(&disk).unwrap();
        assert_eq!(id.file_name(), "00000000000000003001-0000000004.checkpoint");
        let loaded = newest(&disk, &dir).unwrap().unwrap();
        assert_eq!((loaded.id, loaded.membership, loaded.raft_index), (id, membership(), Some(17)));
        assert_eq!(loaded.image.records(), snapshot.image.records());
        assert_eq!((loaded.image.offset, loaded.image.epoch), (3_000, LeaderEpoch(4)));
    }

    #[test]
    fn the_newest_counts_and_the_others_can_go() {
        let (disk, dir) = stage();
        for topics in [1, 5, 3] {
            Snapshot::new(image(topics), None, Membership::default(), dir.clone(), 0).write(&disk).unwrap();
        }
        let loaded = newest(&disk, &dir).unwrap().unwrap();
        assert_eq!(loaded.id.end, 6);
        assert_eq!(older(&disk, &dir, loaded.id).unwrap().len(), 2);
    }

    #[test]
    fn half_a_snapshot_is_none() {
        let (disk, dir) = stage();
        for operation in [Operation::Write, Operation::Sync, Operation::Rename] {
            disk.fail_next(operation, Fault::Broken);
            assert!(
                Snapshot::new(image(1), None, Membership::default(), dir.clone(), 0).write(&disk).is_err()
            );
            assert!(disk.list(&dir).unwrap().is_empty(), "{operation:?}: nothing is left of it");
        }
        // A process that dies in between leaves what it has; the next one clears it away.
        disk.replace(&dir.join("00000000000000000007-0000000004.checkpoint.part"), b"half").unwrap();
        assert!(newest(&disk, &dir).unwrap().is_none());
        assert!(disk.list(&dir).unwrap().is_empty());
    }

    #[test]
    fn a_damaged_snapshot_is_an_error_that_names_it() {
        let (disk, dir) = stage();
        let snapshot = Snapshot::new(image(10), None, Membership::default(), dir.clone(), 0);
        let whole = snapshot.encoded();
        let path = dir.join(snapshot.id().file_name());
        let flipped = |at: usize| {
            let mut bytes = whole.to_vec();
            bytes[at] ^= 1;
            bytes
        };
        let rows = [whole[..whole.len() - 70].to_vec(), Vec::new(), flipped(whole.len() / 2), flipped(30)];
        for bytes in rows {
            disk.replace(&path, &bytes).unwrap();
            let error = newest(&disk, &dir).unwrap_err().to_string();
            assert!(error.contains("00000000000000000011-0000000004.checkpoint"), "{error}");
        }
    }
}
