//! What administrators do to partitions: more of them, fewer records in them, who leads, who writes, where epochs end.

use anyhow::{Context, Result};
use kafka_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use kafka_protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsTopic,
};
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::*;
use ottla_client::Connection;
use protocol_tests::requests::{metadata, text, topic_name};
use protocol_tests::{Topic, batch, broker, eventually, name_of, requests};

async fn produce(connection: &Connection, topic: &Topic, values: &[&str]) -> Result<()> {
    let records = batch(values).build();
    let answer = connection.send(&requests::produce(topic, 0, records, -1), 11).await?;
    assert_eq!(name_of(answer.responses[0].partition_responses[0].error_code), "NONE");
    Ok(())
}

fn more(topic: &str, count: i32, assignments: Option<&[&[i32]]>) -> CreatePartitionsTopic {
    let assigned = |ids: &&[i32]| {
        CreatePartitionsAssignment::default().with_broker_ids(ids.iter().map(|id| BrokerId(*id)).collect())
    };
    CreatePartitionsTopic::default()
        .with_name(topic_name(topic))
        .with_count(count)
        .with_assignments(assignments.map(|all| all.iter().map(assigned).collect()))
}

#[tokio::test]
async fn topics_grow_and_never_shrink() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let me = connection.send(&metadata(&[]), 9).await?.brokers[0].node_id.0;
    let topic = broker.topic(2, &[]).await?;
    let name = topic.name.as_str();
    let ask = async |topics: Vec<CreatePartitionsTopic>, validate_only, version| -> Result<Vec<&str>> {
        let request = CreatePartitionsRequest::default()
            .with_topics(topics)
            .with_timeout_ms(10_000)
            .with_validate_only(validate_only);
        let answer = connection.send(&request, version).await?;
        for result in &answer.results {
            assert!(result.error_code != 0 || result.error_message.is_none(), "{result:?}");
        }
        Ok(answer.results.iter().map(|result| name_of(result.error_code)).collect())
    };
    let count = async || -> Result<usize> {
        Ok(connection.send(&metadata(&[name]), 9).await?.topics[0].partitions.len())
    };
    for version in 0..=3 {
        assert_eq!(ask(vec![more(name, 5, None)], true, version).await?, ["NONE"], "v{version}");
    }
    assert_eq!(count().await?, 2, "it was only tried");
    assert_eq!(ask(vec![more(name, 2, None)], false, 3).await?, ["INVALID_PARTITIONS"], "as many as before");
    assert_eq!(ask(vec![more(name, 1, None)], false, 3).await?, ["INVALID_PARTITIONS"], "fewer");
    assert_eq!(ask(vec![more(name, -1, None)], false, 3).await?, ["INVALID_PARTITIONS"]);
    assert_eq!(ask(vec![more("no-such-topic", 3, None)], false, 3).await?, ["UNKNOWN_TOPIC_OR_PARTITION"]);
    assert_eq!(ask(vec![more(name, 3, None), more(name, 4, None)], false, 3).await?, ["INVALID_REQUEST"]);
    let wrong: [&[&[i32]]; 5] = [&[], &[&[me], &[me]], &[&[]], &[&[me, me]], &[&[4711]]];
    for wrong in wrong {
        let topics = vec![more(name, 3, Some(wrong))];
        assert_eq!(ask(topics, false, 3).await?, ["INVALID_REPLICA_ASSIGNMENT"], "{wrong:?}");
    }
    assert_eq!(ask(vec![more(name, 3, Some(&[&[me]]))], false, 3).await?, ["NONE"]);
    assert_eq!(ask(vec![more(name, 5, None)], false, 3).await?, ["NONE"]);
    eventually("five partitions, and each has a leader", async || {
        let told = connection.send(&metadata(&[name]), 9).await?;
        let led = told.topics[0].partitions.iter().filter(|p| p.leader_id.0 == me).count();
        Ok((led == 5).then_some(()))
    })
    .await?;
    let listed = eventually("the new one serves", async || {
        let answer = connection.send(&requests::list_offsets(name, 4, -1), 6).await?;
        let partition = answer.topics[0].partitions[0].clone();
        Ok((partition.error_code == 0).then_some(partition))
    })
    .await?;
    assert_eq!(listed.offset, 0);
    Ok(())
}

