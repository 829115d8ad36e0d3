//! `kafka-broker-api-versions`: which versions each broker serves, and which of them this client would use.

use crate::command_config::{COMMAND_CONFIG, connect, settings};
use crate::options::{Failure, Spec, Tool};
use ottla_client::{ClusterOptions, Versions};
use ottla_model::NodeId;
use ottla_protocol::messages::ApiKey;
use ottla_protocol::{VersionRange, api};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::ExitCode;

const TOOL: Tool = Tool {
    about: "Tells which versions of each API the brokers serve.",
    options: &[
        Spec::value(
            "bootstrap-server",
            "server(s) to connect to",
            "REQUIRED: the brokers to ask first, host:port.",
        ),
        Spec::value("command-config", "file", "Properties of the client."),
    ],
};

pub(crate) async fn run(args: &[String]) -> Result<ExitCode, Failure> {
    let given = TOOL.parse(args)?;
    let settings = settings(&given, &COMMAND_CONFIG)?;
    let cluster = connect(given.required("bootstrap-server")?, &settings, ClusterOptions::default()).await?;
    let mut brokers = cluster.metadata(Some(&[])).await?.brokers;
    brokers.sort_by_key(|broker| broker.node_id);
    for broker in brokers {
        let rack = broker.rack.as_deref().unwrap_or("null");
        let node = format!(
            "{}:{} (id: {} rack: {rack} isFenced: false)",
            &*broker.host, broker.port, broker.node_id.0
        );
        let versions = match cluster.broker(NodeId(broker.node_id.0)).await {
            Ok(connection) => connection.versions().await,
            Err(error) => Err(error),
        };
        match versions {
            Ok(versions) => println!("{node} -> {}", table(&versions)),
            Err(error) => println!("{node} -> ERROR: {error}\n"),
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn table(versions: &Versions) -> String {
    let mut lines: BTreeMap<i16, String> =
        versions.iter().map(|(key, range)| (key, line(key, range))).collect();
    let known = (0..=ApiKey::DeleteShareGroupOffsets as i16).filter(|key| !CONTROLLERS_OWN.contains(key));
    for (key, api) in known.filter_map(|key| Some((key, ApiKey::try_from(key).ok()?))) {
        lines.entry(key).or_insert_with(|| format!("{api:?}({key}): UNSUPPORTED"));
    }
    let lines: Vec<String> = lines.into_values().collect();
    format!("(\n\t{}\n)", lines.join(",\n\t"))
}

/// APIs that no broker listener serves, so that their absence is not worth a line.
const CONTROLLERS_OWN: [i16; 12] = [52, 53, 54, 56, 58, 59, 62, 63, 67, 70, 73, 82];

/// The API's name, and the versions that this client can use.
fn known(key: i16) -> Option<(String, VersionRange)> {
    match ApiKey::try_from(key) {
        Ok(api) => Some((format!("{api:?}"), api.valid_versions())),
        // One that the crate of messages does not know.
        Err(_) => api::api(key).map(|row| (row.name.to_owned(), row.served)),
    }
}

fn line(key: i16, range: VersionRange) -> String {
    let known = known(key);
    let name = known.as_ref().map_or("UNKNOWN", |(name, _)| name);
    let mut line = format!("{name}({key}): {}", range.min);
    // Writing to a string does not fail.
    if range.min != range.max {
        let _ = write!(line, " to {}", range.max);
    }
    if let Some((_, ours)) = known {
        let usable = ours.intersect(&range);
        let _ = match usable.is_empty() {
            false => write!(line, " [usable: {}]", usable.max),
            true if ours.max < range.min => write!(line, " [unusable: node too new]"),
            true => write!(line, " [unusable: node too old]"),
        };
    }
    line
}
