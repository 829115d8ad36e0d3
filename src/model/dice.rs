//! Random numbers from a seed (SplitMix64): for tests, for simulated disks, and for spreading things evenly. The same
//! seed must give the same numbers for ever, because the seeds of failures are kept. Never for secrets.

/// A sequence of pseudo-random numbers.
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// A number from 0 to `bound` - 1; 0 if `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.roll() % bound.max(1) as u64) as usize
    }

    /// One element of a list that is not empty.
    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

/// The number at position `at` of the sequence for `seed`. [`Dice::roll`] begins with position 1.
pub fn number(seed: u64, at: u64) -> u64 {
    mix(seed.wrapping_add(at.wrapping_mul(STEP)))
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    // The reference implementation's first numbers of the seed 1234567.
    #[test]
    fn the_numbers_of_a_seed_are_the_same_for_ever() {
        let mut dice = Dice(1_234_567);
        for (expected, at) in [6_457_827_717_110_365_317, 3_203_168_211_198_807_973].into_iter().zip(1..) {
            assert_eq!((dice.roll(), number(1_234_567, at)), (expected, expected));
        }
    }
}
