//! The aborted transactions whose markers are in one segment (KIP-98). The file exists only if there is one. It must
//! never know which transactions are open.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use ottla_protocol::Offset;

use crate::disk::OpenHow;
use crate::{Disk, DiskFile};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AbortedTxn {
    pub producer_id: i64,
    pub first_offset: Offset,
    /// The marker's offset.
    pub last_offset: Offset,
    /// The last stable offset when the marker was written: later markers of this log abort no transaction that began
    /// below it.
    pub last_stable: Offset,
}

/// One owner appends; readers may search at the same time.
#[derive(Debug)]
pub(super) struct TxnIndex {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    file: OnceLock<Arc<dyn DiskFile>>,
    entries: AtomicUsize,
}

impl TxnIndex {
    /// The index in a file of `bytes`; 0 if there is no file.
    pub fn existing(disk: Arc<dyn Disk>, path: PathBuf, bytes: u64) -> TxnIndex {
        let entries = AtomicUsize::new(usize::try_from(bytes / ENTRY_BYTES as u64).unwrap_or(0));
        TxnIndex { disk, path, file: OnceLock::new(), entries }
    }

    /// Another index over the same file.
    pub fn again(&self) -> TxnIndex {
        TxnIndex::existing(self.disk.clone(), self.path.clone(), self.bytes())
    }

    pub fn bytes(&self) -> u64 {
        (self.entries.load(Ordering::Acquire) * ENTRY_BYTES) as u64
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn is_empty(&self) -> bool {
        self.entries.load(Ordering::Acquire) == 0
    }

    /// For the owner. Each entry is written at once, without a buffer: aborts are rare.
    pub fn append(&self, txn: AbortedTxn) -> io::Result<()> {
        let entries = self.entries.load(Ordering::Relaxed);
        let (file, end) = (self.file()?, (entries * ENTRY_BYTES) as u64);
        if let Err(e) = file.write_at(&txn.to_bytes(), end) {
            // The marker is not in the log either, so a later opening must not find its entry.
            file.truncate(end)?;
            file.sync()?;
            return Err(e);
        }
        self.entries.store(entries + 1, Ordering::Release);
        Ok(())
    }

    /// Adds the aborted transactions that have offsets from `from` on and below `to`. Returns true if later segments have
    /// none of them.
    pub fn collect(&self, from: Offset, to: Offset, into: &mut Vec<AbortedTxn>) -> io::Result<bool> {
        let entries = self.entries.load(Ordering::Acquire);
        // Entries are in the order of their markers: a binary search skips those that end below `from`.
        let (mut low, mut high) = (0, entries);
        while low < high {
            let middle = (low + high) / 2;
            match self.read(middle)?.last_offset < from {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        for at in low..entries {
            let txn = self.read(at)?;
            if txn.first_offset < to {
                into.push(txn);
            }
            if txn.last_stable >= to {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// For the owner: another index over the same file, without the markers at or above `offset`.
    pub fn cut(&self, offset: Offset) -> io::Result<TxnIndex> {
        let mut keep = self.entries.load(Ordering::Relaxed);
        while keep > 0 && self.read(keep - 1)?.last_offset >= offset {
            keep -= 1;
        }
        let bytes = (keep * ENTRY_BYTES) as u64;
        if keep < self.entries.load(Ordering::Relaxed) {
            // Truncated at once: a flush skips an index without entries, so a loss of power could bring the removed
            // entries back.
            self.file()?.truncate(bytes)?;
            self.file()?.sync()?;
        }
        Ok(TxnIndex::existing(self.disk.clone(), self.path.clone(), bytes))
    }

    /// The first entry creates the file. A reader never does: its segment may have been removed meanwhile.
    pub fn file(&self) -> io::Result<&Arc<dyn DiskFile>> {
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let how = if self.is_empty() { OpenHow::Create } else { OpenHow::Write };
        let file = self.disk.open(&self.path, how)?;
        Ok(self.file.get_or_init(|| file))
    }

    fn read(&self, at: usize) -> io::Result<AbortedTxn> {
        let mut bytes = [0; ENTRY_BYTES];
        self.file()?.read_exact_at(&mut bytes, (at * ENTRY_BYTES) as u64)?;
        Ok(AbortedTxn::from_bytes(&bytes))
    }
}

impl AbortedTxn {
    fn to_bytes(self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..2].copy_from_slice(&VERSION.to_be_bytes());
        let fields = [self.producer_id, self.first_offset, self.last_offset, self.last_stable];
        for (to, field) in bytes[2..].chunks_exact_mut(8).zip(fields) {
            to.copy_from_slice(&field.to_be_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8; ENTRY_BYTES]) -> AbortedTxn {
        let mut fields = bytes[2..].as_chunks::<8>().0.iter().map(|field| i64::from_be_bytes(*field));
        let mut next = || fields.next().unwrap_or_default();
        AbortedTxn { producer_id: next(), first_offset: next(), last_offset: next(), last_stable: next() }
    }
}

const VERSION: i16 = 0;
/// An entry has a version and four numbers: offsets and ids.
pub(super) const ENTRY_BYTES: usize = 34;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryDisk;

    fn txn(producer_id: i64, first_offset: Offset, last_offset: Offset, last_stable: Offset) -> AbortedTxn {
        AbortedTxn { producer_id, first_offset, last_offset, last_stable }
    }

    #[test]
    fn aborted_transactions_are_found_by_the_offsets_they_touch() {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new(1));
        let index = TxnIndex::existing(disk.clone(), PathBuf::from("/0.txnindex"), 0);
        assert!(!disk.exists(index.path()), "no file before the first abort");
        // The example of Kafka's tests: transactions overlap, and the last stable offset tells when to stop.
        let all = [txn(0, 0, 10, 11), txn(1, 5, 15, 13), txn(2, 18, 35, 25), txn(3, 32, 50, 40)];
        for txn in all {
            index.append(txn).unwrap();
        }
        let rows: &[(Offset, Offset, &[i64], bool)] = &[
            (0, 100, &[0, 1, 2, 3], false),
            (0, 32, &[0, 1, 2], true),
            (0, 35, &[0, 1, 2, 3], true),
            (10, 35, &[0, 1, 2, 3], true),
            (11, 35, &[1, 2, 3], true),
            (20, 41, &[2, 3], false),
            (51, 99, &[], false),
        ];
        for (from, to, producers, complete) in rows {
            let mut found = Vec::new();
            assert_eq!(index.collect(*from, *to, &mut found).unwrap(), *complete, "{from}..{to}");
            assert_eq!(found.iter().map(|t| t.producer_id).collect::<Vec<_>>(), *producers, "{from}..{to}");
        }
        let cut = index.cut(35).unwrap();
        let mut found = Vec::new();
        cut.collect(0, 100, &mut found).unwrap();
        assert_eq!(found, all[..2]);
        assert_eq!(disk.read_to_vec(cut.path()).unwrap().len(), 2 * ENTRY_BYTES);
    }

    #[test]
    fn a_reader_of_a_removed_segment_leaves_no_file() {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new(1));
        let index = TxnIndex::existing(disk.clone(), PathBuf::from("/0.txnindex"), 0);
        index.append(txn(0, 0, 10, 11)).unwrap();
        let reader = index.again();
        disk.remove_file(index.path()).unwrap();
        let error = reader.collect(0, 100, &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(!disk.exists(index.path()));
    }
}
