//! The recorded budgets: their file, and what is wrong with counts that were taken. Pure. It must never know how something was
//! counted.
//!
//! All numbers are of a hundred operations.

use std::fmt;

use anyhow::{Context, Result, ensure};

/// What [`crate::count::TIMES`] operations cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    pub instructions: u64,
    pub allocations: u64,
    pub disk_calls: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    pub name: String,
    pub counts: Counts,
    /// How far instructions may be above, in percent.
    pub above: u64,
    /// How far instructions may be below before somebody is told that the budget is too large, in percent.
    pub below: u64,
}

/// In the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budgets {
    /// Compiler, C library and valgrind, on which counts depend beside the code.
    pub made_with: String,
    pub rows: Vec<Budget>,
}

/// What came of a comparison, a line each.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub wrong: Vec<String>,
    pub notes: Vec<String>,
}

impl Budgets {
    pub fn parse(text: &str) -> Result<Budgets> {
        let mut budgets = Budgets::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            let done = match line.strip_prefix(MADE_WITH) {
                _ if line.is_empty() => Ok(()),
                Some(made_with) => {
                    budgets.made_with = made_with.trim().to_owned();
                    Ok(())
                }
                None => budgets.add(line),
            };
            done.with_context(|| format!("line {} of the budgets, '{line}'", number + 1))?;
        }
        ensure!(!budgets.made_with.is_empty(), "the budgets have no line '{MADE_WITH}'");
        Ok(budgets)
    }

    fn add(&mut self, line: &str) -> Result<()> {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [name, instructions, above, below, allocations, disk_calls] = columns[..] else {
            anyhow::bail!("{} columns, expected 6", columns.len());
        };
        ensure!(self.of(name).is_none(), "a second budget for {name}");
        let number = |text: &str| text.parse::<u64>().ok().with_context(|| format!("'{text}' is no number"));
        let percent = |text: &str, sign: char| {
            let digits = text.strip_prefix(sign).and_then(|text| text.strip_suffix('%'));
            number(digits.with_context(|| format!("'{text}' is not like {sign}5%"))?)
        };
        let counts = Counts {
            instructions: number(instructions)?,
            allocations: number(allocations)?,
            disk_calls: number(disk_calls)?,
        };
        let (above, below) = (percent(above, '+')?, percent(below, '-')?);
        self.rows.push(Budget { name: name.to_owned(), counts, above, below });
        Ok(())
    }

    pub fn of(&self, name: &str) -> Option<&Budget> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// Judges counts that were taken with `made_with`.
    pub fn judge(&self, made_with: &str, counted: &[(&str, Counts)]) -> Verdict {
        let mut verdict = Verdict::default();
        let alike = made_with == self.made_with;
        if !alike {
            verdict.notes.push(format!(
                "counted with {made_with}, but recorded with {}: instructions may be {ELSEWHERE_PERCENT} % more or less",
                self.made_with
            ));
        }
        for (name, counts) in counted {
            match self.of(name) {
                Some(budget) => budget.judge(counts, alike, &mut verdict),
                None => verdict.wrong.push(format!("{name}: has no budget")),
            }
        }
        verdict
    }

    /// Budgets for scenarios that are not among those `known`.
    pub fn strangers<'a>(&'a self, known: &'a [&str]) -> impl Iterator<Item = String> + 'a {
        let rows = self.rows.iter().filter(|row| !known.contains(&row.name.as_str()));
        rows.map(|row| format!("{}: has a budget, but there is no such scenario", row.name))
    }

    /// What was counted becomes the budget; what is allowed stays. Of other scenarios, `known` ones keep theirs.
    pub fn with(&self, made_with: &str, counted: &[(&str, Counts)], known: &[&str]) -> Budgets {
        let row = |name: &&str| {
            let before = self.of(name);
            let counts = counted.iter().find(|(counted, _)| counted == name).map(|(_, counts)| *counts);
            Some(Budget {
                name: (*name).to_owned(),
                counts: counts.or(before.map(|budget| budget.counts))?,
                above: before.map_or(ABOVE_PERCENT, |budget| budget.above),
                below: before.map_or(BELOW_PERCENT, |budget| budget.below),
            })
        };
        Budgets { made_with: made_with.to_owned(), rows: known.iter().filter_map(row).collect() }
    }
}

