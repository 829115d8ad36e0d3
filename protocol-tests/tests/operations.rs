//! What the caller may do, as clients and user interfaces ask for it (KIP-430): without an authorizer everything.

use anyhow::Result;
use kafka_protocol::messages::describe_topic_partitions_request::TopicRequest;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::*;
use protocol_tests::broker;
use protocol_tests::requests::{metadata, text, topic_name};
use uuid::Uuid;

const NOT_ASKED: i32 = i32::MIN;
// Read, write, create, delete, alter, describe, describe configs, alter configs.
const OF_A_TOPIC: i32 = 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11;
// Read, delete, describe, describe configs, alter configs.
const OF_A_GROUP: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;
// Create, alter, describe, act in the cluster, describe configs, alter configs, write idempotently.
const OF_THE_CLUSTER: i32 = 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12;

fn expected(asked: bool, all: i32) -> i32 {
    if asked { all } else { NOT_ASKED }
}

#[tokio::test]
async fn metadata_tells_them_when_asked() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let topic = broker.topic(1, &[]).await?;
    for version in 8..=13 {
        for (of_topics, of_cluster) in [(false, false), (true, false), (false, true), (true, true)] {
            let of_cluster = of_cluster && version <= 10;
            let mut request = metadata(&[&topic.name, "no-such-topic", "a/b"])
                .with_allow_auto_topic_creation(false)
                .with_include_topic_authorized_operations(of_topics);
            if version <= 10 {
                request = request.with_include_cluster_authorized_operations(of_cluster);
            }
            let told = connection.send(&request, version).await?;
            assert_eq!(told.topics.len(), 3, "v{version}");
            for one in &told.topics {
                let operations = one.topic_authorized_operations;
                assert_eq!(operations, expected(of_topics, OF_A_TOPIC), "v{version} {:?}", one.name);
            }
            let operations = told.cluster_authorized_operations;
            assert_eq!(operations, expected(of_cluster, OF_THE_CLUSTER), "v{version}");
        }
    }
    let by_id = |id| MetadataRequestTopic::default().with_topic_id(id).with_name(None);
    let request = MetadataRequest::default()
        .with_topics(Some(vec![by_id(topic.id), by_id(Uuid::from_u128(4711))]))
        .with_include_topic_authorized_operations(true);
    let told = connection.send(&request, 12).await?;
    for one in &told.topics {
        let known = one.topic_id == topic.id;
        assert_eq!(one.topic_authorized_operations, expected(known, OF_A_TOPIC), "{one:?}");
    }
    Ok(())
}

#[tokio::test]
async fn the_cluster_tells_them_when_asked() -> Result<()> {
    let connection = broker().await.connect().await?;
    for version in 0..=2 {
        for asked in [false, true] {
            let request = DescribeClusterRequest::default().with_include_cluster_authorized_operations(asked);
            let told = connection.send(&request, version).await?;
            assert_eq!(told.cluster_authorized_operations, expected(asked, OF_THE_CLUSTER), "v{version}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_group_tells_them_when_asked() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let group = broker.group_with_an_offset().await?;
    for version in 3..=6 {
        for asked in [false, true] {
            let groups = [&*group, "no such group"].map(|name| GroupId(text(name)));
            let request = DescribeGroupsRequest::default()
                .with_groups(groups.to_vec())
                .with_include_authorized_operations(asked);
            let told = connection.send(&request, version).await?;
            for one in &told.groups {
                // A group that is not there is an error from version 6 on, and was one that is dead.
                let asked = asked && one.error_code == 0;
                let operations = one.authorized_operations;
                assert_eq!(operations, expected(asked, OF_A_GROUP), "v{version} {:?}", one.group_id);
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_page_of_partitions_always_tells_them() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let topic = broker.topic(1, &[]).await?;
    let topics = [&*topic.name, "no-such-topic", "a/b"];
    let topics = topics.map(|name| TopicRequest::default().with_name(topic_name(name)));
    let request = DescribeTopicPartitionsRequest::default()
        .with_topics(topics.to_vec())
        .with_response_partition_limit(10);
    let told = connection.send(&request, 0).await?;
    let operations: Vec<i32> = told.topics.iter().map(|topic| topic.topic_authorized_operations).collect();
    assert_eq!(operations, [OF_A_TOPIC; 3]);
    Ok(())
}
