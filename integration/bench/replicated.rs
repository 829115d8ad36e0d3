//! What replication costs: three nodes on one machine, three replicas of everything, acks=all. CPU time and memory are
//! those of all three.

use std::time::Duration;

use anyhow::Result;

use crate::broker::{Kind, Programs};
use crate::engine::{Pace, Until};
use crate::machine::settle;
use crate::produce::{BATCHES, SINGLE_RECORDS, Shape};
use crate::section::{Section, Target};
use crate::statistics::{median, number};
use crate::trio::Trio;
use crate::workload::{CONNECTIONS, DEPTH, MANY_CONNECTIONS, PARTITIONS};

/// A figure, its unit, and whether more of it is better.
type Row = (&'static str, &'static str, bool);

const ROWS: [Row; 8] = [
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
    let mut rounds: Vec<Vec<Vec<f64>>> = kinds.iter().map(|_| Vec::new()).collect();
    for pair in 0..pairs {
        let mut order: Vec<usize> = (0..kinds.len()).collect();
        if pair % 2 == 1 {
            order.reverse();
        }
        for side in order {
            eprintln!("pair {} of {pairs}: {:?}", pair + 1, kinds[side]);
            rounds[side].push(round(kinds[side], programs, time)?);
        }
    }
    let names: Vec<String> = kinds.iter().map(|kind| format!("{kind:?}")).collect();
    println!("| three nodes, three replicas, acks=all | {} | times better | spread |", names.join(" | "));
    println!("|---|{}---:|---:|", "---:|".repeat(kinds.len()));
    for (row, (what, unit, more)) in ROWS.iter().enumerate() {
        let column = |side: usize| rounds[side].iter().map(|round| round[row]).collect::<Vec<f64>>();
        let medians: Vec<String> = (0..kinds.len()).map(|side| number(median(&mut column(side)))).collect();
        let mut ratios: Vec<f64> = match kinds.len() {
            2 => column(0).iter().zip(column(1)).map(|(a, b)| if *more { a / b } else { b / a }).collect(),
            _ => vec![1.0],
        };
        let ratio = median(&mut ratios);
        let spread = format!("{:.1} to {:.1}", ratios[0], ratios[ratios.len() - 1]);
        println!("| {what}, {unit} | {} | {ratio:.1} | {spread} |", medians.join(" | "));
    }
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
        trio.resident_mb()?,
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
