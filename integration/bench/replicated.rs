//! What replication costs: three nodes on one machine, three replicas of everything, acks=all. CPU time and memory are
//! those of all three.

use std::time::Duration;

use anyhow::Result;

use crate::broker::{Kind, Programs};
use crate::engine::{Pace, Until};
use crate::machine::settle;
use crate::produce::{BATCHES, SINGLE_RECORDS, Shape};
use crate::rounds::{in_turn, print_table};
use crate::section::{Section, Target};
use crate::trio::Trio;
use crate::workload::{CONNECTIONS, DEPTH, MANY_CONNECTIONS, PARTITIONS};

/// Figures, their units, and whether more is better.
const ROWS: [(&str, &str, bool); 8] = [
    ("64 KiB batches at 30 MB/s: CPU of the nodes", "s/GB", false),
    ("the same: p50", "ms", false),
    ("the same: p99", "ms", false),
    ("as fast as they go", "MB/s", true),
    ("records of 100 bytes, as fast as they go", "requests/s", true),
    ("the same", "requests/CPU-s", true),
    ("the same at 2,000 a second: p99", "ms", false),
    ("memory of the nodes afterwards", "MB", false),
];

/// Rounds of the two in turn, A B B A, and the table of medians and paired ratios.
pub fn run(kinds: &[Kind], pairs: usize, programs: &Programs, time: Duration) -> Result<()> {
    let rounds = in_turn(kinds, pairs, |kind| round(kind, programs, time))?;
    let rows = ROWS.map(|(what, unit, more)| (what.to_string(), unit, more));
    print_table("three nodes, three replicas, acks=all", kinds, &rows, &rounds);
    Ok(())
}

/// The figures in the order of `ROWS`.
fn round(kind: Kind, programs: &Programs, time: Duration) -> Result<Vec<f64>> {
    let trio = Trio::start(kind, programs)?;
    let target = trio.target();
    let batches_per_second = BYTES_PER_SECOND / (BATCHES.records * BATCHES.record_bytes) as f64;
    let open = Pace::Open { per_second: batches_per_second };
    let closed = Pace::Closed { depth: DEPTH };
    let small = Pace::Open { per_second: SMALL_PER_SECOND };

    // A JVM compiles what it has seen often.
    measure(kind, &target, "warm-up", BATCHES, open, time)?;
    measure(kind, &target, "warm-up-small", SINGLE_RECORDS, closed, time)?;

    let steady = measure(kind, &target, "steady", BATCHES, open, time)?;
    let fast = measure(kind, &target, "fast", BATCHES, closed, time)?;
    let many = measure(kind, &target, "small", SINGLE_RECORDS, closed, time)?;
    let few = measure(kind, &target, "small-steady", SINGLE_RECORDS, small, time)?;
    Ok(vec![
        steady.spent.broker / steady.gigabytes(),
        steady.outcome.latency.quantile_ms(0.5),
        steady.outcome.latency.quantile_ms(0.99),
        fast.megabytes_per_second(),
        many.requests() / many.seconds(),
        many.requests() / many.spent.broker,
        few.outcome.latency.quantile_ms(0.99),
        target.resident_mb()?,
    ])
}

fn measure(
    kind: Kind,
    target: &Target<'_>,
    name: &str,
    shape: Shape,
    pace: Pace,
    time: Duration,
) -> Result<Section> {
    let topic = target.topic(name, PARTITIONS)?;
    let connections = if shape.records > 1 { CONNECTIONS } else { MANY_CONNECTIONS };
    let section = target.produce(&topic, shape, connections, pace, Until::Elapsed(time))?;
    eprintln!("{kind:?}, {name}: {section}");
    target.delete_topics()?;
    settle(SETTLES_WITHIN)?;
    Ok(section)
}

const BYTES_PER_SECOND: f64 = 30e6;
const SMALL_PER_SECOND: f64 = 2_000.0;
const SETTLES_WITHIN: Duration = Duration::from_secs(30);
