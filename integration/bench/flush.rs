//! What `flush.messages=1` costs: records acknowledged per second by producers with one record of 1 KiB under way each,
//! every record flushed before its answer, beside the same without flushing.

use std::time::Duration;

use anyhow::Result;

use crate::broker::{Broker, Kind, Programs};
use crate::engine::{Pace, Until};
use crate::produce::{SINGLE_RECORDS, Shape};
use crate::rounds::in_turn;
use crate::section::Target;
use crate::statistics::median;

/// Records per second with every record flushed, and without, of each number of producers.
type Round = Vec<(f64, f64)>;

/// Rounds of the brokers in turn, A B B A, and the table of their medians.
pub fn run(kinds: &[Kind], pairs: usize, programs: &Programs, time: Duration) -> Result<()> {
    let rounds = in_turn(kinds, pairs, |kind| round(kind, programs, time))?;
    println!(
        "{:<9} {:>9} {:>14} {:>14} {:>15} {:>8} {:>8}",
        "producers", "broker", "flushed/s", "unflushed/s", "flushed/none", "ms each", "spread"
    );
    for (row, producers) in PRODUCERS.into_iter().enumerate() {
        for (kind, rounds) in kinds.iter().zip(&rounds) {
            let column = |pick: fn((f64, f64)) -> f64| rounds.iter().map(move |round| pick(round[row]));
            let mut flushed: Vec<f64> = column(|(flushed, _)| flushed).collect();
            let mut unflushed: Vec<f64> = column(|(_, unflushed)| unflushed).collect();
            let mut ratios: Vec<f64> = column(|(flushed, unflushed)| flushed / unflushed).collect();
            let ratio = median(&mut ratios);
            let flushed = median(&mut flushed);
            println!(
                "{producers:<9} {:>9} {flushed:>14.0} {:>14.0} {ratio:>15.3} {:>8.2} {:>8}",
                format!("{kind:?}").to_lowercase(),
                median(&mut unflushed),
                // One is under way at a time.
                producers as f64 / flushed * 1e3,
                format!("{:.2}-{:.2}", ratios[0], ratios[ratios.len() - 1]),
            );
        }
    }
    Ok(())
}

fn round(kind: Kind, programs: &Programs, time: Duration) -> Result<Round> {
    let broker = Broker::start(kind, programs)?;
    let target = Target::new(&broker.address, broker.pid(), Some(broker.data()));
    let measure = |name: &str, producers: usize, configs: &[(&str, &str)], time| -> Result<f64> {
        let topic = target.topic_with(name, producers.min(PARTITIONS), configs)?;
        let pace = Pace::Closed { depth: 1 };
        let section = target.produce(&topic, RECORD, producers, pace, Until::Elapsed(time))?;
        eprintln!("{kind:?}, {name}: {section}");
        Ok(section.requests() / section.seconds())
    };
    // A JVM compiles what it has seen often.
    measure("warm-up", MANY, &[], time)?;
    measure("warm-up-flushed", MANY, FLUSHED, time)?;
    let one = |producers: usize| -> Result<(f64, f64)> {
        let flushed = measure(&format!("flushed-{producers}"), producers, FLUSHED, time)?;
        Ok((flushed, measure(&format!("unflushed-{producers}"), producers, &[], time)?))
    };
    PRODUCERS.into_iter().map(one).collect()
}

const PRODUCERS: [usize; 3] = [1, 16, MANY];
const MANY: usize = 64;
/// Of a topic, unless there are fewer producers.
const PARTITIONS: usize = 16;
const RECORD: Shape = Shape { record_bytes: 1024, ..SINGLE_RECORDS };
const FLUSHED: &[(&str, &str)] = &[("flush.messages", "1")];
