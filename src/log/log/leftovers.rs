//! What an interrupted process left unfinished: deletions, and a cleaner's output. As in Kafka, deletions are finished,
//! unfinished output is removed, and finished output takes the place of the segments that it was made from.

use std::path::Path;

use ottla_protocol::Offset;
use ottla_protocol::batch::BatchHeader;

use super::error::{LogError, io as io_error};
use super::files::{Kind, Name, Stage, TMP};
use super::recovery::remove_if_there;
use super::scan::{Scan, WALK_BYTES};
use crate::Disk;
use crate::disk::{Entry, OpenHow};

/// Returns what the folder contains afterwards.
pub(super) fn tidy(disk: &dyn Disk, dir: &Path) -> Result<Vec<Entry>, LogError> {
    let list = || disk.list(dir).map_err(io_error("listing a partition's folder"));
    let entries = list()?;
    let names = entries.iter().filter(|e| !e.is_dir).filter_map(|e| Some((e, Name::parse(&e.name)?)));
    let names = names.collect::<Vec<_>>();
    let of_stage = |stage| names.iter().filter(move |(_, name)| name.stage == stage);
    let remove = |name: &str| remove_if_there(disk, &dir.join(name));
    let sync = || disk.sync_dir(dir).map_err(io_error("syncing a partition's folder"));
    let mut changed = false;
    for entry in entries.iter().filter(|entry| !entry.is_dir && entry.name.ends_with(TMP)) {
        remove(&entry.name)?;
        changed = true;
    }
    for (entry, _) in of_stage(Stage::Deleted) {
        remove(&entry.name)?;
        changed = true;
    }
    // A cleaner renames an output only once all of its files are complete. If there is an unfinished output, finished
    // files at higher offsets count for nothing either (KAFKA-6264).
    let unfinished = of_stage(Stage::Cleaned).map(|(_, name)| name.offset).min().unwrap_or(Offset::MAX);
    let (worthless, finished): (Vec<_>, Vec<_>) =
        of_stage(Stage::Swap).partition(|(_, name)| name.offset >= unfinished);
    // Each step is made durable before the next one: otherwise the remaining files could look finished.
    for (entry, _) in &worthless {
        remove(&entry.name)?;
    }
    if !worthless.is_empty() {
        sync()?;
    }
    for (entry, _) in of_stage(Stage::Cleaned) {
        remove(&entry.name)?;
        changed = true;
    }
    let mut replaced: Option<(Offset, Offset)> = None;
    for (entry, name) in finished.iter().filter(|(_, name)| name.kind == Kind::Log) {
        let end = end_of(disk, &dir.join(&entry.name), name.offset, entry.len)?;
        let (from, to) = replaced.unwrap_or((name.offset, end));
        replaced = Some((from.min(name.offset), to.max(end)));
    }
    if let Some((from, to)) = replaced {
        let inputs = of_stage(Stage::Live)
            .filter(|(_, name)| name.kind != Kind::Snapshot && (from..to).contains(&name.offset));
        for (entry, _) in inputs {
            remove(&entry.name)?;
        }
        sync()?;
    }
    // The log files are renamed first: as long as one is still to be renamed, the live files at its offset are old.
    let (logs, indexes): (Vec<_>, Vec<_>) = finished.iter().partition(|(_, name)| name.kind == Kind::Log);
    for step in [logs, indexes] {
        for (entry, name) in &step {
            let to = name.kind.path(dir, name.offset);
            disk.rename(&dir.join(&entry.name), &to).map_err(io_error("finishing a cleaner's work"))?;
        }
        if !step.is_empty() {
            sync()?;
            changed = true;
        }
    }
    if !changed && worthless.is_empty() {
        return Ok(entries);
    }
    sync()?;
    list()
}

/// The offset after the last batch of a file. If the file is damaged, the batches before the damage count.
fn end_of(disk: &dyn Disk, path: &Path, base: Offset, bytes: u64) -> Result<Offset, LogError> {
    let file = disk.open(path, OpenHow::Read).map_err(io_error("opening a cleaner's output"))?;
    let mut scan = Scan::new(file.as_ref(), 0, bytes, WALK_BYTES);
    let mut end = base;
    while let Ok(Some(found)) = scan.next() {
        end = BatchHeader::next_offset(&found.header);
    }
    Ok(end)
}
