//! How a row of the table is written: the macros that parse one, and short names for allowed values, for the protocols
//! that need a key, and for older names of keys. It must never name a key.

use super::super::endpoint::{HostPort, Voter};
use super::super::java;
use super::super::key::{Support, Synonym, Valid};
use super::super::value::Value;

/// Rows of broker keys: `name: kind = default, allowed, importance, update, support, doc;`
/// where the default is a text, `null` or `required`, and `internal` may stand before the name.
macro_rules! broker_keys {
    ($($($internal:ident)? $name:literal: $kind:ident = $default:tt, $valid:expr, $importance:ident,
       $update:ident, $support:expr, $doc:literal;)*) => {
        pub(super) const KEYS: &[ConfigKey] = &[$(ConfigKey {
            name: $name,
            kind: Kind::$kind,
            default: crate::config::table::row::default_of!($default),
            required: crate::config::table::row::is_required!($default),
            valid: $valid,
            importance: Importance::$importance,
            update_mode: crate::config::table::row::update_of!($update),
            scope: crate::config::table::row::scope_of!($update),
            internal: crate::config::table::row::is_internal!($($internal)?),
            sensitive: matches!(Kind::$kind, Kind::Password),
            support: $support,
            broker_synonyms: &[],
            doc: $doc,
        }),*];
    };
}

/// Rows of the keys of one kind of resource, after its name: `name: kind = default, allowed, [broker synonyms], support,
/// doc;`. All of them have medium importance and can change at any time.
macro_rules! resource_keys {
    ($scope:ident; $($($internal:ident)? $name:literal: $kind:ident = $default:tt, $valid:expr, $synonyms:expr,
       $support:expr, $doc:literal;)*) => {
        pub(super) const KEYS: &[ConfigKey] = &[$(ConfigKey {
            name: $name,
            kind: Kind::$kind,
            default: crate::config::table::row::default_of!($default),
            required: false,
            valid: $valid,
            importance: Importance::Medium,
            update_mode: UpdateMode::ClusterWide,
            scope: Scope::$scope,
            internal: crate::config::table::row::is_internal!($($internal)?),
            sensitive: false,
            support: $support,
            broker_synonyms: &$synonyms,
            doc: $doc,
        }),*];
    };
}

macro_rules! default_of {
    (null) => {
        None
    };
    (required) => {
        None
    };
    ($text:literal) => {
        Some($text)
    };
}

macro_rules! is_required {
    (required) => {
        true
    };
    ($other:tt) => {
        false
    };
}

macro_rules! is_internal {
    (internal) => {
        true
    };
    () => {
        false
    };
}

macro_rules! update_of {
    (DynamicOnly) => {
        crate::config::key::UpdateMode::ClusterWide
    };
    ($mode:ident) => {
        crate::config::key::UpdateMode::$mode
    };
}

macro_rules! scope_of {
    (DynamicOnly) => {
        crate::config::key::Scope::DynamicBroker
    };
    ($mode:ident) => {
        crate::config::key::Scope::Broker
    };
}

pub(super) use {broker_keys, default_of, is_internal, is_required, resource_keys, scope_of, update_of};

pub(super) const ANY: Valid = Valid::Any;
pub(super) const GZIP_LEVEL: Valid = Valid::Custom {
    allowed: "a 32-bit whole number from 1 to 9, or -1",
    check: |value| value.as_whole().is_some_and(|level| level == -1 || (1..=9).contains(&level)),
};
pub(super) const VOTERS: Valid = Valid::Custom {
    allowed: "a comma-separated list of id@host:port",
    check: |value| matches!(value, Value::List(items) if items.iter().all(|item| Voter::parse(item).is_some())),
};
pub(super) const BOOTSTRAP_SERVERS: Valid = Valid::Custom {
    allowed: "a comma-separated list of host:port",
    check: |value| matches!(value, Value::List(items) if items.iter().all(|item| HostPort::parse(item).is_some())),
};
pub(super) const THROTTLED_REPLICAS: Valid = Valid::Custom {
    allowed: "a comma-separated list of partition:broker, or *",
    check: |value| matches!(value, Value::List(items) if throttled_replicas(items)),
};
pub(super) const LIST: Valid = Valid::Items { of: &[], empty: true };
pub(super) const NON_EMPTY_LIST: Valid = Valid::Items { of: &[], empty: false };

pub(super) const FOR_TLS: Support = Support::NeededBy("TLS");
pub(super) const FOR_SASL: Support = Support::NeededBy("SASL");
pub(super) const FOR_EITHER: Support = Support::NeededBy("TLS or SASL");
pub(super) const NO_JAVA: Support = Support::Refused("this broker cannot load Java classes");

pub(super) const fn at_least(min: i64) -> Valid {
    Valid::AtLeast(min)
}

pub(super) const fn between(min: i64, max: i64) -> Valid {
    Valid::Between(min, max)
}

pub(super) const fn one_of(names: &'static [&'static str]) -> Valid {
    Valid::OneOf(names)
}

/// A list of these names, which may be empty.
pub(super) const fn items_of(names: &'static [&'static str]) -> Valid {
    Valid::Items { of: names, empty: true }
}

/// A list of at least one of these names.
pub(super) const fn some_of(names: &'static [&'static str]) -> Valid {
    Valid::Items { of: names, empty: false }
}

pub(super) const fn same(name: &'static str) -> Synonym {
    Synonym { name, times: 1 }
}

pub(super) const fn minutes(name: &'static str) -> Synonym {
    Synonym { name, times: 60_000 }
}

pub(super) const fn hours(name: &'static str) -> Synonym {
    Synonym { name, times: 3_600_000 }
}

fn throttled_replicas(items: &[String]) -> bool {
    let number = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let pair = |item: &str| item.split_once(':').is_some_and(|(left, right)| number(left) && number(right));
    let well_formed = |item: &str| item.is_empty() || pair(item);
    items.concat() == "*" || items.iter().all(|item| well_formed(java::trim(item)))
}
