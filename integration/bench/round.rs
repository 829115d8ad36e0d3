//! One round: everything that is measured on one broker, from its start on an empty disk to its end.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::broker::{Broker, Kind, Programs};
use crate::engine::{Pace, Until};
use crate::produce::{BATCHES, SINGLE_RECORDS, Shape};
use crate::section::{Section, Target};
use crate::usage::{busy_during, resident_mb};

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub acks: i16,
    /// How long to wait for the machine to be idle before a round.
    pub calm_within: Duration,
    pub warm_up: Duration,
    /// Of each section that is bounded by time.
    pub section: Duration,
    /// Of the sections that are bounded by volume.
    pub bytes: f64,
    pub paced_bytes_per_second: f64,
    pub paced_requests_per_second: f64,
}

pub struct Reading {
    pub what: String,
    pub unit: &'static str,
    pub value: f64,
    pub better: Better,
    /// How many times better than the other broker we want to be.
    pub aim: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    Less,
    More,
}

pub struct Round {
    pub readings: Vec<Reading>,
    /// The share of the machine that others used in each section.
    pub noise: Vec<f64>,
}

impl Plan {
    pub const QUICK: Plan = Plan {
        acks: -1,
        calm_within: Duration::ZERO,
        warm_up: Duration::from_secs(6),
        section: Duration::from_secs(2),
        bytes: 0.5e9,
        paced_bytes_per_second: 150e6,
        paced_requests_per_second: 4_000.0,
    };
    pub const FULL: Plan = Plan {
        calm_within: Duration::from_secs(120),
        warm_up: Duration::from_secs(30),
        section: Duration::from_secs(8),
        bytes: 2e9,
        ..Plan::QUICK
    };
}

pub fn run(kind: Kind, programs: &Programs, plan: &Plan) -> Result<Round> {
    let calm_by = Instant::now() + plan.calm_within;
    while Instant::now() < calm_by && busy_during(Duration::from_secs(1))? > CALM {}

    let broker = Broker::start(kind, programs)?;
    let mut round = Round { readings: Vec::new(), noise: Vec::new() };
    let mut read = |what: &str, unit, better, aim, value| {
        round.readings.push(Reading { what: what.into(), unit, value, better, aim });
    };
    use Better::{Less, More};
    read("start to first ack", "ms", Less, Some(20.0), broker.started_within.as_secs_f64() * 1e3);
    std::thread::sleep(IDLE);
    read("memory after 5 s idle", "MB", Less, Some(20.0), resident_mb(broker.pid())?);

    let target = Target { address: &broker.address, pid: broker.pid() };
    let batches = Shape { acks: plan.acks, ..BATCHES };
    let singles = Shape { acks: plan.acks, ..SINGLE_RECORDS };
    warm_up(&target, batches, singles, plan)?;

    let mut noise = Vec::new();
    let mut measured = |what: &str, section: Section| {
        eprintln!("{kind:?}, {what}: {section}");
        noise.push(section.spent.others());
        section
    };

    let megabytes_per_second = plan.paced_bytes_per_second / 1e6;
    let what = format!("produce at {megabytes_per_second:.0} MB/s");
    let per_second = plan.paced_bytes_per_second / (batches.records * batches.record_bytes) as f64;
    let topic = target.topic("paced", PARTITIONS)?;
    let pace = Pace::Open { per_second };
    let paced = target.produce(&topic, batches, CONNECTIONS, pace, Until::Elapsed(plan.section))?;
    let paced = measured(&what, paced);
    read(&format!("{what}: broker"), "CPU-s/GB", Less, Some(3.0), paced.spent.broker / paced.gigabytes());
    read(&format!("{what}: with client"), "CPU-s/GB", Less, None, paced.spent.both() / paced.gigabytes());
    read(&format!("{what}: p99"), "ms", Less, None, paced.outcome.latency.quantile_ms(0.99));

    let topic = target.topic("flat-out", PARTITIONS)?;
    let requests = Until::Requests((plan.bytes / (batches.records * batches.record_bytes) as f64) as u64);
    let pace = Pace::Closed { depth: DEPTH };
    let produced = measured("produce", target.produce(&topic, batches, CONNECTIONS, pace, requests)?);
    read(
        "produce flat out: broker",
        "CPU-s/GB",
        Less,
        Some(3.0),
        produced.spent.broker / produced.gigabytes(),
    );
    read("produce flat out", "MB/s", More, None, produced.gigabytes() * 1e3 / produced.seconds());

    let consumed = measured("consume", target.consume(&topic, CONNECTIONS)?);
    read(
        "consume flat out: broker",
        "CPU-s/GB",
        Less,
        Some(3.0),
        consumed.spent.broker / consumed.gigabytes(),
    );
    read(
        "consume flat out: with client",
        "CPU-s/GB",
        Less,
        None,
        consumed.spent.both() / consumed.gigabytes(),
    );
    read("consume flat out", "MB/s", More, None, consumed.gigabytes() * 1e3 / consumed.seconds());

    let topic = target.topic("small", PARTITIONS)?;
    let until = Until::Elapsed(plan.section);
    let small = measured("small", target.produce(&topic, singles, MANY_CONNECTIONS, pace, until)?);
    let per_cpu_second = small.requests() / small.spent.broker;
    read("small requests flat out: per broker CPU-s", "requests", More, Some(5.0), per_cpu_second);
    read("small requests flat out", "requests/s", More, None, small.requests() / small.seconds());

    let what = format!("small at {:.0}/s", plan.paced_requests_per_second);
    let pace = Pace::Open { per_second: plan.paced_requests_per_second };
    let paced = measured(&what, target.produce(&topic, singles, MANY_CONNECTIONS, pace, until)?);
    let micros = paced.spent.broker * 1e6 / paced.requests();
    read(&format!("{what}: broker"), "CPU-us each", Less, Some(5.0), micros);
    for (name, share) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999)] {
        read(&format!("{what}: {name}"), "ms", Less, None, paced.outcome.latency.quantile_ms(share));
    }
    read("memory at the end", "MB", Less, None, resident_mb(broker.pid())?);
    round.noise = noise;
    Ok(round)
}

/// A third of the time each: produce, consume over and over, small requests.
fn warm_up(target: &Target<'_>, batches: Shape, singles: Shape, plan: &Plan) -> Result<()> {
    let third = Until::Elapsed(plan.warm_up / 3);
    let topic = target.topic("warm-up", PARTITIONS)?;
    let per_second = WARM_UP_BYTES_PER_SECOND / (batches.records * batches.record_bytes) as f64;
    target.produce(&topic, batches, CONNECTIONS, Pace::Open { per_second }, third)?;
    let read_until = Instant::now() + plan.warm_up / 3;
    while Instant::now() < read_until {
        target.consume(&topic, CONNECTIONS)?;
    }
    let topic = target.topic("warm-up-small", PARTITIONS)?;
    target.produce(&topic, singles, MANY_CONNECTIONS, Pace::Closed { depth: DEPTH }, third)?;
    Ok(())
}

pub const PARTITIONS: usize = 16;
pub const CONNECTIONS: usize = 4;
pub const MANY_CONNECTIONS: usize = 64;
/// A client's `max.in.flight.requests.per.connection`.
pub const DEPTH: usize = 5;
const IDLE: Duration = Duration::from_secs(5);
const WARM_UP_BYTES_PER_SECOND: f64 = 100e6;
/// The share of the machine that may be busy before a round begins.
const CALM: f64 = 0.1;
