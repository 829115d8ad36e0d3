//! What can be measured, by name: how long, and on whose broker. Workloads of a group share a broker's life, so that a
//! warm JVM serves all of them.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::krabka::{Case, Payload};
use crate::produce::{BATCHES, SINGLE_RECORDS, Shape};
use crate::reading::Aim::{self, AtMost};
use crate::steady::Steady;

#[derive(Debug, PartialEq)]
pub struct Workload {
    pub name: &'static str,
    pub group: Group,
    pub what: &'static str,
    pub load: Load,
    /// Of what is measured; for those bounded by volume about so long.
    pub seconds: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    Start,
    Steady,
    Flat,
    Connections,
    Krabka,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    Start,
    Steady(Steady),
    ProduceAt { megabytes_per_second: f64 },
    Light { per_second: f64 },
    Produce { bytes: f64 },
    Consume { bytes: f64 },
    FanOut { bytes: f64 },
    ConsumeByOthers { bytes: f64 },
    Small,
    IdleConnections { per_second: f64 },
    Krabka(Case),
}

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub acks: i16,
    /// A few seconds of each: shows that it works, proves nothing.
    pub quick: bool,
}

impl Plan {
    pub fn time(&self, workload: &Workload) -> Duration {
        Duration::from_secs(if self.quick { workload.seconds.min(3) } else { workload.seconds })
    }

    pub fn bytes(&self, bytes: f64) -> f64 {
        if self.quick { bytes / 10.0 } else { bytes }
    }

    pub fn records(&self, case: &Case) -> u64 {
        if self.quick { case.records / 40 } else { case.records }
    }

    pub fn warm_up(&self) -> Duration {
        Duration::from_secs(if self.quick { 6 } else { 30 })
    }

    /// Of the Java producer; krabka's comparison takes 3 million.
    pub fn warm_up_records(&self) -> u64 {
        if self.quick { 50_000 } else { 1_000_000 }
    }

    /// How long to wait for the machine to be idle before a broker's life.
    pub fn calm_within(&self) -> Duration {
        Duration::from_secs(if self.quick { 0 } else { 60 })
    }

    /// How long to wait for a deleted topic's files to go; Kafka begins to delete half a minute after its start.
    pub fn files_gone_within(&self) -> Duration {
        Duration::from_secs(if self.quick { 3 } else { 40 })
    }

    pub fn batches(&self) -> Shape {
        Shape { acks: self.acks, ..BATCHES }
    }

    pub fn singles(&self) -> Shape {
        Shape { acks: self.acks, ..SINGLE_RECORDS }
    }
}

/// Those of the names, or all, in the order of the list.
pub fn select(names: &[String]) -> Result<Vec<&'static Workload>> {
    if let Some(name) = names.iter().find(|name| WORKLOADS.iter().all(|workload| workload.name != **name)) {
        bail!("there is no workload {name}; --list shows what there is");
    }
    let is_asked = |name: &str| names.is_empty() || names.iter().any(|asked| asked == name);
    Ok(WORKLOADS.iter().filter(|workload| is_asked(workload.name)).collect())
}

const fn steady(megabytes_per_second: f64, segment_mib: u64, aims: &'static [(&'static str, Aim)]) -> Load {
    Load::Steady(Steady { megabytes_per_second, segment_bytes: segment_mib << 20, old_bytes: None, aims })
}

const fn krabka(record_bytes: usize, payload: Payload, compression: &'static str, records: u64) -> Case {
    Case { record_bytes, payload, compression, records, per_second: None }
}

