//! What a partition's log looks like to producers and consumers. Rows 8 to 11, 13, 17, 30, 31 and 34 of the list
//! of behaviour that broke somebody's client.

use anyhow::{Context, Result};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use ottla_client::Connection;
use protocol_tests::batches::Record;
use protocol_tests::requests::{fetch, fetch_of, fetch_partition, list_offsets, produce};
use protocol_tests::{Batch, Topic, batch, broker, name_of};
use std::time::{SystemTime, UNIX_EPOCH};

async fn append(connection: &Connection, topic: &Topic, batch: &Batch) -> Result<PartitionProduceResponse> {
    let answer = connection.send(&produce(topic, 0, batch.build(), -1), 11).await?;
    let answer = answer.responses.into_iter().next().context("a topic")?;
    answer.partition_responses.into_iter().next().context("a partition")
}

async fn read(connection: &Connection, topic: &Topic, offset: i64) -> Result<PartitionData> {
    let answer = connection.send(&fetch(topic, &[(0, offset)]), 12).await?;
    let answer = answer.responses.into_iter().next().context("a topic")?;
    answer.partitions.into_iter().next().context("a partition")
}

/// Row 8.
#[tokio::test]
async fn a_new_partition_is_empty_and_starts_at_0() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let topic = broker.topic(1, &[]).await?;
    let empty = read(&connection, &topic, 0).await?;
    assert_eq!((empty.error_code, empty.high_watermark, empty.log_start_offset), (0, 0, 0));
    assert_eq!(empty.records.unwrap_or_default().len(), 0);
    for timestamp in [-1, -2] {
        let answer = connection.send(&list_offsets(&topic.name, 0, timestamp), 7).await?;
        assert_eq!(answer.topics[0].partitions[0].offset, 0, "timestamp {timestamp}");
    }
    assert_eq!(append(&connection, &topic, &batch(&["first"])).await?.base_offset, 0);
    let one = read(&connection, &topic, 0).await?;
    let batches = Batch::read_all(&one.records.unwrap_or_default())?;
    assert_eq!((batches.len(), batches[0].base_offset, batches[0].records.len()), (1, 0, 1));
    Ok(())
}

/// Rows 9 and 10: a fetch inside a batch returns all of it; around the log's ends.
#[tokio::test]
async fn fetch_at_each_kind_of_offset() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let topic = broker.topic(1, &[]).await?;
    append(&connection, &topic, &batch(&["0", "1", "2"])).await?;
    append(&connection, &topic, &batch(&["3", "4"])).await?;

    let check = async |story: &str, offset, error: &str, base_offsets: &[i64]| -> Result<()> {
        let answer = read(&connection, &topic, offset).await?;
        assert_eq!(name_of(answer.error_code), error, "{story}");
        let batches = Batch::read_all(&answer.records.unwrap_or_default())?;
        let starts: Vec<i64> = batches.iter().map(|batch| batch.base_offset).collect();
        assert_eq!(starts, base_offsets, "{story}");
        let high_watermark = if error == "NONE" { 5 } else { -1 };
        assert_eq!(answer.high_watermark, high_watermark, "{story}");
        Ok(())
    };
    check("at the start", 0, "NONE", &[0, 3]).await?;
    check("inside the first batch: the whole of it", 1, "NONE", &[0, 3]).await?;
    check("at the last record of the first batch", 2, "NONE", &[0, 3]).await?;
    check("at the second batch", 3, "NONE", &[3]).await?;
    check("inside the second batch", 4, "NONE", &[3]).await?;
    check("at the end: valid and empty", 5, "NONE", &[]).await?;
    check("past the end", 6, "OFFSET_OUT_OF_RANGE", &[]).await?;
    check("far past the end", i64::MAX, "OFFSET_OUT_OF_RANGE", &[]).await?;
    check("before the start", -1, "OFFSET_OUT_OF_RANGE", &[]).await?;
    check("far before the start", i64::MIN, "OFFSET_OUT_OF_RANGE", &[]).await
}

