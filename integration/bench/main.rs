//! Ottla beside Apache Kafka, under the same client: CPU, throughput, latency, start and memory. `compare` is what
//! `integration/bench/run` runs; the other commands put one load on one broker, for a look from near.

mod broker;
mod compare;
mod engine;
mod fetch;
mod flush;
mod histogram;
mod produce;
mod round;
mod section;
mod setup;
mod usage;

use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use broker::{Broker, Kind, Programs};
use engine::{Pace, Until};
use produce::{BATCHES, SINGLE_RECORDS, Shape};
use round::{CONNECTIONS, DEPTH, MANY_CONNECTIONS, PARTITIONS, Plan};
use section::Target;
use setup::Setup;

#[derive(Parser)]
#[command(about = "A load generator for anything that speaks Kafka's protocol")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Starts brokers in turn, measures everything and prints a table
    Compare {
        #[command(flatten)]
        programs: Programs,
        /// One alone, without ratios
        #[arg(long)]
        only: Option<Kind>,
        #[arg(long)]
        pairs: Option<usize>,
        /// Short sections and hardly any warm-up: shows that it works, proves nothing
        #[arg(long)]
        quick: bool,
        #[command(flatten)]
        acks: Acks,
    },
    /// Starts brokers in turn and prints what `flush.messages=1` costs
    Flush {
        #[command(flatten)]
        programs: Programs,
        /// One alone
        #[arg(long)]
        only: Option<Kind>,
        #[arg(long, default_value_t = 3)]
        pairs: usize,
        /// Of each measurement
        #[arg(long, default_value_t = 5.0)]
        seconds: f64,
    },
    /// Starts a broker, has a record acknowledged, waits 5 seconds and tells its memory
    Start {
        kind: Kind,
        #[command(flatten)]
        programs: Programs,
    },
    /// Batches of 63 records of 1 KiB to a new topic
    Produce {
        #[command(flatten)]
        at: At,
        #[command(flatten)]
        acks: Acks,
        #[arg(long, default_value_t = CONNECTIONS)]
        connections: usize,
        #[arg(long, default_value_t = PARTITIONS)]
        partitions: usize,
        #[arg(long, default_value_t = DEPTH)]
        depth: usize,
        #[arg(long, default_value_t = 2000.0)]
        megabytes: f64,
        /// Megabytes per second; without it as fast as answers come
        #[arg(long)]
        rate: Option<f64>,
    },
    /// Reads a topic from its start to its end
    Consume {
        #[command(flatten)]
        at: At,
        #[arg(long, default_value_t = CONNECTIONS)]
        connections: usize,
    },
    /// Requests with one record of 100 bytes to a new topic
    Small {
        #[command(flatten)]
        at: At,
        #[command(flatten)]
        acks: Acks,
        #[arg(long, default_value_t = MANY_CONNECTIONS)]
        connections: usize,
        #[arg(long, default_value_t = PARTITIONS)]
        partitions: usize,
        #[arg(long, default_value_t = DEPTH)]
        depth: usize,
        #[arg(long, default_value_t = 10.0)]
        seconds: f64,
        /// Requests per second, for latencies; without it as fast as answers come
        #[arg(long)]
        rate: Option<f64>,
    },
}

/// A broker that runs already.
#[derive(Args)]
struct At {
    #[arg(long, default_value = "127.0.0.1:9092")]
    address: String,
    /// The broker's process
    #[arg(long)]
    pid: u32,
    #[arg(long, default_value = "bench")]
    topic: String,
}

#[derive(Args)]
struct Acks {
    /// 1 or all
    #[arg(long, default_value = "all", value_parser = acks)]
    acks: i16,
}

fn main() -> Result<()> {
    // A sleeper is woken when it asked to be, not up to 50 microseconds later.
    let _ = std::fs::write("/proc/self/timerslack_ns", "1");
    match Arguments::parse().command {
        Command::Compare { programs, only, pairs, quick, acks: Acks { acks } } => {
            let plan = Plan { acks, ..if quick { Plan::QUICK } else { Plan::FULL } };
            let kinds = only.map_or(vec![Kind::Ottla, Kind::Kafka], |kind| vec![kind]);
            compare::run(&kinds, pairs.unwrap_or(if quick { 1 } else { 10 }), &programs, &plan)
        }
        Command::Flush { programs, only, pairs, seconds } => {
            let kinds = only.map_or(vec![Kind::Ottla, Kind::Kafka], |kind| vec![kind]);
            flush::run(&kinds, pairs, &programs, Duration::from_secs_f64(seconds))
        }
        Command::Start { kind, programs } => {
            let broker = Broker::start(kind, &programs)?;
            std::thread::sleep(Duration::from_secs(5));
            let resident = usage::resident_mb(broker.pid())?;
            println!("first record after {:.0?}, {resident:.1} MB after 5 s", broker.started_within);
            Ok(())
        }
        Command::Produce { at, acks, connections, partitions, depth, megabytes, rate } => {
            let shape = Shape { acks: acks.acks, ..BATCHES };
            let batch_bytes = (shape.records * shape.record_bytes) as f64;
            let pace = rate
                .map_or(Pace::Closed { depth }, |rate| Pace::Open { per_second: rate * 1e6 / batch_bytes });
            let until = Until::Requests((megabytes * 1e6 / batch_bytes) as u64);
            let topic = at.target().topic(&at.topic, partitions)?;
            println!("{}", at.target().produce(&topic, shape, connections, pace, until)?);
            Ok(())
        }
        Command::Consume { at, connections } => {
            let topic = Setup::connect(&at.address, Duration::from_secs(10))?.topic(&at.topic)?;
            println!("{}", at.target().consume(&topic, connections)?);
            Ok(())
        }
        Command::Small { at, acks, connections, partitions, depth, seconds, rate } => {
            let shape = Shape { acks: acks.acks, ..SINGLE_RECORDS };
            let pace = rate.map_or(Pace::Closed { depth }, |per_second| Pace::Open { per_second });
            let until = Until::Elapsed(Duration::from_secs_f64(seconds));
            let topic = at.target().topic(&at.topic, partitions)?;
            println!("{}", at.target().produce(&topic, shape, connections, pace, until)?);
            Ok(())
        }
    }
}

impl At {
    fn target(&self) -> Target<'_> {
        Target { address: &self.address, pid: self.pid }
    }
}

fn acks(word: &str) -> Result<i16, String> {
    match word {
        "1" => Ok(1),
        "all" | "-1" => Ok(-1),
        _ => Err("1 or all".into()),
    }
}