#[rustfmt::skip]
pub const WORKLOADS: &[Workload] = &[
    Workload { name: "start", group: Group::Start, seconds: 5, load: Load::Start,
        what: "start to first acknowledged record (of five starts), memory after 5 s" },
    // At 20 MB/s a segment of 256 MiB would not roll within the time.
    Workload { name: "steady-20", group: Group::Steady, seconds: 90, load: steady(20.0, 64, &[]),
        what: "20 MB/s in and out at the tail, open loop, segments of 64 MiB roll and are deleted" },
    Workload { name: "steady-100", group: Group::Steady, seconds: 100, load: steady(100.0, 256, FLAT_TAIL),
        what: "100 MB/s in and out at the tail, segments of 256 MiB" },
    Workload { name: "steady-250", group: Group::Steady, seconds: 90,
        load: steady(250.0, 256, &[("produce p99", AtMost(15.0))]),
        what: "250 MB/s in and out at the tail, segments of 256 MiB" },
    Workload { name: "steady-100-catch-up", group: Group::Steady, seconds: 90,
        load: Load::Steady(Steady { megabytes_per_second: 100.0, segment_bytes: 256 << 20, old_bytes: Some(4.8e9), aims: &[] }),
        what: "100 MB/s as above, beside a consumer that reads all of it from the disk, over and over" },
    Workload { name: "light", group: Group::Flat, seconds: 40, load: Load::Light { per_second: 4_000.0 },
        what: "4,000 requests/s of one 100-byte record, 64 connections, open loop" },
    Workload { name: "produce-100", group: Group::Flat, seconds: 20, load: Load::ProduceAt { megabytes_per_second: 100.0 },
        what: "100 MB/s in, nobody reads: the broker's CPU" },
    Workload { name: "produce", group: Group::Flat, seconds: 8, load: Load::Produce { bytes: 5e9 },
        what: "64 KiB batches of 1 KiB records flat out" },
    Workload { name: "consume", group: Group::Flat, seconds: 20, load: Load::Consume { bytes: 2e9 },
        what: "2 GB out of the page cache flat out, over and over" },
    Workload { name: "fan-out", group: Group::Flat, seconds: 20, load: Load::FanOut { bytes: 2e9 },
        what: "the same by five consumers at once" },
    Workload { name: "consume-clients", group: Group::Flat, seconds: 35, load: Load::ConsumeByOthers { bytes: 2e9 },
        what: "the same by one Java consumer, then by one of librdkafka (through Python)" },
    Workload { name: "small", group: Group::Flat, seconds: 10, load: Load::Small,
        what: "requests of one 100-byte record flat out, 64 connections 5 deep" },
    Workload { name: "idle-connections", group: Group::Connections, seconds: 20,
        load: Load::IdleConnections { per_second: 4_000.0 },
        what: "5,000 connections that asked once, of which 200 send 4,000 requests/s" },
    Workload { name: "krabka-1k-random-lz4", group: Group::Krabka, seconds: 40,
        load: Load::Krabka(krabka(1024, Payload::Random, "lz4", 5_000_000)),
        what: "Java producer and consumer, 1 KiB random, LZ4 (5 of krabka's 10 million records)" },
    Workload { name: "krabka-100b-random-lz4", group: Group::Krabka, seconds: 20,
        load: Load::Krabka(krabka(100, Payload::Random, "lz4", 10_000_000)),
        what: "the same, 100 bytes (all of krabka's 10 million)" },
    Workload { name: "krabka-1k-zeros-lz4", group: Group::Krabka, seconds: 20,
        load: Load::Krabka(krabka(1024, Payload::Zeros, "lz4", 10_000_000)),
        what: "the same, 1 KiB of zeros (all of krabka's 10 million)" },
    Workload { name: "krabka-1k-random-none", group: Group::Krabka, seconds: 40,
        load: Load::Krabka(krabka(1024, Payload::Random, "none", 5_000_000)),
        what: "the same, 1 KiB random, not compressed (all of krabka's 5 million)" },
    Workload { name: "krabka-100k-random-lz4", group: Group::Krabka, seconds: 35,
        load: Load::Krabka(krabka(102_400, Payload::Random, "lz4", 60_000)),
        what: "the same, 100 KiB random (all of krabka's 60 thousand)" },
    Workload { name: "krabka-1k-random-20k", group: Group::Krabka, seconds: 35,
        load: Load::Krabka(Case { per_second: Some(20_000), ..krabka(1024, Payload::Random, "lz4", 600_000) }),
        what: "the same, 1 KiB random at 20,000 records/s (all of krabka's 600 thousand)" },
];

const FLAT_TAIL: &[(&str, Aim)] =
    &[("produce p99", AtMost(5.0)), ("produce p99.9", AtMost(25.0)), ("produce max", AtMost(100.0))];
pub const PARTITIONS: usize = 16;
/// A divisor of the partitions: each belongs to one connection.
pub const CONNECTIONS: usize = 4;
pub const MANY_CONNECTIONS: usize = 64;
/// A client's `max.in.flight.requests.per.connection`.
pub const DEPTH: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_select() {
        assert_eq!(select(&[]).unwrap().len(), WORKLOADS.len());
        let chosen = select(&["small".into(), "start".into()]).unwrap();
        assert_eq!(chosen.iter().map(|workload| workload.name).collect::<Vec<_>>(), ["start", "small"]);
        assert!(select(&["smal".into()]).is_err());
    }

    #[test]
    fn groups_come_one_after_the_other() {
        assert!(WORKLOADS.is_sorted_by_key(|workload| workload.group));
    }
}
