//! Classic groups and their offsets on the wire: rows 15 and 21 to 24 of the list of behaviour that broke somebody's
//! client, and the versions of OffsetCommit and OffsetFetch that name topics by id.

use anyhow::{Context, Result, ensure};
use bytes::{Bytes, BytesMut};
use ottla_client::Connection;
use ottla_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use ottla_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use ottla_protocol::messages::offset_fetch_response::OffsetFetchResponsePartitions;
use ottla_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use ottla_protocol::messages::{
    GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, OffsetFetchRequest, SyncGroupRequest,
};
use ottla_protocol::primitives::{Form, Reader, Writer};
use protocol_tests::requests::{commit, text, topic_name};
use protocol_tests::{Topic, broker, name_of};
use uuid::Uuid;

fn join(group: &str, member: &str) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default().with_name(text("range"));
    JoinGroupRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_member_id(text(member))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(10_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol.with_metadata(Bytes::from_static(&[0; 10]))])
}

async fn committed(
    connection: &Connection,
    group: &str,
    topic: &Topic,
) -> Result<OffsetFetchResponsePartitions> {
    let asked = OffsetFetchRequestTopics::default().with_name(topic_name(&topic.name));
    let group = OffsetFetchRequestGroup::default().with_group_id(GroupId(text(group)));
    let group = group.with_topics(Some(vec![asked.with_partition_indexes(vec![0])]));
    let answer = connection.send(&OffsetFetchRequest::default().with_groups(vec![group]), 9).await?;
    ensure!(answer.groups[0].error_code == 0, "{}", name_of(answer.groups[0].error_code));
    Ok(answer.groups[0].topics[0].partitions[0].clone())
}

#[tokio::test]
async fn row_15_and_24_epoch_and_metadata_come_back_as_they_were_committed() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let (group, topic) = (broker.group().await?, broker.topic(1, &[]).await?);
    let nothing = committed(&connection, &group, &topic).await?;
    assert_eq!((nothing.committed_offset, nothing.committed_leader_epoch), (-1, -1), "nothing committed yet");
    let long = "x".repeat(4096);
    let rows = [
        (-1, None, ""),
        (0, Some(""), ""),
        (5, Some("note \u{e9}"), "note \u{e9}"),
        (-1, Some(&*long), &*long),
    ];
    for (epoch, metadata, expected) in rows {
        let mut request = commit(&group, &topic, 40, metadata);
        request.topics[0].partitions[0].committed_leader_epoch = epoch;
        let answer = connection.send(&request, 9).await?;
        assert_eq!(answer.topics[0].partitions[0].error_code, 0);
        let told = committed(&connection, &group, &topic).await?;
        assert_eq!((told.committed_offset, told.committed_leader_epoch), (40, epoch));
        assert_eq!(told.metadata.as_deref(), Some(expected));
    }
    let request = commit(&group, &topic, 41, Some(&"x".repeat(4097)));
    let answer = connection.send(&request, 9).await?;
    assert_eq!(name_of(answer.topics[0].partitions[0].error_code), "OFFSET_METADATA_TOO_LARGE");
    assert_eq!(committed(&connection, &group, &topic).await?.committed_offset, 40, "that one was not taken");
    Ok(())
}

#[tokio::test]
async fn row_21_only_newer_versions_are_told_to_come_back_with_a_member_id() -> Result<()> {
    let broker = broker().await;
    for version in 0..=9 {
        let connection = broker.connect().await?;
        let group = broker.group().await?;
        let mut request = join(&group, "");
        if version == 0 {
            request.rebalance_timeout_ms = -1;
        }
        let answer = connection.send(&request, version).await?;
        let expected = if version >= 4 { "MEMBER_ID_REQUIRED" } else { "NONE" };
        assert_eq!(name_of(answer.error_code), expected, "v{version}");
        ensure!(!answer.member_id.is_empty(), "v{version}: it is given an id");
    }
    Ok(())
}

async fn joined_alone(connection: &Connection, group: &str) -> Result<JoinGroupResponse> {
    let named = connection.send(&join(group, ""), 9).await?;
    assert_eq!(name_of(named.error_code), "MEMBER_ID_REQUIRED");
    let joined = connection.send(&join(group, &named.member_id), 9).await?;
    assert_eq!(name_of(joined.error_code), "NONE");
    Ok(joined)
}

fn sync(group: &str, joined: &JoinGroupResponse, assignment: &Bytes) -> SyncGroupRequest {
    let mine = SyncGroupRequestAssignment::default().with_member_id(joined.member_id.clone());
    SyncGroupRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_protocol_type(Some(text("consumer")))
        .with_protocol_name(Some(text("range")))
        .with_assignments(vec![mine.with_assignment(assignment.clone())])
}

