//! Transactions request by request (KIP-98, KIP-360, KIP-588, KIP-890): what each version may do, and what it is told.

use anyhow::{Context, Result, ensure};
use bytes::BytesMut;
use kafka_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, EndTxnRequest, FindCoordinatorRequest, GroupId, InitProducerIdRequest,
    OffsetCommitRequest, OffsetFetchRequest, TransactionalId,
};
use ottla_client::Connection;
use ottla_protocol::txn_markers::{TxnMarker, WriteTxnMarkersRequest};
use ottla_protocol::txn_offsets::TxnOffsetCommitRequest;
use ottla_protocol::{ErrorCode, ProducerEpoch, ProducerId};
use protocol_tests::broker::unique_name;
use protocol_tests::requests::{fetch, list_offsets, produce, text, topic_name};
use protocol_tests::{Batch, Broker, Topic, batch, broker, eventually, name_of};

const TRANSACTIONAL: i16 = 0x10;

/// A producer with a transactional id, and a topic that it writes to.
struct Story {
    broker: &'static Broker,
    connection: Connection,
    id: String,
    topic: Topic,
    producer: i64,
    epoch: i16,
    sequence: i32,
}

impl Story {
    async fn new() -> Result<Story> {
        let broker = broker().await;
        let (connection, id) = (broker.connect().await?, unique_name("tx"));
        let topic = broker.topic(2, &[]).await?;
        let find = FindCoordinatorRequest::default().with_key_type(1).with_coordinator_keys(vec![text(&id)]);
        eventually("a coordinator", async || {
            let answer = connection.send(&find, 4).await?;
            Ok((answer.coordinators[0].error_code == 0).then_some(()))
        })
        .await?;
        let mut story = Story { broker, connection, id, topic, producer: -1, epoch: -1, sequence: 0 };
        story.init(60_000, 5).await?;
        Ok(story)
    }

    fn transactional_id(&self) -> TransactionalId {
        TransactionalId(text(&self.id))
    }

    /// The next producer of the id, once the transaction of the one before has ended.
    async fn init(&mut self, timeout_ms: i32, version: i16) -> Result<&'static str> {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(self.transactional_id()))
            .with_transaction_timeout_ms(timeout_ms);
        let answer = eventually("a producer id", async || {
            let answer = self.connection.send(&request, version).await?;
            Ok((!ErrorCode::from_code(answer.error_code).is_retriable()).then_some(answer))
        })
        .await?;
        if answer.error_code == 0 {
            (self.producer, self.epoch, self.sequence) = (answer.producer_id.0, answer.producer_epoch, 0);
        }
        Ok(name_of(answer.error_code))
    }

    fn batch(&self) -> Batch {
        let batch = batch(&["v"]).by(self.producer, self.epoch, self.sequence);
        Batch { attributes: TRANSACTIONAL, ..batch }
    }

    async fn send_batch(
        &self,
        batch: Batch,
        id: Option<TransactionalId>,
        version: i16,
    ) -> Result<&'static str> {
        let request = produce(&self.topic, 0, batch.build(), -1).with_transactional_id(id);
        let answer = self.connection.send(&request, version).await?;
        Ok(name_of(answer.responses[0].partition_responses[0].error_code))
    }

    /// Writes the next record.
    async fn write(&mut self, version: i16) -> Result<&'static str> {
        let told = self.send_batch(self.batch(), Some(self.transactional_id()), version).await?;
        self.sequence += i32::from(told == "NONE");
        Ok(told)
    }

    async fn add(&self, topic: &str, version: i16) -> Result<&'static str> {
        let topic = AddPartitionsToTxnTopic::default().with_name(topic_name(topic)).with_partitions(vec![0]);
        let (request, id) = (AddPartitionsToTxnRequest::default(), self.transactional_id());
        let request = match version {
            ..4 => request
                .with_v3_and_below_transactional_id(id)
                .with_v3_and_below_producer_id(self.producer.into())
                .with_v3_and_below_producer_epoch(self.epoch)
                .with_v3_and_below_topics(vec![topic]),
            _ => request.with_transactions(vec![
                AddPartitionsToTxnTransaction::default()
                    .with_transactional_id(id)
                    .with_producer_id(self.producer.into())
                    .with_producer_epoch(self.epoch)
                    .with_verify_only(true)
                    .with_topics(vec![topic]),
            ]),
        };
        let code = eventually("the transaction before has ended", async || {
            let answer = self.connection.send(&request, version).await?;
            let of_one = answer.results_by_transaction.first().map(|one| &one.topic_results);
            let topics = of_one.unwrap_or(&answer.results_by_topic_v3_and_below);
            let code = topics[0].results_by_partition[0].partition_error_code;
            Ok((name_of(code) != "CONCURRENT_TRANSACTIONS").then_some(code))
        });
        Ok(name_of(code.await?))
    }

    async fn end(&mut self, committed: bool, version: i16) -> Result<&'static str> {
        let request = EndTxnRequest::default()
            .with_transactional_id(self.transactional_id())
            .with_producer_id(self.producer.into())
            .with_producer_epoch(self.epoch)
            .with_committed(committed);
        let answer = eventually("the transaction before has ended", async || {
            let answer = self.connection.send(&request, version).await?;
            Ok((name_of(answer.error_code) != "CONCURRENT_TRANSACTIONS").then_some(answer))
        })
        .await?;
        if answer.error_code == 0 && version >= 5 {
            (self.producer, self.epoch, self.sequence) = (answer.producer_id.0, answer.producer_epoch, 0);
        }
        Ok(name_of(answer.error_code))
    }

    /// The log end and the last stable offset of partition 0.
    async fn ends(&self) -> Result<(i64, i64)> {
        let mut ends = Vec::new();
        for isolation in [0, 1] {
            let request = list_offsets(&self.topic.name, 0, -1).with_isolation_level(isolation);
            ends.push(self.connection.send(&request, 7).await?.topics[0].partitions[0].offset);
        }
        Ok((ends[0], ends[1]))
    }

    async fn is_stable_at(&self, end: i64) -> Result<()> {
        eventually(&format!("everything up to {end} is stable"), async || {
            Ok((self.ends().await? == (end, end)).then_some(()))
        })
        .await
    }
}

