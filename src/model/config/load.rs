//! Reads a configuration: the command line wins over the environment, that over `server.properties`, that over defaults.
//! It must never read a file, the environment or the command line itself: their contents are arguments.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::broker::BrokerConfig;
use super::error::{ConfigError, one_line, shown};
use super::key::{Scope, Support};
use super::layers::Layers;
use super::rules::governing_key;
use super::table::broker_key;
use super::{environment, properties};

/// The sources of a configuration, strongest last. Defaults are weaker than all of them.
pub struct Sources<'a, E> {
    /// Path and contents of `server.properties`.
    pub file: Option<(PathBuf, Vec<u8>)>,
    /// All environment variables. Those that are not for Kafka are ignored.
    pub env: E,
    /// `--override key=value`, in order. The last one of a key counts.
    pub overrides: &'a [(String, String)],
}

/// A message for the operator that does not stop the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// A key that Kafka 4 does not have. It is ignored; perhaps it is misspelt.
    Unknown { key: String },
    /// A key of an older Kafka, of another distribution or of Java. It is ignored.
    Retired { key: String, hint: &'static str },
    /// A key that has no effect here so far, set to something other than its default.
    NoEffect { key: String, value: String },
    /// A key that only listeners with this protocol need, and there is none.
    Unneeded { key: String, value: String, by: &'static str },
    /// A key with a newer name.
    Deprecated { key: String, instead: &'static str },
}

/// Makes the configuration of a node, and the messages for its operator.
///
/// Without a file and without `KAFKA_*` variables that name a key, the defaults are those of Kafka's shipped
/// `server.properties` ([`SHIPPED`]). With either of them, they are Kafka's built-in ones, as in the apache/kafka image.
pub fn load<E>(sources: Sources<'_, E>) -> Result<(BrokerConfig, Vec<Warning>), ConfigError>
where
    E: IntoIterator<Item = (String, String)>,
{
    let env = environment::properties(sources.env);
    let env_counts = env.keys().any(|name| governing_key(name).is_some());
    let env_replaced_shipped = sources.file.is_none() && env_counts;
    let mut values = match &sources.file {
        Some((path, bytes)) => pairs(path, bytes)?,
        None => BTreeMap::new(),
    };
    let env_advertises = env.contains_key("advertised.listeners") && !values.contains_key("listeners");
    values.extend(env);
    values.extend(sources.overrides.iter().map(|(key, value)| (key.trim().to_owned(), value.clone())));
    if env_advertises {
        listen_where_advertised(&mut values);
    }
    refuse_providers(&values)?;
    let warnings = warnings(&values);
    let mut values = with_synonyms(values);
    if sources.file.is_none() && !env_counts {
        // If only `listeners` is set, the shipped `advertised.listeners` does not fit it and is left out. The shipped
        // roles include the controller, so a controller listener is added.
        let listens_elsewhere = values.contains_key("listeners");
        let names_its_controllers = values.contains_key("controller.listener.names");
        if let Some(listeners) = values.get_mut("listeners")
            && !names_its_controllers
            && !listeners.to_uppercase().contains("CONTROLLER://")
        {
            listeners.push_str(",CONTROLLER://localhost:9093");
        }
        for (key, value) in pairs(Path::new("server.properties"), SHIPPED.as_bytes())? {
            if !(listens_elsewhere && key == "advertised.listeners") {
                values.entry(key).or_insert(value);
            }
        }
    }
    // Once more, because the shipped node.id has to count as broker.id, too.
    let layers = Layers { static_broker: with_synonyms(values), ..Layers::default() };
    let config = BrokerConfig::from_layers(layers).map_err(|error| match error {
        ConfigError::Missing { key, allowed } if env_replaced_shipped => ConfigError::Missing {
            key,
            allowed: format!("{allowed} (KAFKA_* variables replace the built-in server.properties)"),
        },
        error => error,
    })?;
    Ok((config, warnings))
}

impl Default for BrokerConfig {
    /// The configuration without any file, variable or override.
    fn default() -> BrokerConfig {
        let nothing = Sources { file: None, env: [], overrides: &[] };
        load(nothing).expect("the shipped settings are valid").0
    }
}

// The image's start script does this for nodes that are not only controllers.
fn listen_where_advertised(values: &mut BTreeMap<String, String>) {
    let controller_only = values.get("process.roles").is_some_and(|roles| roles.trim() == "controller");
    let advertised = values.get("advertised.listeners").filter(|text| !text.is_empty() && !controller_only);
    if let Some(listeners) = advertised.map(|text| environment::listeners_for(text)) {
        values.entry("listeners".to_owned()).or_insert(listeners);
    }
}

fn pairs(path: &Path, bytes: &[u8]) -> Result<BTreeMap<String, String>, ConfigError> {
    let pairs = properties::parse(bytes).map_err(|malformed| ConfigError::Syntax {
        path: path.to_owned(),
        line: malformed.line,
        what: malformed.what,
    })?;
    Ok(pairs.into_iter().collect())
}

// `broker.id` and `node.id` mean the same; if one is missing it gets the other's value (KIP-1232). A wrong value is not
// copied, so that the error names the key that was set.
fn with_synonyms(mut values: BTreeMap<String, String>) -> BTreeMap<String, String> {
    for (from, to) in [("node.id", "broker.id"), ("broker.id", "node.id")] {
        if let (Some(id), None) = (values.get(from).cloned(), values.get(to))
            && broker_key(from).is_some_and(|key| key.parse(&id).is_ok())
        {
            values.insert(to.to_owned(), id);
        }
    }
    values
}

// `${provider:path:key}` is refused: config providers are not supported, so the text itself would be used as the value.
fn refuse_providers(values: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    let is_variable = |value: &str| {
        let inside = value.split("${").skip(1).filter_map(|rest| rest.split_once('}'));
        inside.into_iter().any(|(inside, _)| inside.contains(':'))
    };
    let is_used =
        |name: &str| governing_key(name).is_some_and(|key| !matches!(key.support, Support::NeededBy(_)));
    match values.iter().find(|(name, value)| is_used(name) && is_variable(value)) {
        Some((key, value)) => Err(ConfigError::Provider { key: key.clone(), value: one_line(value) }),
        None => Ok(()),
    }
}

fn warnings(values: &BTreeMap<String, String>) -> Vec<Warning> {
    values.iter().filter_map(|(name, value)| warning(name, value)).collect()
}

fn warning(name: &str, value: &str) -> Option<Warning> {
    let key = name.to_owned();
    if name == "broker.id" {
        return Some(Warning::Deprecated { key, instead: "node.id" });
    }
    let Some(row) = governing_key(name).filter(|row| row.scope == Scope::Broker) else {
        let retired = RETIRED.iter().find(|(retired, _)| match retired.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == *retired,
        });
        return Some(match retired {
            Some((_, hint)) => Warning::Retired { key, hint },
            None => Warning::Unknown { key },
        });
    };
    if row.parse(value).ok() == row.default_value() {
        return None;
    }
    let value = shown(row, value);
    match row.support {
        Support::NeededBy(by) => Some(Warning::Unneeded { key, value, by }),
        Support::Accepted => Some(Warning::NoEffect { key, value }),
        _ => (row.name != name).then_some(Warning::NoEffect { key, value }),
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::Unknown { key } => write!(f, "Unknown configuration {key} is ignored"),
            Warning::Retired { key, hint } => write!(f, "Configuration {key} is ignored: {hint}"),
            Warning::NoEffect { key, value } => write!(f, "Configuration {key}={value} has no effect yet"),
            Warning::Unneeded { key, value, by } => {
                write!(f, "Configuration {key}={value} has no effect: no listener speaks {by}")
            }
            Warning::Deprecated { key, instead } => {
                write!(f, "Configuration {key} is outdated, use {instead}")
            }
        }
    }
}

/// Keys that people still set although nothing reads them. A star stands for the rest of a name.
const RETIRED: &[(&str, &str)] = &[
    ("zookeeper.*", "there is no ZooKeeper in this cluster"),
    ("confluent.*", "it belongs to another distribution"),
    ("jmx.*", "there is no Java here"),
    ("log4j.*", "there is no Java here"),
    ("auto.include.jmx.reporter", "there is no Java here"),
    ("super.users", "it means nothing without authorizer.class.name"),
    ("allow.everyone.if.no.acl.found", "it means nothing without authorizer.class.name"),
    ("log.message.format.version", "there is only one message format"),
    ("log.message.downconversion.enable", "there is only one message format"),
    ("inter.broker.protocol.version", "features are versioned by kafka-features"),
    ("log.message.timestamp.difference.max.ms", "log.message.timestamp.before.max.ms replaced it"),
    ("broker.id.generation.enable", "every node has a node.id"),
    ("reserved.broker.max.id", "every node has a node.id"),
    ("control.plane.listener.name", "controller.listener.names replaced it"),
    ("leader.imbalance.per.broker.percentage", "any imbalance is corrected"),
    ("controlled.shutdown.max.retries", "brokers shut down through the controller"),
    ("controlled.shutdown.retry.backoff.ms", "brokers shut down through the controller"),
    ("offsets.commit.required.acks", "commits are always acknowledged by all replicas"),
    ("group.coordinator.new.enable", "there is only one coordinator"),
    ("password.encoder.*", "there is no ZooKeeper in this cluster"),
    ("delegation.token.master.key", "delegation.token.secret.key replaced it"),
    ("rlmm.config.*", "tiered storage is not built in yet"),
    ("rsm.config.*", "tiered storage is not built in yet"),
    ("host.name", "listeners replaced it"),
    ("port", "listeners replaced it"),
    ("advertised.host.name", "advertised.listeners replaced it"),
    ("advertised.port", "advertised.listeners replaced it"),
];

/// Kafka's shipped `server.properties`, except for the data directory.
pub const SHIPPED: &str = "\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=localhost:9093
listeners=PLAINTEXT://:9092,CONTROLLER://:9093
inter.broker.listener.name=PLAINTEXT
advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,\
SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL
num.network.threads=3
num.io.threads=8
socket.send.buffer.bytes=102400
socket.receive.buffer.bytes=102400
socket.request.max.bytes=104857600
log.dirs=./ottla-data
num.partitions=1
num.recovery.threads.per.data.dir=2
offsets.topic.replication.factor=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
log.retention.hours=168
log.segment.bytes=1073741824
log.retention.check.interval.ms=300000
";
