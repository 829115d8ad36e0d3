//! Changing settings: of topics, of one broker and all of them, of groups and of subscriptions to clients' metrics,
//! one by one or all at once; what is refused, and what is told afterwards.

use anyhow::{Context, Result};
use flate2::write::GzEncoder;
use kafka_protocol::messages::alter_configs_request as legacy;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{
    AlterConfigsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest, ListConfigResourcesRequest,
};
use ottla_client::Connection;
use protocol_tests::batches::Batch;
use protocol_tests::broker::unique_name;
use protocol_tests::requests::{metadata, text};
use protocol_tests::{batch, broker, eventually, name_of, requests};
use std::io::Write;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

type Change<'a> = (&'a str, i8, Option<&'a str>);

fn resource(kind: i8, name: &str, changes: &[Change<'_>]) -> AlterConfigsResource {
    let configs = changes.iter().map(|(key, operation, value)| {
        AlterableConfig::default()
            .with_name(text(key))
            .with_config_operation(*operation)
            .with_value(value.map(text))
    });
    AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(configs.collect())
}

async fn alter(
    connection: &Connection,
    kind: i8,
    name: &str,
    changes: &[Change<'_>],
) -> Result<&'static str> {
    alter_all(connection, vec![resource(kind, name, changes)], false).await.map(|codes| codes[0])
}

async fn alter_all(
    connection: &Connection,
    resources: Vec<AlterConfigsResource>,
    validate_only: bool,
) -> Result<Vec<&'static str>> {
    let request =
        IncrementalAlterConfigsRequest::default().with_resources(resources).with_validate_only(validate_only);
    let answer = connection.send(&request, 1).await?;
    for response in &answer.responses {
        let worded = response.error_message.as_ref().is_some_and(|message| !message.is_empty());
        assert_eq!(worded, response.error_code != 0, "{:?}", response.error_message);
    }
    Ok(answer.responses.iter().map(|response| name_of(response.error_code)).collect())
}

async fn told(
    connection: &Connection,
    kind: i8,
    name: &str,
    key: &str,
) -> Result<Option<DescribeConfigsResourceResult>> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configuration_keys(Some(vec![text(key)]));
    let request =
        DescribeConfigsRequest::default().with_resources(vec![resource]).with_include_synonyms(true);
    let answer = connection.send(&request, 4).await?;
    Ok(answer.results.into_iter().next().context("a result")?.configs.into_iter().next())
}

// Brokers follow the metadata, and may be a moment behind it.
async fn expect(
    connection: &Connection,
    kind: i8,
    name: &str,
    key: &str,
    expected: Option<(&str, i8)>,
) -> Result<()> {
    let what = format!("{key} of {name:?} is {expected:?}");
    eventually(&what, async || {
        let told = told(connection, kind, name, key).await?;
        let seen = told.map(|c| (c.value.map(|v| v.to_string()).unwrap_or_default(), c.config_source));
        Ok((seen == expected.map(|(value, source)| (value.to_string(), source))).then_some(()))
    })
    .await
}

async fn node(connection: &Connection) -> Result<String> {
    Ok(connection.send(&metadata(&[]), 9).await?.brokers[0].node_id.0.to_string())
}

