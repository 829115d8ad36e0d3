//! Odd spellings of settings: what is taken, and what is told of it afterwards. Every row is Kafka's answer, whose
//! `ConfigDef` is Java: signs, digits of all scripts, `0.5f`, `NaN`, hexadecimal fractions, lists with duplicates.

use anyhow::{Context, Result};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{CreateTopicsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest};
use ottla_client::Connection;
use protocol_tests::broker::unique_name;
use protocol_tests::requests::{metadata, text, topic_name};
use protocol_tests::{broker, broker_alone, eventually, name_of};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

/// A key, a spelling, and what is told of it; none where it is refused.
type Row = (&'static str, &'static str, Option<&'static str>);

async fn set(connection: &Connection, kind: i8, name: &str, key: &str, value: &str) -> Result<&'static str> {
    let config = AlterableConfig::default().with_name(text(key)).with_value(Some(text(value)));
    let resource = AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let answer = connection.send(&request, 1).await?;
    Ok(name_of(answer.responses.first().context("a response")?.error_code))
}

async fn told(connection: &Connection, kind: i8, name: &str, key: &str) -> Result<Option<String>> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configuration_keys(Some(vec![text(key)]));
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let answer = connection.send(&request, 4).await?;
    let config = answer.results.into_iter().next().context("a result")?.configs.into_iter().next();
    Ok(config.and_then(|config| config.value).map(|value| value.to_string()))
}