#[tokio::test]
async fn a_client_of_before_adds_a_partition_before_it_writes_to_it() -> Result<()> {
    let mut story = Story::new().await?;
    for version in [9, 10] {
        assert_eq!(story.write(version).await?, "INVALID_TXN_STATE", "v{version}: no transaction has it");
    }
    assert_eq!(story.write(11).await?, "TRANSACTION_ABORTABLE");
    assert_eq!(story.add(&story.topic.name, 5).await?, "TRANSACTION_ABORTABLE", "a broker asks the same");
    for version in [0, 1, 2, 3] {
        assert_eq!(story.add(&story.topic.name, version).await?, "NONE", "v{version}: also again");
    }
    assert_eq!(story.add(&story.topic.name, 4).await?, "NONE", "and now it has it");
    assert_eq!(story.add("__consumer_offsets", 3).await?, "TOPIC_AUTHORIZATION_FAILED");
    assert_eq!(story.add("no-such-topic", 3).await?, "UNKNOWN_TOPIC_OR_PARTITION");
    assert_eq!(story.write(9).await?, "NONE");
    assert_eq!(story.write(11).await?, "NONE");
    assert_eq!(story.ends().await?, (2, 0), "nothing is stable that is not committed");
    assert_eq!(story.end(true, 4).await?, "NONE");
    story.is_stable_at(3).await?;
    assert_eq!(story.end(true, 3).await?, "NONE", "a repeated commit");
    assert_eq!(story.end(false, 3).await?, "INVALID_TXN_STATE", "it has committed");
    assert_eq!(
        story.write(11).await?,
        "TRANSACTION_ABORTABLE",
        "a late batch opens no transaction (KAFKA-14402)"
    );
    story.is_stable_at(3).await
}

