//! What tools and web consoles ask of a cluster when they start: its log directories, its quorum, its transactions, its
//! quotas, credentials and access rules.

use anyhow::{Context, Result, ensure};
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use kafka_protocol::messages::describe_user_scram_credentials_request::UserName;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::Request;
use ottla_client::connection::request_frame;
use ottla_protocol::describe_log_dirs;
use protocol_tests::requests::{metadata, text, topic_name};
use protocol_tests::{Broker, batch, broker, eventually, name_of, requests};

async fn log_dirs(
    broker: &Broker,
    topics: Option<&[(&str, &[i32])]>,
    version: i16,
) -> Result<(DescribeLogDirsResponse, Vec<bool>)> {
    let named = |(name, indexes): &(&str, &[i32])| {
        DescribableLogDirTopic::default().with_topic(topic_name(name)).with_partitions(indexes.to_vec())
    };
    let request =
        DescribeLogDirsRequest::default().with_topics(topics.map(|all| all.iter().map(named).collect()));
    let frame = request_frame(&request, version.min(4), 5, Some("test")).map_err(anyhow::Error::msg)?;
    let mut frame = frame.to_vec();
    frame[6..8].copy_from_slice(&version.to_be_bytes());
    let mut raw = broker.connect_raw().await?;
    raw.send_bytes(&frame).await?;
    let answer = raw.receive_frame().await?.context("an answer")?;
    let header_bytes = if version >= 2 { 5 } else { 4 };
    Ok(describe_log_dirs::read_response(version, answer.slice(header_bytes..))?)
}

#[tokio::test]
async fn log_directories_tell_their_partitions_and_room() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let newest = connection.versions().await?.iter().find(|(key, _)| *key == DescribeLogDirsRequest::KEY);
    let newest = newest.context("it is served")?.1.max;
    let topic = broker.topic(2, &[]).await?;
    let records = batch(&["a", "b", "c"]).build();
    let bytes = records.len() as i64;
    connection.send(&requests::produce(&topic, 1, records, -1), 11).await?;
    for version in 1..=newest {
        let (all, cordoned) = log_dirs(broker, None, version).await?;
        assert_eq!(name_of(all.error_code), "NONE", "v{version}");
        assert!(cordoned.iter().all(|cordoned| !cordoned), "v{version}");
        let dir = all.results.iter().find(|dir| dir.topics.iter().any(|t| *t.name == *topic.name));
        let dir = dir.context("some directory has it")?;
        assert!(dir.log_dir.starts_with('/') && dir.error_code == 0, "v{version}: {dir:?}");
        if version >= 4 {
            ensure!(dir.total_bytes >= dir.usable_bytes && dir.usable_bytes > 0, "v{version}: {dir:?}");
        }
        let told = dir.topics.iter().find(|t| *t.name == *topic.name).context("the topic")?;
        let mut sizes: Vec<_> = told
            .partitions
            .iter()
            .map(|p| (p.partition_index, p.partition_size, p.offset_lag, p.is_future_key))
            .collect();
        sizes.sort();
        assert_eq!(sizes, [(0, 0, 0, false), (1, bytes, 0, false)], "v{version}");

        let (some, _) =
            log_dirs(broker, Some(&[(&topic.name, &[1, 7]), ("no-such-topic", &[0])]), version).await?;
        let named = some.results.iter().flat_map(|dir| &dir.topics);
        let named: Vec<_> = named
            .flat_map(|t| t.partitions.iter().map(|p| (t.name.to_string(), p.partition_index)))
            .collect();
        assert_eq!(named, [(topic.name.clone(), 1)], "v{version}: only what was asked for");
        let (none, _) = log_dirs(broker, Some(&[]), version).await?;
        assert!(none.results.iter().all(|dir| dir.topics.is_empty()), "v{version}");
    }
    Ok(())
}