/// Sets each, and sees what is told then; a refusal is one of these errors.
async fn check(connection: &Connection, kind: i8, name: &str, rows: &[Row], refusals: &[&str]) -> Result<()> {
    for (key, value, shown) in rows {
        let code = set(connection, kind, name, key, value).await?;
        let Some(shown) = shown else {
            assert!(refusals.contains(&code), "{key}={value:?}: {code}");
            continue;
        };
        assert_eq!(code, "NONE", "{key}={value:?}");
        eventually(&format!("{key}={value:?} is told as {shown:?}"), async || {
            let told = told(connection, kind, name, key).await?;
            Ok((told.as_deref() == Some(*shown)).then_some(()))
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn of_a_topics_settings() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let topic = broker.topic(1, &[]).await?;
    check(&connection, TOPIC, &topic.name, OF_TOPICS, &["INVALID_CONFIG"]).await
}

#[tokio::test]
async fn of_a_new_topics_settings() -> Result<()> {
    let connection = broker().await.connect().await?;
    let topic = |(key, value, _): &Row| {
        let config = CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value)));
        CreatableTopic::default()
            .with_name(topic_name(&unique_name("spelling")))
            .with_num_partitions(1)
            .with_replication_factor(1)
            .with_configs(vec![config])
    };
    let topics: Vec<CreatableTopic> = OF_TOPICS.iter().map(topic).collect();
    let request = CreateTopicsRequest::default()
        .with_topics(topics.clone())
        .with_timeout_ms(30_000)
        .with_validate_only(true);
    let answer = connection.send(&request, 7).await?;
    for (topic, (key, value, shown)) in topics.iter().zip(OF_TOPICS) {
        let result = answer.topics.iter().find(|result| result.name == topic.name).context("a result")?;
        let expected = if shown.is_some() { "NONE" } else { "INVALID_CONFIG" };
        assert_eq!(name_of(result.error_code), expected, "{key}={value:?}");
        if shown.is_some() {
            // The controller tells what was written, before a broker has made sense of it.
            let config = result.configs.iter().flatten().find(|config| &*config.name == *key);
            assert_eq!(config.and_then(|config| config.value.as_deref()), Some(*value), "{key}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn of_a_brokers_settings() -> Result<()> {
    // What is set here would count for the topics of other tests: compacted ones take no records without keys.
    let broker = broker_alone().await?;
    let connection = broker.connect().await?;
    let me = connection.send(&metadata(&[]), 9).await?.brokers[0].node_id.0.to_string();
    check(&connection, BROKER, &me, OF_BROKERS, &["INVALID_REQUEST", "INVALID_CONFIG"]).await?;
    for (key, _, _) in OF_BROKERS {
        let config = AlterableConfig::default().with_name(text(key)).with_config_operation(1);
        let resource = AlterConfigsResource::default()
            .with_resource_type(BROKER)
            .with_resource_name(text(&me))
            .with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        assert_eq!(connection.send(&request, 1).await?.responses[0].error_code, 0, "{key} as before");
    }
    Ok(())
}

#[tokio::test]
async fn of_groups_and_subscriptions() -> Result<()> {
    let connection = broker().await.connect().await?;
    check(&connection, GROUP, &unique_name("group"), OF_GROUPS, &["INVALID_CONFIG"]).await?;
    let subscription = unique_name("metrics");
    check(&connection, CLIENT_METRICS, &subscription, OF_SUBSCRIPTIONS, &["INVALID_CONFIG"]).await
}

const OF_TOPICS: &[Row] = &[
    // Whole numbers.
    ("retention.ms", "+5", Some("5")),
    ("retention.ms", "-1", Some("-1")),
    ("retention.ms", "-0", Some("0")),
    ("retention.ms", "007", Some("7")),
    ("retention.ms", "  8\t", Some("8")),
    ("retention.ms", "\u{1}9\u{1f}", Some("9")),
    ("retention.ms", "٤٢", Some("42")),
    ("retention.ms", "４３", Some("43")),
    ("retention.ms", "9223372036854775807", Some("9223372036854775807")),
    ("retention.ms", "9223372036854775808", None),
    ("retention.ms", "\u{a0}5", None),
    ("retention.ms", "\u{3000}5", None),
    ("retention.ms", "", None),
    ("retention.ms", " ", None),
    ("retention.ms", "+", None),
    ("retention.ms", "--5", None),
    ("retention.ms", "5L", None),
    ("retention.ms", "5.0", None),
    ("retention.ms", "1e3", None),
    ("retention.ms", "0x10", None),
    ("retention.ms", "1_000", None),
    ("retention.ms", "𝟓", None),
    ("retention.ms", "-2", None),
    ("segment.bytes", "+1048576", Some("1048576")),
    ("segment.bytes", "1048575", None),
    ("segment.bytes", "2147483648", None),
    ("compression.lz4.level", "18", None),
    ("compression.gzip.level", "-01", Some("-1")),
    ("compression.gzip.level", "0", None),
    // Fractions.
    ("min.cleanable.dirty.ratio", "0.5f", Some("0.5")),
    ("min.cleanable.dirty.ratio", ".25D", Some("0.25")),
    ("min.cleanable.dirty.ratio", "1.", Some("1.0")),
    ("min.cleanable.dirty.ratio", "+0", Some("0.0")),
    ("min.cleanable.dirty.ratio", "-0", Some("-0.0")),
    ("min.cleanable.dirty.ratio", "75e-2", Some("0.75")),
    ("min.cleanable.dirty.ratio", "0.0001", Some("1.0E-4")),
    ("min.cleanable.dirty.ratio", "1e-400", Some("0.0")),
    ("min.cleanable.dirty.ratio", "4.9e-324", Some("4.9E-324")),
    ("min.cleanable.dirty.ratio", "0x1p-1", Some("0.5")),
    ("min.cleanable.dirty.ratio", "0X.1P+3f", Some("0.5")),
    ("min.cleanable.dirty.ratio", "0x0.00000000000008p-1022", Some("0.0")),
    ("min.cleanable.dirty.ratio", "0x1.00000000000008p-2", Some("0.25")),
    ("min.cleanable.dirty.ratio", "0x1.000000000000080001p-2", Some("0.25000000000000006")),
    ("min.cleanable.dirty.ratio", "NaN", Some("NaN")),
    ("min.cleanable.dirty.ratio", "0.75", Some("0.75")),
    ("min.cleanable.dirty.ratio", "-NaN", Some("NaN")),
    ("min.cleanable.dirty.ratio", "Infinity", None),
    ("min.cleanable.dirty.ratio", "1e400", None),
    ("min.cleanable.dirty.ratio", "-1e-300", None),
    ("min.cleanable.dirty.ratio", "1.0000000000000002", None),
    ("min.cleanable.dirty.ratio", "nan", None),
    ("min.cleanable.dirty.ratio", "NaNf", None),
    ("min.cleanable.dirty.ratio", "0,5", None),
    ("min.cleanable.dirty.ratio", "50%", None),
    ("min.cleanable.dirty.ratio", "٠.٥", None),
    ("min.cleanable.dirty.ratio", "0x1", None),
    ("min.cleanable.dirty.ratio", "0x.p0", None),
    ("min.cleanable.dirty.ratio", ".", None),
    ("min.cleanable.dirty.ratio", "1e", None),
    ("min.cleanable.dirty.ratio", "0.5ff", None),
    // Truth.
    ("preallocate", "TRUE", Some("true")),
    ("preallocate", " False ", Some("false")),
    ("preallocate", "tRuE", Some("true")),
    ("preallocate", "falſe", Some("false")),
    ("preallocate", "1", None),
    ("preallocate", "yes", None),
    ("preallocate", "", None),
    // Lists of given words.
    ("cleanup.policy", "delete,delete", Some("delete")),
    ("cleanup.policy", " compact ,\tdelete , compact ", Some("compact,delete")),
    ("cleanup.policy", "compact", Some("compact")),
    ("cleanup.policy", "", Some("")),
    ("cleanup.policy", "delete", Some("delete")),
    ("cleanup.policy", "Delete", None),
    ("cleanup.policy", "delete,", None),
    ("cleanup.policy", ",", None),
    ("cleanup.policy", "delete compact", None),
    ("cleanup.policy", "[delete]", None),
    ("cleanup.policy", "delete\u{a0},compact", None),
    // Other lists.
    ("leader.replication.throttled.replicas", "0:1, 0:1", Some("0:1,0:1")),
    ("leader.replication.throttled.replicas", "*", Some("*")),
    ("leader.replication.throttled.replicas", "0:1,,1:2", Some("0:1,,1:2")),
    ("leader.replication.throttled.replicas", "*,0:1", None),
    ("leader.replication.throttled.replicas", "0 : 1", None),
    ("leader.replication.throttled.replicas", "0:-1", None),
    ("leader.replication.throttled.replicas", "", Some("")),
    // One of given words.
    ("compression.type", " gzip ", Some("gzip")),
    ("compression.type", "GZIP", None),
    ("compression.type", "", None),
    ("message.timestamp.type", "createtime", None),
    ("message.timestamp.type", "LogAppendTime", Some("LogAppendTime")),
];

const OF_BROKERS: &[Row] = &[
    ("log.cleaner.io.max.bytes.per.second", "1E+9d", Some("1.0E9")),
    ("log.cleaner.io.max.bytes.per.second", "0x1.fffffffffffff8p1023", Some("Infinity")),
    ("log.cleaner.io.max.bytes.per.second", "0x1.fffffffffffffp1023", Some("1.7976931348623157E308")),
    ("log.cleaner.io.max.bytes.per.second", "12345678.9", Some("1.23456789E7")),
    ("log.cleaner.io.max.bytes.per.second", "9999999.5", Some("9999999.5")),
    ("log.cleaner.io.max.bytes.per.second", "fast", None),
    ("message.max.bytes", "+1048588", Some("1048588")),
    ("message.max.bytes", "１０４８５８８", Some("1048588")),
    ("message.max.bytes", "1048588.0", None),
    ("log.cleanup.policy", " compact , delete", Some("compact,delete")),
    ("log.cleanup.policy", "delete, delete", None),
    ("log.cleanup.policy", "delete,,delete", None),
    ("log.cleaner.min.cleanable.ratio", "0.75F", Some("0.75")),
    ("log.cleaner.min.cleanable.ratio", "1.5", None),
    ("unclean.leader.election.enable", "FALSE", Some("false")),
    ("unclean.leader.election.enable", "no", None),
];

const OF_GROUPS: &[Row] = &[
    ("consumer.session.timeout.ms", " +50000", Some("50000")),
    ("consumer.session.timeout.ms", "٥٠٠٠١", Some("50001")),
    ("consumer.session.timeout.ms", "50000ms", None),
    ("share.isolation.level", " read_committed ", Some("read_committed")),
    ("share.isolation.level", "READ_COMMITTED", None),
    ("share.renew.acknowledge.enable", "False", Some("false")),
    ("share.renew.acknowledge.enable", "f", None),
    ("streams.rack.aware.assignment.tags", "zone , rack", Some("zone,rack")),
    ("streams.rack.aware.assignment.tags", "zone, zone", None),
    ("streams.rack.aware.assignment.tags", "zone,", None),
];

const OF_SUBSCRIPTIONS: &[Row] = &[
    ("interval.ms", "+1000", Some("1000")),
    ("interval.ms", "1e3", None),
    ("metrics", "a., b. ,a.", Some("a.,b.")),
    ("metrics", "a.,", None),
    ("match", "client_id=a, client_id=a", Some("client_id=a")),
];
