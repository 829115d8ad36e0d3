//! What one consumer of another library gets out of the page cache: the Java client, and librdkafka by way of Python. The
//! topic is the same that our own client reads in `consume`.

use anyhow::{Result, ensure};

use crate::broker::{Programs, dies_with_us};
use crate::flat::fill;
use crate::produce::Shape;
use crate::reading::Readings;
use crate::section::Target;
use crate::tools::{Consumed, Tool, Tools};
use crate::usage::Spent;
use crate::workload::PARTITIONS;

pub fn consume(
    target: &Target<'_>,
    programs: &Programs,
    name: &str,
    shape: Shape,
    bytes: f64,
) -> Result<Readings> {
    let topic = target.topic(name, PARTITIONS)?;
    let filled = fill(target, &topic, shape, bytes)?;
    rustix::fs::sync();
    let records = filled.outcome.requests * shape.records as u64;
    let folder = tempfile::Builder::new().prefix("ottla-bench-clients-").tempdir()?;
    let tools = Tools { programs, address: target.address, topic: &topic.name, folder: folder.path() };

    let mut readings = Readings::default();
    let mut read = |client: &str, consumed: Consumed, spent: Spent| {
        ensure!(consumed.records == records, "{client} read {} of {records} records", consumed.records);
        readings.more(client, "MB/s", consumed.megabytes_per_second);
        readings.less(&format!("broker's CPU, {client}"), "s/GB", spent.broker / filled.gigabytes());
        readings.others = spent.others();
        Ok(())
    };
    let (consumed, spent) = target.measure(|| Consumed::parse(&tools.consume(records)?.output()?))?;
    read("Java", consumed, spent)?;
    let (consumed, spent) = target.measure(|| {
        let mut command = dies_with_us(programs.python()?);
        command.args(["-c", SCRIPT, target.address, &topic.name]);
        command.args([PARTITIONS.to_string(), records.to_string()]);
        Consumed::parse_librdkafka(&Tool::start(command, folder.path().join("librdkafka"))?.output()?)
    })?;
    read("librdkafka", consumed, spent)?;
    Ok(readings)
}

const SCRIPT: &str = include_str!("librdkafka.py");