async fn delete(
    connection: &Connection,
    topic: &str,
    partition: i32,
    offset: i64,
) -> Result<(&'static str, i64)> {
    let partition = DeleteRecordsPartition::default().with_partition_index(partition).with_offset(offset);
    let topic = DeleteRecordsTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
    let answer = connection.send(&request, 2).await?;
    let result = &answer.topics[0].partitions[0];
    Ok((name_of(result.error_code), result.low_watermark))
}

#[tokio::test]
async fn records_are_deleted_up_to_an_offset() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let topic = broker.topic(1, &[]).await?;
    let name = topic.name.as_str();
    produce(&connection, &topic, &["a", "b", "c"]).await?;
    produce(&connection, &topic, &["d", "e"]).await?;
    let start = async || -> Result<i64> {
        let answer = connection.send(&requests::list_offsets(name, 0, -2), 6).await?;
        Ok(answer.topics[0].partitions[0].offset)
    };
    assert_eq!(delete(&connection, name, 0, 2).await?, ("NONE", 2));
    assert_eq!(start().await?, 2, "inside of a batch");
    assert_eq!(delete(&connection, name, 0, 1).await?, ("NONE", 2), "it never moves back");
    assert_eq!(delete(&connection, name, 0, 6).await?, ("OFFSET_OUT_OF_RANGE", -1), "beyond the end");
    assert_eq!(delete(&connection, name, 0, -2).await?, ("OFFSET_OUT_OF_RANGE", -1));
    let fetched = connection.send(&requests::fetch(&topic, &[(0, 1)]), 12).await?;
    let partition = &fetched.responses[0].partitions[0];
    assert_eq!(name_of(partition.error_code), "OFFSET_OUT_OF_RANGE");
    assert_eq!(delete(&connection, name, 0, -1).await?, ("NONE", 5), "all that there is");
    assert_eq!(start().await?, 5);
    produce(&connection, &topic, &["f"]).await?;
    assert_eq!(delete(&connection, name, 1, 0).await?, ("UNKNOWN_TOPIC_OR_PARTITION", -1));
    assert_eq!(delete(&connection, "no-such-topic", 0, 0).await?, ("UNKNOWN_TOPIC_OR_PARTITION", -1));
    let compacted = broker.topic(1, &[("cleanup.policy", "compact")]).await?;
    assert_eq!(delete(&connection, &compacted.name, 0, 0).await?, ("POLICY_VIOLATION", -1));
    let both = broker.topic(1, &[("cleanup.policy", "compact,delete")]).await?;
    assert_eq!(delete(&connection, &both.name, 0, 0).await?, ("NONE", 0));
    Ok(())
}

/// Row 16.
#[tokio::test]
async fn an_epoch_ends_where_the_next_begins() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let topic = broker.topic(1, &[]).await?;
    let ask = async |topic: &str, current: i32, epoch: i32, version| -> Result<(&str, i32, i64)> {
        let partition = OffsetForLeaderPartition::default()
            .with_partition(0)
            .with_current_leader_epoch(current)
            .with_leader_epoch(epoch);
        let topic =
            OffsetForLeaderTopic::default().with_topic(topic_name(topic)).with_partitions(vec![partition]);
        let request = OffsetForLeaderEpochRequest::default().with_topics(vec![topic]);
        let request = if version >= 3 { request.with_replica_id(BrokerId(-1)) } else { request };
        let answer = connection.send(&request, version).await?;
        let end = &answer.topics[0].partitions[0];
        Ok((name_of(end.error_code), end.leader_epoch, end.end_offset))
    };
    let told = connection.send(&metadata(&[&topic.name]), 9).await?;
    let current = told.topics[0].partitions[0].leader_epoch;
    let name = topic.name.as_str();
    for version in 2..=4 {
        assert_eq!(ask(name, -1, current, version).await?, ("NONE", current, 0), "nothing is written");
    }
    produce(&connection, &topic, &["a", "b"]).await?;
    for version in 2..=4 {
        assert_eq!(ask(name, -1, current, version).await?, ("NONE", current, 2));
        assert_eq!(ask(name, current, current, version).await?, ("NONE", current, 2));
        assert_eq!(ask(name, -1, current + 1, version).await?, ("NONE", -1, -1), "an epoch to come");
        assert_eq!(ask(name, -1, -1, version).await?, ("NONE", -1, -1), "no epoch");
        assert_eq!(ask(name, current + 1, current, version).await?, ("UNKNOWN_LEADER_EPOCH", -1, -1));
        assert_eq!(ask("no-such-topic", -1, 0, version).await?, ("UNKNOWN_TOPIC_OR_PARTITION", -1, -1));
    }
    Ok(())
}

