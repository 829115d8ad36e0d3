//! The texts of values by source, and which source wins. It must never know what a value means.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::error::{ConfigError, shown};
use super::key::ConfigKey;
use super::value::Value;

/// The source of a value, with Kafka's codes for DescribeConfigs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Unknown = 0,
    TopicConfig = 1,
    DynamicBroker = 2,
    DynamicDefaultBroker = 3,
    /// `server.properties`, the environment or the command line.
    StaticBroker = 4,
    Default = 5,
    DynamicBrokerLogger = 6,
    ClientMetrics = 7,
    Group = 8,
}

impl Source {
    pub fn code(self) -> i8 {
        self as i8
    }
}

/// The dynamic values for this broker in the metadata.
#[derive(Clone, Copy, Debug)]
pub struct Dynamic<'a> {
    pub per_broker: &'a BTreeMap<String, String>,
    pub cluster_default: &'a BTreeMap<String, String>,
}

impl Dynamic<'_> {
    pub const NONE: Dynamic<'static> =
        Dynamic { per_broker: &BTreeMap::new(), cluster_default: &BTreeMap::new() };
}

/// A value in force and its source. `None`: null.
#[derive(Clone, Debug, PartialEq)]
pub struct Effective {
    pub value: Option<Value>,
    pub source: Source,
}

/// Everything set for a broker, strongest source first.
#[derive(Clone, Default, PartialEq)]
pub(super) struct Layers {
    pub dynamic_broker: BTreeMap<String, String>,
    pub dynamic_default: BTreeMap<String, String>,
    pub static_broker: BTreeMap<String, String>,
}

impl Layers {
    pub fn each(&self) -> [(Source, &BTreeMap<String, String>); 3] {
        [
            (Source::DynamicBroker, &self.dynamic_broker),
            (Source::DynamicDefaultBroker, &self.dynamic_default),
            (Source::StaticBroker, &self.static_broker),
        ]
    }

    pub fn is_set(&self, name: &str) -> bool {
        self.each().iter().any(|(_, values)| values.contains_key(name))
    }

    pub fn names(&self) -> BTreeSet<&str> {
        self.each().into_iter().flat_map(|(_, values)| values.keys().map(String::as_str)).collect()
    }

    /// The text of the strongest source.
    pub fn text(&self, name: &str) -> Option<(&str, Source)> {
        self.each().into_iter().find_map(|(source, values)| Some((values.get(name)?.as_str(), source)))
    }

    pub fn effective(&self, key: &ConfigKey) -> Result<Effective, ConfigError> {
        let Some((text, source)) = self.text(key.name) else {
            return Ok(Effective { value: key.default_value(), source: Source::Default });
        };
        Ok(Effective { value: Some(checked(key, text)?), source })
    }

    pub fn value(&self, key: &ConfigKey) -> Result<Option<Value>, ConfigError> {
        Ok(self.effective(key)?.value)
    }
}

/// The parsed value of a text that somebody has set.
pub(super) fn checked(key: &ConfigKey, text: &str) -> Result<Value, ConfigError> {
    key.parse(text).map_err(|allowed| ConfigError::invalid(key.name, &shown(key, text), allowed))
}

// The values may be secrets, so debug output has only the keys.
impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}
