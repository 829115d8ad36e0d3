//! Values as they were written, by the source they come from, and which of them wins.
//! It must never know what a value means.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::error::{ConfigError, shown};
use super::key::ConfigKey;
use super::value::Value;

/// Where a value comes from, with Kafka's codes for DescribeConfigs.
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

/// What the metadata says about this broker's configuration.
#[derive(Clone, Copy, Debug)]
pub struct Dynamic<'a> {
    pub per_broker: &'a BTreeMap<String, String>,
    pub cluster_default: &'a BTreeMap<String, String>,
}

impl Dynamic<'_> {
    pub const NONE: Dynamic<'static> =
        Dynamic { per_broker: &BTreeMap::new(), cluster_default: &BTreeMap::new() };
}

/// A value in force and where it comes from; none is null.
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

    /// The winning text as it was written.
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

/// The value of a key as somebody wrote it.
pub(super) fn checked(key: &ConfigKey, text: &str) -> Result<Value, ConfigError> {
    key.parse(text).map_err(|allowed| ConfigError::invalid(key.name, &shown(key, text), allowed))
}

// Secrets are among the values: a debug line names the keys only.
impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}
