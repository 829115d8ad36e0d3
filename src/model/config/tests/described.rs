//! The answers of DescribeConfigs, as Kafka gives them.

use std::collections::BTreeSet;

use super::{map, with_lines};
use crate::config::{BROKER_KEYS, BrokerConfig, DescribedConfig, Dynamic, Scope, TOPIC_KEYS};
use crate::config::{describe_broker, describe_cluster_default, describe_topic};

fn find<'a>(all: &'a [DescribedConfig], name: &str) -> &'a DescribedConfig {
    all.iter().find(|config| config.name == name).unwrap_or_else(|| panic!("{name} is not described"))
}

/// `name=value from source` of each synonym, in order.
fn synonyms(config: &DescribedConfig) -> Vec<String> {
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".into());
    config.synonyms.iter().map(|s| format!("{}={} from {}", s.name, text(&s.value), s.source)).collect()
}

#[test]
fn a_broker_has_every_broker_key() {
    let all = describe_broker(&BrokerConfig::default());
    let names: BTreeSet<&str> = all.iter().map(|config| config.name.as_str()).collect();
    assert_eq!(names.len(), all.len(), "a key is described twice");
    for key in BROKER_KEYS {
        let expected = key.scope == Scope::Broker && !key.internal;
        assert_eq!(names.contains(key.name), expected, "{}", key.name);
    }
    for config in &all {
        assert!((1..=9).contains(&config.kind) && !config.doc.is_empty(), "{config:?}");
    }
}

#[test]
fn a_topic_has_every_topic_key() {
    let all = describe_topic(&BrokerConfig::default(), &map(&[]));
    let names: Vec<&str> = all.iter().map(|config| config.name.as_str()).collect();
    let expected: BTreeSet<&str> =
        TOPIC_KEYS.iter().filter(|key| !key.internal).map(|key| key.name).collect();
    assert_eq!(names, expected.into_iter().collect::<Vec<_>>());
    assert!(all.iter().all(|config| !config.read_only && !config.sensitive));
    let own = describe_topic(&BrokerConfig::default(), &map(&[("internal.segment.bytes", "7")]));
    assert_eq!(find(&own, "internal.segment.bytes").value.as_deref(), Some("7"));
}

