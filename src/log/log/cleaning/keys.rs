//! The keys of a batch, as hashes. It must never keep a record or a large key.

use ottla_protocol::Offset;
use ottla_protocol::batch::{BatchError, BatchHeader, RecordMeta, Visit, walk};
use twox_hash::XxHash3_128;

use super::offset_map::OffsetMap;
use crate::log::segment::DECOMPRESSED_MAX;

/// Calls a function with each record and the hash of its key.
pub(super) struct KeyReader {
    seed: u64,
    key: Vec<u8>,
    /// The hash of a key that is too long to be kept whole.
    long: Option<XxHash3_128>,
}

impl KeyReader {
    pub fn new(seed: u64) -> KeyReader {
        KeyReader { seed, key: Vec::new(), long: None }
    }

    /// The hash is `None` for a record without a key.
    pub fn each(
        &mut self,
        bytes: &[u8],
        look: impl FnMut(&RecordMeta, Option<u128>),
    ) -> Result<(), BatchError> {
        // An earlier batch that could not be read may have left part of a key.
        self.key.clear();
        self.long = None;
        walk(bytes, DECOMPRESSED_MAX, Looking { keys: self, look }).map(|_| ())
    }

    /// Puts the keys of the records from offset `start` on into the map, until the map is full.
    pub fn enter(
        &mut self,
        header: &BatchHeader,
        bytes: &[u8],
        start: Offset,
        map: &mut OffsetMap,
    ) -> Result<(), BatchError> {
        self.each(bytes, |record, hash| {
            let offset = header.base_offset + i64::from(record.offset_delta);
            if let Some(hash) = hash.filter(|_| offset >= start && !map.is_full()) {
                map.put(hash, offset);
            }
        })
    }
}

struct Looking<'a, F> {
    keys: &'a mut KeyReader,
    look: F,
}

impl<F: FnMut(&RecordMeta, Option<u128>)> Visit for Looking<'_, F> {
    fn key(&mut self, part: &[u8]) {
        let KeyReader { seed, key, long } = &mut *self.keys;
        match long {
            Some(hasher) => hasher.write(part),
            None if key.len() + part.len() <= KEY_BYTES_KEPT => key.extend_from_slice(part),
            None => {
                let mut hasher = XxHash3_128::with_seed(*seed);
                hasher.write(key);
                hasher.write(part);
                *long = Some(hasher);
            }
        }
    }

    fn record(&mut self, record: RecordMeta) {
        let KeyReader { seed, key, long } = &mut *self.keys;
        let hash = match long.take() {
            Some(hasher) => hasher.finish_128(),
            None => XxHash3_128::oneshot_with_seed(*seed, key),
        };
        key.clear();
        (self.look)(&record, (!record.key_is_null).then_some(hash));
    }
}

const KEY_BYTES_KEPT: usize = 16 << 10;
