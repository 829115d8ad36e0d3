//! Damage, from a seed: what disks and peers do to bytes, and what an attacker would try first.

/// The same seed draws the same for ever (SplitMix64).
#[derive(Clone, Debug)]
pub struct Chance(pub u64);

impl Chance {
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`, 0 for 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.draw() % n.max(1) as u64) as usize
    }
}

/// One of `seeds`, damaged up to eight times.
pub fn mutate(seeds: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = seeds[chance.below(seeds.len())].clone();
    for _ in 0..chance.below(9) {
        damage(&mut bytes, seeds, chance);
    }
    bytes
}

fn damage(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], chance: &mut Chance) {
    let at = chance.below(bytes.len());
    match chance.below(9) {
        0 => bytes.truncate(at),
        1 => {
            let other = &seeds[chance.below(seeds.len())];
            let from = chance.below(other.len());
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
        2 => {
            let len = chance.below(17).min(bytes.len() - at);
            let again = bytes[at..at + len].to_vec();
            bytes.splice(at..at, again);
        }
        3 => {
            let len = chance.below(17).min(bytes.len() - at);
            bytes.drain(at..at + len);
        }
        4 => overwrite(
            bytes,
            at,
            &EXTREMES[chance.below(EXTREMES.len())].to_be_bytes()[..1 << chance.below(4)],
        ),
        5 => overwrite(bytes, at, &(EXTREMES[chance.below(EXTREMES.len())] as i32).to_be_bytes()),
        6 => overwrite(bytes, at, &chance.draw().to_be_bytes()[..1 + chance.below(8)]),
        7 => overwrite(bytes, at, DIGITS[chance.below(DIGITS.len())]),
        _ => {
            let bit = chance.below(8);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
    }
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    for (to, from) in bytes[at..].iter_mut().zip(with) {
        *to = *from;
    }
}

/// What lengths, counts, offsets and times are never taken to be.
const EXTREMES: [i64; 10] =
    [0, 1, -1, -2, i64::MAX, i64::MIN, i32::MAX as i64, i32::MIN as i64, 0x7fff_ffff_ffff_0000, 1 << 32];

/// The same in text.
const DIGITS: [&[u8]; 8] =
    [b"9", b"-1", b"\n", b" ", b"9223372036854775807", b"18446744073709551616", b"2147483648", b"\xff"];
