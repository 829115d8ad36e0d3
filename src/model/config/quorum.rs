//! Who the controllers are, by the configuration. It must never know which of them leads.

use super::broker::{BrokerConfig, Role, take};
use super::endpoint::{HostPort, Voter};
use super::error::ConfigError;
use super::layers::Layers;

const VOTERS: &str = "controller.quorum.voters";
const BOOTSTRAP: &str = "controller.quorum.bootstrap.servers";

pub(super) fn voters(layers: &Layers) -> Result<Vec<Voter>, ConfigError> {
    let entries: Vec<String> = take(layers, VOTERS)?;
    Ok(entries.iter().filter_map(|entry| Voter::parse(entry)).collect())
}

pub(super) fn bootstrap_servers(layers: &Layers) -> Result<Vec<HostPort>, ConfigError> {
    let entries: Vec<String> = take(layers, BOOTSTRAP)?;
    Ok(entries.iter().filter_map(|entry| HostPort::parse(entry)).collect())
}

/// Kafka's rules. A combined node may leave out both keys: then it is the only controller.
pub(super) fn check(config: &BrokerConfig) -> Result<(), ConfigError> {
    let voters = &config.controller_quorum_voters;
    let alone = config.has_role(Role::Broker) && config.has_role(Role::Controller);
    if voters.is_empty() && config.controller_quorum_bootstrap_servers.is_empty() && !alone {
        let allowed = format!("a comma-separated list of host:port, unless {VOTERS} is set");
        return Err(ConfigError::Missing { key: BOOTSTRAP, allowed });
    }
    let votes = voters.iter().any(|voter| voter.id == config.node_id);
    let node = config.node_id;
    if config.has_role(Role::Controller) && !voters.is_empty() && !votes {
        let rule = format!("must have node.id {node}, since process.roles has controller");
        return Err(ConfigError::conflict(VOTERS, written(voters), rule));
    }
    if !config.has_role(Role::Controller) && votes {
        let rule = format!("must not have node.id {node}, since process.roles has no controller");
        return Err(ConfigError::conflict(VOTERS, written(voters), rule));
    }
    if config.boolean("controller.quorum.auto.join.enable") && !config.has_role(Role::Controller) {
        let rule = "is for nodes whose process.roles has controller";
        return Err(ConfigError::conflict("controller.quorum.auto.join.enable", true, rule));
    }
    Ok(())
}

fn written<T: ToString>(entries: &[T]) -> String {
    entries.iter().map(T::to_string).collect::<Vec<_>>().join(",")
}
