//! Fetch sessions (KIP-227): what a broker remembers for a consumer between fetches, and the errors that make
//! a client start over.

use anyhow::Result;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::FetchResponse;
use kafka_protocol::messages::fetch_request::{FetchPartition, ForgottenTopic};
use ottla_client::Connection;
use ottla_client::admin::NewTopic;
use ottla_client::produce::Acks;
use protocol_tests::requests::{fetch_of, fetch_partition, produce, topic_name};
use protocol_tests::{Topic, batch, broker, eventually, name_of};

/// A consumer that keeps one session, by names (v7 to v12) or by topic ids (from v13).
struct Session {
    connection: Connection,
    version: i16,
    id: i32,
    epoch: i32,
}

impl Session {
    async fn new(version: i16) -> Result<Session> {
        Ok(Session { connection: broker().await.connect().await?, version, id: 0, epoch: 0 })
    }

    /// Sends the next request of the session and takes over the id.
    async fn next(&mut self, request: FetchRequest) -> Result<FetchResponse> {
        let request = request.with_session_id(self.id).with_session_epoch(self.epoch);
        let answer = self.connection.send(&request, self.version).await?;
        (self.id, self.epoch) = (answer.session_id, self.epoch + 1);
        Ok(answer)
    }

    /// Sends with any id and epoch; nothing is taken over.
    async fn say(&self, id: i32, epoch: i32, request: FetchRequest) -> Result<FetchResponse> {
        let request = request.with_session_id(id).with_session_epoch(epoch);
        Ok(self.connection.send(&request, self.version).await?)
    }
}

/// Each partition of the answer, with the batches it brought or its error.
fn told(answer: &FetchResponse) -> Vec<(i32, &'static str, bool)> {
    let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
    let mut told: Vec<_> = partitions
        .map(|at| {
            let has_records = at.records.as_ref().is_some_and(|records| !records.is_empty());
            (at.partition_index, name_of(at.error_code), has_records)
        })
        .collect();
    told.sort();
    told
}

fn nothing() -> FetchRequest {
    FetchRequest::default().with_max_wait_ms(0).with_min_bytes(0)
}

fn forget(topic: &Topic, partitions: &[i32]) -> FetchRequest {
    let forgotten = ForgottenTopic::default()
        .with_topic(topic_name(&topic.name))
        .with_topic_id(topic.id)
        .with_partitions(partitions.to_vec());
    nothing().with_forgotten_topics_data(vec![forgotten])
}

fn from(partition: i32, offset: i64) -> FetchPartition {
    fetch_partition(partition, offset)
}

#[tokio::test]
async fn a_session_tells_only_what_changed() -> Result<()> {
    let broker = broker().await;
    let writer = broker.connect().await?;
    for version in [7, 11, 12, 13, 17, 18] {
        let topic = broker.topic(3, &[]).await?;
        let write = async |partition| -> Result<()> {
            let written = writer.send(&produce(&topic, partition, batch(&["a"]).build(), -1), 9).await?;
            let codes = written.responses.iter().flat_map(|topic| &topic.partition_responses);
            let codes: Vec<_> = codes.map(|at| name_of(at.error_code)).collect();
            assert_eq!(codes, ["NONE"], "v{version}: partition {partition} is written to");
            Ok(())
        };
        write(0).await?;
        let mut session = Session::new(version).await?;
        let full = session.next(fetch_of(&topic, vec![from(0, 0), from(1, 0), from(2, 0)])).await?;
        assert_ne!(full.session_id, 0, "v{version}: a session is made");
        assert_eq!(
            told(&full),
            [(0, "NONE", true), (1, "NONE", false), (2, "NONE", false)],
            "v{version}: a full answer has every partition"
        );
        let id = session.id;

        let again = session.next(nothing()).await?;
        assert_eq!(told(&again), [(0, "NONE", true)], "v{version}: what has records comes again");
        let moved = session.next(fetch_of(&topic, vec![from(0, 1)])).await?;
        assert_eq!(told(&moved), [], "v{version}: nothing new at the new position");
        write(2).await?;
        let written = session.next(nothing()).await?;
        assert_eq!(told(&written), [(2, "NONE", true)], "v{version}: what was written");
        let consumed = session.next(fetch_of(&topic, vec![from(2, 1)])).await?;
        assert_eq!(told(&consumed), [], "v{version}");

        session.next(forget(&topic, &[0, 1])).await?;
        write(0).await?;
        write(1).await?;
        assert_eq!(told(&session.next(nothing()).await?), [], "v{version}: forgotten partitions are silent");
        let added = session.next(fetch_of(&topic, vec![from(1, 0)])).await?;
        assert_eq!(told(&added), [(1, "NONE", true)], "v{version}: and can be added again");
        let wrong = session.next(fetch_of(&topic, vec![from(1, 99)])).await?;
        assert_eq!(told(&wrong), [(1, "OFFSET_OUT_OF_RANGE", false)], "v{version}");
        let still = session.next(nothing()).await?;
        assert_eq!(
            told(&still),
            [(1, "OFFSET_OUT_OF_RANGE", false)],
            "v{version}: an error is told each time"
        );
        assert_eq!(session.id, id, "v{version}: all of it in one session");
    }
    Ok(())
}

