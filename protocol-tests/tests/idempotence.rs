//! Idempotent producers (KIP-98, KIP-360): ids, sequences, epochs.

use anyhow::{Context, Result};
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, TransactionalId};
use ottla_client::Connection;
use protocol_tests::requests::{list_offsets, produce};
use protocol_tests::{Topic, batch, broker, eventually, name_of};
use std::collections::BTreeSet;

fn request() -> InitProducerIdRequest {
    InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000)
}

/// A broker that has just started may still be fetching its first ids.
async fn ask(
    connection: &Connection,
    request: &InitProducerIdRequest,
    version: i16,
) -> Result<InitProducerIdResponse> {
    let answered = eventually("InitProducerId", async || {
        let answer = connection.send(request, version).await?;
        Ok((name_of(answer.error_code) != "COORDINATOR_LOAD_IN_PROGRESS").then_some(answer))
    });
    answered.await
}

async fn new_producer(connection: &Connection, version: i16) -> Result<InitProducerIdResponse> {
    ask(connection, &request(), version).await
}

#[tokio::test]
async fn each_producer_gets_an_id_of_its_own() -> Result<()> {
    let connection = broker().await.connect().await?;
    let mut ids = BTreeSet::new();
    for version in [0, 1, 2, 3, 4, 5, 0, 5] {
        let answer = new_producer(&connection, version).await?;
        assert_eq!((name_of(answer.error_code), answer.producer_epoch), ("NONE", 0), "v{version}");
        assert!(answer.producer_id.0 >= 0, "v{version}");
        assert!(ids.insert(answer.producer_id.0), "v{version}: {} was given before", answer.producer_id.0);
    }
    Ok(())
}

#[tokio::test]
async fn an_id_is_not_handed_out_to_a_senseless_request() -> Result<()> {
    let connection = broker().await.connect().await?;
    let check = async |story: &str, request: InitProducerIdRequest, error: &str| -> Result<()> {
        let answer = ask(&connection, &request, 4).await?;
        assert_eq!(name_of(answer.error_code), error, "{story}");
        if error != "NONE" {
            assert_eq!((answer.producer_id.0, answer.producer_epoch), (-1, -1), "{story}");
        }
        Ok(())
    };
    let id = |text: &'static str| Some(TransactionalId(text.into()));
    check("the timeout counts for transactions only", request().with_transaction_timeout_ms(-1), "NONE")
        .await?;
    check(
        "a former id without a transaction is ignored",
        request().with_producer_id(5.into()).with_producer_epoch(3),
        "NONE",
    )
    .await?;
    check("an empty transactional id", request().with_transactional_id(id("")), "INVALID_REQUEST").await?;
    check("an epoch without an id", request().with_producer_epoch(3), "INVALID_REQUEST").await?;
    check("an id without an epoch", request().with_producer_id(3.into()), "INVALID_REQUEST").await?;
    Ok(())
}

/// What a batch with this sequence brings: its error, and where it lies if there is none.
struct Row(&'static str, Sent, &'static str, i64);

/// Which producer, epoch and sequences; `records` of them.
#[derive(Clone, Copy)]
struct Sent {
    epoch: i16,
    sequence: i32,
    records: usize,
}

const fn sent(epoch: i16, sequence: i32, records: usize) -> Sent {
    Sent { epoch, sequence, records }
}

async fn check(topic: &Topic, connection: &Connection, producer_id: i64, rows: &[Row]) -> Result<()> {
    for Row(story, sent, error, base_offset) in rows {
        let values = vec!["v"; sent.records];
        let batch = batch(&values).by(producer_id, sent.epoch, sent.sequence);
        let answer = connection.send(&produce(topic, 0, batch.build(), -1), 9).await?;
        let answer = &answer.responses[0].partition_responses[0];
        let message = answer.error_message.as_deref().unwrap_or_default();
        assert_eq!(name_of(answer.error_code), *error, "{story}: {message}");
        assert_eq!(answer.base_offset, *base_offset, "{story}");
    }
    Ok(())
}

