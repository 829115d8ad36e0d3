//! Runs this program again under callgrind, once for each scenario, and reads how many instructions were counted.
//!
//! Valgrind shows a program the same processor whatever it runs on (one with AVX2 and carry-less multiplication, where the
//! machine has them), so what is chosen by the processor, as the checksum is, is chosen alike everywhere. A copy of more than
//! a few KiB counts about one instruction a byte.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};

use crate::budgets::Counts;
use crate::count::{Counted, TOGGLES};
use crate::scenarios::Scenario;

/// Counts all of them, two at a time. What was counted stays in the folder `dumps`, one file for each scenario.
pub fn count(scenarios: &[&Scenario], dumps: &Path) -> Result<Vec<Counts>> {
    std::fs::create_dir_all(dumps).with_context(|| format!("creating {}", dumps.display()))?;
    let program = std::env::current_exe().context("finding this program")?;
    let next = AtomicUsize::new(0);
    let counts = Mutex::new(Vec::new());
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(scenario) = scenarios.get(at) else { return };
            let counted = count_one(&program, scenario.name, dumps);
            counts.lock().expect("no worker panics").push((at, counted));
        }
    };
    thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(work))));
    let mut counts = counts.into_inner().expect("no worker panics");
    counts.sort_by_key(|(at, _)| *at);
    counts.into_iter().map(|(_, counted)| counted).collect()
}

fn count_one(program: &Path, name: &str, dumps: &Path) -> Result<Counts> {
    let dump = dump_of(dumps, name);
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--quiet", "--collect-atstart=no"]);
    command.args(TOGGLES.map(|function| format!("--toggle-collect={function}")));
    command.arg(format!("--callgrind-out-file={}", dump.display()));
    command.arg(program).args(["count", name]);
    // What is in the environment moves the stack.
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    let output = command.output().context("running valgrind")?;
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{name} under callgrind: {}\n{complained}", output.status);
    let Counted { allocations, disk_calls } = said.parse()?;
    let text = std::fs::read_to_string(&dump).with_context(|| format!("reading {}", dump.display()))?;
    let instructions = total(&text).with_context(|| format!("{} has no total", dump.display()))?;
    ensure!(
        instructions > 0,
        "{name}: callgrind has counted nothing: are {TOGGLES:?} still functions of the program?"
    );
    Ok(Counts { instructions, allocations, disk_calls })
}

pub fn dump_of(dumps: &Path, name: &str) -> PathBuf {
    dumps.join(format!("{name}.callgrind"))
}

fn total(dump: &str) -> Option<u64> {
    dump.lines().find_map(|line| line.strip_prefix("totals: "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_found() {
        assert_eq!(total("version: 1\nevents: Ir\nfn=(1) main\n16 400\ntotals: 77599\n"), Some(77_599));
        assert_eq!(total("events: Ir\n"), None);
    }
}
