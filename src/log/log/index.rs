//! The sparse indexes of a segment: from offset to file position, and from timestamp to offset. Entries are on disk,
//! except for the newest ones of an active segment, which are written in groups. Lookups are binary searches with
//! `pread`; the file is never mapped. An index is a hint: after a lookup, the caller checks the batch that it finds.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;

use super::entries::Entries;
use crate::disk::OpenHow;
use crate::{Disk, DiskFile};

/// What an index is made of. Offsets in it count from the segment's base.
pub(super) trait IndexEntry: Copy + PartialEq + fmt::Debug {
    const BYTES: usize;
    const WORDS: usize;
    fn from_bytes(bytes: &[u8]) -> Self;
    fn put_bytes(&self, to: &mut Vec<u8>);
    fn from_words(word: impl Fn(usize) -> u64) -> Self;
    fn push_to(&self, to: &Entries);
}

/// The last offset of a batch, and where the batch starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OffsetEntry {
    pub relative: u32,
    pub position: u32,
}

/// The largest timestamp of all batches up to the one with that last offset, which is the first batch to have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeEntry {
    pub timestamp: i64,
    pub relative: u32,
}

/// One owner pushes and writes; readers may look up at the same time.
pub(super) struct Index<E> {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// Opened at the first use: most segments are never looked up.
    file: OnceLock<Arc<dyn DiskFile>>,
    view: ArcSwap<View>,
    entry: PhantomData<fn() -> E>,
}

struct View {
    on_disk: usize,
    tail: Entries,
}

impl<E: IndexEntry> Index<E> {
    /// An index that is on disk, `bytes` long. An incomplete entry at the end does not count.
    pub fn existing(disk: Arc<dyn Disk>, path: PathBuf, bytes: u64) -> Index<E> {
        let on_disk = usize::try_from(bytes / E::BYTES as u64).unwrap_or(0);
        let view = ArcSwap::from_pointee(View { on_disk, tail: Entries::new() });
        Index { disk, path, file: OnceLock::new(), view, entry: PhantomData }
    }

