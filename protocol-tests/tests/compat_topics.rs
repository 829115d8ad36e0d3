//! Topics that come into being by being asked for, and those that must not. Rows 18 and 19 of the list of
//! behaviour that broke somebody's client.

use anyhow::{Result, ensure};
use kafka_protocol::messages::describe_topic_partitions_request::TopicRequest;
use kafka_protocol::messages::{DescribeTopicPartitionsRequest, MetadataRequest};
use ottla_client::Connection;
use protocol_tests::broker::{PATIENCE, unique_name};
use protocol_tests::requests::{fetch, list_offsets, metadata, produce, topic_name};
use protocol_tests::{Topic, batch, broker, name_of};
use std::time::Instant;

/// Asks for metadata until the topic is there. Until then each answer must be one that makes a client ask
/// again, and never a topic whose partition has no leader.
async fn created(connection: &Connection, name: &str, version: i16) -> Result<Topic> {
    let request = metadata(&[name]).with_allow_auto_topic_creation(true);
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let answer = connection.send(&request, version).await?.topics.remove(0);
        match name_of(answer.error_code) {
            "NONE" => {
                for partition in &answer.partitions {
                    ensure!(
                        partition.error_code == 0 && partition.leader_id.0 >= 0,
                        "v{version}: {partition:?}"
                    );
                }
                ensure!(!answer.partitions.is_empty(), "v{version}: a topic without partitions");
                return Ok(Topic { name: name.into(), id: answer.topic_id });
            }
            "UNKNOWN_TOPIC_OR_PARTITION" | "LEADER_NOT_AVAILABLE" => {}
            other => anyhow::bail!("v{version}: {other}"),
        }
    }
    anyhow::bail!("v{version}: {name} was not created")
}

/// Row 18.
#[tokio::test]
async fn an_auto_created_topic_has_a_leader_when_it_is_told_of() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    for version in [0, 1, 4, 8, 9, 12, 13] {
        let topic = created(&connection, &unique_name("asked-for"), version).await?;
        let start = Instant::now();
        loop {
            let answer = connection.send(&produce(&topic, 0, batch(&["first"]).build(), -1), 9).await?;
            match name_of(answer.responses[0].partition_responses[0].error_code) {
                "NONE" => break,
                // A leader that is about to serve; a client tries again.
                "NOT_LEADER_OR_FOLLOWER" | "UNKNOWN_TOPIC_OR_PARTITION" if start.elapsed() < PATIENCE => {}
                other => anyhow::bail!("v{version}: {other}"),
            }
        }
    }
    Ok(())
}

/// Row 19, and that no other question creates a topic either.
#[tokio::test]
async fn a_question_that_creates_nothing_creates_nothing() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let name = unique_name("never");
    let topic = Topic { name: name.clone(), id: uuid::Uuid::nil() };
    for version in 4..=13 {
        let answer = connection.send(&metadata(&[&name]), version).await?.topics.remove(0);
        assert_eq!(name_of(answer.error_code), "UNKNOWN_TOPIC_OR_PARTITION", "Metadata v{version}");
        assert_eq!((answer.partitions.len(), answer.topic_id), (0, uuid::Uuid::nil()), "Metadata v{version}");
    }
    let asked = vec![TopicRequest::default().with_name(topic_name(&name))];
    let described =
        DescribeTopicPartitionsRequest::default().with_topics(asked).with_response_partition_limit(10);
    let answer = connection.send(&described, 0).await?;
    assert_eq!(name_of(answer.topics[0].error_code), "UNKNOWN_TOPIC_OR_PARTITION");
    connection.send(&list_offsets(&name, 0, -1), 7).await?;
    connection.send(&fetch(&topic, &[(0, 0)]), 12).await?;
    connection.send(&produce(&topic, 0, batch(&["lost"]).build(), -1), 9).await?;

    for version in 1..=13 {
        let everything = MetadataRequest::default().with_topics(None);
        let answer = connection.send(&everything, version).await?;
        let found =
            answer.topics.iter().any(|topic| topic.name.as_ref().is_some_and(|found| *found.0 == *name));
        assert!(!found, "v{version}: {name} was created by a question");
    }
    Ok(())
}

/// Names that could never be topics are refused, not created.
#[tokio::test]
async fn impossible_names_are_not_created() -> Result<()> {
    let connection = broker().await.connect().await?;
    for name in ["", ".", "..", "a/b", "a b", &"x".repeat(250)] {
        for version in [1, 8, 9, 12] {
            let request = metadata(&[name]).with_allow_auto_topic_creation(true);
            let answer = connection.send(&request, version).await?.topics.remove(0);
            assert_eq!(name_of(answer.error_code), "INVALID_TOPIC_EXCEPTION", "{name:?} v{version}");
        }
    }
    Ok(())
}

/// Which topics are told of: none, all, or those that were named, by name or by id.
#[tokio::test]
async fn metadata_tells_what_was_asked() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let topic = broker.topic(3, &[]).await?;
    for version in 0..=13 {
        let answer =
            connection.send(&metadata(&[&topic.name]).with_allow_auto_topic_creation(true), version).await?;
        let told = &answer.topics[0];
        let partitions: Vec<_> =
            told.partitions.iter().map(|at| (at.partition_index, at.error_code)).collect();
        let mut sorted = partitions.clone();
        sorted.sort();
        assert_eq!(sorted, [(0, 0), (1, 0), (2, 0)], "v{version}");
        let node = answer.brokers[0].node_id;
        for at in &told.partitions {
            assert_eq!(
                (at.leader_id, &at.replica_nodes, &at.isr_nodes),
                (node, &vec![node], &vec![node]),
                "v{version}"
            );
            assert_eq!(at.leader_epoch, if version >= 7 { 0 } else { -1 }, "v{version}");
        }
        if version >= 1 {
            assert_eq!(answer.controller_id, node, "v{version}");
        }
        if version >= 2 {
            assert!(answer.cluster_id.is_some_and(|id| !id.is_empty()), "v{version}");
        }
        let address = format!("{}:{}", &*answer.brokers[0].host, answer.brokers[0].port);
        assert_eq!(address, broker.address, "v{version}");
        if version >= 10 {
            assert_eq!(told.topic_id, topic.id, "v{version}");
        }
        // Version 0 has no way to ask for none: an empty list is all of them.
        let none = connection.send(&metadata(&[]).with_allow_auto_topic_creation(true), version).await?;
        assert_eq!(none.topics.is_empty(), version >= 1, "v{version}");
    }
    for (version, id, error) in
        [(12, topic.id, "NONE"), (13, topic.id, "NONE"), (12, uuid::Uuid::from_u128(9), "UNKNOWN_TOPIC_ID")]
    {
        let mut by_id = metadata(&["x"]);
        by_id.topics.iter_mut().flatten().for_each(|topic| {
            topic.name = None;
            topic.topic_id = id;
        });
        let told = connection.send(&by_id, version).await?.topics.remove(0);
        assert_eq!((name_of(told.error_code), told.topic_id), (error, id), "v{version}");
        let name = told.name.map(|name| name.0.to_string());
        assert_eq!(name, (error == "NONE").then(|| topic.name.clone()), "v{version}");
    }
    Ok(())
}