#[tokio::test]
async fn row_22_static_members_join_from_version_5_on_and_take_their_place_again() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let group = broker.group().await?;
    for version in 5..=9 {
        let instance = format!("instance-{version}");
        let group = format!("{group}-{version}");
        let request = join(&group, "").with_group_instance_id(Some(text(&instance)));
        let first = protocol_tests::eventually("the coordinator", async || {
            let answer = connection.send(&request, version).await?;
            Ok((answer.error_code == 0).then_some(answer))
        })
        .await?;
        let assignment = Bytes::from_static(b"all of it");
        let synced = sync(&group, &first, &assignment).with_group_instance_id(Some(text(&instance)));
        assert_eq!(name_of(connection.send(&synced, 5).await?.error_code), "NONE", "v{version}");
        let again = connection.send(&request, version).await?;
        assert_eq!(name_of(again.error_code), "NONE", "v{version}");
        assert_ne!(again.member_id, first.member_id, "v{version}: it is another process");
        let old = HeartbeatRequest::default()
            .with_group_id(GroupId(text(&group)))
            .with_generation_id(first.generation_id)
            .with_member_id(first.member_id.clone())
            .with_group_instance_id(Some(text(&instance)));
        let answer = connection.send(&old, 4).await?;
        assert_eq!(name_of(answer.error_code), "FENCED_INSTANCE_ID", "v{version}");
    }
    Ok(())
}

#[tokio::test]
async fn row_23_a_good_sync_is_followed_by_good_heartbeats_and_brings_the_whole_assignment() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    // Sizes around what one frame, buffer or batch may hold.
    for size in [0, 1, 1_000, 70_000, 300_000] {
        let group = broker.group().await?;
        let joined = joined_alone(&connection, &group).await?;
        let assignment = Bytes::from(vec![7; size]);
        let synced = connection.send(&sync(&group, &joined, &assignment), 5).await?;
        assert_eq!((name_of(synced.error_code), synced.assignment.len()), ("NONE", size));
        for _ in 0..3 {
            let heartbeat = HeartbeatRequest::default()
                .with_group_id(GroupId(text(&group)))
                .with_generation_id(joined.generation_id)
                .with_member_id(joined.member_id.clone());
            assert_eq!(name_of(connection.send(&heartbeat, 4).await?.error_code), "NONE", "{size} bytes");
        }
        let again = connection.send(&sync(&group, &joined, &Bytes::new()), 5).await?;
        assert_eq!((name_of(again.error_code), again.assignment), ("NONE", assignment), "as often as asked");
    }
    Ok(())
}

/// A frame of version 10, whose header is that of all flexible requests.
fn frame(api_key: i16, body: impl FnOnce(&mut Writer<'_>)) -> Bytes {
    let mut buf = BytesMut::new();
    let mut writer = Writer::new(&mut buf);
    writer.i16(api_key);
    writer.i16(10);
    writer.i32(77);
    writer.nullable_string(Form::Classic, Some("by-id"));
    writer.no_tagged_fields(Form::Flexible);
    body(&mut writer);
    buf.freeze()
}

const FLEX: Form = Form::Flexible;

#[tokio::test]
async fn version_10_commits_and_fetches_by_topic_id() -> Result<()> {
    let broker = broker().await;
    if broker.connect().await?.versions().await?.range(8).is_none_or(|range| range.max < 10) {
        return Ok(());
    }
    let (group, topic) = (broker.group().await?, broker.topic(1, &[]).await?);
    for (id, error) in [(topic.id, "NONE"), (Uuid::from_u128(1 << 90), "UNKNOWN_TOPIC_ID")] {
        let mut raw = broker.connect_raw().await?;
        raw.send_frame(&frame(8, |writer| {
            writer.string(FLEX, &group);
            writer.i32(-1);
            writer.string(FLEX, "");
            writer.nullable_string(FLEX, None);
            writer.array_of(FLEX, [id].iter(), |writer, id| {
                writer.uuid(*id);
                writer.array_of(FLEX, [0].iter(), |writer, partition| {
                    writer.i32(*partition);
                    writer.i64(123);
                    writer.i32(-1);
                    writer.nullable_string(FLEX, Some("by id"));
                    writer.no_tagged_fields(FLEX);
                });
                writer.no_tagged_fields(FLEX);
            });
            writer.no_tagged_fields(FLEX);
        }))
        .await?;
        let answer = raw.receive_frame().await?.context("an answer")?;
        // Correlation id, tags, throttle time, one topic, its id, one partition, its index.
        let mut reader = Reader::new(&answer[4 + 1 + 4 + 1..]);
        assert_eq!(reader.uuid()?, id);
        reader.skip(1 + 4)?;
        assert_eq!(name_of(reader.i16()?), error);

        raw.send_frame(&frame(9, |writer| {
            writer.array_of(FLEX, [&group].iter(), |writer, group| {
                writer.string(FLEX, group);
                writer.nullable_string(FLEX, None);
                writer.i32(-1);
                writer.array_of(FLEX, [id].iter(), |writer, id| {
                    writer.uuid(*id);
                    writer.array_of(FLEX, [0].iter(), |writer, partition| writer.i32(*partition));
                    writer.no_tagged_fields(FLEX);
                });
                writer.no_tagged_fields(FLEX);
            });
            writer.bool(true);
            writer.no_tagged_fields(FLEX);
        }))
        .await?;
        let answer = raw.receive_frame().await?.context("an answer")?;
        let mut reader = Reader::new(&answer[4 + 1 + 4 + 1..]);
        assert_eq!(reader.string(FLEX)?, group);
        reader.skip(1)?;
        assert_eq!(reader.uuid()?, id);
        reader.skip(1 + 4)?;
        let expected = if error == "NONE" { 123 } else { -1 };
        assert_eq!(reader.i64()?, expected);
        reader.skip(4)?;
        assert_eq!(reader.nullable_string(FLEX)?, Some(if error == "NONE" { "by id" } else { "" }));
        assert_eq!(name_of(reader.i16()?), error);
    }
    Ok(())
}