#[tokio::test]
async fn a_wrong_id_or_epoch_makes_the_client_start_over() -> Result<()> {
    let broker = broker().await;
    for version in [7, 12, 13, 18] {
        let topic = broker.topic(1, &[]).await?;
        let all = || fetch_of(&topic, vec![from(0, 0)]);
        let mut session = Session::new(version).await?;
        session.next(all()).await?;
        let id = session.id;

        let check = async |story: &str, id, epoch, request: FetchRequest, error: &str| -> Result<i32> {
            let answer = session.say(id, epoch, request).await?;
            assert_eq!(name_of(answer.error_code), error, "v{version}: {story}");
            if error != "NONE" {
                assert_eq!(answer.session_id, 0, "v{version}: {story}");
                assert_eq!(answer.responses.len(), 0, "v{version}: {story}");
            }
            Ok(answer.session_id)
        };
        check("an id that was never given", id.wrapping_add(1), 1, nothing(), "FETCH_SESSION_ID_NOT_FOUND")
            .await?;
        check("an epoch that was left out", id, 2, nothing(), "INVALID_FETCH_SESSION_EPOCH").await?;
        check("the right one still works", id, 1, nothing(), "NONE").await?;
        check("the same one again", id, 1, nothing(), "INVALID_FETCH_SESSION_EPOCH").await?;
        check("the next one", id, 2, nothing(), "NONE").await?;
        check("no session, only an epoch", 0, 5, nothing(), "FETCH_SESSION_ID_NOT_FOUND").await?;

        let renewed = check("epoch 0 starts over", id, 0, all(), "NONE").await?;
        assert!(renewed != 0 && renewed != id, "v{version}: with a new id");
        check("and ends the old one", id, 3, nothing(), "FETCH_SESSION_ID_NOT_FOUND").await?;
        let ended = check("epoch -1 ends it", renewed, -1, all(), "NONE").await?;
        assert_eq!(ended, 0, "v{version}");
        check("which is then unknown", renewed, 1, nothing(), "FETCH_SESSION_ID_NOT_FOUND").await?;
        let none = check("epoch -1 without an id makes none", 0, -1, all(), "NONE").await?;
        assert_eq!(none, 0, "v{version}");
    }
    Ok(())
}

/// A session belongs to the broker, not to a connection.
#[tokio::test]
async fn a_session_outlives_its_connection() -> Result<()> {
    let broker = broker().await;
    let topic = broker.topic(1, &[]).await?;
    let mut session = Session::new(12).await?;
    session.next(fetch_of(&topic, vec![from(0, 0)])).await?;
    session.connection.close();
    session.connection = broker.connect().await?;
    let answer = session.next(nothing()).await?;
    assert_eq!((name_of(answer.error_code), told(&answer)), ("NONE", vec![]));
    Ok(())
}

/// From v13 on topics are known by id (KIP-516).
#[tokio::test]
async fn unknown_topics_are_told_in_a_session_and_outside() -> Result<()> {
    let broker = broker().await;
    let known = broker.topic(1, &[]).await?;
    let missing = Topic { name: "no-such-topic".into(), id: uuid::Uuid::from_u128(77) };
    for (version, error) in
        [(12, "UNKNOWN_TOPIC_OR_PARTITION"), (13, "UNKNOWN_TOPIC_ID"), (18, "UNKNOWN_TOPIC_ID")]
    {
        let mut session = Session::new(version).await?;
        let mut both = fetch_of(&known, vec![from(0, 0)]);
        both.topics.extend(fetch_of(&missing, vec![from(0, 0)]).topics);
        for story in ["in a full fetch", "in the next"] {
            let request = if session.epoch == 0 { both.clone() } else { nothing() };
            let answer = session.next(request).await?;
            assert_eq!(name_of(answer.error_code), "NONE", "v{version} {story}");
            let codes: Vec<_> = told(&answer).iter().map(|told| told.1).collect();
            assert!(codes.contains(&error), "v{version} {story}: {codes:?}");
        }
    }
    // Names and ids cannot be mixed in one session.
    let mut session = Session::new(12).await?;
    session.next(fetch_of(&known, vec![from(0, 0)])).await?;
    session.version = 13;
    let answer = session.next(fetch_of(&known, vec![from(0, 0)])).await?;
    assert_eq!(name_of(answer.error_code), "FETCH_SESSION_TOPIC_ID_ERROR");
    Ok(())
}

/// A topic that is deleted and made again under its name is another topic: the session never shows its records.
#[tokio::test]
async fn a_recreated_topic_is_not_the_one_in_the_session() -> Result<()> {
    let broker = broker().await;
    let cluster = broker.cluster().await?;
    for version in [13, 18] {
        let topic = broker.topic(1, &[]).await?;
        let mut session = Session::new(version).await?;
        session.next(fetch_of(&topic, vec![from(0, 0)])).await?;

        let check = async |story: &str, session: &mut Session| -> Result<()> {
            let changed = eventually(story, async || {
                let answer = session.next(fetch_of(&topic, vec![from(0, 0)])).await?;
                Ok(told(&answer).first().copied())
            });
            let (_, error, has_records) = changed.await?;
            assert!(!has_records, "v{version} {story}");
            // Which of them depends on how much of the change the broker has seen: all make a client look again.
            let expected = ["UNKNOWN_TOPIC_ID", "UNKNOWN_TOPIC_OR_PARTITION", "INCONSISTENT_TOPIC_ID"];
            assert!(expected.contains(&error), "v{version} {story}: {error}");
            Ok(())
        };
        cluster.delete_topic(&topic.name).await?;
        check("deleted", &mut session).await?;
        let new = NewTopic { name: topic.name.clone(), partitions: Some(1), ..NewTopic::default() };
        cluster.create_topic(&new, false).await?;
        cluster.produce(&topic.name, 0, batch(&["of the new topic"]).build(), Acks::All).await?;
        check("made again", &mut session).await?;
    }
    Ok(())
}
