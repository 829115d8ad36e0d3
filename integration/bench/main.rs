//! Ottla beside Apache Kafka, under the same client: CPU, throughput, latency, start and memory. `compare` is what
//! `integration/bench/run` runs; the other commands put one load on one broker, for a look from near.

mod broker;
mod chart;
mod clients;
mod compare;
mod connection;
mod connections;
mod engine;
mod fetch;
mod flat;
mod flush;
mod histogram;
mod json;
mod krabka;
mod life;
mod machine;
mod poll;
mod produce;
mod progress;
mod reading;
mod replicated;
mod report;
mod results;
mod rounds;
mod section;
mod setup;
mod statistics;
mod steady;
mod table;
mod timeline;
mod tools;
mod transacting;
mod transactions;
mod trio;
mod usage;
mod workload;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use broker::{Broker, Kind, Programs};
use compare::Comparison;
use engine::{Pace, Until};
use produce::{BATCHES, SINGLE_RECORDS, Shape};
use section::Target;
use setup::Setup;
use steady::Steady;
use workload::{CONNECTIONS, DEPTH, MANY_CONNECTIONS, PARTITIONS, Plan, WORKLOADS};

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
        /// Rounds of each
        #[arg(long)]
        pairs: Option<usize>,
        /// A few seconds of each workload and hardly any warm-up: shows that it works, proves nothing
        #[arg(long)]
        quick: bool,
        /// Names with commas between, all without it
        #[arg(long, value_delimiter = ',')]
        workloads: Vec<String>,
        /// The folder for table.md, results.json and chart.svg
        #[arg(long)]
        out: PathBuf,
        #[command(flatten)]
        acks: Acks,
    },
    /// Names what `compare` can measure
    List,
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
    /// Starts three nodes in turn and prints what replication costs
    Replicated {
        #[command(flatten)]
        programs: Programs,
        /// One alone
        #[arg(long)]
        only: Option<Kind>,
        #[arg(long, default_value_t = 3)]
        pairs: usize,
        /// Of each measurement
        #[arg(long, default_value_t = 30.0)]
        seconds: f64,
    },
    /// Starts one node or three in turn and prints what transactions cost
    Transactions {
        #[command(flatten)]
        programs: Programs,
        /// One alone
        #[arg(long)]
        only: Option<Kind>,
        /// 1 or 3
        #[arg(long, default_value_t = 1)]
        nodes: usize,
        #[arg(long, default_value_t = 2)]
        pairs: usize,
        /// Of each measurement
        #[arg(long, default_value_t = 20.0)]
        seconds: f64,
        /// Bytes of a record's value
        #[arg(long, default_value_t = 100)]
        record_bytes: usize,
        /// thin, java or both
        #[arg(long, default_value = "both")]
        client: transactions::Clients,
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
    /// Batches at a fixed rate to a new topic with consumers at its tail, for so long
    Steady {
        #[command(flatten)]
        at: At,
        #[command(flatten)]
        acks: Acks,
        /// Megabytes per second
        #[arg(long, default_value_t = 100.0)]
        rate: f64,
        #[arg(long, default_value_t = 90.0)]
        seconds: f64,
        #[arg(long, default_value_t = 256)]
        segment_mib: u64,
        /// Gigabytes to be written before and read over and over meanwhile
        #[arg(long)]
        old: Option<f64>,
        /// The broker's log directory, to put what is read out of the page cache
        #[arg(long)]
        data: Option<PathBuf>,
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
    allow_many_connections()?;
    match Arguments::parse().command {
        Command::Compare { programs, only, pairs, quick, workloads, out, acks: Acks { acks } } => {
            let comparison = Comparison {
                kinds: kinds(only),
                pairs: pairs.unwrap_or(if quick { 1 } else { 3 }),
                workloads: workload::select(&workloads)?,
                plan: Plan { acks, quick },
                out,
            };
            comparison.run(&programs)
        }
        Command::List => {
            WORKLOADS.iter().for_each(|workload| println!("{:<24} {}", workload.name, workload.what));
            Ok(())
        }
        Command::Flush { programs, only, pairs, seconds } => {
            flush::run(&kinds(only), pairs, &programs, Duration::from_secs_f64(seconds))
        }
        Command::Replicated { programs, only, pairs, seconds } => {
            replicated::run(&kinds(only), pairs, &programs, Duration::from_secs_f64(seconds))
        }
        Command::Transactions { programs, only, nodes, pairs, seconds, record_bytes, client } => {
            let time = Duration::from_secs_f64(seconds);
            let plan = transactions::Plan { nodes, record_bytes, clients: client, time };
            transactions::run(&kinds(only), pairs, &programs, &plan)
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
        Command::Steady { at, acks, rate, seconds, segment_mib, old, data } => {
            let steady = Steady {
                megabytes_per_second: rate,
                segment_bytes: segment_mib << 20,
                old_bytes: old.map(|gigabytes| gigabytes * 1e9),
                aims: &[],
            };
            let target = Target::new(&at.address, at.pid, data.as_deref());
            let shape = Shape { acks: acks.acks, ..BATCHES };
            let time = Duration::from_secs_f64(seconds);
            print!("{}", steady::run(&target, &at.topic, &steady, shape, time)?);
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

fn kinds(only: Option<Kind>) -> Vec<Kind> {
    only.map_or(vec![Kind::Ottla, Kind::Kafka], |kind| vec![kind])
}

impl At {
    fn target(&self) -> Target<'_> {
        Target::new(&self.address, self.pid, None)
    }
}

/// As many open files as we may have, for us and for the brokers that we start.
fn allow_many_connections() -> Result<()> {
    let files = Resource::Nofile;
    let limit = getrlimit(files);
    setrlimit(files, Rlimit { current: limit.maximum, ..limit })?;
    Ok(())
}

fn acks(word: &str) -> Result<i16, String> {
    match word {
        "1" => Ok(1),
        "all" | "-1" => Ok(-1),
        _ => Err("1 or all".into()),
    }
}