    /// An empty index, which replaces any file of that name.
    pub fn create(disk: Arc<dyn Disk>, path: PathBuf) -> io::Result<Index<E>> {
        // The file is not kept open: many partitions are created and never written to.
        disk.open(&path, OpenHow::CreateEmpty)?;
        Ok(Index::existing(disk, path, 0))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn len(&self) -> usize {
        let view = self.view.load();
        view.on_disk + view.tail.len() / E::WORDS
    }

    pub fn last(&self) -> io::Result<Option<E>> {
        let view = self.view.load();
        match view.on_disk + view.tail.len() / E::WORDS {
            0 => Ok(None),
            len => self.get(&view, len - 1).map(Some),
        }
    }

    /// The last entry for which `below` holds. If it holds for an entry, it must hold for all entries before.
    pub fn floor(&self, below: impl Fn(&E) -> bool) -> io::Result<Option<E>> {
        let view = self.view.load();
        let in_tail = view.tail.len() / E::WORDS;
        if in_tail > 0 && below(&tail_entry(&view.tail, 0)) {
            let (mut low, mut high) = (0, in_tail);
            while high - low > 1 {
                let middle = (low + high) / 2;
                match below(&tail_entry(&view.tail, middle)) {
                    true => low = middle,
                    false => high = middle,
                }
            }
            return Ok(Some(tail_entry(&view.tail, low)));
        }
        self.floor_on_disk(view.on_disk, below)
    }

    fn floor_on_disk(&self, entries: usize, below: impl Fn(&E) -> bool) -> io::Result<Option<E>> {
        let (mut low, mut high, mut best) = (0, entries, None);
        let mut block = Vec::new();
        while low < high {
            if high - low <= BLOCK_ENTRIES {
                block.resize((high - low) * E::BYTES, 0);
                self.file()?.read_exact_at(&mut block, (low * E::BYTES) as u64)?;
                let entries = block.chunks_exact(E::BYTES).map(E::from_bytes);
                return Ok(entries.take_while(|entry| below(entry)).last().or(best));
            }
            let middle = (low + high) / 2;
            let entry = self.read(middle)?;
            match below(&entry) {
                true => (low, best) = (middle + 1, Some(entry)),
                false => high = middle,
            }
        }
        Ok(best)
    }

    /// For the owner. The entry is on disk only after `write_tail`.
    pub fn push(&self, entry: E) {
        entry.push_to(&self.view.load().tail);
    }

    /// How many entries are not on disk yet.
    pub fn unwritten(&self) -> usize {
        self.view.load().tail.len() / E::WORDS
    }

    /// For the owner. After an error the entries are still in memory, and writing them again does no harm.
    pub fn write_tail(&self) -> io::Result<()> {
        let view = self.view.load();
        let in_tail = view.tail.len() / E::WORDS;
        if in_tail == 0 {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(in_tail * E::BYTES);
        (0..in_tail).for_each(|at| tail_entry::<E>(&view.tail, at).put_bytes(&mut bytes));
        self.file()?.write_at(&bytes, (view.on_disk * E::BYTES) as u64)?;
        self.view.store(Arc::new(View { on_disk: view.on_disk + in_tail, tail: Entries::new() }));
        Ok(())
    }

    /// For the owner of an index that was rebuilt in memory: replaces the file by it, atomically.
    pub fn replace_file(&self) -> io::Result<()> {
        let view = self.view.load();
        let in_tail = view.tail.len() / E::WORDS;
        debug_assert_eq!(view.on_disk, 0);
        let mut bytes = Vec::with_capacity(in_tail * E::BYTES);
        (0..in_tail).for_each(|at| tail_entry::<E>(&view.tail, at).put_bytes(&mut bytes));
        self.disk.replace(&self.path, &bytes)?;
        self.view.store(Arc::new(View { on_disk: in_tail, tail: Entries::new() }));
        Ok(())
    }

    /// For the owner: a new index over the same file, with the entries for which `below` holds. Readers of this one may
    /// find the file shorter than they expect.
    pub fn cut(&self, below: impl Fn(&E) -> bool) -> io::Result<Index<E>> {
        self.write_tail()?;
        let on_disk = self.view.load().on_disk;
        let (mut low, mut high) = (0, on_disk);
        while low < high {
            let middle = (low + high) / 2;
            match below(&self.read(middle)?) {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        let bytes = (low * E::BYTES) as u64;
        if low < on_disk {
            self.file()?.truncate(bytes)?;
        }
        let cut = Index::existing(self.disk.clone(), self.path.clone(), bytes);
        let _ = cut.file.set(self.file()?.clone());
        Ok(cut)
    }

    pub fn file(&self) -> io::Result<&Arc<dyn DiskFile>> {
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let file = self.disk.open(&self.path, OpenHow::Write)?;
        Ok(self.file.get_or_init(|| file))
    }

    fn get(&self, view: &View, at: usize) -> io::Result<E> {
        match at.checked_sub(view.on_disk) {
            Some(at) => Ok(tail_entry(&view.tail, at)),
            None => self.read(at),
        }
    }

    fn read(&self, at: usize) -> io::Result<E> {
        let mut bytes = [0; TIME_ENTRY_BYTES];
        let bytes = &mut bytes[..E::BYTES];
        self.file()?.read_exact_at(bytes, (at * E::BYTES) as u64)?;
        Ok(E::from_bytes(bytes))
    }
}

fn tail_entry<E: IndexEntry>(tail: &Entries, at: usize) -> E {
    E::from_words(|word| tail.get(at * E::WORDS + word))
}

impl<E> fmt::Debug for Index<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Index({})", self.path.display())
    }
}

impl IndexEntry for OffsetEntry {
    const BYTES: usize = 8;
    const WORDS: usize = 1;

    fn from_bytes(bytes: &[u8]) -> OffsetEntry {
        OffsetEntry { relative: u32_at(bytes, 0), position: u32_at(bytes, 4) }
    }

    fn put_bytes(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.relative.to_be_bytes());
        to.extend_from_slice(&self.position.to_be_bytes());
    }

    fn from_words(word: impl Fn(usize) -> u64) -> OffsetEntry {
        let word = word(0);
        OffsetEntry { relative: (word >> 32) as u32, position: word as u32 }
    }

    fn push_to(&self, to: &Entries) {
        to.push(&[u64::from(self.relative) << 32 | u64::from(self.position)]);
    }
}

impl IndexEntry for TimeEntry {
    const BYTES: usize = TIME_ENTRY_BYTES;
    const WORDS: usize = 2;

