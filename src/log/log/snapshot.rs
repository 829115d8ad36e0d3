//! Producer state on disk: `<offset>.snapshot`, the producers as they were at that offset. It must never know what the
//! state means.
//!
//! The file is Kafka's, with one entry for each producer, which has the producer's last batch only. With that alone, a
//! producer with several requests in flight would be refused after a clean restart when it repeats an earlier batch
//! (OUT_OF_ORDER_SEQUENCE_NUMBER). So the earlier batches follow after Kafka's entries, with a count and in the same
//! form. The checksum covers them; Kafka and its tools ignore them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla_protocol::Offset;
use ottla_protocol::batch::crc_of_parts;

use super::files::Kind;
use super::producers::{KnownBatch, Producer};
use crate::disk::OpenHow;
use crate::{Disk, DiskFile};

/// The snapshots of one partition.
#[derive(Debug)]
pub(super) struct Snapshots {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    offsets: BTreeSet<Offset>,
}

/// The producers as they were at an offset.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub offset: Offset,
    pub producers: Vec<(i64, Producer)>,
}

impl Snapshots {
    pub fn new(disk: Arc<dyn Disk>, dir: &Path, offsets: BTreeSet<Offset>) -> Snapshots {
        Snapshots { disk, dir: dir.to_owned(), offsets }
    }

    pub fn offsets(&self) -> impl DoubleEndedIterator<Item = Offset> {
        self.offsets.iter().copied()
    }

    pub fn newest(&self) -> Option<Offset> {
        self.offsets.last().copied()
    }

    pub fn path(&self, offset: Offset) -> PathBuf {
        Kind::Snapshot.path(&self.dir, offset)
    }

