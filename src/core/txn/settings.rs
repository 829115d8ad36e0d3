//! The configuration that a shard decides by. Holds plain values; where they come from is the broker's affair.

/// Defaults are Kafka's, which lets nobody wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `transaction.max.timeout.ms`
    pub timeout_max_ms: i32,
    /// `transaction.abort.timed.out.transaction.cleanup.interval.ms`
    pub timeout_check_interval_ms: i64,
    /// `transactional.id.expiration.ms`
    pub id_expiration_ms: i64,
    /// `transaction.remove.expired.transaction.cleanup.interval.ms`
    pub id_expiration_check_interval_ms: i64,
    /// `transaction.two.phase.commit.enable`
    pub two_phase_commit: bool,
    /// How long a client that adds partitions by writing waits for the end of its transaction before. 0: it is refused at once.
    pub adding_patience_ms: i64,
    /// How long a coordinator waits before it tries again to end a transaction that it could not end. Kafka does not wait.
    pub ending_backoff_ms: i64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            timeout_max_ms: 15 * 60_000,
            timeout_check_interval_ms: 10_000,
            id_expiration_ms: 7 * 24 * 3_600_000,
            id_expiration_check_interval_ms: 3_600_000,
            two_phase_commit: false,
            adding_patience_ms: 0,
            ending_backoff_ms: 100,
        }
    }
}
