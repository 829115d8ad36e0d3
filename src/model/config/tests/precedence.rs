//! Which source wins: the command line over the environment over the file over defaults, and the metadata over all of
//! them.

use super::{COMBINED, map, with_env, with_file, with_lines};
use crate::config::{BrokerConfig, ConfigError, Dynamic, Source, Sources, Warning, load};

struct Start<'a> {
    file: Option<&'a str>,
    env: &'a [(&'a str, &'a str)],
    overrides: &'a [(&'a str, &'a str)],
}

fn started(start: &Start<'_>) -> Result<(BrokerConfig, Vec<Warning>), ConfigError> {
    let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    };
    let file = start.file.map(|text| ("server.properties".into(), format!("{COMBINED}{text}").into_bytes()));
    load(Sources { file, env: owned(start.env), overrides: &owned(start.overrides) })
}

#[test]
fn the_stronger_source_wins() {
    let check = |start: Start<'_>, partitions: &str, source: Source| {
        let (config, _) = started(&start).expect("a valid start");
        let found = config.get("num.partitions").expect("a key");
        assert_eq!((found.value.expect("a value").to_text().as_str(), found.source), (partitions, source));
        assert_eq!(config.num_partitions.to_string(), partitions);
    };
    let file = Some("num.partitions=2\n");
    check(Start { file: Some(""), env: &[], overrides: &[] }, "1", Source::Default);
    check(Start { file, env: &[], overrides: &[] }, "2", Source::StaticBroker);
    check(Start { file, env: &[("KAFKA_NUM_PARTITIONS", "3")], overrides: &[] }, "3", Source::StaticBroker);
    let over: &[(&str, &str)] = &[("num.partitions", "4")];
    check(Start { file, env: &[("KAFKA_NUM_PARTITIONS", "3")], overrides: over }, "4", Source::StaticBroker);
    let twice: &[(&str, &str)] = &[("num.partitions", "4"), (" num.partitions ", "5")];
    check(Start { file, env: &[], overrides: twice }, "5", Source::StaticBroker);
    check(
        Start { file: Some("num.partitions=2\nnum.partitions=6\n"), env: &[], overrides: &[] },
        "6",
        Source::StaticBroker,
    );
    check(Start { file: None, env: &[], overrides: over }, "4", Source::StaticBroker);
    check(
        Start { file: None, env: &[("HOME", "x"), ("KAFKA_HOME", "y")], overrides: &[] },
        "1",
        Source::StaticBroker,
    );
}

#[test]
fn the_metadata_wins_over_all_of_them() {
    let (config, _) = with_lines("log.retention.ms=1000\nmax.connections=5").expect("a valid start");
    let check =
        |per_broker: &[(&str, &str)], cluster_default: &[(&str, &str)], retention: i64, source: Source| {
            let (per_broker, cluster_default) = (map(per_broker), map(cluster_default));
            let dynamic = Dynamic { per_broker: &per_broker, cluster_default: &cluster_default };
            let config = config.with_dynamic(dynamic).expect("valid settings");
            assert_eq!(config.topic_defaults.retention_ms, retention);
            assert_eq!(config.get("log.retention.ms").expect("a key").source, source);
        };
    check(&[], &[], 1000, Source::StaticBroker);
    check(&[], &[("log.retention.ms", "2000")], 2000, Source::DynamicDefaultBroker);
    check(&[("log.retention.ms", "3000")], &[("log.retention.ms", "2000")], 3000, Source::DynamicBroker);

    let fixed = map(&[("num.partitions", "9"), ("max.connections", "7")]);
    let changed =
        config.with_dynamic(Dynamic { per_broker: &fixed, ..Dynamic::NONE }).expect("valid settings");
    assert_eq!(changed.num_partitions, 1, "a read-only key waits for a restart");
    assert_eq!(changed.max_connections, 7);

    let wrong = map(&[("max.connections", "-1")]);
    let error =
        config.with_dynamic(Dynamic { per_broker: &wrong, ..Dynamic::NONE }).expect_err("a wrong value");
    let line = "Invalid value -1 for configuration max.connections: must be a 32-bit whole number, 0 or more";
    assert_eq!(error.to_string(), line);
}

#[test]
fn one_variable_discards_the_shipped_file_as_in_the_image() {
    let error = with_env(&[("KAFKA_NUM_PARTITIONS", "3")]).expect_err("roles are missing");
    let line = "Missing configuration process.roles: must be a non-empty list of broker, controller without \
                empty items (KAFKA_* variables replace the built-in server.properties)";
    assert_eq!(error.to_string(), line);
}