/// Row 11: a batch larger than every limit still comes, or its consumer is stuck; only one does.
#[tokio::test]
async fn the_first_batch_comes_however_small_the_limits() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let topic = broker.topic(2, &[]).await?;
    let large = "x".repeat(20_000);
    for partition in [0, 1, 0, 1] {
        connection.send(&produce(&topic, partition, batch(&[&large]).build(), -1), 9).await?;
    }

    // What comes from each partition: whole batches, or none at all.
    let check = async |story: &str, partition_max, max_bytes, batches: [usize; 2]| -> Result<()> {
        let partition = |index| fetch_partition(index, 0).with_partition_max_bytes(partition_max);
        let request = fetch_of(&topic, vec![partition(0), partition(1)]).with_max_bytes(max_bytes);
        for version in [4, 11, 12, 13, 17] {
            let answer = connection.send(&request, version).await?;
            for (index, expected) in batches.iter().enumerate() {
                let records = answer.responses[0].partitions[index].records.clone().unwrap_or_default();
                let whole = Batch::read_all(&records)?.len();
                assert_eq!(whole, *expected, "{story}: partition {index}, v{version}");
            }
        }
        Ok(())
    };
    check("no limit that matters", 1 << 20, 1 << 20, [2, 2]).await?;
    check("each partition smaller than a batch", 100, 1 << 20, [1, 0]).await?;
    check("one byte in all", 1 << 20, 1, [1, 0]).await?;
    check("one byte each", 1, 1, [1, 0]).await?;
    check("nothing each", 0, 1 << 20, [1, 0]).await?;
    check("room for one batch each", 20_200, 1 << 20, [1, 1]).await?;
    check("room for three batches in all", 1 << 20, 61_000, [2, 1]).await
}

/// Row 13, as far as it holds without transactions.
#[tokio::test]
async fn read_committed_ends_at_the_last_stable_offset_and_an_empty_log_is_fine() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let topic = broker.topic(1, &[]).await?;
    for end in 0..3 {
        for version in 4..=12 {
            let request = fetch(&topic, &[(0, 0)]).with_isolation_level(1);
            let request = if version < 7 { request.with_session_epoch(-1) } else { request };
            let answer = connection.send(&request, version).await?;
            let told = &answer.responses[0].partitions[0];
            assert_eq!(
                (told.error_code, told.high_watermark, told.last_stable_offset),
                (0, end, end),
                "v{version}"
            );
            assert_eq!(told.aborted_transactions.as_ref().map_or(0, Vec::len), 0, "v{version}");
            let read = Batch::read_all(&told.records.clone().unwrap_or_default())?;
            assert_eq!(read.len() as i64, end, "v{version}");
        }
        let answer = connection.send(&list_offsets(&topic.name, 0, -1).with_isolation_level(1), 7).await?;
        assert_eq!(answer.topics[0].partitions[0].offset, end);
        append(&connection, &topic, &batch(&["one more"])).await?;
    }
    Ok(())
}

/// Row 17: the producer learns the time only where the broker sets it.
#[tokio::test]
async fn append_time_is_told_where_the_broker_stamps() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;

    let created = broker.topic(1, &[("message.timestamp.type", "CreateTime")]).await?;
    assert_eq!(append(&connection, &created, &batch(&["a"])).await?.log_append_time_ms, -1);
    let stored = read(&connection, &created, 0).await?.records.unwrap_or_default();
    let stored = Batch::read_all(&stored)?.remove(0);
    assert_eq!((stored.attributes, stored.base_timestamp, stored.max_timestamp), (0, 1_000, Some(1_000)));

    let stamped = broker.topic(1, &[("message.timestamp.type", "LogAppendTime")]).await?;
    let told = append(&connection, &stamped, &batch(&["a", "b"])).await?.log_append_time_ms;
    assert!((now_ms - 60_000..now_ms + 600_000).contains(&told), "{told} is about {now_ms}");
    let stored = read(&connection, &stamped, 0).await?.records.unwrap_or_default();
    let stored = Batch::read_all(&stored)?.remove(0);
    assert_eq!(stored.attributes, 8, "the timestamp type is marked");
    assert_eq!(stored.max_timestamp, Some(told), "and the batch's newest timestamp is the one that was told");
    Ok(())
}

