//! The one source of chance. It must never be shared with what is being simulated except as numbers that are handed
//! over: the same seed draws the same run.

use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

/// Random numbers of a seed.
#[derive(Clone, Debug)]
pub(crate) struct Dice(StdRng);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(StdRng::seed_from_u64(seed))
    }

    /// Dice of their own for somebody who must not disturb the others' draws.
    pub fn split(&mut self) -> Dice {
        Dice::new(self.0.next_u64())
    }

    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// From 0, below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0.random_range(0..bound.max(1))
    }

    /// From `low` to `high`, both of them.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        self.0.random_range(low..=high.max(low))
    }

    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// One of a list that is not empty.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}