#[test]
fn where_a_brokers_value_comes_from() {
    let lines = "log.retention.minutes=5\nmax.connections=9\nlog.roll.hours=2\nmy.plugin=1\n\
                 sasl.oauthbearer.client.credentials.client.secret=s3cret\n\
                 listener.name.plaintext.max.connections=3\nlog.initial.task.delay.ms=1";
    let (config, _) = with_lines(lines).expect("a valid start");
    let (per_broker, cluster_default) =
        (map(&[("max.connections", "11")]), map(&[("max.connections", "10"), ("log.retention.ms", "60000")]));
    let dynamic = Dynamic { per_broker: &per_broker, cluster_default: &cluster_default };
    let config = config.with_dynamic(dynamic).expect("valid settings");
    let all = describe_broker(&config);

    struct Row<'a> {
        value: Option<&'a str>,
        source: i8,
        read_only: bool,
        kind: i8,
        synonyms: &'a [&'a str],
    }
    let check = |name: &str, expected: Row<'_>| {
        let found = find(&all, name);
        assert_eq!(found.value.as_deref(), expected.value, "{name}");
        assert_eq!(
            (found.source, found.read_only, found.kind),
            (expected.source, expected.read_only, expected.kind),
            "{name}"
        );
        assert_eq!(found.is_default, found.source == 5, "{name}");
        assert_eq!(synonyms(found), expected.synonyms, "{name}");
    };
    check(
        "num.partitions",
        Row {
            value: Some("1"),
            source: 4,
            read_only: true,
            kind: 3,
            synonyms: &["num.partitions=1 from 4", "num.partitions=1 from 5"],
        },
    );
    check(
        "max.connections",
        Row {
            value: Some("11"),
            source: 2,
            read_only: false,
            kind: 3,
            synonyms: &[
                "max.connections=11 from 2",
                "max.connections=10 from 3",
                "max.connections=9 from 4",
                "max.connections=2147483647 from 5",
            ],
        },
    );
    check(
        "log.retention.ms",
        Row {
            value: Some("60000"),
            source: 3,
            read_only: false,
            kind: 5,
            synonyms: &[
                "log.retention.ms=60000 from 3",
                "log.retention.minutes=5 from 4",
                "log.retention.hours=168 from 4",
                "log.retention.hours=168 from 5",
            ],
        },
    );
    // Entries before the key's own entry override it, and are not its synonyms.
    check(
        "log.retention.minutes",
        Row {
            value: Some("5"),
            source: 4,
            read_only: true,
            kind: 3,
            synonyms: &[
                "log.retention.minutes=5 from 4",
                "log.retention.hours=168 from 4",
                "log.retention.hours=168 from 5",
            ],
        },
    );
    check("log.roll.ms", Row { value: None, source: 5, read_only: false, kind: 5, synonyms: &[] });
    check("log.flush.interval.ms", Row { value: None, source: 5, read_only: false, kind: 5, synonyms: &[] });
    check(
        "log.flush.scheduler.interval.ms",
        Row {
            value: Some("9223372036854775807"),
            source: 5,
            read_only: true,
            kind: 5,
            synonyms: &["log.flush.scheduler.interval.ms=9223372036854775807 from 5"],
        },
    );
    check(
        "sasl.oauthbearer.client.credentials.client.secret",
        Row {
            value: None,
            source: 4,
            read_only: true,
            kind: 9,
            synonyms: &["sasl.oauthbearer.client.credentials.client.secret=null from 4"],
        },
    );
    check(
        "my.plugin",
        Row { value: None, source: 4, read_only: true, kind: 0, synonyms: &["my.plugin=null from 4"] },
    );
    check(
        "listener.name.plaintext.max.connections",
        Row {
            value: Some("3"),
            source: 4,
            read_only: true,
            kind: 3,
            synonyms: &[
                "listener.name.plaintext.max.connections=3 from 4",
                "max.connections=9 from 4",
                "max.connections=2147483647 from 5",
            ],
        },
    );
    check(
        "log.initial.task.delay.ms",
        Row {
            value: Some("1"),
            source: 4,
            read_only: true,
            kind: 5,
            synonyms: &["log.initial.task.delay.ms=1 from 4", "log.initial.task.delay.ms=30000 from 5"],
        },
    );
    check("broker.rack", Row { value: None, source: 5, read_only: true, kind: 2, synonyms: &[] });
    check(
        "ssl.enabled.protocols",
        Row {
            value: Some("TLSv1.2,TLSv1.3"),
            source: 5,
            read_only: false,
            kind: 7,
            synonyms: &["ssl.enabled.protocols=TLSv1.2,TLSv1.3 from 5"],
        },
    );

    let all_brokers: Vec<(String, Option<String>, i8)> =
        describe_cluster_default(&config).into_iter().map(|c| (c.name, c.value, c.source)).collect();
    let expected = [("log.retention.ms", "60000"), ("max.connections", "10")];
    let expected: Vec<_> = expected.iter().map(|(n, v)| (n.to_string(), Some(v.to_string()), 3)).collect();
    assert_eq!(all_brokers, expected);
}

#[test]
fn where_a_topics_value_comes_from() {
    let (broker, _) =
        with_lines("log.retention.hours=2\nlog.cleaner.min.cleanable.ratio=1e-4").expect("a valid start");
    let overrides = map(&[("cleanup.policy", "compact,delete"), ("segment.bytes", "2097152")]);
    let all = describe_topic(&broker, &overrides);
    let check = |name: &str, value: &str, source: i8, kind: i8, expected: &[&str]| {
        let found = find(&all, name);
        assert_eq!((found.value.as_deref(), found.source, found.kind), (Some(value), source, kind), "{name}");
        assert_eq!(synonyms(found), expected, "{name}");
    };
    check(
        "cleanup.policy",
        "compact,delete",
        1,
        7,
        &["cleanup.policy=compact,delete from 1", "log.cleanup.policy=delete from 5"],
    );
    check(
        "segment.bytes",
        "2097152",
        1,
        3,
        &[
            "segment.bytes=2097152 from 1",
            "log.segment.bytes=1073741824 from 4",
            "log.segment.bytes=1073741824 from 5",
        ],
    );
    check(
        "min.cleanable.dirty.ratio",
        "1.0E-4",
        4,
        6,
        &["log.cleaner.min.cleanable.ratio=1e-4 from 4", "log.cleaner.min.cleanable.ratio=0.5 from 5"],
    );
    check(
        "flush.messages",
        "9223372036854775807",
        5,
        5,
        &["log.flush.interval.messages=9223372036854775807 from 5"],
    );
    check("remote.storage.enable", "false", 5, 1, &[]);
    // Kafka looks only for log.retention.ms; the hours, from which the value comes, are not listed.
    check("retention.ms", "7200000", 5, 5, &[]);
}
