//! The one table of configuration keys: every broker key and every topic key of Apache Kafka 4.4, by area.
//! It must never hold anything but facts: reading and checking values is its readers' business.

mod client_metrics;
mod group;
mod groups;
mod listeners;
mod log;
mod quorum;
mod quotas;
mod replication;
mod sasl;
mod security;
mod server;
mod tiered;
mod topic;
mod transactions;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::endpoint::{HostPort, Voter};
use super::java;
use super::key::{ConfigKey, Support, Synonym, Valid};
use super::value::Value;

/// Every broker key, area by area.
pub static BROKER_KEYS: &[ConfigKey] = &ALL_BROKER_KEYS;

/// Every topic key, by name.
pub static TOPIC_KEYS: &[ConfigKey] = topic::KEYS;

/// What a group can set for itself.
pub static GROUP_KEYS: &[ConfigKey] = group::KEYS;

/// What a subscription to clients' metrics says.
pub static CLIENT_METRICS_KEYS: &[ConfigKey] = client_metrics::KEYS;

pub fn broker_key(name: &str) -> Option<&'static ConfigKey> {
    BROKER_INDEX.get(name).copied()
}

pub fn topic_key(name: &str) -> Option<&'static ConfigKey> {
    TOPIC_INDEX.get(name).copied()
}

pub fn group_key(name: &str) -> Option<&'static ConfigKey> {
    GROUP_KEYS.iter().find(|key| key.name == name)
}

pub fn client_metrics_key(name: &str) -> Option<&'static ConfigKey> {
    CLIENT_METRICS_KEYS.iter().find(|key| key.name == name)
}

static BROKER_INDEX: LazyLock<BTreeMap<&'static str, &'static ConfigKey>> =
    LazyLock::new(|| index(BROKER_KEYS));
static TOPIC_INDEX: LazyLock<BTreeMap<&'static str, &'static ConfigKey>> =
    LazyLock::new(|| index(TOPIC_KEYS));

fn index(keys: &'static [ConfigKey]) -> BTreeMap<&'static str, &'static ConfigKey> {
    keys.iter().map(|key| (key.name, key)).collect()
}

const AREAS: [&[ConfigKey]; 11] = [
    server::KEYS,
    listeners::KEYS,
    log::KEYS,
    replication::KEYS,
    groups::KEYS,
    transactions::KEYS,
    quorum::KEYS,
    security::KEYS,
    sasl::KEYS,
    quotas::KEYS,
    tiered::KEYS,
];

static ALL_BROKER_KEYS: [ConfigKey; count()] = joined();

const fn count() -> usize {
    let mut sum = 0;
    let mut area = 0;
    while area < AREAS.len() {
        sum += AREAS[area].len();
        area += 1;
    }
    sum
}

const fn joined() -> [ConfigKey; count()] {
    let mut all = [AREAS[0][0]; count()];
    let (mut area, mut at) = (0, 0);
    while area < AREAS.len() {
        let mut row = 0;
        while row < AREAS[area].len() {
            all[at] = AREAS[area][row];
            at += 1;
            row += 1;
        }
        area += 1;
    }
    all
}

/// Rows of broker keys: `name: kind = default, allowed, importance, update, support, doc;`
/// where the default is a text, `null` or `required`, and `internal` may stand before the name.
macro_rules! broker_keys {
    ($($($internal:ident)? $name:literal: $kind:ident = $default:tt, $valid:expr, $importance:ident,
       $update:ident, $support:expr, $doc:literal;)*) => {
        pub(super) const KEYS: &[ConfigKey] = &[$(ConfigKey {
            name: $name,
            kind: Kind::$kind,
            default: crate::config::table::default_of!($default),
            required: crate::config::table::is_required!($default),
            valid: $valid,
            importance: Importance::$importance,
            update_mode: crate::config::table::update_of!($update),
            scope: crate::config::table::scope_of!($update),
            internal: crate::config::table::is_internal!($($internal)?),
            sensitive: matches!(Kind::$kind, Kind::Password),
            support: $support,
            broker_synonyms: &[],
            doc: $doc,
        }),*];
    };
}

/// Rows of the keys of a kind of resource, after its name: `name: kind = default, allowed, [broker synonyms], support, doc;`.
/// All of them are of medium importance and can change at any time.
macro_rules! resource_keys {
    ($scope:ident; $($($internal:ident)? $name:literal: $kind:ident = $default:tt, $valid:expr, $synonyms:expr,
       $support:expr, $doc:literal;)*) => {
        pub(super) const KEYS: &[ConfigKey] = &[$(ConfigKey {
            name: $name,
            kind: Kind::$kind,
            default: crate::config::table::default_of!($default),
            required: false,
            valid: $valid,
            importance: Importance::Medium,
            update_mode: UpdateMode::ClusterWide,
            scope: Scope::$scope,
            internal: crate::config::table::is_internal!($($internal)?),
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

use {broker_keys, default_of, is_internal, is_required, resource_keys, scope_of, update_of};

const ANY: Valid = Valid::Any;
const GZIP_LEVEL: Valid = Valid::Custom {
    allowed: "a 32-bit whole number from 1 to 9, or -1",
    check: |value| value.as_whole().is_some_and(|level| level == -1 || (1..=9).contains(&level)),
};
const VOTERS: Valid = Valid::Custom {
    allowed: "a comma-separated list of id@host:port",
    check: |value| matches!(value, Value::List(items) if items.iter().all(|item| Voter::parse(item).is_some())),
};
const BOOTSTRAP_SERVERS: Valid = Valid::Custom {
    allowed: "a comma-separated list of host:port",
    check: |value| matches!(value, Value::List(items) if items.iter().all(|item| HostPort::parse(item).is_some())),
};
const THROTTLED_REPLICAS: Valid = Valid::Custom {
    allowed: "a comma-separated list of partition:broker, or *",
    check: |value| matches!(value, Value::List(items) if throttled_replicas(items)),
};
const LIST: Valid = Valid::Items { of: &[], empty: true };
const NON_EMPTY_LIST: Valid = Valid::Items { of: &[], empty: false };

const FOR_TLS: Support = Support::NeededBy("TLS");
const FOR_SASL: Support = Support::NeededBy("SASL");
const FOR_EITHER: Support = Support::NeededBy("TLS or SASL");
const NO_JAVA: Support = Support::Refused("this broker cannot load Java classes");

const fn at_least(min: i64) -> Valid {
    Valid::AtLeast(min)
}

const fn between(min: i64, max: i64) -> Valid {
    Valid::Between(min, max)
}

const fn one_of(names: &'static [&'static str]) -> Valid {
    Valid::OneOf(names)
}

/// A list of these names, which may be empty.
const fn items_of(names: &'static [&'static str]) -> Valid {
    Valid::Items { of: names, empty: true }
}

/// A list of at least one of these names.
const fn some_of(names: &'static [&'static str]) -> Valid {
    Valid::Items { of: names, empty: false }
}

const fn same(name: &'static str) -> Synonym {
    Synonym { name, times: 1 }
}

const fn minutes(name: &'static str) -> Synonym {
    Synonym { name, times: 60_000 }
}

const fn hours(name: &'static str) -> Synonym {
    Synonym { name, times: 3_600_000 }
}

fn throttled_replicas(items: &[String]) -> bool {
    let number = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let pair = |item: &str| item.split_once(':').is_some_and(|(left, right)| number(left) && number(right));
    let well_formed = |item: &str| item.is_empty() || pair(item);
    items.concat() == "*" || items.iter().all(|item| well_formed(java::trim(item)))
}
