//! The wall clock of the shell. `ottla-core` and `ottla-node` are given the time as an argument.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970: what records and timeouts count in.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}
