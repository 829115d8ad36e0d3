//! What is logged although somebody else decides how often it happens: a peer may say what it likes as often as it likes.
//! It must never know what is logged.

use std::time::{Duration, Instant};

/// What was logged last, and when.
#[derive(Debug)]
pub(crate) struct Repeats<T>(Option<(T, Instant)>);

/// The same is logged again after this long, something else a little later.
const SAME_AFTER: Duration = Duration::from_secs(30);
const OTHER_AFTER: Duration = Duration::from_secs(1);

impl<T> Default for Repeats<T> {
    fn default() -> Repeats<T> {
        Repeats(None)
    }
}

impl<T: PartialEq> Repeats<T> {
    /// Whether it is to be logged now. It counts as logged then.
    pub fn tells(&mut self, what: T, now: Instant) -> bool {
        let tells = self.0.as_ref().is_none_or(|(told, at)| {
            let pause = if *told == what { SAME_AFTER } else { OTHER_AFTER };
            now.saturating_duration_since(*at) >= pause
        });
        if tells {
            self.0 = Some((what, now));
        }
        tells
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Whoever says two things by turns must not fill the log either.
    #[test]
    fn the_same_is_told_twice_a_minute_and_anything_once_a_second() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        let rows = [
            (0, "a", true),
            (10, "a", false),
            (500, "b", false),
            (999, "c", false),
            (1_000, "b", true),
            (1_500, "a", false),
            (2_000, "a", true),
            (31_999, "a", false),
            (32_000, "a", true),
        ];
        for (ms, what, tells) in rows {
            assert_eq!(repeats.tells(what, start + Duration::from_millis(ms)), tells, "{what} after {ms} ms");
        }
    }
}
