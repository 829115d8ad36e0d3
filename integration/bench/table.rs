//! Results as Markdown.

use std::fmt::Write;

use crate::reading::Aim;
use crate::report::Report;
use crate::results::{Ratio, Row};
use crate::statistics::number;

pub fn markdown(report: &Report<'_>) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_all(&mut text, report);
    text
}

fn write_all(text: &mut String, report: &Report<'_>) -> std::fmt::Result {
    let (machine, results) = (&report.machine, report.results);
    if report.plan.quick {
        writeln!(text, "**A quick run: it shows that everything works and proves nothing.**\n")?;
    }
    let versions: Vec<&str> = report.versions.iter().map(|(_, version)| &version[..]).collect();
    writeln!(
        text,
        "{}; medians of {} round(s) in turn; acks={}. {} cores ({}), {} MB of memory, Linux {}, {} \
         on a disk that takes {} MB/s.\n",
        versions.join(" beside "),
        report.pairs,
        if report.plan.acks == -1 { "all".into() } else { report.plan.acks.to_string() },
        machine.cores,
        machine.processor,
        number(machine.memory_mb),
        machine.kernel,
        machine.file_system,
        number(machine.disk_mb_per_second),
    )?;
    writeln!(text, "| workload | | Ottla | Kafka | better by (spread) | aim |")?;
    writeln!(text, "|---|---|---:|---:|---|---|")?;
    for workload in results.workloads() {
        let mut name = workload.name;
        for row in results.rows(workload) {
            write_row(text, name, &row)?;
            name = "";
        }
    }
    let notes = results.notes();
    if results.workloads().iter().any(|workload| results.rows(workload).iter().any(is_marked)) {
        writeln!(text, "\n† the rate was not held, so latencies grow with the length of the run.")?;
    }
    if !notes.is_empty() {
        writeln!(text)?;
        notes.iter().try_for_each(|note| writeln!(text, "- {note}"))?;
    }
    if let Some((middle, most)) = results.others() {
        let (middle, most) = (middle * 100.0, most * 100.0);
        writeln!(
            text,
            "\nOthers than broker and client used {middle:.0} % of the machine (median of workloads), at most {most:.0} %: \
             the kernel's own threads that write back count here."
        )?;
    }
    Ok(())
}

fn write_row(text: &mut String, name: &str, row: &Row) -> std::fmt::Result {
    let cell = |value: Option<f64>, rate_missed: bool| {
        let mark = if rate_missed { " †" } else { "" };
        value.map_or(String::new(), |value| format!("{}{mark}", number(value)))
    };
    let unit = if row.unit.is_empty() { String::new() } else { format!(", {}", row.unit) };
    writeln!(
        text,
        "| {name} | {}{unit} | {} | {} | {} | {} |",
        row.what,
        cell(row.ottla, row.rate_missed.0),
        cell(row.kafka, row.rate_missed.1),
        row.ratio.map_or(String::new(), ratio),
        aim(row),
    )
}

fn ratio(ratio: Ratio) -> String {
    let (median, least, most) = (number(ratio.median), number(ratio.least), number(ratio.most));
    if least == most { format!("{median} x") } else { format!("{median} x ({least}-{most})") }
}

fn aim(row: &Row) -> String {
    let Some(aim) = row.aim else { return String::new() };
    let wanted = match aim {
        Aim::AtMost(most) => format!("at most {}", most),
        Aim::Times(times) => format!("{times} x"),
    };
    match row.is_met() {
        Some(true) => format!("{wanted}: met"),
        Some(false) => format!("{wanted}: missed"),
        None => wanted,
    }
}

fn is_marked(row: &Row) -> bool {
    row.rate_missed.0 || row.rate_missed.1
}

#[cfg(test)]
mod tests {
    use crate::report::tests::with_example;

    #[test]
    fn a_table_says_what_came_and_what_it_is_worth() {
        let text = with_example(super::markdown);
        for line in [
            "**A quick run: it shows that everything works and proves nothing.**",
            "| workload | | Ottla | Kafka | better by (spread) | aim |",
            "| steady-100 | acknowledged, MB/s | 100 | 100 † | 1.00 x |  |",
            "|  | produce p99, ms | 3.00 | 11.0 † | 4.00 x (3.00-5.00) | at most 5: met |",
            "|  | produce max, ms | 300 | 1100 † | 4.00 x (3.00-5.00) | at most 100: missed |",
            "|  | broker's CPU, s/GB | 3.00 | 11.0 † | 4.00 x (3.00-5.00) | 3 x: met |",
            "|  | client late at p99, ms | 0.10 | 0.10 † |  |  |",
            "- steady-100, Kafka, round 3: FAILED: it",
        ] {
            assert!(text.lines().any(|found| found == line), "no line {line} in\n{text}");
        }
    }
}