#[tokio::test]
async fn a_client_that_bumps_epochs_adds_a_partition_by_writing_to_it() -> Result<()> {
    let mut story = Story::new().await?;
    let first = story.epoch;
    let last_write = if story.connection.versions().await?.range(0).is_some_and(|range| range.max >= 13) {
        13
    } else {
        12
    };
    for version in [12, last_write] {
        assert_eq!(story.write(version).await?, "NONE", "v{version}");
    }
    assert_eq!(story.ends().await?, (2, 0));
    let before = (story.producer, story.epoch, story.sequence);
    assert_eq!(story.end(false, 5).await?, "NONE");
    assert_eq!(story.epoch, first + 1, "each transaction has an epoch of its own");
    story.is_stable_at(3).await?;
    let after = (story.producer, story.epoch, story.sequence);
    (story.producer, story.epoch, story.sequence) = before;
    assert_eq!(story.write(12).await?, "INVALID_PRODUCER_EPOCH", "a late batch of the aborted one");
    assert_eq!(story.end(false, 5).await?, "NONE", "a repeated abort");
    assert_eq!((story.producer, story.epoch, story.sequence), after);
    let request = fetch(&story.topic, &[(0, 0)]).with_isolation_level(1);
    let answer = story.connection.send(&request, 12).await?;
    let partition = &answer.responses[0].partitions[0];
    let aborted = partition.aborted_transactions.as_ref().context("a read_committed consumer is told")?;
    assert_eq!(
        aborted.iter().map(|one| (one.producer_id.0, one.first_offset)).collect::<Vec<_>>(),
        [(before.0, 0)]
    );
    assert_eq!(story.write(12).await?, "NONE", "the next transaction");
    assert_eq!(story.end(true, 5).await?, "NONE");
    story.is_stable_at(5).await
}

#[tokio::test]
async fn a_producer_that_was_replaced_is_fenced() -> Result<()> {
    let mut story = Story::new().await?;
    assert_eq!(story.add(&story.topic.name, 3).await?, "NONE");
    assert_eq!(story.write(9).await?, "NONE");
    let zombie = (story.producer, story.epoch);
    assert_eq!(story.init(60_000, 4).await?, "NONE", "its successor aborts the open transaction");
    assert!(story.epoch > zombie.1);
    story.is_stable_at(2).await?;
    let successor = (story.producer, story.epoch);
    (story.producer, story.epoch) = zombie;
    for (version, error) in [(1, "INVALID_PRODUCER_EPOCH"), (2, "PRODUCER_FENCED"), (3, "PRODUCER_FENCED")] {
        assert_eq!(story.add(&story.topic.name, version).await?, error, "AddPartitionsToTxn v{version}");
        assert_eq!(story.end(true, version).await?, error, "EndTxn v{version}");
    }
    for version in [9, 11, 12] {
        assert_eq!(story.write(version).await?, "INVALID_PRODUCER_EPOCH", "Produce v{version}");
    }
    // Row 27 of the compatibility list: the epoch comes before the state of the transaction.
    (story.producer, story.epoch, story.sequence) = (successor.0, successor.1, 0);
    assert_eq!(story.write(12).await?, "NONE");
    (story.producer, story.epoch) = zombie;
    assert_eq!(story.end(true, 4).await?, "PRODUCER_FENCED");
    (story.producer, story.epoch) = successor;
    assert_eq!(story.end(true, 5).await?, "NONE");
    story.is_stable_at(4).await
}

/// Row 29 of the compatibility list.
#[tokio::test]
async fn a_timeout_beyond_the_brokers_is_refused() -> Result<()> {
    let mut story = Story::new().await?;
    for (timeout_ms, error) in [
        (900_000, "NONE"),
        (900_001, "INVALID_TRANSACTION_TIMEOUT"),
        (0, "INVALID_TRANSACTION_TIMEOUT"),
        (-1, "INVALID_TRANSACTION_TIMEOUT"),
    ] {
        for version in [0, 5] {
            assert_eq!(story.init(timeout_ms, version).await?, error, "{timeout_ms} v{version}");
        }
    }
    Ok(())
}

/// Row 26 of the compatibility list: Flink's sink commits under the id and epoch that another instance has left behind.
#[tokio::test]
async fn another_instance_commits_with_the_producer_id_and_epoch_of_before() -> Result<()> {
    let mut story = Story::new().await?;
    for (write, end, stable_at) in [(9, 4, 2), (12, 5, 4)] {
        if write < 12 {
            assert_eq!(story.add(&story.topic.name, 3).await?, "NONE");
        }
        assert_eq!(story.write(write).await?, "NONE", "v{write}");
        // Whoever wrote is gone with its connection.
        story.connection = story.broker.connect().await?;
        assert_eq!(story.end(true, end).await?, "NONE", "v{end}");
        // Under the same epoch, what is written before the marker is of the transaction before.
        story.is_stable_at(stable_at).await?;
    }
    Ok(())
}