    /// Writes a snapshot, without syncing it.
    pub fn write(&mut self, offset: Offset, producers: &[(i64, Producer)]) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(&self.path(offset), OpenHow::CreateEmpty)?;
        self.offsets.insert(offset);
        match file.write_at(&encode(producers), 0) {
            Ok(()) => Ok(file),
            Err(e) => {
                // An incomplete snapshot is useless. If it cannot be removed, its checksum shows that it is incomplete.
                let _ = self.remove(offset);
                Err(e)
            }
        }
    }

    /// The newest snapshot at one of `offsets` that can be read. Unreadable ones that are newer are removed.
    pub fn load(&mut self, offsets: RangeInclusive<Offset>) -> io::Result<Option<Snapshot>> {
        if offsets.is_empty() {
            return Ok(None);
        }
        while let Some(newest) = self.offsets.range(offsets.clone()).next_back().copied() {
            match decode(&self.disk.read_to_vec(&self.path(newest))?) {
                Some(producers) => return Ok(Some(Snapshot { offset: newest, producers })),
                None => {
                    tracing::warn!(snapshot = %self.path(newest).display(), "dropping a broken producer snapshot");
                    self.remove(newest)?;
                }
            }
        }
        Ok(None)
    }

    pub fn remove(&mut self, offset: Offset) -> io::Result<()> {
        if !self.offsets.remove(&offset) {
            return Ok(());
        }
        match self.disk.remove_file(&self.path(offset)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    pub fn remove_if(&mut self, unwanted: impl Fn(Offset) -> bool) -> io::Result<()> {
        let unwanted = self.offsets().filter(|&offset| unwanted(offset)).collect::<Vec<_>>();
        unwanted.into_iter().try_for_each(|offset| self.remove(offset))
    }

    /// Forgets a snapshot and returns its path; the caller takes care of the file.
    pub fn forget(&mut self, offset: Offset) -> Option<PathBuf> {
        self.offsets.remove(&offset).then(|| self.path(offset))
    }
}

fn encode(producers: &[(i64, Producer)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ENTRIES_FROM + 4 + producers.len() * ENTRY_BYTES);
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&(producers.len() as i32).to_be_bytes());
    let none = KnownBatch { last_sequence: -1, last_offset: -1, offset_delta: 0, timestamp: 0 };
    for (id, producer) in producers {
        let last = producer.last_seen().unwrap_or(none);
        let txn_start = producer.txn_start.unwrap_or(-1);
        put_entry(&mut bytes, *id, producer, last, producer.last_timestamp, txn_start);
    }
    let earlier = |producer: &Producer| producer.seen().len().saturating_sub(1);
    let count: usize = producers.iter().map(|(_, producer)| earlier(producer)).sum();
    if count > 0 {
        bytes.extend_from_slice(&(count as i32).to_be_bytes());
        for (id, producer) in producers {
            for seen in &producer.seen()[..earlier(producer)] {
                put_entry(&mut bytes, *id, producer, *seen, seen.timestamp, -1);
            }
        }
    }
    let crc = crc_of_parts(&bytes[ENTRIES_FROM..], &[]);
    bytes[2..ENTRIES_FROM].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn put_entry(
    bytes: &mut Vec<u8>,
    id: i64,
    producer: &Producer,
    seen: KnownBatch,
    timestamp: i64,
    txn_start: Offset,
) {
    bytes.extend_from_slice(&id.to_be_bytes());
    bytes.extend_from_slice(&producer.epoch.to_be_bytes());
    bytes.extend_from_slice(&seen.last_sequence.to_be_bytes());
    bytes.extend_from_slice(&seen.last_offset.to_be_bytes());
    bytes.extend_from_slice(&seen.offset_delta.to_be_bytes());
    bytes.extend_from_slice(&timestamp.to_be_bytes());
    bytes.extend_from_slice(&producer.coordinator_epoch.to_be_bytes());
    bytes.extend_from_slice(&txn_start.to_be_bytes());
}

/// `None`: the bytes are not what [`encode`] writes.
fn decode(bytes: &[u8]) -> Option<Vec<(i64, Producer)>> {
    let (head, rest) = bytes.split_at_checked(ENTRIES_FROM)?;
    let crc = crc_of_parts(rest, &[]);
    if head[..2] != VERSION.to_be_bytes() || head[2..] != crc.to_be_bytes() {
        return None;
    }
    let (producers, rest) = entries_of(rest)?;
    let (earlier, rest) = if rest.is_empty() { (vec![], rest) } else { entries_of(rest)? };
    if !rest.is_empty() {
        return None;
    }
    let mut before = BTreeMap::<i64, Producer>::new();
    for (id, producer) in earlier {
        let so_far = before.get(&id).map_or(producer, |so_far| producer.after(so_far));
        before.insert(id, so_far);
    }
    let whole = |(id, producer): (i64, Producer)| match before.get(&id) {
        Some(before) => (id, producer.after(before)),
        None => (id, producer),
    };
    Some(producers.into_iter().map(whole).collect())
}

/// A count, that many entries, and the rest of the bytes.
fn entries_of(bytes: &[u8]) -> Option<(Entries, &[u8])> {
    let (count, rest) = bytes.split_first_chunk::<4>()?;
    let count = usize::try_from(i32::from_be_bytes(*count)).ok()?;
    let (entries, rest) = rest.split_at_checked(count.checked_mul(ENTRY_BYTES)?)?;
    Some((entries.as_chunks::<ENTRY_BYTES>().0.iter().map(entry).collect(), rest))
}

fn entry(bytes: &[u8; ENTRY_BYTES]) -> (i64, Producer) {
    let mut rest = bytes.as_slice();
    let mut int = |len: usize| {
        let (field, after) = rest.split_at(len);
        rest = after;
        // Sign-extended from the size of the field.
        field.iter().fold(if field[0] >= 0x80 { -1 } else { 0 }, |value: i64, &b| value << 8 | i64::from(b))
    };
    let (id, epoch) = (int(8), int(2) as i16);
    let (last_sequence, last_offset, offset_delta) = (int(4) as i32, int(8), int(4) as i32);
    let (timestamp, coordinator_epoch, txn_start) = (int(8), int(4) as i32, int(8));
    let seen =
        (last_offset >= 0).then_some(KnownBatch { last_sequence, last_offset, offset_delta, timestamp });
    let txn_start = (txn_start >= 0).then_some(txn_start);
    (id, Producer::snapshot(epoch, coordinator_epoch, timestamp, txn_start, seen))
}

type Entries = Vec<(i64, Producer)>;

const VERSION: i16 = 1;
/// The entries follow the version and the checksum, which covers them.
const ENTRIES_FROM: usize = 6;
const ENTRY_BYTES: usize = 46;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryDisk;

    fn producers() -> Vec<(i64, Producer)> {
        let seen = KnownBatch { last_sequence: i32::MAX, last_offset: 99, offset_delta: 4, timestamp: 1234 };
        vec![
            (1, Producer::snapshot(0, -1, -1, None, None)),
            (7, Producer::snapshot(3, 5, 1234, Some(42), Some(seen))),
        ]
    }

    #[test]
    fn the_bytes_are_kafkas() {
        let bytes = encode(&producers());
        assert_eq!(decode(&bytes), Some(producers()));
        let first = [
            &[0, 0, 0, 0, 0, 0, 0, 1][..],
            &[0, 0],
            &[255; 4],
            &[255; 8],
            &[0; 4],
            &[255; 8],
            &[255; 4],
            &[255; 8],
        ];
        assert_eq!(bytes[..2], [0, 1]);
        assert_eq!(bytes[6..10], [0, 0, 0, 2]);
        assert_eq!(bytes[10..10 + ENTRY_BYTES], first.concat());
    }

    #[test]
    fn earlier_batches_come_behind_what_kafka_reads() {
        let last = KnownBatch { last_sequence: 9, last_offset: 90, offset_delta: 0, timestamp: 5 };
        let mut producer = Producer::snapshot(3, 5, 4, None, Some(KnownBatch { timestamp: 4, ..last }));
        let alone = Producer::snapshot(3, 5, 5, Some(42), Some(last));
        producer = alone.after(&producer);
        let whole = [(1, alone), (7, producer)];
        let bytes = encode(&whole);
        assert_eq!(decode(&bytes), Some(whole.to_vec()));
        let theirs = ENTRIES_FROM + 4 + 2 * ENTRY_BYTES;
        assert_eq!(bytes[ENTRIES_FROM..theirs], encode(&[(1, alone), (7, alone)])[ENTRIES_FROM..]);
        assert_eq!(bytes.len(), theirs + 4 + ENTRY_BYTES);
        for cut in theirs + 1..bytes.len() {
            let mut short = bytes[..cut].to_vec();
            let crc = crc_of_parts(&short[ENTRIES_FROM..], &[]);
            short[2..ENTRIES_FROM].copy_from_slice(&crc.to_be_bytes());
            assert_eq!(decode(&short), None, "{cut}");
        }
    }

    #[test]
    fn one_that_is_not_whole_is_passed_over() {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new(1));
        let dir = Path::new("/p-0");
        disk.create_dir_all(dir).unwrap();
        let whole = encode(&producers());
        let mut flipped = whole.clone();
        flipped[20] ^= 1;
        let broken = [&whole[..whole.len() - 1], &flipped, &[], &[0; 100], &whole[..5]];
        let mut snapshots = Snapshots::new(disk.clone(), dir, BTreeSet::new());
        snapshots.write(10, &producers()).unwrap();
        for (offset, bytes) in (11..).zip(broken) {
            snapshots.write(offset, &[]).unwrap();
            let file = disk.open(&snapshots.path(offset), OpenHow::CreateEmpty).unwrap();
            file.write_at(bytes, 0).unwrap();
        }
        snapshots.write(100, &[]).unwrap();
        assert_eq!(snapshots.load(0..=50).unwrap(), Some(Snapshot { offset: 10, producers: producers() }));
        assert_eq!(snapshots.offsets().collect::<Vec<_>>(), [10, 100]);
        assert_eq!(disk.list(dir).unwrap().len(), 2);
        assert_eq!(snapshots.load(0..=9).unwrap(), None);
        assert_eq!(snapshots.load(11..=50).unwrap(), None);
    }
}
