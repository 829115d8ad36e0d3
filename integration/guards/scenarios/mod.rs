//! What is counted, one row each. A scenario makes all that it needs first; only what the broker does for each request, batch or
//! read is in the operation.

mod fixtures;
mod machines;
mod storage;
mod wire;

use crate::count::Operation;

pub struct Scenario {
    pub name: &'static str,
    /// What one operation is.
    pub what: &'static str,
    pub prepare: fn() -> Operation,
}

pub const SCENARIOS: &[Scenario] = &[
    row("decode-produce", "a Produce request of one batch is read", wire::decode_produce),
    row("decode-fetch", "a Fetch request of 16 partitions is read", wire::decode_fetch),
    row("check-64k", "a batch of 63 records of 1 KiB is checked", storage::check_large),
    row("check-lz4", "the same batch in LZ4 is checked", storage::check_lz4),
    row("check-small", "a batch of one record of 100 bytes is checked", storage::check_small),
    row("append-64k", "the batch of 63 records is appended, idempotent", storage::append_large),
    row("append-small", "the batch of one record is appended, idempotent", storage::append_small),
    row("append-16", "16 batches of one record are appended together", storage::append_many),
    row("lane-64k", "a partition's owner takes the batch of 63 records and answers", machines::lane_large),
    row("lane-small", "a partition's owner takes the batch of one record and answers", machines::lane_small),
    row("plan-tail", "a read of the newest batch is planned", storage::plan_tail),
    row(
        "plan-middle",
        "a read of 96 KiB in the middle of a log is planned, by its index on disk",
        storage::plan_middle,
    ),
    row("session", "a fetch session of 16 partitions, of which one has moved", machines::session),
    row("encode-produce", "the response to a Produce is written", wire::encode_produce),
    row(
        "encode-fetch",
        "the response to a Fetch of 16 partitions is written, without its records",
        wire::encode_fetch,
    ),
    row("connection", "a connection reads a Produce, waits and answers", machines::connection),
];

const fn row(name: &'static str, what: &'static str, prepare: fn() -> Operation) -> Scenario {
    Scenario { name, what, prepare }
}