#[tokio::test]
async fn a_topics_settings_change_one_by_one() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let topic = broker.topic(1, &[("retention.ms", "1000")]).await?;
    let name = topic.name.as_str();
    let (own, default) = (1, 5);
    let check = async |key: &str, change: Change<'_>, expected: (&str, i8)| -> Result<()> {
        assert_eq!(alter(&connection, TOPIC, name, &[change]).await?, "NONE", "{change:?}");
        expect(&connection, TOPIC, name, key, Some(expected)).await
    };
    check("retention.ms", ("retention.ms", SET, Some("2000")), ("2000", own)).await?;
    check("segment.bytes", ("segment.bytes", SET, Some(" 2097152 ")), ("2097152", own)).await?;
    check("retention.ms", ("retention.ms", DELETE, None), ("604800000", default)).await?;
    check("retention.ms", ("retention.ms", DELETE, Some("ignored")), ("604800000", default)).await?;
    check("cleanup.policy", ("cleanup.policy", APPEND, Some("compact")), ("delete,compact", own)).await?;
    check("cleanup.policy", ("cleanup.policy", APPEND, Some("compact")), ("delete,compact", own)).await?;
    check("cleanup.policy", ("cleanup.policy", SUBTRACT, Some("delete")), ("compact", own)).await?;
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_is_refused() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let topic = broker.topic(1, &[]).await?;
    let name = topic.name.as_str();
    let me = node(&connection).await?;
    let check = async |kind: i8, name: &str, changes: &[Change<'_>], expected: &str| -> Result<()> {
        assert_eq!(alter(&connection, kind, name, changes).await?, expected, "{kind} {name} {changes:?}");
        Ok(())
    };
    let retention: &[Change<'_>] = &[("retention.ms", SET, Some("1"))];
    check(TOPIC, name, &[("retention.ms", SET, Some("soon"))], "INVALID_CONFIG").await?;
    check(TOPIC, name, &[("retention.ms", SET, Some("-2"))], "INVALID_CONFIG").await?;
    check(TOPIC, name, &[("no.such.key", SET, Some("1"))], "INVALID_CONFIG").await?;
    check(TOPIC, name, &[("retention.ms", APPEND, Some("1"))], "INVALID_CONFIG").await?;
    check(CLIENT_METRICS, "m", &[("match", APPEND, Some("client_id=a"))], "INVALID_CONFIG").await?;
    check(TOPIC, name, &[("retention.ms", SET, None)], "INVALID_REQUEST").await?;
    check(TOPIC, name, &[retention[0], ("retention.ms", DELETE, None)], "INVALID_REQUEST").await?;
    let lags = [("min.compaction.lag.ms", SET, Some("10")), ("max.compaction.lag.ms", SET, Some("5"))];
    check(TOPIC, name, &lags, "INVALID_CONFIG").await?;
    check(TOPIC, "no-such-topic", retention, "UNKNOWN_TOPIC_OR_PARTITION").await?;
    check(TOPIC, "", retention, "INVALID_REQUEST").await?;
    check(TOPIC, "a/b", retention, "INVALID_TOPIC_EXCEPTION").await?;
    check(BROKER, "4711", &[("message.max.bytes", SET, Some("1"))], "INVALID_REQUEST").await?;
    check(BROKER, "one", &[("message.max.bytes", SET, Some("1"))], "INVALID_REQUEST").await?;
    check(BROKER, &me, &[("node.id", SET, Some("2"))], "INVALID_REQUEST").await?;
    check(BROKER, &me, &[("message.max.bytes", SET, Some("many"))], "INVALID_REQUEST").await?;
    check(BROKER, &me, &[("num.io.threads", SET, Some("1"))], "INVALID_REQUEST").await?;
    check(BROKER, &me, &[("num.io.threads", SET, Some("100"))], "INVALID_REQUEST").await?;
    check(BROKER, &me, &[("ssl.keystore.type", SET, Some("PKCS12"))], "INVALID_REQUEST").await?;
    check(BROKER, "", &[("listener.security.protocol.map", SET, Some("A:PLAINTEXT"))], "INVALID_REQUEST")
        .await?;
    check(BROKER, "", &[("auto.create.topics.enable", SET, Some("false"))], "INVALID_REQUEST").await?;
    check(GROUP, "", &[("consumer.session.timeout.ms", SET, Some("50000"))], "INVALID_REQUEST").await?;
    check(GROUP, "g", &[("no.such.key", SET, Some("1"))], "INVALID_CONFIG").await?;
    check(GROUP, "g", &[("consumer.session.timeout.ms", SET, Some("1"))], "INVALID_CONFIG").await?;
    check(GROUP, "g", &[("share.isolation.level", SET, Some("none"))], "INVALID_CONFIG").await?;
    check(GROUP, "g", &[("share.auto.offset.reset", SET, Some("never"))], "INVALID_CONFIG").await?;
    check(CLIENT_METRICS, "", &[("interval.ms", SET, Some("1000"))], "INVALID_REQUEST").await?;
    check(CLIENT_METRICS, "m", &[("no.such.key", SET, Some("1"))], "INVALID_REQUEST").await?;
    check(CLIENT_METRICS, "m", &[("interval.ms", SET, Some("99"))], "INVALID_REQUEST").await?;
    check(CLIENT_METRICS, "m", &[("interval.ms", SET, Some("often"))], "INVALID_CONFIG").await?;
    check(CLIENT_METRICS, "m", &[("match", SET, Some("client_shoe=42"))], "INVALID_CONFIG").await?;
    check(77, "x", &[], "INVALID_REQUEST").await?;
    assert!(told(&connection, TOPIC, name, "retention.ms").await?.is_some_and(|c| c.config_source == 5));
    Ok(())
}