#[tokio::test]
async fn the_quorum_tells_who_votes() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let me = connection.send(&metadata(&[]), 9).await?.brokers[0].node_id;
    let ask = async |topic: &str, index, version| {
        let partition = PartitionData::default().with_partition_index(index);
        let topic = TopicData::default().with_topic_name(topic_name(topic)).with_partitions(vec![partition]);
        connection.send(&DescribeQuorumRequest::default().with_topics(vec![topic]), version).await
    };
    for version in 0..=2 {
        let told = ask("__cluster_metadata", 0, version).await?;
        assert_eq!((name_of(told.error_code), told.topics.len()), ("NONE", 1), "v{version}");
        let partition = &told.topics[0].partitions[0];
        assert_eq!((name_of(partition.error_code), partition.leader_id), ("NONE", me), "v{version}");
        assert!(partition.leader_epoch > 0 && partition.high_watermark > 0, "v{version}: {partition:?}");
        let [voter] = &partition.current_voters[..] else { anyhow::bail!("v{version}: {partition:?}") };
        assert!(voter.replica_id == me && voter.log_end_offset >= partition.high_watermark, "v{version}");
        assert_eq!(voter.last_caught_up_timestamp > 0, version >= 1, "v{version}: {voter:?}");
        if version >= 2 {
            assert!(told.nodes.iter().any(|node| node.node_id == me), "v{version}: {:?}", told.nodes);
        }
        for (topic, index) in [("__cluster_metadata", 1), ("something-else", 0)] {
            let told = ask(topic, index, version).await?;
            assert_eq!(name_of(told.error_code), "NONE", "v{version} {topic}-{index}");
            let code = told.topics[0].partitions[0].error_code;
            assert_eq!(name_of(code), "UNKNOWN_TOPIC_OR_PARTITION", "v{version} {topic}-{index}");
        }
    }
    let before = ask("__cluster_metadata", 0, 2).await?.topics[0].partitions[0].high_watermark;
    broker.topic(1, &[]).await?;
    eventually("the metadata log has grown", async || {
        let after = ask("__cluster_metadata", 0, 2).await?.topics[0].partitions[0].high_watermark;
        Ok((after > before).then_some(()))
    })
    .await
}

#[tokio::test]
async fn transactions_are_listed_by_state() -> Result<()> {
    let connection = broker().await.connect().await?;
    for version in 0..=2 {
        let states = ["Ongoing", "PrepareEpochFence", "Bored", "ongoing", "Empty"];
        let request =
            ListTransactionsRequest::default().with_state_filters(states.iter().map(|s| text(s)).collect());
        let request = if version >= 1 { request.with_duration_filter(0) } else { request };
        let told = connection.send(&request, version).await?;
        let mut unknown: Vec<_> = told.unknown_state_filters.iter().map(|state| state.to_string()).collect();
        unknown.sort();
        assert_eq!(
            (name_of(told.error_code), unknown),
            ("NONE", vec!["Bored".to_string(), "ongoing".into()])
        );
    }
    Ok(())
}

#[tokio::test]
async fn there_are_no_quotas_and_what_is_no_question_is_told() -> Result<()> {
    let connection = broker().await.connect().await?;
    let component = |kind: &str, match_type, name: Option<&str>| {
        let mut component = ComponentData::default().with_entity_type(text(kind)).with_match_type(match_type);
        component._match = name.map(text);
        component
    };
    let check = async |components: Vec<ComponentData>, expected: &str| -> Result<()> {
        for version in 0..=1 {
            let request = DescribeClientQuotasRequest::default().with_components(components.clone());
            let told = connection.send(&request, version).await?;
            assert_eq!(name_of(told.error_code), expected, "{components:?}");
            let worded = told.error_message.as_ref().is_some_and(|message| !message.is_empty());
            assert_eq!(worded, expected != "NONE", "{components:?}: {:?}", told.error_message);
            assert_eq!(told.entries.is_some(), expected == "NONE", "{components:?}");
            assert!(told.entries.is_none_or(|entries| entries.is_empty()), "{components:?}");
        }
        Ok(())
    };
    check(vec![], "NONE").await?;
    check(vec![component("user", 2, None)], "NONE").await?;
    check(vec![component("user", 0, Some("a")), component("client-id", 1, None)], "NONE").await?;
    check(vec![component("ip", 0, Some("a")), component("user", 2, None)], "INVALID_REQUEST").await?;
    check(vec![component("user", 2, None), component("user", 1, None)], "INVALID_REQUEST").await?;
    check(vec![component("user", 0, None)], "INVALID_REQUEST").await?;
    check(vec![component("user", 2, Some("a"))], "INVALID_REQUEST").await?;
    check(vec![component("user", 9, None)], "INVALID_REQUEST").await?;
    check(vec![component("", 2, None)], "INVALID_REQUEST").await?;
    check(vec![component("shoe-size", 2, None)], "UNSUPPORTED_VERSION").await
}

