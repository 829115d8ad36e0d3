//! DescribeConfigs: every config, where it comes from, and what stands behind it (row 20 of the list of
//! behaviour that broke somebody's client).

use anyhow::{Context, Result};
use kafka_protocol::messages::DescribeConfigsRequest;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use ottla_client::Connection;
use protocol_tests::requests::{metadata, text};
use protocol_tests::{broker, name_of};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

fn resource(kind: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsResource {
    DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configuration_keys(keys.map(|keys| keys.iter().map(|key| text(key)).collect()))
}

async fn describe(
    connection: &Connection,
    resource: DescribeConfigsResource,
    version: i16,
) -> Result<DescribeConfigsResult> {
    let request = DescribeConfigsRequest::default()
        .with_resources(vec![resource])
        .with_include_synonyms(true)
        .with_include_documentation(version >= 3);
    connection.send(&request, version).await?.results.into_iter().next().context("a result")
}

fn find<'a>(result: &'a DescribeConfigsResult, name: &str) -> Result<&'a DescribeConfigsResourceResult> {
    result.configs.iter().find(|config| &*config.name == name).with_context(|| format!("{name} is described"))
}

/// The sources of values, by their codes.
fn source(code: i8) -> &'static str {
    match code {
        1 => "topic",
        2 => "dynamic broker",
        3 => "dynamic default",
        4 => "static broker",
        5 => "default",
        _ => "unknown",
    }
}

#[tokio::test]
async fn a_topic_tells_every_config_and_its_synonyms() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let topic = broker.topic(1, &[("retention.ms", "1234"), ("cleanup.policy", "compact,delete")]).await?;
    for version in 1..=4 {
        let told = describe(&connection, resource(TOPIC, &topic.name, None), version).await?;
        assert_eq!(
            (name_of(told.error_code), told.resource_type, &*told.resource_name),
            ("NONE", TOPIC, &*topic.name)
        );
        for name in KAFKA_4_TOPIC_CONFIGS {
            let config = find(&told, name)?;
            assert!(!config.read_only && !config.is_sensitive, "{name} v{version}");
            assert!(!config.synonyms.is_empty() || config.config_source == 5, "{name} v{version}: synonyms");
            if version >= 3 {
                assert!(config.config_type > 0, "{name} v{version}: a type");
                assert!(
                    config.documentation.as_ref().is_some_and(|doc| doc.len() > 10),
                    "{name} v{version}: a text"
                );
            }
        }
        let check =
            |name: &str, value: &str, from: &str, kind: i8, synonyms: &[(&str, &str, &str)]| -> Result<()> {
                let config = find(&told, name)?;
                assert_eq!(
                    (config.value.as_deref(), source(config.config_source)),
                    (Some(value), from),
                    "{name} v{version}"
                );
                let told: Vec<_> = config
                    .synonyms
                    .iter()
                    .map(|synonym| {
                        (&*synonym.name, synonym.value.as_deref().unwrap_or("null"), source(synonym.source))
                    })
                    .collect();
                assert_eq!(told, synonyms, "{name} v{version}");
                if version >= 3 {
                    assert_eq!(config.config_type, kind, "{name} v{version}");
                }
                Ok(())
            };
        let (boolean, string, int, long, double, list) = (1, 2, 3, 5, 6, 7);
        // What stands behind it, log.retention.ms, has no default of its own.
        check("retention.ms", "1234", "topic", long, &[("retention.ms", "1234", "topic")])?;
        let policy =
            [("cleanup.policy", "compact,delete", "topic"), ("log.cleanup.policy", "delete", "default")];
        check("cleanup.policy", "compact,delete", "topic", list, &policy)?;
        let default = |name: &'static str, value: &'static str| [(name, value, "default")];
        check("segment.bytes", "1073741824", "default", int, &default("log.segment.bytes", "1073741824"))?;
        check("max.message.bytes", "1048588", "default", int, &default("message.max.bytes", "1048588"))?;
        check("segment.ms", "604800000", "default", long, &[])?;
        check("preallocate", "false", "default", boolean, &default("log.preallocate", "false"))?;
        check("compression.type", "producer", "default", string, &default("compression.type", "producer"))?;
        check("flush.ms", "9223372036854775807", "default", long, &[])?;
        let ratio = default("log.cleaner.min.cleanable.ratio", "0.5");
        check("min.cleanable.dirty.ratio", "0.5", "default", double, &ratio)?;
        // Set for the whole cluster where eligible leader replicas are in use (KIP-966).
        assert_eq!(find(&told, "min.insync.replicas")?.value.as_deref(), Some("1"), "v{version}");
    }
    Ok(())
}