#[test]
fn a_compose_file_is_enough() {
    let (config, warnings) = with_env(&[
        ("KAFKA_NODE_ID", "1"),
        ("KAFKA_PROCESS_ROLES", "broker,controller"),
        ("KAFKA_LISTENERS", "PLAINTEXT://:9092,CONTROLLER://:9093,PLAINTEXT_HOST://0.0.0.0:29092"),
        ("KAFKA_ADVERTISED_LISTENERS", "PLAINTEXT://broker:9092,PLAINTEXT_HOST://localhost:29092"),
        ("KAFKA_CONTROLLER_LISTENER_NAMES", "CONTROLLER"),
        (
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP",
            "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PLAINTEXT_HOST:PLAINTEXT",
        ),
        ("KAFKA_CONTROLLER_QUORUM_VOTERS", "1@broker:9093"),
        ("KAFKA_LOG_DIRS", "/var/lib/kafka/data"),
        ("KAFKA_HEAP_OPTS", "-Xmx256m"),
        ("KAFKA_JMX_PORT", "9101"),
        ("KAFKA_ZOOKEEPER_CONNECT", "zookeeper:2181"),
        ("KAFKA_CONFLUENT_SUPPORT_METRICS_ENABLE", "false"),
        ("CLUSTER_ID", "5L6g3nShT-eMCtK--X86sw"),
    ])
    .expect("a usual compose file");
    let advertised: Vec<String> = config.advertised_listeners.iter().map(|l| l.to_string()).collect();
    assert_eq!(advertised, ["PLAINTEXT://broker:9092", "PLAINTEXT_HOST://localhost:29092"]);
    assert_eq!(config.listeners.len(), 3);
    let heard: Vec<String> = warnings.iter().map(|warning| warning.to_string()).collect();
    let expected = [
        "Configuration confluent.support.metrics.enable is ignored: it belongs to another distribution",
        "Configuration jmx.port is ignored: there is no Java here",
        "Configuration zookeeper.connect is ignored: there is no ZooKeeper in this cluster",
    ];
    assert_eq!(heard, expected);
}

#[test]
fn listeners_follow_the_advertised_ones_of_the_environment() {
    let least: &[(&str, &str)] = &[
        ("KAFKA_PROCESS_ROLES", "broker,controller"),
        ("KAFKA_NODE_ID", "1"),
        ("KAFKA_CONTROLLER_LISTENER_NAMES", "CONTROLLER"),
        ("KAFKA_ADVERTISED_LISTENERS", "PLAINTEXT://broker:9092,CONTROLLER://broker:9093"),
    ];
    let (config, _) = with_env(least).expect("the image starts with these too");
    let listeners: Vec<String> = config.listeners.iter().map(|l| l.to_string()).collect();
    assert_eq!(listeners, ["PLAINTEXT://0.0.0.0:9092", "CONTROLLER://0.0.0.0:9093"]);

    let advertised: &[(&str, &str)] = &[("KAFKA_ADVERTISED_LISTENERS", "PLAINTEXT://broker:19092")];
    let (config, _) =
        started(&Start { file: Some(""), env: advertised, overrides: &[] }).expect("a valid start");
    assert_eq!(config.listeners[0].to_string(), "PLAINTEXT://:9092", "the file says where to listen");
}

#[test]
fn broker_id_and_node_id_are_one() {
    let without_id = COMBINED.replace("node.id=3", "broker.id=3");
    let (config, warnings) = with_file(&without_id).expect("broker.id is enough");
    assert_eq!(config.node_id.0, 3);
    assert_eq!(warnings, [Warning::Deprecated { key: "broker.id".into(), instead: "node.id" }]);
    let (config, _) = with_lines("broker.id=5").expect("the shipped node.id gives way");
    assert_eq!(config.node_id.0, 5);
    let error = with_file(&format!("{COMBINED}broker.id=4\n")).expect_err("they contradict");
    let line =
        "Invalid value 4 for configuration broker.id: must be the same as node.id, which is 3; leave it out";
    assert_eq!(error.to_string(), line);
}

#[test]
fn the_operator_hears_of_what_is_passed_over() {
    let check = |line: &str, expected: &[&str]| {
        let (_, warnings) = with_lines(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        let heard: Vec<String> = warnings.iter().map(|warning| warning.to_string()).collect();
        assert_eq!(heard, expected, "{line}");
    };
    check("num.partitions=3", &[]);
    check("log.retention.hour=3", &["Unknown configuration log.retention.hour is ignored"]);
    check(
        "log.message.format.version=2.8",
        &["Configuration log.message.format.version is ignored: there is only one message format"],
    );
    check(
        "super.users=User:admin",
        &["Configuration super.users is ignored: it means nothing without authorizer.class.name"],
    );
    check(
        "allow.everyone.if.no.acl.found=true",
        &[
            "Configuration allow.everyone.if.no.acl.found is ignored: it means nothing without authorizer.class.name",
        ],
    );
    check("quota.window.num=11", &[]);
    check("quota.window.num=12", &["Configuration quota.window.num=12 has no effect yet"]);
    check(
        "sasl.oauthbearer.client.credentials.client.secret=s3cret",
        &[
            "Configuration sasl.oauthbearer.client.credentials.client.secret=[hidden] has no effect: no listener speaks SASL",
        ],
    );
    check(
        "listener.name.plaintext.max.connections=5",
        &["Configuration listener.name.plaintext.max.connections=5 has no effect yet"],
    );
    check("my.plugin=1", &["Unknown configuration my.plugin is ignored"]);
    // Dynamic-only rates do not count in a file; Kafka ignores them there.
    check(
        "leader.replication.throttled.rate=5",
        &["Unknown configuration leader.replication.throttled.rate is ignored"],
    );
}
