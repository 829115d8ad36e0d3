//! Fetch that waits: for bytes, until a time, and never with REQUEST_TIMED_OUT (row 12 of the list of
//! behaviour that broke somebody's client).

use anyhow::Result;
use protocol_tests::requests::{fetch, fetch_of, fetch_partition, produce};
use protocol_tests::{Batch, batch, broker, name_of};
use std::time::{Duration, Instant};

const VERSIONS: [i16; 6] = [4, 7, 11, 12, 13, 17];

/// Longer than any test waits, shorter than the client's patience.
const LONG_MS: i32 = 15_000;

#[tokio::test]
async fn the_wait_ends_with_what_there_is() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let topic = broker.topic(1, &[]).await?;
    connection.send(&produce(&topic, 0, batch(&["a", "b"]).build(), -1), 9).await?;

    let check = async |story: &str,
                       offset,
                       wait_ms: i32,
                       min_bytes,
                       at_least_ms: u64,
                       batches: usize|
           -> Result<()> {
        let request = fetch(&topic, &[(0, offset)]).with_max_wait_ms(wait_ms).with_min_bytes(min_bytes);
        for version in VERSIONS {
            let start = Instant::now();
            let answer = connection.send(&request, version).await?;
            let (story, took) = (format!("{story} (v{version})"), start.elapsed());
            let partition = &answer.responses[0].partitions[0];
            assert_eq!((answer.error_code, name_of(partition.error_code)), (0, "NONE"), "{story}");
            let records = partition.records.clone().unwrap_or_default();
            assert_eq!(Batch::read_all(&records)?.len(), batches, "{story}");
            assert!(took >= Duration::from_millis(at_least_ms), "{story}: answered after {took:?}");
            assert!(
                took < Duration::from_millis(u64::from(LONG_MS as u32)),
                "{story}: answered after {took:?}"
            );
        }
        Ok(())
    };
    check("nothing there, no wait", 2, 0, 1, 0, 0).await?;
    check("nothing there, a short wait", 2, 100, 1, 95, 0).await?;
    check("nothing needed", 2, LONG_MS, 0, 0, 0).await?;
    check("enough there", 0, LONG_MS, 1, 0, 1).await?;
    check("inside the batch", 1, LONG_MS, 1, 0, 1).await?;
    check("too little there", 0, 100, 1 << 20, 95, 1).await?;
    check("a negative wait is none", 2, -1, 1, 0, 0).await
}

#[tokio::test]
async fn a_produce_wakes_whoever_waits() -> Result<()> {
    let broker = broker().await;
    let (reader, writer) = (broker.connect().await?, broker.connect().await?);
    let topic = broker.topic(3, &[]).await?;
    for (next, version) in (0..).zip(VERSIONS) {
        let start = Instant::now();
        let request = fetch(&topic, &[(0, 0), (1, 0), (2, next)]).with_max_wait_ms(LONG_MS).with_min_bytes(1);
        let waiting = reader.submit(&request, version).await?;
        writer.send(&produce(&topic, 2, batch(&["wakes"]).build(), 1), 9).await?;
        let answer = waiting.answer().await?;
        let records = answer.responses[0].partitions[2].records.clone().unwrap_or_default();
        let batches = Batch::read_all(&records)?;
        assert_eq!((batches.len(), batches[0].base_offset), (1, next), "v{version}");
        assert!(start.elapsed() < Duration::from_millis(LONG_MS as u64), "v{version}");
    }
    Ok(())
}

/// `min_bytes` counts over all partitions, and each produce is looked at.
#[tokio::test]
async fn the_wait_goes_on_until_there_are_min_bytes() -> Result<()> {
    let broker = broker().await;
    let (reader, writer) = (broker.connect().await?, broker.connect().await?);
    let topic = broker.topic(2, &[]).await?;
    let one = batch(&[&"x".repeat(1_000)]).build();
    let min_bytes = i32::try_from(one.len() * 3)?;
    let request = fetch(&topic, &[(0, 0), (1, 0)]).with_max_wait_ms(LONG_MS).with_min_bytes(min_bytes);
    let waiting = reader.submit(&request, 12).await?;
    for partition in [0, 1, 0] {
        writer.send(&produce(&topic, partition, one.clone(), 1), 9).await?;
    }
    let answer = waiting.answer().await?;
    let count = |index: usize| -> Result<usize> {
        let records = answer.responses[0].partitions[index].records.clone().unwrap_or_default();
        Ok(Batch::read_all(&records)?.len())
    };
    assert_eq!((count(0)?, count(1)?), (2, 1));
    Ok(())
}

/// An error is news: it does not wait for bytes.
#[tokio::test]
async fn an_error_ends_the_wait_at_once() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let topic = broker.topic(2, &[]).await?;
    let check = async |story: &str, partitions, error: &str| -> Result<()> {
        let start = Instant::now();
        let request = fetch_of(&topic, partitions).with_max_wait_ms(LONG_MS).with_min_bytes(1);
        let answer = connection.send(&request, 12).await?;
        let codes = answer.responses[0].partitions.iter().map(|partition| name_of(partition.error_code));
        assert!(codes.clone().any(|code| code == error), "{story}: {:?}", codes.collect::<Vec<_>>());
        assert!(start.elapsed() < Duration::from_millis(LONG_MS as u64 / 2), "{story}");
        Ok(())
    };
    let (good, past) = (fetch_partition(0, 0), fetch_partition(1, 1));
    check("past the end", vec![past.clone()], "OFFSET_OUT_OF_RANGE").await?;
    check("one of two", vec![good.clone(), past], "OFFSET_OUT_OF_RANGE").await?;
    check("an unknown partition alone", vec![fetch_partition(7, 0)], "UNKNOWN_TOPIC_OR_PARTITION").await?;
    check("a leader epoch from the future", vec![good.with_current_leader_epoch(9)], "UNKNOWN_LEADER_EPOCH")
        .await
}