/// Kafka's own list; another one may know more.
const KAFKA_4_TOPIC_CONFIGS: [&str; 26] = [
    "cleanup.policy",
    "compression.type",
    "delete.retention.ms",
    "file.delete.delay.ms",
    "flush.messages",
    "flush.ms",
    "follower.replication.throttled.replicas",
    "index.interval.bytes",
    "leader.replication.throttled.replicas",
    "local.retention.bytes",
    "max.compaction.lag.ms",
    "max.message.bytes",
    "message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms",
    "message.timestamp.type",
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    "min.insync.replicas",
    "preallocate",
    "remote.storage.enable",
    "retention.bytes",
    "retention.ms",
    "segment.bytes",
    "segment.index.bytes",
    "segment.jitter.ms",
    "unclean.leader.election.enable",
];

#[tokio::test]
async fn a_broker_tells_its_configs() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let node = connection.send(&metadata(&[]), 9).await?.brokers[0].node_id.0.to_string();
    for version in 1..=4 {
        let told = describe(&connection, resource(BROKER, &node, None), version).await?;
        assert_eq!(name_of(told.error_code), "NONE", "v{version}");
        assert!(told.configs.len() > 150, "v{version}: {} configs", told.configs.len());
        let check = |name: &str, value: Option<&str>, from: &str, read_only: bool| -> Result<()> {
            let config = find(&told, name)?;
            if value.is_some() {
                assert_eq!(config.value.as_deref(), value, "{name} v{version}");
            }
            assert_eq!(
                (source(config.config_source), config.read_only),
                (from, read_only),
                "{name} v{version}"
            );
            Ok(())
        };
        check("node.id", Some(&node), "static broker", true)?;
        check("log.dirs", None, "static broker", true)?;
        check("listeners", None, "static broker", false)?;
        check("num.io.threads", Some("8"), "default", false)?;
        check("auto.create.topics.enable", Some("true"), "default", true)?;
        check("message.max.bytes", Some("1048588"), "default", false)?;
        check("socket.request.max.bytes", Some("104857600"), "default", true)?;
        let password = find(&told, "ssl.keystore.password")?;
        assert!(password.is_sensitive && password.value.is_none(), "v{version}: a secret is not told");
    }
    Ok(())
}

#[tokio::test]
async fn only_what_was_asked_is_told() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let topic = broker.topic(1, &[]).await?;
    let check = async |story: &str, keys: Option<&[&str]>, expected: &[&str]| -> Result<()> {
        let told = describe(&connection, resource(TOPIC, &topic.name, keys), 4).await?;
        let mut names: Vec<_> = told.configs.iter().map(|config| config.name.to_string()).collect();
        names.sort();
        assert_eq!(names, expected, "{story}");
        Ok(())
    };
    check("two keys", Some(&["retention.ms", "cleanup.policy"]), &["cleanup.policy", "retention.ms"]).await?;
    check("one that is none", Some(&["no.such.key", "flush.ms"]), &["flush.ms"]).await?;

    let silent = DescribeConfigsRequest::default().with_resources(vec![resource(TOPIC, &topic.name, None)]);
    for config in &connection.send(&silent, 4).await?.results[0].configs {
        assert!(config.synonyms.is_empty(), "{}: synonyms were not asked for", &*config.name);
        assert!(config.documentation.is_none(), "{}: texts were not asked for", &*config.name);
    }
    Ok(())
}

#[tokio::test]
async fn what_does_not_exist_is_an_error() -> Result<()> {
    let connection = broker().await.connect().await?;
    let check = async |story: &str, kind, name: &str, error: &str| -> Result<()> {
        for version in 1..=4 {
            let told = describe(&connection, resource(kind, name, None), version).await?;
            assert_eq!(name_of(told.error_code), error, "{story} v{version}: {:?}", told.error_message);
            assert_eq!(
                (told.resource_type, &*told.resource_name, told.configs.len()),
                (kind, name, 0),
                "{story}"
            );
        }
        Ok(())
    };
    check("an unknown topic", TOPIC, "no-such-topic", "UNKNOWN_TOPIC_OR_PARTITION").await?;
    check("an impossible topic", TOPIC, "a/b", "INVALID_TOPIC_EXCEPTION").await?;
    check("another broker", BROKER, "4711", "INVALID_REQUEST").await?;
    check("a broker that is no number", BROKER, "one", "INVALID_REQUEST").await?;
    check("a kind that is none", 77, "x", "INVALID_REQUEST").await
}