/// Row 30: what a topic's settings forbid is refused with the right code, each record named.
#[tokio::test]
async fn topic_settings_are_enforced_on_append() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;

    let check =
        async |story: &str, config: (&str, &str), records: Vec<Record>, error: &str, indexes: &[i32]| {
            let topic = broker.topic(1, &[config]).await?;
            let answer = append(&connection, &topic, &Batch::of(records)).await?;
            assert_eq!(name_of(answer.error_code), error, "{story}: {:?}", answer.error_message);
            let named: Vec<i32> = answer.record_errors.iter().map(|error| error.batch_index).collect();
            assert_eq!(named, indexes, "{story}");
            assert_eq!(answer.base_offset, if error == "NONE" { 0 } else { -1 }, "{story}");
            anyhow::Ok(())
        };
    let (keyed, keyless) =
        (Record::keyed("k", "v"), Record { value: Some(b"v".to_vec()), ..Record::default() });
    let compact = ("cleanup.policy", "compact");
    check("keys on a compacted topic", compact, vec![keyed.clone()], "NONE", &[]).await?;
    check("no key", compact, vec![keyless.clone()], "INVALID_RECORD", &[0]).await?;
    check("one without", compact, vec![keyed.clone(), keyless.clone()], "INVALID_RECORD", &[1]).await?;
    check(
        "two without",
        compact,
        vec![keyless.clone(), keyed.clone(), keyless.clone()],
        "INVALID_RECORD",
        &[0, 2],
    )
    .await?;
    check(
        "compact and delete",
        ("cleanup.policy", "compact,delete"),
        vec![keyless.clone()],
        "INVALID_RECORD",
        &[0],
    )
    .await?;

    let small = ("max.message.bytes", "1000");
    check("small enough", small, vec![Record::keyed("k", &"v".repeat(900))], "NONE", &[]).await?;
    check("too large", small, vec![Record::keyed("k", &"v".repeat(1_000))], "MESSAGE_TOO_LARGE", &[]).await?;
    let many = vec![keyed.clone(); 200];
    check("too large together", small, many, "MESSAGE_TOO_LARGE", &[]).await?;

    let future = ("message.timestamp.after.max.ms", "3600000");
    check("old", future, vec![keyed.clone().at(0)], "NONE", &[]).await?;
    check("from the future", future, vec![keyed.clone().at(1 << 50)], "INVALID_TIMESTAMP", &[0]).await?;
    let past = ("message.timestamp.before.max.ms", "3600000");
    check("too old", past, vec![keyed.clone(), keyed], "INVALID_TIMESTAMP", &[0, 1]).await
}

/// Row 34, and with it that a record comes back as it was sent.
#[tokio::test]
async fn records_come_back_as_they_were_sent() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let topic = broker.topic(1, &[]).await?;
    let header =
        |key: &str, value: Option<&str>| (key.to_string(), value.map(|value| value.as_bytes().to_vec()));
    let headers = vec![
        header("same", Some("1")),
        header("other", None),
        header("same", Some("2")),
        header("", Some("")),
        header("same", Some("1")),
    ];
    let records = vec![
        Record { headers, ..Record::keyed("k", "v") },
        Record::default(),
        Record { key: Some(Vec::new()), value: Some(Vec::new()), ..Record::default() },
        Record::keyed("late", "").at(-900),
        Record::keyed("early", "").at(5_000),
    ];
    let sent = Batch::of(records);
    append(&connection, &topic, &sent).await?;
    let stored = read(&connection, &topic, 0).await?.records.context("records, never null")?;
    let expected = Batch { leader_epoch: 0, ..sent };
    assert_eq!(stored, expected.build(), "only the leader epoch was filled in");
    assert_eq!(Batch::read_all(&stored)?[0].records[0].headers.len(), 5);
    Ok(())
}

/// Row 31: when the records at a batch's end are compacted away, its last offset stays, so that a consumer
/// that follows offsets does not stop.
#[tokio::test]
async fn a_compacted_batch_keeps_its_last_offset() -> Result<()> {
    let broker = broker().await;
    if broker.is_ours() {
        // Holds for Kafka; this line goes when ottla compacts.
        return Ok(());
    }
    let connection = broker.connect().await?;
    let configs = [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0.0"),
        ("min.compaction.lag.ms", "0"),
        ("segment.bytes", "1048576"),
    ];
    let topic = broker.topic(1, &configs).await?;
    let keys = |keys: &[&str]| Batch::of(keys.iter().map(|key| Record::keyed(key, "v")).collect());
    append(&connection, &topic, &keys(&["stays", "gone", "gone"])).await?;
    append(&connection, &topic, &keys(&["gone"])).await?;
    // The first segment is compacted once a second one is written.
    for _ in 0..3 {
        append(&connection, &topic, &Batch::of(vec![Record::keyed("large", &"x".repeat(600_000))])).await?;
    }
    let end = list_end(&connection, &topic).await?;
    for _ in 0..60 {
        let stored = read(&connection, &topic, 0).await?.records.unwrap_or_default();
        let first = Batch::read_all(&stored)?.into_iter().next().context("a batch")?;
        if first.records.len() == 1 {
            assert_eq!((first.base_offset, first.last_offset()), (0, 2));
            assert_eq!(first.records[0].key.as_deref(), Some(&b"stays"[..]));
            return Ok(());
        }
        // Nothing tells when the cleaner comes by; half a second at the log's end passes the time.
        let idle = fetch(&topic, &[(0, end)]).with_max_wait_ms(500).with_min_bytes(1);
        connection.send(&idle, 12).await?;
    }
    anyhow::bail!("not compacted in half a minute")
}

async fn list_end(connection: &Connection, topic: &Topic) -> Result<i64> {
    let answer = connection.send(&list_offsets(&topic.name, 0, -1), 7).await?;
    Ok(answer.topics[0].partitions[0].offset)
}
