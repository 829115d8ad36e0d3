//! The six workloads of the krabka project's published comparison (github.com/krabka-io/krabka-io.github.io, benchmarks),
//! by Kafka's own performance tools: 12 partitions, acks=all, idempotent, batches of 64 KiB, a linger of 5 ms, a
//! consumer that reads along. There are fewer records than there, so that a machine of two cores is done in time.
//! Latencies are those of acknowledgements.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::broker::{Programs, java};
use crate::reading::Readings;
use crate::section::Target;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Case {
    pub record_bytes: usize,
    pub payload: Payload,
    pub compression: &'static str,
    pub records: u64,
    pub per_second: Option<u32>,
    /// Read the topic once more, alone: what one Java consumer gets.
    pub reads_again: bool,
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
        let producer = tools.produce(case, records, &payload)?;
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
    if case.reads_again {
        let (consumed, spent) = target.measure(|| Consumed::parse(&tools.consume(records)?.output()?))?;
        let gigabytes = (records * case.record_bytes as u64) as f64 / 1e9;
        readings.more("one Java consumer", "MiB/s", consumed.mebibytes_per_second);
        readings.less("its broker's CPU", "s/GB", spent.broker / gigabytes);
    }
    Ok(readings)
}

/// Before anything is measured, as there: 1 KiB random LZ4.
pub fn warm_up(target: &Target<'_>, programs: &Programs, records: u64) -> Result<()> {
    let case = Case {
        record_bytes: 1024,
        payload: Payload::Random,
        compression: "lz4",
        records,
        per_second: None,
        reads_again: false,
    };
    run(target, programs, "warm-up-java", &case, records).map(|_| ())
}

struct Tools<'a> {
    programs: &'a Programs,
    address: &'a str,
    topic: &'a str,
    folder: &'a Path,
}

impl Tools<'_> {
    fn produce(&self, case: &Case, records: u64, payload: &Path) -> Result<Tool> {
        let mut command = self.java("org.apache.kafka.tools.ProducerPerformance")?;
        command.args(["--num-records", &records.to_string()]).arg("--payload-file").arg(payload);
        let per_second = case.per_second.map_or(-1, i64::from);
        command.args(["--throughput", &per_second.to_string(), "--command-property"]);
        command.args(["acks=all", "enable.idempotence=true", "batch.size=65536", "linger.ms=5"]);
        command.arg(format!("compression.type={}", case.compression));
        Tool::start(command, self.folder.join("producer"))
    }

    fn consume(&self, records: u64) -> Result<Tool> {
        let mut command = self.java("org.apache.kafka.tools.ConsumerPerformance")?;
        command.args(["--num-records", &records.to_string(), "--timeout", "60000"]);
        Tool::start(command, self.folder.join("consumer"))
    }

    /// What Kafka's scripts give the tools.
    fn java(&self, class: &str) -> Result<Command> {
        let mut command = java(self.programs, &["-Xmx512M", "-server", "-XX:+UseG1GC", class])?;
        command.args(["--bootstrap-server", self.address, "--topic", self.topic]);
        Ok(command)
    }
}

/// A program that says what it found when it ends.
struct Tool {
    child: Child,
    output: PathBuf,
}

impl Tool {
    fn start(mut command: Command, output: PathBuf) -> Result<Tool> {
        let file = File::create(&output)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        Ok(Tool { child: command.spawn().with_context(|| format!("cannot start {command:?}"))?, output })
    }

    fn output(mut self) -> Result<String> {
        let status = self.child.wait()?;
        let output = String::from_utf8_lossy(&std::fs::read(&self.output)?).into_owned();
        if !status.success() {
            let lines: Vec<&str> = output.lines().collect();
            bail!("{status}:\n{}", lines[lines.len().saturating_sub(20)..].join("\n"));
        }
        Ok(output)
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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

/// The summary of ConsumerPerformance.
#[derive(Debug, PartialEq)]
struct Consumed {
    records: u64,
    /// While it fetched, without the time to join its group.
    mebibytes_per_second: f64,
}

impl Consumed {
    fn parse(output: &str) -> Result<Consumed> {
        // Start, end, MB, MB/s, records, records/s, ms of joining, ms of fetching, MB/s and records/s of fetching.
        let fields = |line: &str| -> Option<[f64; 8]> {
            let fields: Vec<&str> = line.split(", ").collect();
            let numbers: Vec<f64> = fields.get(2..)?.iter().flat_map(|field| field.trim().parse()).collect();
            numbers.try_into().ok()
        };
        let numbers = output.lines().rev().find_map(fields);
        let numbers = numbers.with_context(|| format!("no summary in:\n{output}"))?;
        Ok(Consumed { records: numbers[2] as u64, mebibytes_per_second: numbers[6] })
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

    #[test]
    fn what_the_consumer_says() {
        let output = "start.time, end.time, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, \
             rebalance.time.ms, fetch.time.ms, fetch.MB.sec, fetch.nMsg.sec\n\
             2026-11-29 23:00:00:123, 2026-11-29 23:00:10:123, 585.9375, 58.5938, 600000, 60000.0000, 3200, 6800, \
             86.1673, 88235.2941\n";
        let expected = Consumed { records: 600_000, mebibytes_per_second: 86.1673 };
        assert_eq!(Consumed::parse(output).unwrap(), expected);
        assert!(Consumed::parse("start.time, end.time").is_err());
    }
}