    fn from_bytes(bytes: &[u8]) -> TimeEntry {
        let timestamp = i64::from(u32_at(bytes, 0)) << 32 | i64::from(u32_at(bytes, 4));
        TimeEntry { timestamp, relative: u32_at(bytes, 8) }
    }

    fn put_bytes(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.timestamp.to_be_bytes());
        to.extend_from_slice(&self.relative.to_be_bytes());
    }

    fn from_words(word: impl Fn(usize) -> u64) -> TimeEntry {
        TimeEntry { timestamp: word(0) as i64, relative: word(1) as u32 }
    }

    fn push_to(&self, to: &Entries) {
        to.push(&[self.timestamp as u64, self.relative.into()]);
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes)
}

const TIME_ENTRY_BYTES: usize = 12;
/// How many entries are read at once, rather than one by one.
const BLOCK_ENTRIES: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryDisk;

    fn index(entries: u32, written: u32) -> Index<OffsetEntry> {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new(1));
        let index = Index::create(disk, PathBuf::from("/0.index")).unwrap();
        for n in 0..entries {
            if n == written {
                index.write_tail().unwrap();
            }
            index.push(OffsetEntry { relative: n * 10, position: n * 1000 });
        }
        index
    }

    #[test]
    fn the_floor_is_found_wherever_it_lies() {
        for (entries, written) in [(0, 0), (1, 0), (1, 1), (100, 50), (3000, 3000), (3000, 2000), (5000, 1)] {
            let index = index(entries, written);
            assert_eq!(index.len(), entries as usize);
            for target in [0, 5, 10, 11, 499, 500, 9_999, 10_000, 19_990, 29_990, 60_000] {
                let expected = entries.checked_sub(1).map(|last| last.min(target / 10));
                let found = index.floor(|e| e.relative <= target).unwrap();
                assert_eq!(
                    found.map(|e| e.relative / 10),
                    expected,
                    "{target} of {entries}, {written} written"
                );
            }
            assert_eq!(index.last().unwrap().map(|e| e.position / 1000), entries.checked_sub(1));
        }
    }

    #[test]
    fn a_cut_index_goes_on_where_it_was_cut() {
        for (written, keep) in [(100, 70), (50, 70), (0, 0), (100, 100)] {
            let index = index(100, written).cut(|e| e.relative < keep * 10).unwrap();
            assert_eq!(index.len() as u32, keep);
            index.push(OffsetEntry { relative: 5000, position: 6000 });
            index.write_tail().unwrap();
            assert_eq!(index.last().unwrap(), Some(OffsetEntry { relative: 5000, position: 6000 }));
            assert_eq!(index.file().unwrap().len().unwrap(), u64::from(keep + 1) * 8);
        }
    }

    #[test]
    fn entries_are_kafkas_bytes() {
        let mut bytes = Vec::new();
        OffsetEntry { relative: 1, position: 2 }.put_bytes(&mut bytes);
        TimeEntry { timestamp: -1, relative: 3 }.put_bytes(&mut bytes);
        assert_eq!(bytes, [[0, 0, 0, 1, 0, 0, 0, 2].as_slice(), &[255; 8], &[0, 0, 0, 3]].concat());
        assert_eq!(OffsetEntry::from_bytes(&bytes), OffsetEntry { relative: 1, position: 2 });
        assert_eq!(TimeEntry::from_bytes(&bytes[8..]), TimeEntry { timestamp: -1, relative: 3 });
    }
}