/// Row 28 of the compatibility list (KIP-360): a producer that has lost its place goes on under the same id.
#[tokio::test]
async fn a_producer_recovers_after_losing_its_sequence() -> Result<()> {
    let mut story = Story::new().await?;
    assert_eq!(story.write(12).await?, "NONE");
    story.sequence = 5;
    assert_eq!(story.write(12).await?, "OUT_OF_ORDER_SEQUENCE_NUMBER");
    assert_eq!(story.end(false, 5).await?, "NONE");
    let before = (story.producer, story.epoch);
    let resume = |(producer, epoch): (i64, i16)| {
        InitProducerIdRequest::default()
            .with_transactional_id(Some(TransactionalId(text(&story.id))))
            .with_transaction_timeout_ms(60_000)
            .with_producer_id(producer.into())
            .with_producer_epoch(epoch)
    };
    let ask = async |request: InitProducerIdRequest| {
        eventually("a producer id", async || {
            let answer = story.connection.send(&request, 4).await?;
            Ok((name_of(answer.error_code) != "CONCURRENT_TRANSACTIONS").then_some(answer))
        })
        .await
    };
    let answer = ask(resume(before)).await?;
    assert_eq!(
        (name_of(answer.error_code), answer.producer_id.0, answer.producer_epoch),
        ("NONE", before.0, before.1 + 1)
    );
    let again = ask(resume(before)).await?;
    assert_eq!((again.producer_id.0, again.producer_epoch), (before.0, before.1 + 1), "the answer was lost");
    let zombie = ask(resume((before.0, before.1 - 1))).await?;
    assert_eq!(name_of(zombie.error_code), "PRODUCER_FENCED");
    (story.producer, story.epoch, story.sequence) = (answer.producer_id.0, answer.producer_epoch, 0);
    assert_eq!(story.write(12).await?, "NONE");
    assert_eq!(story.end(true, 5).await?, "NONE");
    story.is_stable_at(4).await
}