#[tokio::test]
async fn a_resource_stands_alone_and_once() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let (good, bad) = (broker.topic(1, &[]).await?.name, broker.topic(1, &[]).await?.name);
    let set = |name: &str, value| resource(TOPIC, name, &[("retention.ms", SET, Some(value))]);
    let codes = alter_all(&connection, vec![set(&good, "7"), set(&bad, "x")], false).await?;
    assert_eq!(codes, ["NONE", "INVALID_CONFIG"], "one that is wrong does not stop the other");
    expect(&connection, TOPIC, &good, "retention.ms", Some(("7", 1))).await?;

    let codes = alter_all(&connection, vec![set(&good, "8"), set(&good, "9")], false).await?;
    assert_eq!(codes, ["INVALID_REQUEST"; 2], "which of the two was meant?");

    let codes = alter_all(&connection, vec![set(&good, "8"), set(&bad, "x")], true).await?;
    assert_eq!(codes, ["NONE", "INVALID_CONFIG"], "only tried");
    expect(&connection, TOPIC, &good, "retention.ms", Some(("7", 1))).await?;

    let config = |key| legacy::AlterableConfig::default().with_name(text(key)).with_value(Some(text("5")));
    let all = |keys: &[&'static str]| {
        let resource = legacy::AlterConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(&good))
            .with_configs(keys.iter().map(|key| config(key)).collect());
        AlterConfigsRequest::default().with_resources(vec![resource])
    };
    for version in 0..=2 {
        let answer = connection.send(&all(&["flush.ms"]), version).await?;
        let response = &answer.responses[0];
        assert_eq!((name_of(response.error_code), response.error_message.as_ref()), ("NONE", None));
        assert_eq!((response.resource_type, &*response.resource_name), (TOPIC, good.as_str()));
    }
    expect(&connection, TOPIC, &good, "flush.ms", Some(("5", 1))).await?;
    expect(&connection, TOPIC, &good, "retention.ms", Some(("604800000", 5))).await?;
    let answer = connection.send(&all(&["flush.ms", "flush.ms"]), 2).await?;
    assert_eq!(name_of(answer.responses[0].error_code), "INVALID_REQUEST");
    Ok(())
}

#[tokio::test]
async fn brokers_settings_count_for_topics_at_once() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let me = node(&connection).await?;
    let topic = broker.topic(1, &[]).await?;
    let name = topic.name.as_str();
    let (per_broker, cluster, default) = (2, 3, 5);
    let key = "message.timestamp.after.max.ms";
    let broker_key = "log.message.timestamp.after.max.ms";
    assert_eq!(alter(&connection, BROKER, "", &[(broker_key, SET, Some("1111111"))]).await?, "NONE");
    expect(&connection, TOPIC, name, key, Some(("1111111", cluster))).await?;
    expect(&connection, BROKER, "", broker_key, Some(("1111111", cluster))).await?;
    expect(&connection, BROKER, &me, broker_key, Some(("1111111", cluster))).await?;
    assert_eq!(alter(&connection, BROKER, &me, &[(broker_key, SET, Some("2222222"))]).await?, "NONE");
    expect(&connection, TOPIC, name, key, Some(("2222222", per_broker))).await?;
    expect(&connection, BROKER, "", broker_key, Some(("1111111", cluster))).await?;

    let described = told(&connection, TOPIC, name, key).await?.context("it is told")?;
    let synonyms: Vec<_> = described
        .synonyms
        .iter()
        .map(|s| (s.name.to_string(), s.value.as_ref().map(|v| v.to_string()).unwrap_or_default(), s.source))
        .collect();
    let expected = [("2222222", per_broker), ("1111111", cluster), ("3600000", default)];
    let expected: Vec<_> =
        expected.map(|(value, source)| (broker_key.to_string(), value.to_string(), source)).into();
    assert_eq!(synonyms, expected);

    for name in ["", &me] {
        assert_eq!(alter(&connection, BROKER, name, &[(broker_key, DELETE, None)]).await?, "NONE");
    }
    expect(&connection, TOPIC, name, key, Some(("3600000", default))).await?;
    expect(&connection, BROKER, "", broker_key, None).await
}

