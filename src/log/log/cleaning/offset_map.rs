//! The newest offset of each key, in bounded memory: keys are stored as hashes of 128 bits. The map grows up to its bound
//! and never removes a key. It must never know what a key means.

use ottla_protocol::Offset;

/// As in Kafka, 24 bytes for each key.
#[derive(Debug)]
pub struct OffsetMap {
    /// High and low half of the hash, and the offset plus one. A zero in place of the offset marks an empty slot.
    slots: Vec<[u64; 3]>,
    slots_max: usize,
    keys: usize,
    keys_max: usize,
    seed: u64,
    /// The last offset whose key is in the map, or does not have to be.
    pub(super) latest: Offset,
}

impl OffsetMap {
    /// The map takes at most `bytes` and fills at most the share `load` of its slots
    /// (`log.cleaner.io.buffer.load.factor`). The seed makes the hashes unpredictable, so that a client cannot choose
    /// keys that collide.
    pub fn new(bytes: u64, load: f64, seed: u64) -> OffsetMap {
        let slots_max = usize::try_from(bytes).unwrap_or(usize::MAX) / SLOT_BYTES;
        let slots_max = slots_max.max(SLOTS_MIN);
        // NaN is allowed, as in Kafka, and means the smallest share.
        let load = if load.is_nan() { 0.1 } else { load.clamp(0.1, 1.0) };
        let keys_max = ((slots_max as f64 * load) as usize).clamp(1, slots_max - 1);
        OffsetMap { slots: Vec::new(), slots_max, keys: 0, keys_max, seed, latest: -1 }
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    pub(super) fn len(&self) -> usize {
        self.keys
    }

    /// Whether no further key fits.
    pub(super) fn is_full(&self) -> bool {
        self.keys >= self.keys_max
    }

    pub(super) fn clear(&mut self, latest: Offset) {
        self.slots.fill([0; 3]);
        (self.keys, self.latest) = (0, latest);
    }

    pub(super) fn get(&self, hash: u128) -> Option<Offset> {
        if self.slots.is_empty() {
            return None;
        }
        let [_, _, after] = self.slots[self.place(hash)];
        after.checked_sub(1).map(|offset| offset as Offset)
    }

    /// The map must not be full.
    pub(super) fn put(&mut self, hash: u128, offset: Offset) {
        // While the map can grow, at most two thirds of its slots are used, so that lookups stay short.
        if self.slots.len() < self.slots_max && (self.keys + 1) * 3 > self.slots.len() * 2 {
            self.grow();
        }
        let place = self.place(hash);
        let slot = &mut self.slots[place];
        self.keys += usize::from(slot[2] == 0);
        *slot = [(hash >> 64) as u64, hash as u64, offset as u64 + 1];
        self.latest = self.latest.max(offset);
    }

    fn grow(&mut self) {
        let slots = (self.slots.len() * 2).clamp(SLOTS_MIN, self.slots_max);
        let old = std::mem::replace(&mut self.slots, vec![[0; 3]; slots]);
        for slot in old.into_iter().filter(|slot| slot[2] != 0) {
            let place = self.place(u128::from(slot[0]) << 64 | u128::from(slot[1]));
            self.slots[place] = slot;
        }
    }

    /// The slot of this hash, or the empty slot where it belongs; there is always one.
    fn place(&self, hash: u128) -> usize {
        let (high, low) = ((hash >> 64) as u64, hash as u64);
        // Scales the hash to the number of slots.
        let mut at = ((u128::from(low) * self.slots.len() as u128) >> 64) as usize;
        while self.slots[at][2] != 0 && self.slots[at][..2] != [high, low] {
            at = if at + 1 == self.slots.len() { 0 } else { at + 1 };
        }
        at
    }
}

const SLOT_BYTES: usize = 24;
const SLOTS_MIN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn hash(n: u64) -> u128 {
        twox_hash::XxHash3_128::oneshot_with_seed(7, &n.to_be_bytes())
    }

    #[test]
    fn the_newest_offset_of_each_key_is_kept() {
        let mut map = OffsetMap::new(24 * 5000, 0.9, 7);
        let mut model = HashMap::new();
        assert_eq!(map.get(hash(1)), None);
        for offset in 0..20_000i64 {
            let key = (offset as u64 * 2_654_435_761) % 4000;
            map.put(hash(key), offset);
            model.insert(key, offset);
        }
        assert_eq!((map.len(), map.latest), (model.len(), 19_999));
        for key in 0..5000 {
            assert_eq!(map.get(hash(key)), model.get(&key).copied(), "{key}");
        }
        map.clear(-1);
        assert_eq!((map.len(), map.latest, map.get(hash(1))), (0, -1, None));
    }

    #[test]
    fn memory_is_bounded() {
        let mut map = OffsetMap::new(24 * 1000, 0.9, 7);
        let mut keys = 0;
        while !map.is_full() {
            map.put(hash(keys), keys as i64);
            keys += 1;
        }
        assert_eq!((keys, map.slots.len()), (900, 1000));
        assert!((0..keys).all(|key| map.get(hash(key)) == Some(key as i64)));
        assert_eq!(map.get(hash(keys)), None);
        assert_eq!(OffsetMap::new(24 * 1000, f64::NAN, 0).keys_max, 100);
        assert!(OffsetMap::new(0, 1.0, 0).keys_max < SLOTS_MIN, "an empty slot ends each search");
    }
}