#[tokio::test]
async fn sequences_are_followed() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let topic = broker.topic(1, &[]).await?;
    let id = new_producer(&connection, 4).await?.producer_id.0;
    let rows = [
        Row("the first", sent(0, 0, 1), "NONE", 0),
        Row("the next, of three records", sent(0, 1, 3), "NONE", 1),
        Row("the same again: where it was", sent(0, 1, 3), "NONE", 1),
        Row("the first again", sent(0, 0, 1), "NONE", 0),
        Row("a gap", sent(0, 5, 1), "OUT_OF_ORDER_SEQUENCE_NUMBER", -1),
        Row("overlapping what was written", sent(0, 3, 2), "OUT_OF_ORDER_SEQUENCE_NUMBER", -1),
        Row("shorter than what was written", sent(0, 1, 2), "OUT_OF_ORDER_SEQUENCE_NUMBER", -1),
        Row("after the errors, the next", sent(0, 4, 1), "NONE", 4),
        Row("5", sent(0, 5, 1), "NONE", 5),
        Row("6", sent(0, 6, 1), "NONE", 6),
        Row("7", sent(0, 7, 1), "NONE", 7),
        Row("five are remembered: the oldest of them", sent(0, 1, 3), "NONE", 1),
        Row("8", sent(0, 8, 1), "NONE", 8),
        Row("the sixth is not", sent(0, 1, 3), "OUT_OF_ORDER_SEQUENCE_NUMBER", -1),
        Row("but the fifth is", sent(0, 4, 1), "NONE", 4),
    ];
    check(&topic, &connection, id, &rows).await?;
    let end = connection.send(&list_offsets(&topic.name, 0, -1), 7).await?;
    assert_eq!(end.topics[0].partitions[0].offset, 9, "repetitions wrote nothing");
    Ok(())
}

#[tokio::test]
async fn epochs_fence() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let topic = broker.topic(1, &[]).await?;
    let id = new_producer(&connection, 4).await?.producer_id.0;
    let rows = [
        Row("epoch 0", sent(0, 0, 1), "NONE", 0),
        Row("a new epoch starts at 0, not here", sent(1, 1, 1), "OUT_OF_ORDER_SEQUENCE_NUMBER", -1),
        Row("and is not taken for good by an error", sent(0, 1, 1), "NONE", 1),
        Row("epoch 2", sent(2, 0, 1), "NONE", 2),
        Row("the old epoch is fenced", sent(0, 2, 1), "INVALID_PRODUCER_EPOCH", -1),
        Row("its repetition too", sent(0, 1, 1), "INVALID_PRODUCER_EPOCH", -1),
        Row("an epoch that was left out too", sent(1, 0, 1), "INVALID_PRODUCER_EPOCH", -1),
        Row("the new one goes on", sent(2, 1, 1), "NONE", 3),
        Row("and its repetition is known", sent(2, 0, 1), "NONE", 2),
    ];
    check(&topic, &connection, id, &rows).await
}

/// A partition that knows nothing of a producer takes it where it is: its records may have been deleted.
#[tokio::test]
async fn an_unknown_producer_starts_anywhere() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let topic = broker.topic(1, &[]).await?;
    let id = new_producer(&connection, 4).await?.producer_id.0;
    let rows = [
        Row("first seen at 40", sent(0, 40, 2), "NONE", 0),
        Row("then in order", sent(0, 42, 1), "NONE", 2),
        Row("no way back", sent(0, 0, 1), "OUT_OF_ORDER_SEQUENCE_NUMBER", -1),
    ];
    check(&topic, &connection, id, &rows).await
}

/// After the last sequence comes 0.
#[tokio::test]
async fn sequences_wrap() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let topic = broker.topic(1, &[]).await?;
    let id = new_producer(&connection, 4).await?.producer_id.0;
    let rows = [
        Row("just before the end", sent(0, i32::MAX - 1, 1), "NONE", 0),
        Row("across it: MAX, 0, 1", sent(0, i32::MAX, 3), "NONE", 1),
        Row("the same again", sent(0, i32::MAX, 3), "NONE", 1),
        Row("after it", sent(0, 2, 1), "NONE", 4),
        Row("a gap", sent(0, 4, 1), "OUT_OF_ORDER_SEQUENCE_NUMBER", -1),
    ];
    check(&topic, &connection, id, &rows).await
}

/// Producers do not see each other, nor partitions.
#[tokio::test]
async fn producers_and_partitions_are_apart() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let topic = broker.topic(2, &[]).await?;
    let mut ids = Vec::new();
    for _ in 0..2 {
        ids.push(new_producer(&connection, 4).await?.producer_id.0);
    }
    let mut written = Vec::new();
    for sequence in 0..3 {
        for partition in 0..2 {
            for id in &ids {
                let batch = batch(&["v"]).by(*id, 0, sequence).build();
                let answer = connection.send(&produce(&topic, partition, batch, -1), 9).await?;
                let answer = answer.responses[0].partition_responses.first().context("a partition")?;
                assert_eq!(name_of(answer.error_code), "NONE");
                written.push(answer.base_offset);
            }
        }
    }
    assert_eq!(written, [0, 1, 0, 1, 2, 3, 2, 3, 4, 5, 4, 5]);
    Ok(())
}
