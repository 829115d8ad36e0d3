//! Clients that are programs of their own and say what they found when they end: Kafka's performance tools.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::broker::{Programs, java};

pub struct Tools<'a> {
    pub programs: &'a Programs,
    pub address: &'a str,
    pub topic: &'a str,
    /// For what they write.
    pub folder: &'a Path,
}

impl Tools<'_> {
    /// A Java consumer of so many records.
    pub fn consume(&self, records: u64) -> Result<Tool> {
        let mut command = self.java("org.apache.kafka.tools.ConsumerPerformance")?;
        command.args(["--num-records", &records.to_string(), "--timeout", "60000"]);
        Tool::start(command, self.folder.join("consumer"))
    }

    /// What Kafka's scripts give the tools.
    pub fn java(&self, class: &str) -> Result<Command> {
        let mut command = java(self.programs, &["-Xmx512M", "-server", "-XX:+UseG1GC", class])?;
        command.args(["--bootstrap-server", self.address, "--topic", self.topic]);
        Ok(command)
    }
}

/// A running program. Dropped, it is killed.
pub struct Tool {
    child: Child,
    output: PathBuf,
}

impl Tool {
    pub fn start(mut command: Command, output: PathBuf) -> Result<Tool> {
        let file = File::create(&output)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        Ok(Tool { child: command.spawn().with_context(|| format!("cannot start {command:?}"))?, output })
    }

    /// What it wrote until it ended, which must be well.
    pub fn output(mut self) -> Result<String> {
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

/// The summary of a consumer.
#[derive(Debug, PartialEq)]
pub struct Consumed {
    pub records: u64,
    /// While it fetched, without the time to join its group.
    pub megabytes_per_second: f64,
}

impl Consumed {
    /// Of ConsumerPerformance.
    pub fn parse(output: &str) -> Result<Consumed> {
        // Start, end, MiB, MiB/s, records, records/s, ms of joining, ms of fetching, MiB/s and records/s of fetching.
        let fields = |line: &str| -> Option<[f64; 8]> {
            let fields: Vec<&str> = line.split(", ").collect();
            let numbers: Vec<f64> = fields.get(2..)?.iter().flat_map(|field| field.trim().parse()).collect();
            numbers.try_into().ok()
        };
        let numbers = output.lines().rev().find_map(fields);
        let numbers = numbers.with_context(|| format!("no summary in:\n{output}"))?;
        Ok(Consumed { records: numbers[2] as u64, megabytes_per_second: numbers[6] * 1.048_576 })
    }

    /// Of `librdkafka.py`: "N records, B bytes in S s".
    pub fn parse_librdkafka(output: &str) -> Result<Consumed> {
        let numbers: Vec<f64> = output.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [records, bytes, seconds] = numbers[..] else { bail!("not a summary: {output}") };
        Ok(Consumed { records: records as u64, megabytes_per_second: bytes / 1e6 / seconds })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_consumers_say() {
        let output = "start.time, end.time, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, \
             rebalance.time.ms, fetch.time.ms, fetch.MB.sec, fetch.nMsg.sec\n\
             2026-11-29 23:00:00:123, 2026-11-29 23:00:10:123, 585.9375, 58.5938, 600000, 60000.0000, 3200, 6800, \
             100.0000, 88235.2941\n";
        let consumed = Consumed::parse(output).unwrap();
        assert_eq!((consumed.records, consumed.megabytes_per_second.round()), (600_000, 105.0));
        assert!(Consumed::parse("start.time, end.time").is_err());

        let expected = Consumed { records: 2_000, megabytes_per_second: 2.0 };
        assert_eq!(
            Consumed::parse_librdkafka("2000 records, 4000000 bytes in 2.000000 s\n").unwrap(),
            expected
        );
        assert!(Consumed::parse_librdkafka("ModuleNotFoundError").is_err());
    }
}
