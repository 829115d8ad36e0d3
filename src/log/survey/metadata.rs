//! The metadata log of a stopped broker: its newest snapshot and the records after it, read without opening or truncating
//! the log.

use std::path::{Path, PathBuf};
use std::{fmt, io};

use bytes::Bytes;
use ottla_model::image::Image;
use ottla_model::record::MetadataRecord;
use ottla_protocol::batch::{BatchHeader, records, verify_crc};
use ottla_protocol::{LeaderEpoch, Offset};

use crate::disk::{Disk, OpenHow};
use crate::log::files::{Kind, Name, Stage};
use crate::log::scan::{Scan, Stopped, WALK_BYTES};
use crate::metadata::{DECOMPRESSED_MAX, Loaded, Membership, SnapshotId, control_records, newest};

/// What the metadata says, as far as it could be read.
#[derive(Clone, Debug)]
pub struct Metadata {
    pub folder: PathBuf,
    pub snapshot: Option<SnapshotId>,
    /// The offset after the last whole batch.
    pub end: Offset,
    pub segments: usize,
    /// Size of the log and its snapshots.
    pub bytes: u64,
    pub image: Image,
    pub membership: Membership,
    /// The first batch that is not whole. A start cuts off the log there.
    pub cut: Option<Problem>,
    /// Why the metadata cannot be taken over. `None`: it can.
    pub problem: Option<Problem>,
}

/// A file, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub file: PathBuf,
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The disk's errors already name the file.
        let file = self.file.display().to_string();
        match self.what.contains(&file) {
            true => f.write_str(&self.what),
            false => write!(f, "{file}: {}", self.what),
        }
    }
}

impl Metadata {
    /// `None`: there is neither a log nor a snapshot.
    pub(super) fn read(disk: &dyn Disk, folder: &Path) -> Option<Metadata> {
        let mut metadata = Metadata {
            folder: folder.to_owned(),
            snapshot: None,
            end: 0,
            segments: 0,
            bytes: 0,
            image: Image::empty(),
            membership: Membership::default(),
            cut: None,
            problem: None,
        };
        let entries = match disk.list(folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
            Err(e) => {
                metadata.problem = Some(Problem { file: folder.to_owned(), what: e.to_string() });
                return Some(metadata);
            }
        };
        let files = || entries.iter().filter(|entry| !entry.is_dir);
        let live = |name: &Name| name.stage == Stage::Live && name.kind == Kind::Log;
        let segments: Vec<Offset> =
            files().filter_map(|e| Name::parse(&e.name).filter(live)).map(|name| name.offset).collect();
        metadata.snapshot = newest(files().map(|entry| entry.name.as_str()));
        if segments.is_empty() && metadata.snapshot.is_none() {
            return None;
        }
        metadata.segments = segments.len();
        metadata.bytes = files().map(|entry| entry.len).sum();
        if let Err(problem) = metadata.load(disk).and_then(|()| metadata.follow(disk, &segments)) {
            metadata.problem = Some(problem);
        }
        Some(metadata)
    }

    fn load(&mut self, disk: &dyn Disk) -> Result<(), Problem> {
        let Some(id) = self.snapshot else { return Ok(()) };
        let file = self.folder.join(id.file_name());
        let read = disk.read_to_vec(&file).map_err(|e| e.to_string());
        let loaded = read.and_then(|bytes| Loaded::decode(id, &bytes.into()));
        let Loaded { image, membership, .. } = loaded.map_err(|what| Problem { file, what })?;
        self.membership = membership;
        if id.end > 0 {
            (self.image, self.end) = (image, id.end);
        }
        Ok(())
    }

    /// Applies the records of the log from the end of the snapshot on.
    fn follow(&mut self, disk: &dyn Disk, segments: &[Offset]) -> Result<(), Problem> {
        let behind = self.end;
        let first = segments.partition_point(|base| *base <= behind).saturating_sub(1);
        for base in &segments[first.min(segments.len())..] {
            let file = Kind::Log.path(&self.folder, *base);
            let at = |what: String| Problem { file: file.clone(), what };
            if *base > self.end {
                return match self.end {
                    0 => Err(at(format!(
                        "the log begins at offset {base}, and no snapshot holds what came before"
                    ))),
                    // A start drops what is after a hole, too.
                    end => {
                        self.cut =
                            Some(at(format!("it begins at offset {base}, behind a hole from {end} on")));
                        Ok(())
                    }
                };
            }
            self.segment(disk, &file)?;
            if self.cut.is_some() {
                break;
            }
        }
        Ok(())
    }

    fn segment(&mut self, disk: &dyn Disk, file: &Path) -> Result<(), Problem> {
        let at = |what: String| Problem { file: file.to_owned(), what };
        let opened = disk.open(file, OpenHow::Read).map_err(|e| at(e.to_string()))?;
        let bytes = opened.len().map_err(|e| at(e.to_string()))?;
        let mut scan = Scan::new(opened.as_ref(), 0, bytes, WALK_BYTES);
        loop {
            let found = match scan.next() {
                Ok(Some(found)) => found,
                Ok(None) => return Ok(()),
                Err(Stopped::Io(error)) => return Err(at(error.to_string())),
                Err(Stopped::Invalid { position, what }) => {
                    self.cut = Some(at(format!("at byte {position}: {what}")));
                    return Ok(());
                }
            };
            if found.header.next_offset() <= self.end {
                continue;
            }
            let batch = scan.batch(&found).map_err(|e| at(e.to_string()))?;
            if !verify_crc(batch) {
                self.cut = Some(at(format!("at byte {}: a wrong checksum", found.position)));
                return Ok(());
            }
            let batch = Bytes::copy_from_slice(batch);
            self.apply(&found.header, &batch).map_err(at)?;
        }
    }

    fn apply(&mut self, header: &BatchHeader, batch: &Bytes) -> Result<(), String> {
        control_records(batch).iter().for_each(|record| self.membership.notice(record));
        let offset = header.base_offset;
        let wrong = |what: &dyn ToString| format!("the batch at offset {offset}: {}", what.to_string());
        if !header.is_control() {
            let epoch = LeaderEpoch(header.partition_leader_epoch);
            for record in records(batch, DECOMPRESSED_MAX).map_err(|e| wrong(&e))? {
                let record = record.map_err(|e| wrong(&e))?;
                // A snapshot that Kafka wrote may end inside a batch.
                if record.offset <= self.image.offset {
                    continue;
                }
                let value = record.value.unwrap_or_default();
                let decoded = MetadataRecord::decode(&value);
                let decoded = decoded.map_err(|e| format!("the record at offset {}: {e}", record.offset))?;
                self.image.apply_in_place(record.offset, epoch, &decoded).map_err(|e| e.to_string())?;
            }
        }
        self.end = header.next_offset();
        Ok(())
    }
}
