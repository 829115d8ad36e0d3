//! The six workloads of the krabka project's published comparison (github.com/krabka-io/krabka-io.github.io, benchmarks),
//! by Kafka's own performance tools: 12 partitions, acks=all, idempotent, batches of 64 KiB, a linger of 5 ms, a
//! consumer that reads along. The first has half of krabka's records, so that a machine of two cores is done in time.
//! Latencies are those of acknowledgements.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::broker::Programs;
use crate::reading::Readings;
use crate::section::Target;
use crate::tools::{Consumed, Tool, Tools};

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Case {
    pub record_bytes: usize,
    pub payload: Payload,
    pub compression: &'static str,
    pub records: u64,
    pub per_second: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    Random,
    Zeros,
}

pub fn run(
    target: &Target<'_>,
    programs: &Programs,
    name: &str,
    case: &Case,
    records: u64,
) -> Result<Readings> {
    let topic = target.topic(name, PARTITIONS)?;
    let folder = tempfile::Builder::new().prefix("ottla-bench-java-").tempdir()?;
    let payload = payload_file(folder.path(), case)?;
    let tools = Tools { programs, address: target.address, topic: &topic.name, folder: folder.path() };
    let (produced, spent) = target.measure(|| {
        let consumer = tools.consume(records)?;
        let producer = produce(&tools, case, records, &payload)?;
        let produced = Produced::parse(&producer.output()?)?;
        ensure!(produced.records == records, "{} of {records} records were acknowledged", produced.records);
        let consumed = Consumed::parse(&consumer.output()?)?;
        ensure!(consumed.records == records, "{} of {records} records were read", consumed.records);
        Ok(produced)
    })?;
    let mut readings = Readings::default();
    readings.more("acknowledged", "records/s", produced.records_per_second);
    readings.more("acknowledged", "MiB/s", produced.mebibytes_per_second);
    readings.less("broker's CPU", "us/record", spent.broker * 1e6 / records as f64);
    for (what, ms) in [
        ("produce p50", produced.p50),
        ("produce p95", produced.p95),
        ("produce p99", produced.p99),
        ("produce p99.9", produced.p999),
        ("produce max", produced.max),
    ] {
        readings.less(what, "ms", ms);
    }
    readings.tell("client's share of the machine", "%", spent.client_share() * 100.0);
    readings.others = spent.others();
    if let Some(wanted) =
        case.per_second.filter(|wanted| produced.records_per_second < 0.97 * f64::from(*wanted))
    {
        readings.rate_missed = true;
        readings.notes.push(format!(
            "rate not held: {wanted} records/s were asked for, {:.0} came",
            produced.records_per_second
        ));
    }
    Ok(readings)
}

/// Before anything is measured, as there: 1 KiB random LZ4.
pub fn warm_up(target: &Target<'_>, programs: &Programs, records: u64) -> Result<()> {
    let case =
        Case { record_bytes: 1024, payload: Payload::Random, compression: "lz4", records, per_second: None };
    run(target, programs, "warm-up-java", &case, records).map(|_| ())
}

fn produce(tools: &Tools<'_>, case: &Case, records: u64, payload: &Path) -> Result<Tool> {
    let mut command = tools.java("org.apache.kafka.tools.ProducerPerformance")?;
    command.args(["--num-records", &records.to_string()]).arg("--payload-file").arg(payload);
    let per_second = case.per_second.map_or(-1, i64::from);
    command.args(["--throughput", &per_second.to_string(), "--command-property"]);
    command.args(["acks=all", "enable.idempotence=true", "batch.size=65536", "linger.ms=5"]);
    command.arg(format!("compression.type={}", case.compression));
    Tool::start(command, tools.folder.join("producer"))
}

/// Lines to draw from: 4 MiB of letters that LZ4 finds no pattern in, or one line of zeros.
fn payload_file(folder: &Path, case: &Case) -> Result<PathBuf> {
    let path = folder.join("payload");
    let mut file = BufWriter::new(File::create(&path)?);
    let mut state = 42u64 ^ 0x9e37_79b9_7f4a_7c15;
    let mut letter = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b'!' + (state >> 32) as u8 % (b'~' - b'!')
    };
    let lines = match case.payload {
        Payload::Random => POOL_BYTES / case.record_bytes,
        Payload::Zeros => 1,
    };
    for _ in 0..lines {
        let mut line: Vec<u8> = match case.payload {
            Payload::Random => (0..case.record_bytes).map(|_| letter()).collect(),
            Payload::Zeros => vec![0; case.record_bytes],
        };
        line.push(b'\n');
        file.write_all(&line)?;
    }
    file.flush()?;
    Ok(path)
}

/// The summary of ProducerPerformance.
#[derive(Debug, PartialEq)]
struct Produced {
    records: u64,
    records_per_second: f64,
    mebibytes_per_second: f64,
    max: f64,
    p50: f64,
    p95: f64,
    p99: f64,
    p999: f64,
}

impl Produced {
    fn parse(output: &str) -> Result<Produced> {
        let line =
            output.lines().rfind(|line| line.contains(" records sent, ") && line.contains(" ms 99.9th"));
        let line = line.with_context(|| format!("no summary in:\n{output}"))?;
        // "N records sent, R records/sec (M MB/sec), A ms avg latency, X ms max latency, a ms 50th, ..."
        let numbers: Vec<f64> = line.split([' ', '(']).filter_map(|word| word.parse().ok()).collect();
        let [records, records_per_second, mebibytes_per_second, _avg, max, p50, p95, p99, p999] = numbers[..]
        else {
            bail!("not a summary: {line}");
        };
        let records = records as u64;
        Ok(Produced { records, records_per_second, mebibytes_per_second, max, p50, p95, p99, p999 })
    }
}

const PARTITIONS: usize = 12;
const POOL_BYTES: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_producer_says() {
        let output = "1000 records sent, 200.0 records/sec (0.20 MB/sec), 1.0 ms avg latency, 9.0 ms max latency.\n\
             600000 records sent, 19998.666756 records/sec (19.53 MB/sec), 1.23 ms avg latency, 345.00 ms max \
             latency, 1 ms 50th, 2 ms 95th, 4 ms 99th, 33 ms 99.9th.\n";
        let expected = Produced {
            records: 600_000,
            records_per_second: 19_998.666756,
            mebibytes_per_second: 19.53,
            max: 345.0,
            p50: 1.0,
            p95: 2.0,
            p99: 4.0,
            p999: 33.0,
        };
        assert_eq!(Produced::parse(output).unwrap(), expected);
        assert!(Produced::parse("a stack trace").is_err());
    }
}
