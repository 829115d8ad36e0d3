//! How many bytes may pass in a second (KIP-73): after too many, nothing passes until the time that they take is over. It
//! must never know what the bytes are.

/// One direction of throttled traffic.
#[derive(Debug, Default)]
pub struct Throttle {
    /// Bytes that have passed, and whose time is not over.
    owed: u64,
    since_ms: i64,
}

impl Throttle {
    /// Whether nothing may pass now.
    pub fn is_exceeded(&mut self, now_ms: i64, bytes_per_second: i64) -> bool {
        let passed_ms = now_ms.saturating_sub(self.since_ms).max(0) as u128;
        let over = passed_ms * bytes_per_second.max(0) as u128 / 1_000;
        let over = over.min(u128::from(self.owed)) as u64;
        // The time for less than one byte is kept for the next call.
        if over > 0 || self.owed == 0 || now_ms < self.since_ms {
            self.owed -= over;
            self.since_ms = now_ms;
        }
        self.owed > 0
    }

    pub fn pass(&mut self, bytes: u64) {
        self.owed = self.owed.saturating_add(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_takes_its_time() {
        let mut throttle = Throttle::default();
        assert!(!throttle.is_exceeded(10_000, 1_000));
        throttle.pass(500);
        assert!(throttle.is_exceeded(10_000, 1_000));
        assert!(throttle.is_exceeded(10_499, 1_000));
        assert!(!throttle.is_exceeded(10_500, 1_000));
        throttle.pass(1);
        assert!(throttle.is_exceeded(10_501, 0), "nothing may pass at all");
        assert!(!throttle.is_exceeded(10_502, i64::MAX), "the throttle is lifted");
    }

    #[test]
    fn a_low_rate_is_kept_however_often_it_is_asked_for() {
        let mut throttle = Throttle::default();
        assert!(!throttle.is_exceeded(0, 2));
        throttle.pass(2);
        let over = (1..=2_000).find(|now_ms| !throttle.is_exceeded(*now_ms, 2));
        assert_eq!(over, Some(1_000));
    }
}
