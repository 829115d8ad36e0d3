//! CreateTopics: every way to be refused, and what a created topic looks like, in each version.

use anyhow::{Context, Result};
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::{BrokerId, CreateTopicsRequest};
use ottla_client::Connection;
use protocol_tests::broker::unique_name;
use protocol_tests::requests::{metadata, text, topic_name};
use protocol_tests::{broker, eventually, name_of};

const VERSIONS: std::ops::RangeInclusive<i16> = 2..=7;

fn topic(name: &str, partitions: i32, replication_factor: i16) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partitions)
        .with_replication_factor(replication_factor)
}

fn config(topic: CreatableTopic, name: &str, value: Option<&str>) -> CreatableTopic {
    let config = CreatableTopicConfig::default().with_name(text(name)).with_value(value.map(text));
    topic.with_configs(vec![config])
}

/// Replicas for partitions 0, 1, 2 ..., with both numbers left open.
fn assigned(name: &str, assignments: &[(i32, &[i32])]) -> CreatableTopic {
    let assignment = |(index, replicas): &(i32, &[i32])| {
        CreatableReplicaAssignment::default()
            .with_partition_index(*index)
            .with_broker_ids(replicas.iter().map(|id| BrokerId(*id)).collect())
    };
    topic(name, -1, -1).with_assignments(assignments.iter().map(assignment).collect())
}

async fn create(
    connection: &Connection,
    topics: Vec<CreatableTopic>,
    version: i16,
) -> Result<Vec<CreatableTopicResult>> {
    let request = CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(10_000);
    Ok(connection.send(&request, version).await?.topics)
}

#[tokio::test]
async fn senseless_topics_are_refused() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let node = connection.send(&metadata(&[]), 9).await?.brokers[0].node_id.0;
    let existing = broker.topic(1, &[]).await?.name;
    let dotted = format!("{}.dot", unique_name("new"));
    create(&connection, vec![topic(&dotted, 1, 1)], 7).await?;
    let fresh = || unique_name("never");

    let check = async |story: &str, topic: CreatableTopic, error: &str| -> Result<()> {
        for version in [2, 4, 5, 7] {
            let request =
                CreateTopicsRequest::default().with_topics(vec![topic.clone()]).with_timeout_ms(10_000);
            let answer = connection.send(&request, version).await?;
            let result = answer.topics.first().context("a result")?;
            assert_eq!(name_of(result.error_code), error, "{story} (v{version}): {:?}", result.error_message);
            assert!(
                result.error_message.as_ref().is_some_and(|message| !message.is_empty()),
                "{story} (v{version}): says why"
            );
            assert_eq!(result.name, topic.name, "{story} (v{version})");
            if version >= 5 {
                assert_eq!((result.num_partitions, result.replication_factor), (-1, -1), "{story}");
            }
            if version >= 7 {
                assert_eq!(result.topic_id, uuid::Uuid::nil(), "{story}");
            }
        }
        Ok(())
    };
    check("it is there", topic(&existing, 1, 1), "TOPIC_ALREADY_EXISTS").await?;
    check("no name", topic("", 1, 1), "INVALID_TOPIC_EXCEPTION").await?;
    check("one dot", topic(".", 1, 1), "INVALID_TOPIC_EXCEPTION").await?;
    check("two dots", topic("..", 1, 1), "INVALID_TOPIC_EXCEPTION").await?;
    check("a slash", topic("a/b", 1, 1), "INVALID_TOPIC_EXCEPTION").await?;
    check("a space", topic("a b", 1, 1), "INVALID_TOPIC_EXCEPTION").await?;
    check("a letter beyond ASCII", topic("tåg", 1, 1), "INVALID_TOPIC_EXCEPTION").await?;
    check("250 letters", topic(&"x".repeat(250), 1, 1), "INVALID_TOPIC_EXCEPTION").await?;
    check("a dot where another has it", topic(&dotted.replace('.', "_"), 1, 1), "INVALID_TOPIC_EXCEPTION")
        .await?;

    check("no partitions", topic(&fresh(), 0, 1), "INVALID_PARTITIONS").await?;
    check("negative partitions", topic(&fresh(), -2, 1), "INVALID_PARTITIONS").await?;
    check("no replicas", topic(&fresh(), 1, 0), "INVALID_REPLICATION_FACTOR").await?;
    check("negative replicas", topic(&fresh(), 1, -2), "INVALID_REPLICATION_FACTOR").await?;
    check("more replicas than brokers", topic(&fresh(), 1, 100), "INVALID_REPLICATION_FACTOR").await?;

    check("an unknown broker", assigned(&fresh(), &[(0, &[4_711])]), "INVALID_REPLICA_ASSIGNMENT").await?;
    check("a broker twice", assigned(&fresh(), &[(0, &[node, node])]), "INVALID_REPLICA_ASSIGNMENT").await?;
    check("no broker", assigned(&fresh(), &[(0, &[])]), "INVALID_REPLICA_ASSIGNMENT").await?;
    check(
        "a partition left out",
        assigned(&fresh(), &[(0, &[node]), (2, &[node])]),
        "INVALID_REPLICA_ASSIGNMENT",
    )
    .await?;
    check("no partition 0", assigned(&fresh(), &[(1, &[node])]), "INVALID_REPLICA_ASSIGNMENT").await?;
    check(
        "a partition twice",
        assigned(&fresh(), &[(0, &[node]), (0, &[node])]),
        "INVALID_REPLICA_ASSIGNMENT",
    )
    .await?;
    let both = assigned(&fresh(), &[(0, &[node])]).with_num_partitions(1);
    check("assignments and partitions", both, "INVALID_REQUEST").await?;
    let both = assigned(&fresh(), &[(0, &[node])]).with_replication_factor(1);
    check("assignments and replicas", both, "INVALID_REQUEST").await?;

    let with = |name: &str, value: Option<&str>| config(topic(&unique_name("never"), 1, 1), name, value);
    check("an unknown config", with("no.such.config", Some("1")), "INVALID_CONFIG").await?;
    check("a number that is none", with("retention.ms", Some("soon")), "INVALID_CONFIG").await?;
    check("a number out of range", with("min.insync.replicas", Some("0")), "INVALID_CONFIG").await?;
    check("a word that is none", with("cleanup.policy", Some("burn")), "INVALID_CONFIG").await?;
    check("a truth that is none", with("preallocate", Some("maybe")), "INVALID_CONFIG").await?;
    check("no value", with("retention.ms", None), "INVALID_CONFIG").await?;
    check("a broker's config", with("log.retention.ms", Some("1")), "INVALID_CONFIG").await?;
    check("a ratio above one", with("min.cleanable.dirty.ratio", Some("1.5")), "INVALID_CONFIG").await
}

