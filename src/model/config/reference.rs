//! The configuration reference page, generated from the table, so that it cannot contradict the code. It must never say
//! anything that is not in the table.

use std::fmt::Write;

use super::key::{ConfigKey, Support};
use super::table::{BROKER_KEYS, CLIENT_METRICS_KEYS, GROUP_KEYS, TOPIC_KEYS};

/// A Markdown page of every key: name, type, default, allowed values, support and meaning.
pub fn reference_markdown() -> String {
    let mut page = String::from(PREFACE);
    section(&mut page, "Broker", BROKER_KEYS);
    section(&mut page, "Topic", TOPIC_KEYS);
    section(&mut page, "Group", GROUP_KEYS);
    section(&mut page, "Client metrics", CLIENT_METRICS_KEYS);
    page
}

const PREFACE: &str = "# Configuration reference

Names, types, defaults and limits are those of Apache Kafka 4.4. This page is generated from the table in
`src/model/config/table/`; do not edit it.

- **honoured**: the broker acts on it.
- **accepted**: valid, but without effect yet.
- **for TLS**, **for SASL**: needed by listeners with that protocol only, and such a listener stops the start, since
  neither is built in yet. Without one the key has no effect, in Kafka too; a line of the log says so.
- **refused**: anything but the default stops the start, because ignoring it would break what it promises.
";

fn section(page: &mut String, title: &str, keys: &[ConfigKey]) {
    let mut keys: Vec<&ConfigKey> = keys.iter().collect();
    keys.sort_by_key(|key| key.name);
    let line = "| name | type | default | allowed | support | meaning |\n|---|---|---|---|---|---|";
    writeln!(page, "\n## {title} settings\n\n{line}").expect("a string takes every write");
    for key in keys {
        writeln!(page, "{}", row(key)).expect("a string takes every write");
    }
}

fn row(key: &ConfigKey) -> String {
    let default = match key.default {
        Some("") => "empty".to_owned(),
        Some(text) => format!("`{text}`"),
        None if key.required => "must be set".to_owned(),
        None => "none".to_owned(),
    };
    let support = match key.support {
        Support::Honoured => "honoured".to_owned(),
        Support::Accepted => "accepted".to_owned(),
        Support::NeededBy(protocol) => format!("for {protocol}"),
        Support::Refused(why) => format!("refused: {why}"),
    };
    let (kind, allowed) = (key.kind.name(), key.allowed());
    format!("| `{}` | {kind} | {default} | {allowed} | {support} | {} |", key.name, key.doc)
}