impl Budget {
    fn judge(&self, counts: &Counts, alike: bool, verdict: &mut Verdict) {
        let allowed = |percent: u64| if alike { percent } else { percent.max(ELSEWHERE_PERCENT) };
        let of_instructions = |percent: u64| self.counts.instructions * percent / 100;
        let instructions =
            Measure { what: "instructions", counted: counts.instructions, budget: self.counts.instructions };
        let (above, below) = (allowed(self.above), allowed(self.below));
        instructions.judge(
            &self.name,
            of_instructions(100 + above),
            of_instructions(100 - below.min(100)),
            verdict,
        );
        let exact = [
            ("allocations", counts.allocations, self.counts.allocations),
            ("disk calls", counts.disk_calls, self.counts.disk_calls),
        ];
        for (what, counted, budget) in exact {
            Measure { what, counted, budget }.judge(&self.name, budget, budget, verdict);
        }
    }
}

struct Measure {
    what: &'static str,
    counted: u64,
    budget: u64,
}

impl Measure {
    fn judge(&self, name: &str, most: u64, least: u64, verdict: &mut Verdict) {
        let Measure { what, counted, budget } = *self;
        let (each, planned) = (per_operation(counted), per_operation(budget));
        if counted > most {
            let allowed =
                if most > budget { format!(", allowed are {}", per_operation(most)) } else { String::new() };
            verdict.wrong.push(format!("{name}: {each} {what}, the budget is {planned}{allowed}"));
        } else if counted < least {
            verdict.notes.push(format!(
                "{name}: only {each} {what}, the budget is {planned}: lower it with --record {name}"
            ));
        }
    }
}

/// A hundredth, with as many digits behind the point as it needs.
pub fn per_operation(hundred: u64) -> String {
    match (hundred / 100, hundred % 100) {
        (whole, 0) => grouped(whole),
        // Of what is large nobody wants to know the fraction.
        (whole, _) if whole >= 100 => grouped((hundred + 50) / 100),
        (whole, rest) => format!("{whole}.{rest:02}").trim_end_matches('0').to_owned(),
    }
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let group = |(at, digit): (usize, char)| {
        let comma = at > 0 && (digits.len() - at).is_multiple_of(3);
        comma.then_some(',').into_iter().chain([digit])
    };
    digits.chars().enumerate().flat_map(group).collect()
}

impl fmt::Display for Budgets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEAD}\n{MADE_WITH} {}\n", self.made_with)?;
        writeln!(
            f,
            "# {:<16} {:>12} {:>6} {:>6} {:>12} {:>11}",
            "scenario", "instructions", "above", "below", "allocations", "disk calls"
        )?;
        for row in &self.rows {
            let Counts { instructions, allocations, disk_calls } = row.counts;
            let (above, below) = (format!("+{}%", row.above), format!("-{}%", row.below));
            writeln!(
                f,
                "{:<18} {instructions:>12} {above:>6} {below:>6} {allocations:>12} {disk_calls:>11}",
                row.name
            )?;
        }
        Ok(())
    }
}