#[tokio::test]
async fn a_created_topic_is_as_it_was_asked_for() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let node = connection.send(&metadata(&[]), 9).await?.brokers[0].node_id.0;
    let check = async |story: &str, topic: CreatableTopic, version: i16, partitions: usize| -> Result<()> {
        let name = topic.name.0.to_string();
        let created = create(&connection, vec![topic.clone()], version).await?.remove(0);
        assert_eq!(name_of(created.error_code), "NONE", "{story} (v{version}): {:?}", created.error_message);
        if version >= 5 {
            assert_eq!(
                (created.num_partitions, created.replication_factor),
                (partitions as i32, 1),
                "{story}"
            );
            let configs = created.configs.context("configs")?;
            assert!(configs.len() > 20, "{story}: {} configs", configs.len());
            let retention =
                configs.iter().find(|config| &*config.name == "retention.ms").context("retention.ms")?;
            let asked = topic.configs.first().and_then(|config| config.value.as_deref());
            assert_eq!(retention.value.as_deref(), asked.or(Some("604800000")), "{story}");
            assert_eq!(
                retention.config_source,
                if asked.is_some() { 1 } else { 5 },
                "{story}: where it comes from"
            );
        }
        let found = eventually(story, async || {
            let found = connection.send(&metadata(&[&name]), 12).await?.topics.remove(0);
            Ok((name_of(found.error_code) == "NONE").then_some(found))
        });
        let found = found.await?;
        assert_eq!(found.partitions.len(), partitions, "{story} (v{version})");
        if version >= 7 {
            assert_eq!(created.topic_id, found.topic_id, "{story}");
        }
        assert_ne!(found.topic_id, uuid::Uuid::nil(), "{story} (v{version})");
        Ok(())
    };
    for version in VERSIONS {
        let new = || unique_name("new");
        check("three partitions", topic(&new(), 3, 1), version, 3).await?;
        check("249 letters", topic(&format!("{:x<249}", new()), 1, 1), version, 1).await?;
        check("every letter", topic(&format!("{}-AZaz09-", new()), 1, 1), version, 1).await?;
        check("by assignment", assigned(&new(), &[(1, &[node]), (0, &[node])]), version, 2).await?;
        check("with a config", config(topic(&new(), 1, 1), "retention.ms", Some("1234")), version, 1).await?;
        if version >= 4 {
            check("with the broker's defaults (KIP-464)", topic(&new(), -1, -1), version, 1).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn validation_creates_nothing() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    for version in VERSIONS {
        let name = unique_name("only-checked");
        let request = CreateTopicsRequest::default()
            .with_topics(vec![topic(&name, 2, 1), topic("a/b", 1, 1)])
            .with_timeout_ms(10_000)
            .with_validate_only(true);
        let answer = connection.send(&request, version).await?;
        let mut codes: Vec<_> = answer.topics.iter().map(|topic| name_of(topic.error_code)).collect();
        codes.sort();
        assert_eq!(codes, ["INVALID_TOPIC_EXCEPTION", "NONE"], "v{version}");
        let found = connection.send(&metadata(&[&name]), 12).await?.topics.remove(0);
        assert_eq!(name_of(found.error_code), "UNKNOWN_TOPIC_OR_PARTITION", "v{version}");
    }
    Ok(())
}

#[tokio::test]
async fn topics_of_one_request_fail_and_succeed_apart() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let (good, twice) = (unique_name("good"), unique_name("twice"));
    let topics = vec![topic(&good, 1, 1), topic(&twice, 1, 1), topic("a/b", 1, 1), topic(&twice, 1, 1)];
    let results = create(&connection, topics, 7).await?;
    let code = |name: &str| {
        let found =
            results.iter().filter(|result| &*result.name.0 == name).map(|result| name_of(result.error_code));
        found.collect::<Vec<_>>()
    };
    assert_eq!(code(&good), ["NONE"]);
    assert_eq!(code("a/b"), ["INVALID_TOPIC_EXCEPTION"]);
    assert_eq!(code(&twice), ["INVALID_REQUEST"], "told once for a name that comes twice");
    let found = connection.send(&metadata(&[&twice]), 12).await?.topics.remove(0);
    assert_eq!(name_of(found.error_code), "UNKNOWN_TOPIC_OR_PARTITION");
    assert_eq!(create(&connection, vec![], 7).await?.len(), 0, "nothing asked, nothing told");
    Ok(())
}
