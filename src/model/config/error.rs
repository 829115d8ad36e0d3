//! Why a configuration is refused: always one line with the key, its value and what is allowed.
//! It must never carry a secret.

use std::path::PathBuf;

use thiserror::Error;

use super::key::ConfigKey;
use super::value::HIDDEN;

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    #[error("Invalid value {value} for configuration {key}: must be {allowed}")]
    Invalid { key: String, value: String, allowed: String },
    #[error("Unknown topic config name: {0}")]
    UnknownTopicKey(String),
    #[error("Unknown group config name: {0}")]
    UnknownGroupKey(String),
    #[error("Unknown client metrics config name: {0}")]
    UnknownClientMetricsKey(String),
    #[error("Unknown broker config name: {0}")]
    UnknownBrokerKey(String),
    #[error("Missing configuration {key}: must be {allowed}")]
    Missing { key: &'static str, allowed: String },
    #[error("Invalid value {value} for configuration {key}: must be from {min} to {max}")]
    OutOfRange { key: String, value: i64, min: i64, max: i64 },
    /// Two keys are valid alone and contradict each other.
    #[error("Invalid value {value} for configuration {key}: {rule}")]
    Conflict { key: String, value: String, rule: String },
    /// The start stops, because to ignore the key would break what the key promises.
    #[error("Refused {key}={value}: {why}")]
    Refused { key: String, value: String, why: &'static str },
    #[error(
        "Refused {key}={value}: configuration providers (${{provider:...}}) are not supported, write the value itself"
    )]
    Provider { key: String, value: String },
    #[error("{}:{line}: {what}", path.display())]
    Syntax { path: PathBuf, line: usize, what: &'static str },
    #[error("Cannot change configuration {key}: {why}")]
    NotDynamic { key: String, why: &'static str },
}

impl ConfigError {
    pub(super) fn invalid(key: &str, value: &str, allowed: impl Into<String>) -> ConfigError {
        ConfigError::Invalid { key: key.to_owned(), value: one_line(value), allowed: allowed.into() }
    }

    pub(super) fn conflict(key: &str, value: impl ToString, rule: impl Into<String>) -> ConfigError {
        ConfigError::Conflict { key: key.to_owned(), value: one_line(&value.to_string()), rule: rule.into() }
    }

    pub(super) fn refused(key: &str, shown: &str, why: &'static str) -> ConfigError {
        ConfigError::Refused { key: key.to_owned(), value: one_line(shown), why }
    }
}

/// The value in the form in which an error or a warning may show it.
pub(super) fn shown(key: &ConfigKey, value: &str) -> String {
    if key.sensitive { HIDDEN.to_owned() } else { one_line(value) }
}

// A value can be a whole PEM file or contain control characters. The result is one line of limited length.
pub(super) fn one_line(value: &str) -> String {
    let mut line: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
    if value.chars().nth(200).is_some() {
        line.push_str("...");
    }
    line
}