#[tokio::test]
async fn what_is_in_the_batches_counts() -> Result<()> {
    let story = Story::new().await?;
    let told = story.send_batch(story.batch(), None, 12).await?;
    assert_eq!(told, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", "a transactional batch without an id");
    let plain = Batch { attributes: 0, ..batch(&["v"]) };
    assert_eq!(
        story.send_batch(plain, Some(story.transactional_id()), 12).await?,
        "NONE",
        "no transaction at all"
    );
    let other = story.batch().by(story.producer + 1_000_000, story.epoch, 0);
    let told = story.send_batch(other.clone(), Some(story.transactional_id()), 12).await?;
    assert_eq!(told, "INVALID_PRODUCER_ID_MAPPING", "somebody else's producer id");
    let mut request = produce(&story.topic, 0, story.batch().build(), -1);
    request.topic_data[0].partition_data.push(
        kafka_protocol::messages::produce_request::PartitionProduceData::default()
            .with_index(1)
            .with_records(Some(other.build())),
    );
    let request = request.with_transactional_id(Some(story.transactional_id()));
    let answer = story.connection.send(&request, 12).await?;
    for partition in &answer.responses[0].partition_responses {
        assert_eq!(
            name_of(partition.error_code),
            "INVALID_PRODUCER_ID_MAPPING",
            "two producers in one request"
        );
    }
    assert_eq!(story.ends().await?, (1, 1));
    for topic in ["__transaction_state", "__consumer_offsets"] {
        let topic = Topic { name: topic.into(), ..story.topic.clone() };
        story.broker.group().await?;
        let answer = story.connection.send(&produce(&topic, 0, batch(&["v"]).build(), -1), 9).await?;
        let told = name_of(answer.responses[0].partition_responses[0].error_code);
        assert_eq!(told, "INVALID_TOPIC_EXCEPTION", "{}", topic.name);
    }
    Ok(())
}

/// A frame in a version that the messages crate does not know.
fn frame(api: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend(api.to_be_bytes());
    frame.extend(version.to_be_bytes());
    frame.extend(7i32.to_be_bytes());
    // No client id, no tagged fields.
    frame.extend([0xff, 0xff, 0]);
    frame.extend(body);
    frame
}

#[tokio::test]
async fn offsets_of_a_transaction_by_topic_id() -> Result<()> {
    let mut story = Story::new().await?;
    if story.connection.versions().await?.range(28).is_none_or(|range| range.max < 6) {
        return Ok(());
    }
    let group = story.broker.group().await?;
    let at = OffsetCommitRequestPartition::default()
        .with_committed_offset(41)
        .with_committed_leader_epoch(-1)
        .with_committed_metadata(Some(text("by id")));
    let topic = OffsetCommitRequestTopic::default().with_topic_id(story.topic.id).with_partitions(vec![at]);
    let commit = OffsetCommitRequest::default().with_group_id(GroupId(text(&group)));
    let commit = commit.with_generation_id_or_member_epoch(-1).with_topics(vec![topic]);
    let request = TxnOffsetCommitRequest {
        transactional_id: text(&story.id),
        producer_id: ProducerId(story.producer),
        producer_epoch: ProducerEpoch(story.epoch),
        commit,
    };
    let mut body = BytesMut::new();
    request.write(6, &mut body);
    let mut raw = story.broker.connect_raw().await?;
    raw.send_frame(&frame(28, 6, &body)).await?;
    let answer = raw.receive_frame().await?.context("an answer")?;
    // Correlation id, tags, throttle time, one topic with its id, one partition with its index, then the error.
    let error = &answer[4 + 1 + 4 + 1 + 16 + 1 + 4..][..2];
    ensure!(error == [0, 0], "{error:?}: {answer:?}");
    let asked = async |stable| -> Result<(&'static str, i64)> {
        let topic = OffsetFetchRequestTopics::default().with_name(topic_name(&story.topic.name));
        let topics = Some(vec![topic.with_partition_indexes(vec![0])]);
        let group =
            OffsetFetchRequestGroup::default().with_group_id(GroupId(text(&group))).with_topics(topics);
        let request = OffsetFetchRequest::default().with_groups(vec![group]).with_require_stable(stable);
        let answer = story.connection.send(&request, 8).await?;
        let at = &answer.groups[0].topics[0].partitions[0];
        Ok((name_of(at.error_code), at.committed_offset))
    };
    assert_eq!(asked(true).await?, ("UNSTABLE_OFFSET_COMMIT", -1), "it is pending (KIP-447)");
    let before = asked(false).await?;
    assert_eq!(before.0, "NONE");
    assert_ne!(before.1, 41);
    let ended = EndTxnRequest::default()
        .with_transactional_id(story.transactional_id())
        .with_producer_id(story.producer.into())
        .with_producer_epoch(story.epoch)
        .with_committed(true);
    assert_eq!(name_of(story.connection.send(&ended, 5).await?.error_code), "NONE");
    eventually("the offset counts", async || Ok((asked(true).await? == ("NONE", 41)).then_some(()))).await?;
    story.sequence = 0;
    Ok(())
}

#[tokio::test]
async fn markers_are_fenced_by_the_epochs_of_producer_and_coordinator() -> Result<()> {
    let mut story = Story::new().await?;
    assert_eq!(story.write(12).await?, "NONE");
    let marker = |producer_epoch: i16, coordinator_epoch, transaction_version| TxnMarker {
        producer_id: ProducerId(story.producer),
        producer_epoch: ProducerEpoch(producer_epoch),
        committed: false,
        topics: vec![(text(&story.topic.name), vec![0])],
        coordinator_epoch,
        transaction_version,
    };
    let epoch = story.epoch;
    for (what, marker, error) in [
        ("an older epoch", marker(epoch - 1, 5, 0), "INVALID_PRODUCER_EPOCH"),
        ("the batches' own epoch, where it has to be above", marker(epoch, 5, 2), "INVALID_PRODUCER_EPOCH"),
        ("the next epoch", marker(epoch + 1, 5, 2), "NONE"),
        ("a coordinator that was replaced", marker(epoch + 2, 4, 2), "TRANSACTION_COORDINATOR_FENCED"),
    ] {
        let mut body = BytesMut::new();
        WriteTxnMarkersRequest { markers: vec![marker] }.write(2, &mut body);
        let mut raw = story.broker.connect_raw().await?;
        raw.send_frame(&frame(27, 2, &body)).await?;
        let answer = raw.receive_frame().await?.context("an answer")?;
        // Before the error: ids, tags, one marker with its producer, one topic with its name, one partition with its index.
        let at = 4 + 1 + 1 + 8 + 1 + 1 + story.topic.name.len() + 1 + 4;
        let error_code = i16::from_be_bytes([answer[at], answer[at + 1]]);
        assert_eq!(name_of(error_code), error, "{what}");
    }
    story.is_stable_at(2).await
}