#[tokio::test]
async fn nobody_has_credentials() -> Result<()> {
    let connection = broker().await.connect().await?;
    let ask = async |users: Option<&[&str]>| {
        let users =
            users.map(|all| all.iter().map(|name| UserName::default().with_name(text(name))).collect());
        connection.send(&DescribeUserScramCredentialsRequest::default().with_users(users), 0).await
    };
    for users in [None, Some(&[][..])] {
        let told = ask(users).await?;
        assert_eq!(
            (name_of(told.error_code), told.error_message.as_deref(), told.results.len()),
            ("NONE", Some(""), 0)
        );
    }
    let told = ask(Some(&["nobody", "twice", "twice"])).await?;
    assert_eq!(name_of(told.error_code), "NONE");
    let mut results: Vec<_> =
        told.results.iter().map(|r| (r.user.to_string(), name_of(r.error_code))).collect();
    results.sort();
    let expected = [("nobody", "RESOURCE_NOT_FOUND"), ("twice", "DUPLICATE_RESOURCE")];
    assert_eq!(results, expected.map(|(user, code)| (user.to_string(), code)));
    Ok(())
}

#[tokio::test]
async fn without_an_authorizer_there_are_no_rules() -> Result<()> {
    let connection = broker().await.connect().await?;
    for version in 1..=3 {
        let any = DescribeAclsRequest::default()
            .with_resource_type_filter(1)
            .with_resource_name_filter(None)
            .with_pattern_type_filter(1)
            .with_principal_filter(None)
            .with_host_filter(None)
            .with_operation(1)
            .with_permission_type(1);
        let told = connection.send(&any, version).await?;
        assert_eq!(name_of(told.error_code), "SECURITY_DISABLED", "v{version}");
        assert!(told.error_message.is_some() && told.resources.is_empty(), "v{version}");

        let create = |count| CreateAclsRequest::default().with_creations(vec![rule(); count]);
        let told = connection.send(&create(2), version).await?;
        let codes: Vec<_> =
            told.results.iter().map(|r| (name_of(r.error_code), r.error_message.is_some())).collect();
        assert_eq!(codes, [("SECURITY_DISABLED", true); 2], "v{version}");
        assert!(connection.send(&create(0), version).await?.results.is_empty(), "v{version}");

        let delete = |count| DeleteAclsRequest::default().with_filters(vec![filter(); count]);
        let told = connection.send(&delete(2), version).await?;
        for result in &told.filter_results {
            assert_eq!(name_of(result.error_code), "SECURITY_DISABLED", "v{version}");
            assert!(result.error_message.is_some() && result.matching_acls.is_empty(), "v{version}");
        }
        assert_eq!(told.filter_results.len(), 2, "v{version}");
    }
    Ok(())
}

fn rule() -> AclCreation {
    AclCreation::default()
        .with_resource_type(2)
        .with_resource_name(text("topic"))
        .with_resource_pattern_type(3)
        .with_principal(text("User:a"))
        .with_host(text("*"))
        .with_operation(3)
        .with_permission_type(3)
}

fn filter() -> DeleteAclsFilter {
    DeleteAclsFilter::default()
        .with_resource_type_filter(1)
        .with_resource_name_filter(None)
        .with_pattern_type_filter(1)
        .with_principal_filter(None)
        .with_host_filter(None)
        .with_operation(1)
        .with_permission_type(1)
}

#[tokio::test]
async fn a_rule_with_an_unknown_element_is_no_request() -> Result<()> {
    let broker = broker().await;
    let whole = CreateAclsRequest::default();
    for unknown in [rule().with_resource_type(0), rule().with_operation(0), rule().with_permission_type(0)] {
        let request = whole.clone().with_creations(vec![rule(), unknown]);
        assert!(broker.connect().await?.send(&request, 3).await.is_err(), "{request:?}");
    }
    let unknown = filter().with_pattern_type_filter(0);
    let request = DeleteAclsRequest::default().with_filters(vec![unknown]);
    assert!(broker.connect().await?.send(&request, 3).await.is_err(), "{request:?}");
    Ok(())
}
