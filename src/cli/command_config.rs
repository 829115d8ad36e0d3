//! The files and pairs that configure the client inside a tool (`--command-config` and its older names). What
//! would weaken security when ignored is refused; the rest is for Java's client and has no effect here.

use crate::options::{Failure, Given};
use anyhow::{Context, anyhow};
use ottla_client::{Cluster, ClusterOptions};
use ottla_model::config::parse_properties;
use std::collections::BTreeMap;
use std::time::Duration;

/// Options of a tool that are about its client.
pub(crate) struct Names<'a> {
    pub(crate) files: &'a [&'a str],
    pub(crate) pairs: &'a [&'a str],
}

/// The usual ones.
pub(crate) const COMMAND_CONFIG: Names<'_> = Names { files: &["command-config"], pairs: &[] };

/// All settings, those given as pairs over those of files.
pub(crate) fn settings(given: &Given, names: &Names<'_>) -> Result<BTreeMap<String, String>, Failure> {
    let mut settings = BTreeMap::new();
    for path in names.files.iter().flat_map(|name| given.all(name)) {
        settings.extend(properties(path)?);
    }
    settings.extend(given.pairs(names.pairs));
    Ok(settings)
}

/// A Java properties file.
pub(crate) fn properties(path: &str) -> Result<BTreeMap<String, String>, Failure> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {path}"))?;
    let pairs =
        parse_properties(&bytes).map_err(|error| anyhow!("{path}, line {}: {}", error.line, error.what))?;
    Ok(pairs.into_iter().collect())
}

/// Connects to `--bootstrap-server` with the settings that count here.
pub(crate) async fn connect(
    bootstrap: &str,
    settings: &BTreeMap<String, String>,
    mut options: ClusterOptions,
) -> Result<Cluster, Failure> {
    check_addresses(bootstrap)?;
    match settings.get("security.protocol").map(|protocol| protocol.trim()) {
        None | Some("" | "PLAINTEXT") => {}
        Some(other) => {
            return Err(Failure::Wrong(format!(
                "security.protocol {other} is not supported yet, only PLAINTEXT is"
            )));
        }
    }
    if let Some(id) = settings.get("client.id") {
        options.connection.client_id = Some(id.clone());
    }
    if let Some(timeout) = settings.get("request.timeout.ms") {
        let timeout =
            timeout.trim().parse().map_err(|_| anyhow!("request.timeout.ms {timeout} is not a number"))?;
        options.connection.request_timeout = Duration::from_millis(timeout);
    }
    Ok(Cluster::connect(bootstrap, options).await?)
}

fn check_addresses(bootstrap: &str) -> Result<(), Failure> {
    for address in bootstrap.split(',').map(str::trim) {
        let port = address.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        if !matches!(port, Some(Ok(1..))) {
            return Err(Failure::Wrong(format!(
                "--bootstrap-server needs host:port, which {address} is not"
            )));
        }
    }
    Ok(())
}