#[tokio::test]
async fn a_partition_remembers_its_producers() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let topic = broker.topic(1, &[]).await?;
    let new = InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(1_000);
    // A broker that has just started may still be fetching its first ids.
    let producer = eventually("a producer id", async || {
        let producer = connection.send(&new, 4).await?;
        Ok((producer.error_code == 0).then_some(producer))
    })
    .await?;
    let records = batch(&["a", "b"]).by(producer.producer_id.0, producer.producer_epoch, 0).build();
    let answer = connection.send(&requests::produce(&topic, 0, records, -1), 11).await?;
    assert_eq!(name_of(answer.responses[0].partition_responses[0].error_code), "NONE");
    let ask = async |name: &str, index| -> Result<_> {
        let topic = TopicRequest::default().with_name(topic_name(name)).with_partition_indexes(vec![index]);
        let request = DescribeProducersRequest::default().with_topics(vec![topic]);
        let answer = connection.send(&request, 0).await?;
        answer.topics.into_iter().next().and_then(|topic| topic.partitions.into_iter().next()).context("it")
    };
    let told = ask(&topic.name, 0).await?;
    assert_eq!(
        (name_of(told.error_code), told.error_message, told.active_producers.len()),
        ("NONE", None, 1)
    );
    let active = &told.active_producers[0];
    assert_eq!(
        (active.producer_id, active.producer_epoch, active.last_sequence, active.current_txn_start_offset),
        (producer.producer_id, 0, 1, -1)
    );
    assert!(active.last_timestamp > 0);
    for (name, index, error) in [
        (topic.name.as_str(), 1, "UNKNOWN_TOPIC_OR_PARTITION"),
        ("no-such-topic", 0, "UNKNOWN_TOPIC_OR_PARTITION"),
        ("a/b", 0, "INVALID_TOPIC_EXCEPTION"),
    ] {
        let told = ask(name, index).await?;
        assert_eq!((name_of(told.error_code), told.active_producers.len()), (error, 0), "{name}-{index}");
    }
    Ok(())
}

#[tokio::test]
async fn who_leads_is_not_elected_again() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let topic = broker.topic(2, &[]).await?;
    let ask = async |kind: i8, partitions: Option<(&str, Vec<i32>)>, version| -> Result<_> {
        let named = partitions.map(|(name, indexes)| {
            vec![TopicPartitions::default().with_topic(topic_name(name)).with_partitions(indexes)]
        });
        let request = ElectLeadersRequest::default().with_topic_partitions(named).with_timeout_ms(10_000);
        let request = if version >= 1 { request.with_election_type(kind) } else { request };
        let answer = connection.send(&request, version).await?;
        let results = answer
            .replica_election_results
            .iter()
            .flat_map(|topic| topic.partition_result.iter().map(|p| (p.partition_id, name_of(p.error_code))));
        Ok((name_of(answer.error_code), results.collect::<Vec<_>>()))
    };
    for version in 0..=2 {
        let told = ask(0, Some((&topic.name, vec![0, 1])), version).await?;
        assert_eq!(told, ("NONE", vec![(0, "ELECTION_NOT_NEEDED"), (1, "ELECTION_NOT_NEEDED")]));
    }
    let told = ask(1, Some((&topic.name, vec![1])), 2).await?;
    assert_eq!(told, ("NONE", vec![(1, "ELECTION_NOT_NEEDED")]));
    let told = ask(0, Some((&topic.name, vec![2])), 2).await?;
    assert_eq!(told, ("NONE", vec![(2, "UNKNOWN_TOPIC_OR_PARTITION")]));
    let told = ask(0, Some(("no-such-topic", vec![0])), 2).await?;
    assert_eq!(told, ("NONE", vec![(0, "UNKNOWN_TOPIC_OR_PARTITION")]));
    assert_eq!(ask(0, None, 2).await?, ("NONE", vec![]), "of all, those where something was to do");
    assert_eq!(ask(7, Some((&topic.name, vec![0])), 2).await?.0, "INVALID_REQUEST");
    Ok(())
}

#[tokio::test]
async fn nothing_is_moving() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let topic = broker.topic(1, &[]).await?;
    let named = |name: &str| {
        ListPartitionReassignmentsTopics::default()
            .with_name(topic_name(name))
            .with_partition_indexes(vec![0])
    };
    for topics in [None, Some(vec![named(&topic.name), named("no-such-topic")])] {
        let request = ListPartitionReassignmentsRequest::default().with_topics(topics);
        let answer = connection.send(&request, 0).await?;
        assert_eq!((name_of(answer.error_code), answer.error_message), ("NONE", None));
        assert!(answer.topics.is_empty());
    }
    Ok(())
}

