//! The offsets that an owner publishes, which readers take all from the same moment. A reader never makes the owner wait:
//! a reader that overlaps with a change reads again. It must never know where the offsets come from.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use ottla_protocol::Offset;

use super::Offsets;

/// A batch boundary: the batch with `offset`, or the end of the log, starts at byte `at` of the segment at `base`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    pub offset: Offset,
    pub base: Offset,
    pub at: u64,
}

/// An offset below which a reader may read, and the position of the first batch that is not wholly below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    pub offset: Offset,
    pub position: Position,
}

/// A timestamp and the last offset of the first batch that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timestamped {
    pub timestamp: i64,
    pub offset: Offset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub log_start: Offset,
    pub last_stable: Mark,
    pub high_watermark: Mark,
    /// The end of the active segment: its base offset and its size.
    pub log_end: Position,
    /// The largest timestamp of the active segment; -1 if it has none.
    pub largest: Timestamped,
    /// Goes up before readable data is removed, and again afterwards, so it is odd during a removal. A reader that sees
    /// it change starts again.
    pub generation: u64,
}

impl Bounds {
    pub fn offsets(&self) -> Offsets {
        Offsets {
            log_start: self.log_start,
            last_stable: self.last_stable.offset,
            high_watermark: self.high_watermark.offset,
            log_end: self.log_end.offset,
        }
    }
}

/// A sequence lock. The version is odd while the owner writes, and different after each write.
#[derive(Debug)]
pub(super) struct Published {
    version: AtomicU64,
    words: [AtomicU64; WORDS],
}

impl Published {
    pub fn new(state: &Bounds) -> Published {
        let published = Published { version: AtomicU64::new(0), words: [const { AtomicU64::new(0) }; WORDS] };
        published.store(state);
        published
    }

    /// For the one owner only.
    pub fn store(&self, state: &Bounds) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        for (word, value) in self.words.iter().zip(to_words(state)) {
            word.store(value, Ordering::Relaxed);
        }
        self.version.store(version + 2, Ordering::Release);
    }

    pub fn load(&self) -> Bounds {
        loop {
            let before = self.version.load(Ordering::Acquire);
            if before.is_multiple_of(2) {
                let words = std::array::from_fn(|at| self.words[at].load(Ordering::Relaxed));
                fence(Ordering::Acquire);
                if self.version.load(Ordering::Relaxed) == before {
                    return from_words(words);
                }
            }
            // The owner writes for a few nanoseconds, unless the scheduler has suspended it.
            std::thread::yield_now();
        }
    }
}

fn to_words(state: &Bounds) -> [u64; WORDS] {
    let Bounds { log_start, last_stable: s, high_watermark: h, log_end: e, largest: l, generation } = *state;
    let signed = |offset: i64| offset as u64;
    [
        signed(log_start),
        signed(s.offset),
        signed(s.position.offset),
        signed(s.position.base),
        s.position.at,
        signed(h.offset),
        signed(h.position.offset),
        signed(h.position.base),
        h.position.at,
        signed(e.offset),
        signed(e.base),
        e.at,
        signed(l.timestamp),
        signed(l.offset),
        generation,
    ]
}

fn from_words(words: [u64; WORDS]) -> Bounds {
    let signed = |at: usize| words[at] as i64;
    let position = |at: usize| Position { offset: signed(at), base: signed(at + 1), at: words[at + 2] };
    let mark = |at: usize| Mark { offset: signed(at), position: position(at + 1) };
    Bounds {
        log_start: signed(0),
        last_stable: mark(1),
        high_watermark: mark(5),
        log_end: position(9),
        largest: Timestamped { timestamp: signed(12), offset: signed(13) },
        generation: words[14],
    }
}

const WORDS: usize = 15;

#[cfg(test)]
mod tests {
    use super::*;

    fn state(n: i64) -> Bounds {
        let position = |k: i64| Position { offset: n * 100 + k, base: n, at: (n + k) as u64 };
        Bounds {
            log_start: n,
            last_stable: Mark { offset: n + 50, position: position(1) },
            high_watermark: Mark { offset: n + 60, position: position(2) },
            log_end: position(3),
            largest: Timestamped { timestamp: -n, offset: n + 7 },
            generation: n as u64,
        }
    }

    #[test]
    fn a_reader_sees_one_moment() {
        let published = Published::new(&state(0));
        assert_eq!(published.load(), state(0));
        std::thread::scope(|scope| {
            scope.spawn(|| (1..50_000).for_each(|n| published.store(&state(n))));
            let mut last = 0;
            while last < 49_999 {
                let seen = published.load();
                assert_eq!(seen, state(seen.log_start));
                assert!(seen.log_start >= last);
                last = seen.log_start;
            }
        });
    }
}
