//! The table of configuration keys: every broker key and every topic key of Apache Kafka 4.4, by area. It must never hold
//! anything but facts: parsing and checking values is done elsewhere.

mod client_metrics;
mod group;
mod groups;
mod listeners;
mod log;
mod quorum;
mod quotas;
mod replication;
mod row;
mod sasl;
mod security;
mod server;
mod tiered;
mod topic;
mod transactions;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::key::ConfigKey;

/// Every broker key, area by area.
pub static BROKER_KEYS: &[ConfigKey] = &ALL_BROKER_KEYS;

/// Every topic key, by name.
pub static TOPIC_KEYS: &[ConfigKey] = topic::KEYS;

/// The keys that can be set for a group.
pub static GROUP_KEYS: &[ConfigKey] = group::KEYS;

/// The keys of a client metrics subscription.
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