#[tokio::test]
async fn a_topics_limit_holds_for_the_next_batch() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let topic = broker.topic(1, &[]).await?;
    let produce = async || -> Result<&'static str> {
        let records = batch(&["this does not fit in a few bytes"]).build();
        let answer = connection.send(&requests::produce(&topic, 0, records, -1), 11).await?;
        Ok(name_of(answer.responses[0].partition_responses[0].error_code))
    };
    assert_eq!(produce().await?, "NONE");
    let limit = ("max.message.bytes", SET, Some("20"));
    assert_eq!(alter(&connection, TOPIC, &topic.name, &[limit]).await?, "NONE");
    eventually("the limit holds", async || Ok((produce().await? == "MESSAGE_TOO_LARGE").then_some(()))).await
}

#[tokio::test]
async fn a_topics_limit_of_decompressed_records_is_exact() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let value = "v".repeat(1000);
    let zipped = || {
        let plain = batch(&["small", &value]);
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&plain.records_bytes()).expect("memory takes every write");
        let body = encoder.finish().expect("memory takes every write");
        Batch { attributes: 1, body: Some(body), ..plain }.build()
    };
    // Attributes, time, offset, no key, the value's length and the value, no headers; not its own length.
    let size = 1 + 1 + 1 + 1 + 2 + value.len() + 1;
    let check = async |limit: usize, records: bytes::Bytes, expected: &str| -> Result<()> {
        let topic = broker.topic(1, &[("max.decompressed.message.bytes", &limit.to_string())]).await?;
        let answer = connection.send(&requests::produce(&topic, 0, records, -1), 11).await?;
        let code = answer.responses[0].partition_responses[0].error_code;
        assert_eq!(name_of(code), expected, "at {limit}");
        Ok(())
    };
    check(size, zipped(), "NONE").await?;
    check(size - 1, zipped(), "INVALID_RECORD").await?;
    check(size - 1, batch(&[&value]).build(), "NONE").await
}

#[tokio::test]
async fn groups_and_subscriptions_are_told_and_listed() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let topic = broker.topic(1, &[]).await?;
    let me = node(&connection).await?;
    let (group, metrics) = (unique_name("group"), unique_name("metrics"));
    let session = ("consumer.session.timeout.ms", SET, Some("50000"));
    assert_eq!(alter(&connection, GROUP, &group, &[session]).await?, "NONE");
    expect(&connection, GROUP, &group, "consumer.session.timeout.ms", Some(("50000", 8))).await?;
    expect(&connection, GROUP, &group, "consumer.heartbeat.interval.ms", Some(("5000", 5))).await?;
    let interval = ("interval.ms", SET, Some("1000"));
    let matches = ("match", SET, Some("client_id=a.*,client_software_name=x"));
    assert_eq!(alter(&connection, CLIENT_METRICS, &metrics, &[interval, matches]).await?, "NONE");
    expect(&connection, CLIENT_METRICS, &metrics, "interval.ms", Some(("1000", 7))).await?;
    expect(&connection, CLIENT_METRICS, &metrics, "metrics", Some(("", 5))).await?;

    let list = async |kinds: &[i8], version| -> Result<Vec<(i8, String)>> {
        let request = ListConfigResourcesRequest::default().with_resource_types(kinds.to_vec());
        let answer = connection.send(&request, version).await?;
        assert_eq!(name_of(answer.error_code), "NONE");
        let resources = answer.config_resources.iter();
        Ok(resources.map(|r| (r.resource_type, r.resource_name.to_string())).collect())
    };
    let all = list(&[], 1).await?;
    for expected in [(TOPIC, &topic.name), (BROKER, &me), (GROUP, &group), (CLIENT_METRICS, &metrics)] {
        assert!(all.contains(&(expected.0, expected.1.clone())), "{expected:?} in {all:?}");
    }
    let groups = list(&[GROUP], 1).await?;
    assert!(groups.iter().all(|(kind, _)| *kind == GROUP), "{groups:?}");
    let old = list(&[], 0).await?;
    assert!(old.contains(&(CLIENT_METRICS, metrics.clone())), "{old:?}");
    let unknown = ListConfigResourcesRequest::default().with_resource_types(vec![77]);
    let answer = connection.send(&unknown, 1).await?;
    assert_eq!(name_of(answer.error_code), "UNSUPPORTED_VERSION");

    let delete = [("consumer.session.timeout.ms", DELETE, None)];
    assert_eq!(alter(&connection, GROUP, &group, &delete).await?, "NONE");
    eventually("the group has no settings of its own", async || {
        let listed = list(&[GROUP], 1).await?.contains(&(GROUP, group.clone()));
        Ok((!listed).then_some(()))
    })
    .await
}
