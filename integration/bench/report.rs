//! Everything that is written about a run, and the files it goes to.

use std::path::Path;

use anyhow::{Context, Result};

use crate::machine::Machine;
use crate::results::Results;
use crate::workload::Plan;
use crate::{chart, json, table};

pub struct Report<'a> {
    pub results: &'a Results,
    pub plan: Plan,
    pub pairs: usize,
    pub machine: Machine,
    /// A broker's name and its version.
    pub versions: Vec<(String, String)>,
    pub began_unix_seconds: u64,
}

impl Report<'_> {
    /// `table.md`, `results.json` and `chart.svg`, anew each time.
    pub fn write(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let write = |name: &str, text: String| {
            let path = folder.join(name);
            std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
        };
        write("table.md", table::markdown(self))?;
        write("results.json", json::json(self))?;
        write("chart.svg", chart::svg(self))
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn with_example<T>(look: impl FnOnce(&Report<'_>) -> T) -> T {
        let results = crate::results::tests::example();
        let machine = Machine {
            cores: 2,
            processor: "A <fast> one".into(),
            memory_mb: 24_000.0,
            kernel: "6.18".into(),
            file_system: "ext4".into(),
            disk_mb_per_second: 800.0,
        };
        let versions =
            vec![("ottla".into(), "ottla 0.1.0".into()), ("kafka".into(), "Apache Kafka 4.4.0".into())];
        let plan = Plan { acks: -1, quick: true };
        look(&Report { results: &results, plan, pairs: 2, machine, versions, began_unix_seconds: 0 })
    }
}
