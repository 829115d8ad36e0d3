//! The table is consistent, and has the keys of Kafka 4.4.

use std::collections::BTreeSet;

use crate::config::{
    BROKER_KEYS, CLIENT_METRICS_KEYS, ConfigKey, GROUP_KEYS, Kind, Scope, Support, TOPIC_KEYS, UpdateMode,
    Valid, broker_key,
};
use crate::config::{reference_markdown, topic_key};

fn all() -> impl Iterator<Item = &'static ConfigKey> {
    BROKER_KEYS.iter().chain(TOPIC_KEYS).chain(GROUP_KEYS).chain(CLIENT_METRICS_KEYS)
}

#[test]
fn every_key_of_kafka_is_there_once() {
    for keys in [BROKER_KEYS, TOPIC_KEYS, GROUP_KEYS, CLIENT_METRICS_KEYS] {
        let names: BTreeSet<&str> = keys.iter().map(|key| key.name).collect();
        assert_eq!(names.len(), keys.len(), "a key is there twice");
    }
    let of = |scope| BROKER_KEYS.iter().filter(|key| key.scope == scope).count();
    assert_eq!(of(Scope::Broker), 379, "keys of KafkaConfig in 4.4");
    assert_eq!(of(Scope::DynamicBroker), 3, "replication rates, which are only dynamic");
    assert_eq!(TOPIC_KEYS.len(), 38, "keys of LogConfig in 4.4");
    assert_eq!(GROUP_KEYS.len(), 27, "keys of GroupConfig in 4.4");
    assert_eq!(CLIENT_METRICS_KEYS.len(), 3, "keys of ClientMetricsConfigs in 4.4");
    assert!(TOPIC_KEYS.iter().all(|key| key.scope == Scope::Topic));
}

#[test]
fn every_default_is_allowed_by_its_own_row() {
    for key in all() {
        if let Some(text) = key.default {
            assert_eq!(key.parse(text).as_ref().ok(), key.default_value().as_ref(), "{}={text}", key.name);
            assert_eq!(key.default_value().map(|v| v.to_text()).as_deref(), Some(text), "{}", key.name);
        }
    }
}

#[test]
fn limits_fit_their_types() {
    for key in all() {
        let whole = matches!(key.kind, Kind::Int | Kind::Short | Kind::Long);
        let fits = match key.valid {
            Valid::AtLeast(_) | Valid::Between(..) => whole,
            Valid::Ratio(..) => key.kind == Kind::Double,
            Valid::OneOf(_) | Valid::OneOfAnyCase(_) | Valid::NonEmpty => key.kind == Kind::String,
            Valid::Items { .. } => key.kind == Kind::List,
            Valid::Any | Valid::Custom { .. } => true,
        };
        assert!(fits, "{}: {:?} for a {:?}", key.name, key.valid, key.kind);
        assert_eq!(key.sensitive, key.kind == Kind::Password, "{}", key.name);
    }
}

#[test]
fn every_synonym_is_a_broker_key_that_fits() {
    for key in TOPIC_KEYS {
        for synonym in key.broker_synonyms {
            let broker =
                broker_key(synonym.name).unwrap_or_else(|| panic!("{} -> {}", key.name, synonym.name));
            let widened = key.kind == Kind::Long && broker.kind == Kind::Int;
            assert!(widened || key.kind == broker.kind, "{} -> {}", key.name, synonym.name);
        }
        // A topic key can change at any time, so its default in the broker keys must be changeable for all brokers at any
        // time.
        if let Some(first) = key.broker_synonyms.first() {
            let broker = broker_key(first.name).expect("checked above");
            assert_eq!(broker.update_mode, UpdateMode::ClusterWide, "{}", first.name);
        }
    }
    let without: Vec<&str> =
        TOPIC_KEYS.iter().filter(|key| key.broker_synonyms.is_empty()).map(|key| key.name).collect();
    let only_topics_have = [
        "errors.deadletterqueue.group.enable",
        "follower.replication.throttled.replicas",
        "internal.segment.bytes",
        "leader.replication.throttled.replicas",
        "remote.log.copy.disable",
        "remote.log.delete.on.disable",
        "remote.storage.enable",
    ];
    assert_eq!(without, only_topics_have);
}

#[test]
fn every_key_says_in_a_sentence_what_it_is_for() {
    for key in all() {
        let sentence = key.doc.ends_with('.') && key.doc.len() <= 100 && !key.doc.contains(['|', '\n']);
        assert!(sentence && key.doc.starts_with(|c: char| c.is_uppercase()), "{}: {}", key.name, key.doc);
    }
}

#[test]
fn the_reference_page_has_a_row_for_every_key() {
    let page = reference_markdown();
    let rows = page.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows, all().count());
    let check = |row: &str| assert!(page.lines().any(|line| line == row), "no row {row}");
    check(
        "| `num.partitions` | int | `1` | a 32-bit whole number, 1 or more | honoured \
         | Partitions of a topic that is created without a number. |",
    );
    check(
        "| `node.id` | int | must be set | a 32-bit whole number, 0 or more | honoured \
         | Number of this node, unique in the cluster. |",
    );
    check(
        "| `ssl.client.auth` | string | `none` | one of required, requested, none \
         | for TLS | Whether clients must, may or need not show a certificate. |",
    );
    check(
        "| `compression.gzip.level` | int | `-1` | a 32-bit whole number from 1 to 9, or -1 | accepted \
         | Effort of gzip when the broker compresses. |",
    );
}

#[test]
fn what_would_protect_is_refused_or_honoured_but_never_just_accepted() {
    let protects = [
        "authorizer.class.name",
        "principal.builder.class",
        "connections.max.reauth.ms",
        "delegation.token.secret.key",
        "sasl.enabled.mechanisms",
        "sasl.jaas.config",
        "sasl.oauthbearer.expected.audience",
        "sasl.oauthbearer.expected.issuer",
        "security.inter.broker.protocol",
        "ssl.cipher.suites",
        "ssl.client.auth",
        "ssl.enabled.protocols",
        "ssl.keystore.location",
        "ssl.truststore.location",
        "create.topic.policy.class.name",
        "alter.config.policy.class.name",
        "client.quota.callback.class",
    ];
    for name in protects {
        let key = broker_key(name).unwrap_or_else(|| panic!("no key {name}"));
        assert_ne!(key.support, Support::Accepted, "{name}");
    }
    assert!(topic_key("authorizer.class.name").is_none());
}
