//! Which files a partition's folder has, and which of them are useless. It must never look into a batch's records.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ottla_protocol::Offset;

use super::error::{LogError, io as io_error};
use super::files::{Kind, Name, Stage};
use super::recovery::remove_if_there;
use super::scan::{LOOKUP_BYTES, Scan, Stopped};
use super::segment::IndexBytes;
use super::txn_index;
use crate::Disk;
use crate::disk::{Entry, OpenHow};

/// The lengths of one segment's files.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SegmentFiles {
    pub log: Option<u64>,
    offset_index: Option<u64>,
    time_index: Option<u64>,
    txn_index: Option<u64>,
}

pub(super) struct Inventory {
    /// The segments that have a log file.
    pub segments: Vec<(Offset, SegmentFiles)>,
    pub snapshots: BTreeSet<Offset>,
}

impl Inventory {
    /// Index files without a log are removed.
    pub fn read(disk: &dyn Disk, dir: &Path, entries: &[Entry]) -> Result<Inventory, LogError> {
        let mut segments = BTreeMap::<Offset, SegmentFiles>::new();
        let mut snapshots = BTreeSet::new();
        for entry in entries {
            let Some(name) = Name::parse(&entry.name).filter(|n| n.stage == Stage::Live && !entry.is_dir)
            else {
                continue;
            };
            if name.kind == Kind::Snapshot {
                snapshots.insert(name.offset);
                continue;
            }
            let files = segments.entry(name.offset).or_default();
            let field = match name.kind {
                Kind::Log => &mut files.log,
                Kind::OffsetIndex => &mut files.offset_index,
                Kind::TimeIndex => &mut files.time_index,
                Kind::TxnIndex | Kind::Snapshot => &mut files.txn_index,
            };
            *field = Some(entry.len);
        }
        for (base, _) in segments.extract_if(.., |_, files| files.log.is_none()) {
            tracing::warn!(dir = %dir.display(), "removing an index without a log at offset {base}");
            for kind in Kind::OF_SEGMENT {
                remove_if_there(disk, &kind.path(dir, base))?;
            }
        }
        Ok(Inventory { segments: segments.into_iter().collect(), snapshots })
    }
}

impl Inventory {
    /// Removes segments that retention had renamed and that are back after a loss of power: retention does not sync a
    /// rename that only frees space. They are recognised by the offset of the first leader epoch, which retention wrote
    /// before.
    pub fn drop_retired(&mut self, disk: &dyn Disk, dir: &Path, first_epoch: Offset) -> Result<(), LogError> {
        let mut gone = Vec::new();
        for (at, (base, files)) in self.segments.iter().enumerate() {
            // The newest segment stays: it says at least where the log ends.
            let Some((next, _)) = self.segments.get(at + 1).filter(|_| *base < first_epoch) else { break };
            let path = Kind::Log.path(dir, *base);
            let file = disk.open(&path, OpenHow::Read).map_err(io_error("opening a segment"))?;
            let mut scan = Scan::new(file.as_ref(), 0, files.log.unwrap_or(0), LOOKUP_BYTES);
            let mut found = scan.next().ok().flatten();
            // The list of epochs has no batches from before there were leader epochs.
            if found.is_some_and(|found| found.header.partition_leader_epoch < 0) {
                continue;
            }
            // If a segment is missing behind this one, only the batches tell how far this one reaches.
            let mut reaches = if *next <= first_epoch { *next } else { Offset::MAX };
            while *next > first_epoch
                && let Some(batch) = found
            {
                reaches = batch.header.next_offset();
                found = match scan.next() {
                    Ok(found) => found.filter(|_| reaches <= first_epoch),
                    // What is behind the damage is unknown, so recovery decides about such a segment.
                    Err(Stopped::Invalid { .. }) => {
                        reaches = Offset::MAX;
                        None
                    }
                    Err(Stopped::Io(e)) => return Err(io_error("reading a segment")(e)),
                };
            }
            if reaches <= first_epoch {
                gone.push(*base);
            }
        }
        for base in &gone {
            tracing::info!(dir = %dir.display(), "removing segment {base}, which retention had retired");
            Kind::OF_SEGMENT
                .into_iter()
                .try_for_each(|kind| remove_if_there(disk, &kind.path(dir, *base)))?;
        }
        if !gone.is_empty() {
            self.segments.retain(|(base, _)| !gone.contains(base));
            disk.sync_dir(dir).map_err(io_error("syncing a partition's folder"))?;
        }
        Ok(())
    }
}

impl SegmentFiles {
    pub fn index_bytes(&self) -> IndexBytes {
        let bytes = |file: Option<u64>| file.unwrap_or(0);
        IndexBytes {
            offset: bytes(self.offset_index),
            time: bytes(self.time_index),
            txn: bytes(self.txn_index),
        }
    }

    /// Whether the length alone shows that an index is damaged.
    pub fn index_damaged(&self) -> bool {
        let whole = |file: Option<u64>, entry: u64| file.is_some_and(|bytes| bytes.is_multiple_of(entry));
        !whole(self.offset_index, 8) || !whole(self.time_index, 12)
    }

    pub fn txn_damaged(&self) -> bool {
        self.txn_index.is_some_and(|bytes| !bytes.is_multiple_of(txn_index::ENTRY_BYTES as u64))
    }
}
