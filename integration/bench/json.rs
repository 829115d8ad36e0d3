//! Every reading of every round as JSON, for who wants to compute something else.

use std::fmt::Write;

use crate::report::Report;
use crate::results::Entry;

pub fn json(report: &Report<'_>) -> String {
    let (machine, plan) = (&report.machine, &report.plan);
    let versions = report.versions.iter().map(|(name, version)| (&name[..], Json::text(version)));
    let all = Json::Object(vec![
        ("proves_something", Json::Bool(!plan.quick)),
        ("began_unix_seconds", Json::Number(report.began_unix_seconds as f64)),
        ("acks", Json::Number(plan.acks.into())),
        ("pairs", Json::Number(report.pairs as f64)),
        (
            "machine",
            Json::Object(vec![
                ("cores", Json::Number(machine.cores as f64)),
                ("processor", Json::text(&machine.processor)),
                ("memory_mb", Json::Number(machine.memory_mb.round())),
                ("kernel", Json::text(&machine.kernel)),
                ("file_system", Json::text(&machine.file_system)),
                ("disk_mb_per_second", Json::Number(machine.disk_mb_per_second.round())),
            ]),
        ),
        ("versions", Json::Object(versions.collect())),
        ("rounds", Json::List(report.results.entries.iter().map(entry).collect())),
    ]);
    let mut text = String::new();
    all.write(&mut text, 0);
    text.push('\n');
    text
}

fn entry(entry: &Entry) -> Json<'_> {
    let mut fields = vec![
        ("workload", Json::text(entry.workload.name)),
        ("broker", Json::text(entry.kind.name())),
        ("round", Json::Number(entry.round as f64)),
    ];
    match &entry.came {
        Err(error) => fields.push(("failed", Json::text(error))),
        Ok(readings) => {
            let reading = |reading: &'_ crate::reading::Reading| {
                Json::Object(vec![
                    ("what", Json::text(&reading.what)),
                    ("unit", Json::text(reading.unit)),
                    ("value", Json::Number(reading.value)),
                ])
            };
            fields.push(("rate_held", Json::Bool(!readings.rate_missed)));
            fields.push(("others_share", Json::Number(readings.others)));
            fields.push(("notes", Json::List(readings.notes.iter().map(|note| Json::text(note)).collect())));
            fields.push(("readings", Json::List(readings.readings.iter().map(reading).collect())));
        }
    }
    Json::Object(fields)
}

enum Json<'a> {
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Json<'a>>),
    Object(Vec<(&'a str, Json<'a>)>),
}

impl Json<'_> {
    fn text(text: &str) -> Self {
        Json::Text(text.into())
    }

    fn write(&self, to: &mut String, depth: usize) {
        match self {
            Json::Bool(value) => to.push_str(if *value { "true" } else { "false" }),
            // JSON has no word for what is not finite.
            Json::Number(value) if !value.is_finite() => to.push_str("null"),
            Json::Number(value) => to.push_str(&value.to_string()),
            Json::Text(text) => write_text(text, to),
            Json::List(items) => {
                let write = |item: &Json<'_>, to: &mut String| item.write(to, depth + 1);
                write_items(items, ('[', ']'), to, depth, write);
            }
            Json::Object(fields) => {
                let write = |(name, value): &(&str, Json<'_>), to: &mut String| {
                    write_text(name, to);
                    to.push_str(": ");
                    value.write(to, depth + 1);
                };
                write_items(fields, ('{', '}'), to, depth, write);
            }
        }
    }
}

/// One item a line down to the rounds' readings, each of which is a line of its own.
fn write_items<T>(
    items: &[T],
    (open, close): (char, char),
    to: &mut String,
    depth: usize,
    write: impl Fn(&T, &mut String),
) {
    let breaks = depth < LINE_DEPTH && !items.is_empty();
    to.push(open);
    for (index, item) in items.iter().enumerate() {
        match (index, breaks) {
            (0, false) => {}
            (_, false) => to.push_str(", "),
            (0, true) => break_line(to, depth + 1),
            (_, true) => {
                to.push(',');
                break_line(to, depth + 1);
            }
        }
        write(item, to);
    }
    if breaks {
        break_line(to, depth);
    }
    to.push(close);
}

fn break_line(to: &mut String, depth: usize) {
    to.push('\n');
    (0..depth).for_each(|_| to.push_str("  "));
}

fn write_text(text: &str, to: &mut String) {
    to.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => to.extend(['\\', character]),
            '\n' => to.push_str("\\n"),
            control if control < ' ' => {
                // Writing to a string cannot fail.
                let _ = write!(to, "\\u{:04x}", control as u32);
            }
            other => to.push(other),
        }
    }
    to.push('"');
}

const LINE_DEPTH: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_json() {
        for (value, expected) in [
            (Json::Number(1.5), "1.5"),
            (Json::Number(f64::NAN), "null"),
            (Json::text("a \"quote\"\\\n\u{1}"), r#""a \"quote\"\\\n\u0001""#),
            (Json::List(vec![]), "[]"),
        ] {
            let mut text = String::new();
            value.write(&mut text, 0);
            assert_eq!(text, expected);
        }
        let mut text = String::new();
        Json::Object(vec![("a", Json::Bool(true)), ("b", Json::List(vec![Json::Number(1.0)]))])
            .write(&mut text, 4);
        assert_eq!(text, r#"{"a": true, "b": [1]}"#);
    }

    #[test]
    fn every_round_is_there() {
        let text = crate::report::tests::with_example(json);
        assert_eq!(text.matches("\"workload\": \"steady-100\"").count(), 5, "{text}");
        assert!(text.contains(r#"{"what": "produce p99", "unit": "ms", "value": 2}"#), "{text}");
        assert!(text.contains(r#""failed": "it\nbroke""#), "{text}");
    }
}