const HEAD: &str = "\
# What a hundred operations of each scenario may cost, written by `integration/guards/run --record [SCENARIO...]`.
# More instructions than are allowed above, or one allocation or call of the disk more, fails. Fewer is told.
# The percentages are edited by hand, and stay when budgets are recorded anew. Instructions depend on what is named here,
# too: with others, 25 % are allowed, and the table says so.";
const MADE_WITH: &str = "made with:";
const ABOVE_PERCENT: u64 = 5;
const BELOW_PERCENT: u64 = 10;
/// With another compiler, C library or valgrind.
const ELSEWHERE_PERCENT: u64 = 25;

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# a comment\nmade with: rustc 1, glibc 2 # and more\n\nappend 200000 +5% -10% 400 100\nread 5050 +0% -50% 0 2\n";

    fn counts(instructions: u64, allocations: u64, disk_calls: u64) -> Counts {
        Counts { instructions, allocations, disk_calls }
    }

    fn budgets() -> Budgets {
        Budgets::parse(TEXT).expect("good budgets")
    }

    #[test]
    fn a_file_is_read_and_written() {
        let budgets = budgets();
        assert_eq!(budgets.made_with, "rustc 1, glibc 2");
        let append = Budget { name: "append".into(), counts: counts(200_000, 400, 100), above: 5, below: 10 };
        assert_eq!(budgets.of("append"), Some(&append));
        assert_eq!(Budgets::parse(&budgets.to_string()).expect("as it was written"), budgets);
    }

    #[test]
    fn a_damaged_file_is_told() {
        let told = |text: &str| format!("{:#}", Budgets::parse(text).expect_err(text));
        let line = |line: &str| told(&format!("made with: x\n{line}"));
        assert_eq!(told("a 1 +5% -5% 0 0"), "the budgets have no line 'made with:'");
        assert_eq!(line("a 1"), "line 2 of the budgets, 'a 1': 2 columns, expected 6");
        assert_eq!(line("a b +5% -5% 0 0"), "line 2 of the budgets, 'a b +5% -5% 0 0': 'b' is no number");
        assert_eq!(line("a 1 5% -5% 0 0"), "line 2 of the budgets, 'a 1 5% -5% 0 0': '5%' is not like +5%");
        assert_eq!(
            line("a 1 +5% -5% 0 0\na 2 +5% -5% 0 0"),
            "line 3 of the budgets, 'a 2 +5% -5% 0 0': a second budget for a"
        );
    }

    #[test]
    fn counts_are_judged() {
        let check = |made_with: &str, counted: (&str, Counts), wrong: &[&str], notes: &[&str]| {
            let verdict = budgets().judge(made_with, &[counted]);
            assert_eq!(verdict.wrong, wrong, "{counted:?}");
            assert_eq!(verdict.notes, notes, "{counted:?}");
        };
        let here = "rustc 1, glibc 2";
        check(here, ("append", counts(200_000, 400, 100)), &[], &[]);
        check(here, ("append", counts(210_000, 400, 100)), &[], &[]);
        check(here, ("append", counts(180_000, 400, 100)), &[], &[]);
        let above = "append: 2,100 instructions, the budget is 2,000, allowed are 2,100";
        check(here, ("append", counts(210_001, 400, 100)), &[above], &[]);
        let below = "append: only 1,800 instructions, the budget is 2,000: lower it with --record append";
        check(here, ("append", counts(179_999, 400, 100)), &[], &[below]);
        let one_more =
            ["append: 4.01 allocations, the budget is 4", "append: 1.01 disk calls, the budget is 1"];
        check(here, ("append", counts(200_000, 401, 101)), &one_more, &[]);
        let fewer = "append: only 3 allocations, the budget is 4: lower it with --record append";
        check(here, ("append", counts(200_000, 300, 100)), &[], &[fewer]);
        check(here, ("read", counts(5_051, 0, 2)), &["read: 50.51 instructions, the budget is 50.5"], &[]);
        check(here, ("write", counts(1, 0, 0)), &["write: has no budget"], &[]);
        let other =
            "counted with rustc 2, but recorded with rustc 1, glibc 2: instructions may be 25 % more or less";
        check("rustc 2", ("append", counts(250_000, 400, 100)), &[], &[other]);
        let far = "append: 2,500 instructions, the budget is 2,000, allowed are 2,500";
        check("rustc 2", ("append", counts(250_001, 400, 100)), &[far], &[other]);
    }

    #[test]
    fn a_budget_without_a_scenario_is_told() {
        let budgets = budgets();
        assert_eq!(budgets.strangers(&["append", "read", "write"]).count(), 0);
        let told: Vec<String> = budgets.strangers(&["append"]).collect();
        assert_eq!(told, ["read: has a budget, but there is no such scenario"]);
    }

    #[test]
    fn recording_keeps_what_is_allowed() {
        let recorded = budgets().with(
            "rustc 2",
            &[("write", counts(7, 8, 9)), ("read", counts(1, 2, 3))],
            &["write", "read"],
        );
        let write = Budget { name: "write".into(), counts: counts(7, 8, 9), above: 5, below: 10 };
        let read = Budget { name: "read".into(), counts: counts(1, 2, 3), above: 0, below: 50 };
        assert_eq!(recorded, Budgets { made_with: "rustc 2".into(), rows: vec![write, read] });
        let one =
            budgets().with("rustc 1, glibc 2", &[("read", counts(1, 2, 3))], &["append", "read", "write"]);
        assert_eq!(one.of("append"), budgets().of("append"), "what was not counted keeps its budget");
        assert_eq!(one.rows.len(), 2, "what was never counted has none");
    }

    #[test]
    fn numbers_are_those_of_one_operation() {
        let rows =
            [(0, "0"), (1, "0.01"), (150, "1.5"), (402, "4.02"), (123_456_700, "1,234,567"), (10_049, "100")];
        for (hundred, told) in rows {
            assert_eq!(per_operation(hundred), told);
        }
    }
}
