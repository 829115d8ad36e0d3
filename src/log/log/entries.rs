//! Words that one owner appends and any number of readers see, without a lock on either side. It must never know what the
//! words mean.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Only grows. To have fewer words, the owner makes another one.
pub(super) struct Entries {
    /// Each chunk is twice as large as the one before, and none is ever moved.
    chunks: [OnceLock<Box<[AtomicU64]>>; CHUNKS],
    len: AtomicUsize,
}

impl Entries {
    pub fn new() -> Entries {
        Entries { chunks: [const { OnceLock::new() }; CHUNKS], len: AtomicUsize::new(0) }
    }

    /// How many words may be read.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// The word at `at`, which must be below a length that the caller has seen.
    pub fn get(&self, at: usize) -> u64 {
        let (chunk, within) = place(at);
        self.chunks[chunk].get().map_or(0, |words| words[within].load(Ordering::Relaxed))
    }

    /// For the owner only. Readers see either none or all of `words`.
    pub fn push(&self, words: &[u64]) {
        let len = self.len.load(Ordering::Relaxed);
        for (at, word) in (len..).zip(words) {
            let (chunk, within) = place(at);
            let chunk = self.chunks[chunk]
                .get_or_init(|| (0..FIRST_WORDS << chunk).map(|_| AtomicU64::new(0)).collect());
            chunk[within].store(*word, Ordering::Relaxed);
        }
        self.len.store(len + words.len(), Ordering::Release);
    }
}

fn place(at: usize) -> (usize, usize) {
    let chunk = (at / FIRST_WORDS + 1).ilog2() as usize;
    (chunk, at - FIRST_WORDS * ((1 << chunk) - 1))
}

const FIRST_WORDS: usize = 128;
const CHUNKS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_where_they_were_put() {
        let entries = Entries::new();
        for at in 0..5000u64 {
            entries.push(&[at, !at]);
        }
        assert_eq!(entries.len(), 10_000);
        for at in 0..5000usize {
            assert_eq!((entries.get(2 * at), entries.get(2 * at + 1)), (at as u64, !(at as u64)));
        }
    }

    #[test]
    fn a_reader_sees_whole_pushes_only() {
        let entries = Entries::new();
        std::thread::scope(|scope| {
            scope.spawn(|| (1..20_000u64).for_each(|at| entries.push(&[at, at * 3])));
            let mut seen = 0;
            while seen < 2 * 19_999 {
                seen = entries.len();
                assert_eq!(seen % 2, 0);
                if seen > 0 {
                    assert_eq!(entries.get(seen - 1), 3 * entries.get(seen - 2));
                }
            }
        });
    }
}
