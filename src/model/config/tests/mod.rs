//! The configuration's stories, one file each.

mod defaults;
mod described;
mod dynamic;
mod honoured;
mod precedence;
mod properties;
mod refusals;
mod spellings;
mod table;
mod topics;
mod wrong_values;

use std::collections::BTreeMap;

use super::{BrokerConfig, ConfigError, Sources, Warning, load};

type Loaded = Result<(BrokerConfig, Vec<Warning>), ConfigError>;

/// A start with this `server.properties`.
fn with_file(text: &str) -> Loaded {
    load(Sources { file: Some(("server.properties".into(), text.into())), env: [], overrides: &[] })
}

/// A start with the shipped settings, which these lines override.
fn with_lines(lines: &str) -> Loaded {
    let pairs = super::parse_properties(lines.as_bytes()).expect("a test's lines are well formed");
    load(Sources { file: None, env: [], overrides: &pairs })
}

/// A start with these variables alone.
fn with_env(variables: &[(&str, &str)]) -> Loaded {
    let env = variables.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    load(Sources { file: None, env, overrides: &[] })
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

/// The fewest lines that Kafka needs in a combined node's file.
const COMBINED: &str = "\
process.roles=broker,controller
node.id=3
controller.quorum.voters=3@localhost:9093
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://:9092,CONTROLLER://:9093
";
