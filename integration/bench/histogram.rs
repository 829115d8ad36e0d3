//! Durations counted in buckets that are 1.6 percent wide. Knows nothing of what took that long.

use std::time::Duration;

pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    longest: Duration,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: vec![0; bucket_of(u64::MAX) + 1], total: 0, longest: Duration::ZERO }
    }
}

impl Histogram {
    pub fn record(&mut self, duration: Duration) {
        self.counts[bucket_of(duration.as_nanos() as u64)] += 1;
        self.total += 1;
        self.longest = self.longest.max(duration);
    }

    /// Exact; 0 without any.
    pub fn max_ms(&self) -> f64 {
        self.longest.as_secs_f64() * 1e3
    }

    /// The duration, in milliseconds, that this share of all durations stays within; 0 without any.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let wanted = (share * self.total as f64).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted.max(1) {
                return (upper_end_of(bucket) as f64 / 1e6).min(self.max_ms());
            }
        }
        0.0
    }
}

// The value's highest bits: exact below 64, then 64 steps to each power of two.
fn bucket_of(value: u64) -> usize {
    let shift = (64 - value.leading_zeros()).saturating_sub(STEP_BITS + 1);
    (u64::from(shift) << STEP_BITS) as usize + (value >> shift) as usize
}

fn upper_end_of(bucket: usize) -> u64 {
    let shift = (bucket >> STEP_BITS).saturating_sub(1) as u32;
    let value = (bucket - ((shift as usize) << STEP_BITS)) as u64;
    ((u128::from(value + 1) << shift) - 1) as u64
}

const STEP_BITS: u32 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_narrow_and_holds_what_falls_in_it() {
        let values = (0..64).flat_map(|bit| [1u64 << bit, (1 << bit) + (1 << bit) / 3, (1 << bit) - 1]);
        for value in values.chain([u64::MAX]) {
            let end = upper_end_of(bucket_of(value));
            assert!(end >= value && end - value <= value / 64, "{value} counts as {end}");
        }
    }

    #[test]
    fn quantiles() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile_ms(0.5), 0.0);
        for ms in 1..=1000 {
            histogram.record(Duration::from_millis(ms));
        }
        assert_eq!(histogram.max_ms(), 1000.0);
        for (share, expected) in [(0.0, 1.0), (0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let got = histogram.quantile_ms(share);
            assert!(got >= expected && got <= expected * 1.016, "{share}: {got}");
        }
    }
}
