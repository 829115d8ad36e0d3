//! What one connection may rely on: answers in the order of the requests, later requests see what earlier ones
//! wrote, and a connection that cannot be told of an error is closed.

use anyhow::{Context, Result};
use kafka_protocol::messages::ApiVersionsRequest;
use ottla_client::connection::request_frame;
use protocol_tests::requests::{fetch, list_offsets, metadata, produce, topic_name};
use protocol_tests::{Batch, Topic, batch, broker, name_of};

/// Frames are written in one go and answered one by one.
#[tokio::test]
async fn pipelined_requests_are_answered_in_order() -> Result<()> {
    let broker = broker().await;
    let topic = broker.topic(2, &[]).await?;
    let mut raw = broker.connect_raw().await?;
    let mut frames = Vec::new();
    for id in 0..120 {
        let (partition, record) = (id % 2, batch(&[&format!("record {id}")]).build());
        let frame = match id % 6 {
            0 | 1 => request_frame(&produce(&topic, partition, record, -1), 9, id, None),
            // The log's end: waits, and everything behind it with it.
            2 => request_frame(
                &fetch(&topic, &[(0, 1 + i64::from(id) / 6)]).with_max_wait_ms(20).with_min_bytes(1),
                12,
                id,
                None,
            ),
            3 => request_frame(&metadata(&[&topic.name]), 12, id, None),
            4 => request_frame(&list_offsets(&topic.name, 0, -1), 7, id, None),
            _ => request_frame(&ApiVersionsRequest::default(), 0, id, None),
        };
        frames.extend(frame.map_err(anyhow::Error::msg)?);
    }
    raw.send_bytes(&frames).await?;
    for id in 0..120i32 {
        let answer = raw.receive_frame().await?.context("an answer")?;
        assert_eq!(answer[..4], id.to_be_bytes(), "correlation ids in order");
    }
    Ok(())
}

/// Each batch of a pipeline lands after the one before it, and what follows sees all of them.
#[tokio::test]
async fn a_request_sees_what_was_produced_before_it_on_the_connection() -> Result<()> {
    let broker = broker().await;
    for acks in [-1, 1, 0] {
        let connection = broker.connect().await?;
        let topic = broker.topic(1, &[]).await?;
        let mut answers = Vec::new();
        for value in 0..50 {
            let request = produce(&topic, 0, batch(&[&value.to_string()]).build(), acks);
            match acks {
                0 => connection.submit_unanswered(&request, 9).await?,
                _ => answers.push(connection.submit(&request, 9).await?),
            }
        }
        let end = connection.submit(&list_offsets(&topic.name, 0, -1), 7).await?;
        let read = connection.submit(&fetch(&topic, &[(0, 0)]), 12).await?;
        for (offset, answer) in answers.into_iter().enumerate() {
            let answer = answer.answer().await?;
            assert_eq!(answer.responses[0].partition_responses[0].base_offset, offset as i64, "acks={acks}");
        }
        assert_eq!(end.answer().await?.topics[0].partitions[0].offset, 50, "acks={acks}");
        let records = read.answer().await?.responses[0].partitions[0].records.clone().unwrap_or_default();
        let batches = Batch::read_all(&records)?;
        let values: Vec<_> =
            batches.iter().map(|batch| batch.records[0].value.clone().unwrap_or_default()).collect();
        let expected: Vec<_> = (0..50).map(|value| value.to_string().into_bytes()).collect();
        assert_eq!(values, expected, "acks={acks}");
    }
    Ok(())
}

/// A producer that wants no answers learns of an error by losing its connection.
#[tokio::test]
async fn an_error_without_an_answer_closes_the_connection() -> Result<()> {
    let broker = broker().await;
    let topic = broker.topic(1, &[]).await?;
    let compacted = broker.topic(1, &[("cleanup.policy", "compact")]).await?;
    let missing = Topic { name: "no-such-topic".into(), id: uuid::Uuid::from_u128(1) };
    let good = batch(&["a"]);
    let check = async |story: &str, topic: &Topic, partition, batch: &Batch, closes: bool| -> Result<()> {
        let connection = broker.connect().await?;
        connection.submit_unanswered(&produce(topic, partition, batch.build(), 0), 9).await?;
        let after = connection.send(&metadata(&[]), 9).await;
        assert_eq!(after.is_err(), closes, "{story}: {after:?}");
        Ok(())
    };
    check("a good one", &topic, 0, &good, false).await?;
    check("an unknown topic", &missing, 0, &good, true).await?;
    check("an unknown partition", &topic, 5, &good, true).await?;
    check("a wrong checksum", &topic, 0, &Batch { crc: Some(1), ..good.clone() }, true).await?;
    check("no key on a compacted topic", &compacted, 0, &good, true).await
}

/// Other values than 0, 1 and -1 (all).
#[tokio::test]
async fn unknown_acks_are_refused_and_change_nothing() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let topic = broker.topic(1, &[]).await?;
    for acks in [2, -2, i16::MAX, i16::MIN] {
        for version in [3, 8, 9, 13] {
            let answer = connection.send(&produce(&topic, 0, batch(&["a"]).build(), acks), version).await?;
            let answer = &answer.responses[0].partition_responses[0];
            assert_eq!(name_of(answer.error_code), "INVALID_REQUIRED_ACKS", "acks={acks} v{version}");
            assert_eq!(answer.base_offset, -1, "acks={acks} v{version}");
        }
    }
    let answer = connection.send(&list_offsets(&topic.name, 0, -1), 7).await?;
    assert_eq!(answer.topics[0].partitions[0].offset, 0);
    Ok(())
}

/// Partitions of one request fail and succeed apart.
#[tokio::test]
async fn one_bad_partition_does_not_spoil_the_others() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let topic = broker.topic(2, &[]).await?;
    let mut request = produce(&topic, 0, batch(&["good"]).build(), -1);
    let mut bad = request.topic_data[0].partition_data[0].clone();
    bad.index = 1;
    bad.records = Some(Batch { crc: Some(0), ..batch(&["bad"]) }.build());
    let mut unknown = request.topic_data[0].partition_data[0].clone();
    unknown.index = 2;
    request.topic_data[0].partition_data.extend([bad, unknown]);
    let mut missing = request.topic_data[0].clone();
    missing.name = topic_name("no-such-topic");
    missing.partition_data.truncate(1);
    request.topic_data.push(missing);

    let answer = connection.send(&request, 9).await?;
    let mut codes = Vec::new();
    for topic in &answer.responses {
        for partition in &topic.partition_responses {
            codes.push((topic.name.0.to_string(), partition.index, name_of(partition.error_code)));
        }
    }
    codes.sort();
    let mut expected = vec![
        ("no-such-topic".to_string(), 0, "UNKNOWN_TOPIC_OR_PARTITION"),
        (topic.name.clone(), 0, "NONE"),
        (topic.name.clone(), 1, "CORRUPT_MESSAGE"),
        (topic.name.clone(), 2, "UNKNOWN_TOPIC_OR_PARTITION"),
    ];
    expected.sort();
    assert_eq!(codes, expected);
    Ok(())
}