fn moved(topic: &str, partitions: &[(i32, Option<&[i32]>)]) -> ReassignableTopic {
    let partitions = partitions.iter().map(|(index, replicas)| {
        let replicas = replicas.map(|ids| ids.iter().map(|id| BrokerId(*id)).collect());
        ReassignablePartition::default().with_partition_index(*index).with_replicas(replicas)
    });
    ReassignableTopic::default().with_name(topic_name(topic)).with_partitions(partitions.collect())
}

#[tokio::test]
async fn replicas_stay_where_they_are_or_the_error_says_why_they_cannot_move() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let me = connection.send(&metadata(&[]), 9).await?.brokers[0].node_id.0;
    let topic = broker.topic(2, &[]).await?;
    let name = topic.name.as_str();
    let ask = async |topics: Vec<ReassignableTopic>, allowed: bool, version| -> Result<Vec<(i32, &str)>> {
        let request = AlterPartitionReassignmentsRequest::default().with_topics(topics.clone());
        let request =
            if version >= 1 { request.with_allow_replication_factor_change(allowed) } else { request };
        let answer = connection.send(&request.with_timeout_ms(10_000), version).await?;
        let message = topics.is_empty().then(|| text(""));
        assert_eq!((name_of(answer.error_code), answer.error_message), ("NONE", message));
        assert_eq!(answer.allow_replication_factor_change, allowed || version == 0);
        let names = |topics: &[&TopicName]| topics.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        let asked: Vec<_> = topics.iter().map(|topic| &topic.name).collect();
        let told: Vec<_> = answer.responses.iter().map(|topic| &topic.name).collect();
        assert_eq!(names(&told), names(&asked), "in the order of the request");
        let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
        for partition in partitions.clone() {
            let silent = ["NONE", "NO_REASSIGNMENT_IN_PROGRESS"].contains(&name_of(partition.error_code));
            assert_eq!(partition.error_message.is_none(), silent, "{partition:?}");
        }
        Ok(partitions.map(|p| (p.partition_index, name_of(p.error_code))).collect())
    };
    for version in 0..=1 {
        let to_where_they_are = moved(name, &[(1, Some(&[me])), (0, Some(&[me]))]);
        let told = ask(vec![to_where_they_are], true, version).await?;
        assert_eq!(told, [(1, "NONE"), (0, "NONE")], "v{version}");
        let told = ask(vec![moved("no-such-topic", &[(0, Some(&[me])), (1, None)])], true, version).await?;
        assert_eq!(told, [(0, "UNKNOWN_TOPIC_OR_PARTITION"), (1, "UNKNOWN_TOPIC_OR_PARTITION")]);
        let told = ask(vec![moved(name, &[(7, Some(&[me])), (0, None)])], true, version).await?;
        assert_eq!(told, [(7, "UNKNOWN_TOPIC_OR_PARTITION"), (0, "NO_REASSIGNMENT_IN_PROGRESS")]);
        for wrong in [&[][..], &[me, me], &[4711], &[me, 4711], &[-1]] {
            let told = ask(vec![moved(name, &[(0, Some(wrong))])], true, version).await?;
            assert_eq!(told, [(0, "INVALID_REPLICA_ASSIGNMENT")], "v{version} {wrong:?}");
        }
    }
    assert_eq!(ask(vec![], true, 1).await?, []);
    assert_eq!(ask(vec![moved(name, &[(0, Some(&[me]))])], false, 1).await?, [(0, "NONE")]);
    let told = ask(vec![moved(name, &[(0, Some(&[]))])], false, 1).await?;
    assert_eq!(told, [(0, "INVALID_REPLICA_ASSIGNMENT")]);
    let request = ListPartitionReassignmentsRequest::default().with_topics(None);
    assert!(connection.send(&request, 0).await?.topics.is_empty(), "nothing moves");
    let told = connection.send(&metadata(&[name]), 9).await?;
    let places: Vec<_> =
        told.topics[0].partitions.iter().map(|p| (p.leader_id.0, &p.replica_nodes)).collect();
    assert!(
        places.iter().all(|(leader, replicas)| *leader == me && **replicas == [BrokerId(me)]),
        "{places:?}"
    );
    Ok(())
}
