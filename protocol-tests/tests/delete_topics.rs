//! DeleteTopics by name and, from v6 on, by id (KIP-516).

use anyhow::Result;
use kafka_protocol::messages::DeleteTopicsRequest;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use ottla_client::Connection;
use protocol_tests::requests::{fetch, metadata, produce, topic_name};
use protocol_tests::{Topic, batch, broker, eventually, name_of};
use uuid::Uuid;

fn by_name(name: &str) -> DeleteTopicState {
    DeleteTopicState::default().with_name(Some(topic_name(name)))
}

fn by_id(id: Uuid) -> DeleteTopicState {
    DeleteTopicState::default().with_name(None).with_topic_id(id)
}

/// The error of each result, with its name and id, in order of the code's name.
async fn delete(
    connection: &Connection,
    states: Vec<DeleteTopicState>,
) -> Result<Vec<(&'static str, Option<String>, Uuid)>> {
    let request = DeleteTopicsRequest::default().with_topics(states).with_timeout_ms(10_000);
    let answer = connection.send(&request, 6).await?;
    let mut told: Vec<_> = answer
        .responses
        .iter()
        .map(|result| {
            (name_of(result.error_code), result.name.as_ref().map(|name| name.0.to_string()), result.topic_id)
        })
        .collect();
    told.sort();
    Ok(told)
}

#[tokio::test]
async fn a_deleted_topic_is_gone() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let check = async |story: &str, topic: &Topic| -> Result<()> {
        let gone = eventually(story, async || {
            let found = connection.send(&metadata(&[&topic.name]), 12).await?.topics.remove(0);
            Ok((name_of(found.error_code) == "UNKNOWN_TOPIC_OR_PARTITION").then_some(()))
        });
        gone.await?;
        let answer = connection.send(&produce(topic, 0, batch(&["a"]).build(), 1), 9).await?;
        let code = answer.responses[0].partition_responses[0].error_code;
        assert_eq!(name_of(code), "UNKNOWN_TOPIC_OR_PARTITION", "{story}: produce");
        let answer = connection.send(&fetch(topic, &[(0, 0)]), 13).await?;
        assert_eq!(
            name_of(answer.responses[0].partitions[0].error_code),
            "UNKNOWN_TOPIC_ID",
            "{story}: fetch"
        );
        Ok(())
    };
    for version in 1..=5 {
        let topic = broker.topic(2, &[]).await?;
        let request = DeleteTopicsRequest::default()
            .with_topic_names(vec![topic_name(&topic.name)])
            .with_timeout_ms(10_000);
        let answer = connection.send(&request, version).await?;
        assert_eq!(name_of(answer.responses[0].error_code), "NONE", "v{version}");
        check(&format!("by name, v{version}"), &topic).await?;
        let again = connection.send(&request, version).await?;
        assert_eq!(name_of(again.responses[0].error_code), "UNKNOWN_TOPIC_OR_PARTITION", "v{version}");
    }
    let topic = broker.topic(1, &[]).await?;
    let told = delete(&connection, vec![by_name(&topic.name)]).await?;
    assert_eq!(told, [("NONE", Some(topic.name.clone()), topic.id)]);
    check("by name, v6", &topic).await?;
    let topic = broker.topic(1, &[]).await?;
    let told = delete(&connection, vec![by_id(topic.id)]).await?;
    assert_eq!(told, [("NONE", Some(topic.name.clone()), topic.id)]);
    check("by id", &topic).await
}

#[tokio::test]
async fn what_cannot_be_deleted_is_told() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let topic = broker.topic(1, &[]).await?;
    let check = async |story: &str, states, errors: &[&str]| -> Result<()> {
        let told: Vec<_> = delete(&connection, states).await?.iter().map(|told| told.0).collect();
        assert_eq!(told, errors, "{story}");
        Ok(())
    };
    let unknown = Uuid::from_u128(0xabc);
    check("nothing", vec![], &[]).await?;
    check("an unknown name", vec![by_name("no-such-topic")], &["UNKNOWN_TOPIC_OR_PARTITION"]).await?;
    check("an impossible name", vec![by_name("a/b")], &["UNKNOWN_TOPIC_OR_PARTITION"]).await?;
    check("an unknown id", vec![by_id(unknown)], &["UNKNOWN_TOPIC_ID"]).await?;
    check("neither", vec![by_id(Uuid::nil())], &["INVALID_REQUEST"]).await?;
    check("both", vec![by_name(&topic.name).with_topic_id(topic.id)], &["INVALID_REQUEST"]).await?;
    check("a name twice", vec![by_name(&topic.name), by_name(&topic.name)], &["INVALID_REQUEST"]).await?;
    check("an id twice", vec![by_id(topic.id), by_id(topic.id)], &["INVALID_REQUEST"]).await?;
    check("a topic by name and by id", vec![by_name(&topic.name), by_id(topic.id)], &["INVALID_REQUEST"])
        .await?;
    let found = connection.send(&metadata(&[&topic.name]), 12).await?.topics.remove(0);
    assert_eq!(name_of(found.error_code), "NONE", "none of it deleted anything");
    check("one of two", vec![by_id(unknown), by_name(&topic.name)], &["NONE", "UNKNOWN_TOPIC_ID"]).await
}

/// The name can be used again, for another topic.
#[tokio::test]
async fn a_name_can_be_used_again() -> Result<()> {
    let broker = broker().await;
    let (connection, cluster) = (broker.connect().await?, broker.cluster().await?);
    let first = broker.topic(1, &[]).await?;
    connection.send(&produce(&first, 0, batch(&["old"]).build(), -1), 9).await?;
    delete(&connection, vec![by_id(first.id)]).await?;
    let new = ottla_client::admin::NewTopic { name: first.name.clone(), ..Default::default() };
    let second = cluster.create_topic(&new, false).await?;
    assert_ne!(second.topic_id, first.id);
    let ends = cluster.list_offsets(&first.name, &[0], -1, Default::default()).await?;
    assert_eq!(ends[0].offset, 0, "nothing of the old topic is left");
    let told: Vec<_> = delete(&connection, vec![by_id(first.id)]).await?.iter().map(|told| told.0).collect();
    assert_eq!(told, ["UNKNOWN_TOPIC_ID"], "the old id stays dead");
    Ok(())
}
