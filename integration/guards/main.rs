//! What the hot paths cost, counted instead of timed: instructions (by callgrind), allocations and calls of the disk of one
//! operation each, held against recorded budgets. Counts do not depend on what else a machine does. It must never read a
//! clock, nor go through a socket or a real disk.

mod budgets;
mod callgrind;
mod count;
mod disk;
mod scenarios;

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};

use budgets::{Budgets, Counts, per_operation};
use scenarios::{SCENARIOS, Scenario};

#[global_allocator]
static ALLOCATOR: count::Counting = count::Counting;

/// What `integration/guards/run` asks for.
struct Plan {
    budgets: PathBuf,
    /// A folder for what callgrind writes.
    dumps: PathBuf,
    /// Compiler, C library and valgrind, with their versions.
    made_with: String,
    /// These alone; empty means all.
    scenarios: Vec<String>,
}

const USAGE: &str =
    "usage: ottla-guards check|record BUDGETS DUMPS MADE_WITH [SCENARIO...], or count SCENARIO";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    run(&arguments).unwrap_or_else(|error| {
        eprintln!("integration/guards/run: {error:#}");
        ExitCode::from(2)
    })
}

fn run(arguments: &[String]) -> Result<ExitCode> {
    match arguments {
        [command, scenario] if command == "count" => {
            println!("{}", count::run((named(scenario)?.prepare)()));
            Ok(ExitCode::SUCCESS)
        }
        [command, budgets, dumps, made_with, scenarios @ ..] => {
            let (budgets, dumps, made_with) = (budgets.into(), dumps.into(), made_with.clone());
            let plan = Plan { budgets, dumps, made_with, scenarios: scenarios.to_vec() };
            match &command[..] {
                "check" => check(&plan),
                "record" => record(&plan),
                _ => bail!(USAGE),
            }
        }
        _ => bail!(USAGE),
    }
}

fn check(plan: &Plan) -> Result<ExitCode> {
    let budgets = Budgets::parse(&read(plan)?)?;
    let counted = plan.count()?;
    let mut verdict = budgets.judge(&plan.made_with, &counted);
    verdict.wrong.extend(budgets.strangers(&names()));
    print!("{}", table(&budgets, &counted));
    verdict.notes.iter().for_each(|note| println!("note: {note}"));
    verdict.wrong.iter().for_each(|wrong| eprintln!("too much: {wrong}"));
    if verdict.wrong.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let example = callgrind::dump_of(&plan.dumps, "SCENARIO");
    eprintln!(
        "`callgrind_annotate --inclusive=yes {}` shows where instructions go. If it has to be so, accept it with \
         `integration/guards/run --record [SCENARIO...]` and say why in the commit.",
        example.display()
    );
    Ok(ExitCode::FAILURE)
}

fn record(plan: &Plan) -> Result<ExitCode> {
    let before = if plan.budgets.exists() { Budgets::parse(&read(plan)?)? } else { Budgets::default() };
    ensure!(
        plan.scenarios.is_empty() || before.made_with == plan.made_with,
        "the other budgets were recorded with {}, this is {}: record all of them",
        before.made_with,
        plan.made_with
    );
    let counted = plan.count()?;
    let after = before.with(&plan.made_with, &counted, &names());
    fs::write(&plan.budgets, after.to_string())
        .with_context(|| format!("writing {}", plan.budgets.display()))?;
    print!("{}", table(&before, &counted));
    println!("recorded in {}", plan.budgets.display());
    Ok(ExitCode::SUCCESS)
}

impl Plan {
    /// Counts all scenarios, or those that are named.
    fn count(&self) -> Result<Vec<(&'static str, Counts)>> {
        let chosen: Vec<&Scenario> = match &self.scenarios[..] {
            [] => SCENARIOS.iter().collect(),
            chosen => chosen.iter().map(|name| named(name)).collect::<Result<_>>()?,
        };
        let counts = callgrind::count(&chosen, &self.dumps)?;
        Ok(chosen.into_iter().map(|scenario| scenario.name).zip(counts).collect())
    }
}

fn read(plan: &Plan) -> Result<String> {
    fs::read_to_string(&plan.budgets).with_context(|| format!("reading {}", plan.budgets.display()))
}

fn names() -> Vec<&'static str> {
    SCENARIOS.iter().map(|scenario| scenario.name).collect()
}

fn named(name: &str) -> Result<&'static Scenario> {
    let found = SCENARIOS.iter().find(|scenario| scenario.name == name);
    found.with_context(|| format!("no scenario '{name}', there are {}", names().join(", ")))
}

/// In Markdown: what one operation costs, beside its budget.
fn table(budgets: &Budgets, counted: &[(&str, Counts)]) -> String {
    let mut table = String::from(
        "| one operation | instructions | budget | | allocations | budget | disk calls | budget |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for (name, counts) in counted {
        let scenario = SCENARIOS.iter().find(|scenario| scenario.name == *name);
        let what = scenario.map_or("", |scenario| scenario.what);
        let budget = budgets.of(name).map(|budget| budget.counts);
        let told = |of: fn(&Counts) -> u64| {
            format!(
                "{} | {}",
                per_operation(of(counts)),
                budget.map_or("-".to_owned(), |b| per_operation(of(&b)))
            )
        };
        let change = budget.map_or(String::new(), |budget| percent(counts.instructions, budget.instructions));
        table += &format!(
            "| `{name}`: {what} | {} | {change} | {} | {} |\n",
            told(|counts| counts.instructions),
            told(|counts| counts.allocations),
            told(|counts| counts.disk_calls)
        );
    }
    table
}

fn percent(counted: u64, budget: u64) -> String {
    format!("{:+.1} %", (counted as f64 / budget as f64 - 1.0) * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_runs_and_has_a_budget() {
        let budgets = Budgets::parse(include_str!("budgets.txt")).expect("good budgets");
        for scenario in SCENARIOS {
            let mut operation = (scenario.prepare)();
            (0..count::WARM_UP + count::TIMES).for_each(&mut operation);
            assert!(budgets.of(scenario.name).is_some(), "{} has no budget", scenario.name);
        }
        assert_eq!(budgets.rows.len(), SCENARIOS.len());
    }

    #[test]
    fn the_table_shows_counts_beside_budgets() {
        let budgets =
            Budgets::parse("made with: x\nappend-64k 200000 +5% -10% 400 100").expect("good budgets");
        let counts = Counts { instructions: 210_000, allocations: 401, disk_calls: 0 };
        let table = table(&budgets, &[("append-64k", counts)]);
        let row = table.lines().last().expect("a row");
        assert!(row.starts_with("| `append-64k`: "), "{row}");
        assert!(row.ends_with(" | 2,100 | 2,000 | +5.0 % | 4.01 | 4 | 0 | 1 |"), "{row}");
    }
}
