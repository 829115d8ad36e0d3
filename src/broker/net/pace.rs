//! The rate at which connections may be created (`max.connection.creation.rate`, KIP-612). Pure: the time is an argument.
//! It must never know which client connects.

use std::time::Duration;

/// Kafka measures over this many seconds (`quota.window.num` samples of `quota.window.size.seconds`, except the one that
/// is being filled), so after a silence this many seconds' worth of connections may come at once.
const BURST_SECONDS: f64 = 10.0;
/// A rate of zero allows no connection; one in eleven days is close enough.
const RATE_MIN: f64 = 1e-6;

/// How many connections may be created now. If there were too many, the next ones wait.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Connections that were counted; the number decreases with time.
    used: f64,
    /// When `used` was right, since some fixed moment.
    at: Duration,
}

impl Pace {
    /// Counts one connection. Returns how long it has to wait before it is served.
    pub fn admit(&mut self, now: Duration, per_second: i32) -> Duration {
        if per_second == i32::MAX {
            return Duration::ZERO;
        }
        let rate = f64::from(per_second).max(RATE_MIN);
        let decayed = self.used - now.saturating_sub(self.at).as_secs_f64() * rate;
        self.used = decayed.max(0.0) + 1.0;
        self.at = now;
        self.wait(now, per_second)
    }

    /// How long the last connection still has to wait, which another rate changes.
    pub fn wait(&self, now: Duration, per_second: i32) -> Duration {
        if per_second == i32::MAX {
            return Duration::ZERO;
        }
        let rate = f64::from(per_second).max(RATE_MIN);
        let ahead = self.used - (rate * BURST_SECONDS).max(1.0);
        let passed = now.saturating_sub(self.at).as_secs_f64();
        Duration::from_secs_f64((ahead / rate - passed).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait_of_each(per_second: i32, at_seconds: &[u64]) -> Vec<Duration> {
        let mut pace = Pace::default();
        at_seconds.iter().map(|s| pace.admit(Duration::from_secs(*s), per_second)).collect()
    }

    #[test]
    fn without_a_limit_nobody_waits() {
        assert!(wait_of_each(i32::MAX, &[0; 1000]).iter().all(Duration::is_zero));
    }

    #[test]
    fn a_burst_of_a_window_is_free_and_what_follows_comes_at_the_rate() {
        let waits = wait_of_each(2, &[0; 24]);
        assert!(waits[..20].iter().all(Duration::is_zero));
        assert_eq!(waits[20..], [500, 1000, 1500, 2000].map(Duration::from_millis));
    }

    #[test]
    fn silence_pays_the_debt() {
        let mut at = vec![0; 20];
        at.extend([1, 1, 1, 100]);
        let waits = wait_of_each(2, &at);
        assert_eq!(waits[20..], [0, 0, 500, 0].map(Duration::from_millis));
    }

    #[test]
    fn whoever_waits_is_let_in_by_a_higher_rate() {
        let mut pace = Pace::default();
        assert!(pace.admit(Duration::ZERO, 0).is_zero());
        assert!(pace.admit(Duration::ZERO, 0) > Duration::from_secs(86_400));
        let later = Duration::from_secs(1);
        assert!(pace.wait(later, 0) > Duration::from_secs(86_400));
        assert!(pace.wait(later, 1).is_zero());
        assert!(pace.wait(later, i32::MAX).is_zero());
        for _ in 0..30 {
            pace.admit(Duration::ZERO, 1);
        }
        assert_eq!(pace.wait(later, 1), Duration::from_secs(21));
        assert!(pace.wait(later, 10).is_zero());
    }

    #[test]
    fn a_rate_of_zero_lets_nobody_in() {
        assert!(wait_of_each(0, &[0, 0])[1] > Duration::from_secs(86_400));
    }
}
