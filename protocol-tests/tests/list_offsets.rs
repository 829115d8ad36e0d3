//! ListOffsets: by time and by the special timestamps, in each version. Row 14 of the list of behaviour that
//! broke somebody's client.

use anyhow::Result;
use kafka_protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
use ottla_client::Connection;
use protocol_tests::batches::Record;
use protocol_tests::requests::{list_offsets, produce};
use protocol_tests::{Batch, Topic, batch, broker, name_of};

const VERSIONS: std::ops::RangeInclusive<i16> = 1..=10;

async fn ask(
    connection: &Connection,
    topic: &Topic,
    timestamp: i64,
    version: i16,
) -> Result<ListOffsetsPartitionResponse> {
    let answer = connection.send(&list_offsets(&topic.name, 0, timestamp), version).await?;
    Ok(answer.topics[0].partitions[0].clone())
}

#[tokio::test]
async fn times_find_records_not_batches() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let topic = broker.topic(1, &[]).await?;
    // Times 1000, 1010, 1020 | 2000, 1500, 2000 | 900
    for deltas in [&[0, 10, 20][..], &[1_000, 500, 1_000], &[-100]] {
        let records = deltas.iter().map(|delta| Record::keyed("k", "v").at(*delta)).collect();
        connection.send(&produce(&topic, 0, Batch::of(records).build(), -1), 9).await?;
    }

    let check = async |story: &str, timestamp, from_version: i16, offset, found_timestamp| -> Result<()> {
        for version in VERSIONS.filter(|version| *version >= from_version) {
            let answer = ask(&connection, &topic, timestamp, version).await?;
            let story = format!("{story} (v{version})");
            assert_eq!(name_of(answer.error_code), "NONE", "{story}");
            assert_eq!((answer.offset, answer.timestamp), (offset, found_timestamp), "{story}");
            if version >= 4 {
                let epoch = if offset >= 0 { 0 } else { -1 };
                assert_eq!(answer.leader_epoch, epoch, "{story}: leader epoch");
            }
        }
        Ok(())
    };
    check("before everything", 0, 1, 0, 1_000).await?;
    check("exactly the first", 1_000, 1, 0, 1_000).await?;
    check("inside the first batch", 1_001, 1, 1, 1_010).await?;
    check("the last of the first batch", 1_020, 1, 2, 1_020).await?;
    check("between two batches", 1_021, 1, 3, 2_000).await?;
    check("later records are older", 1_400, 1, 3, 2_000).await?;
    check("the newest", 2_000, 1, 3, 2_000).await?;
    check("after everything", 2_001, 1, -1, -1).await?;
    check("latest", -1, 1, 7, -1).await?;
    check("earliest", -2, 1, 0, -1).await?;
    check("of the newest record (KIP-734): the first of equals", -3, 7, 3, 2_000).await?;
    check("earliest local (KIP-405)", -4, 8, 0, -1).await?;
    check("latest tiered: none (KIP-1005)", -5, 9, -1, -1).await
}

#[tokio::test]
async fn an_empty_partition_has_ends_and_no_newest_record() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let topic = broker.topic(1, &[]).await?;
    for (timestamp, offset) in [(-1, 0), (-2, 0), (-3, -1), (-4, 0), (-5, -1), (0, -1), (i64::MAX, -1)] {
        let answer = ask(&connection, &topic, timestamp, 10).await?;
        assert_eq!(name_of(answer.error_code), "NONE", "timestamp {timestamp}");
        assert_eq!((answer.offset, answer.timestamp), (offset, -1), "timestamp {timestamp}");
    }
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let topic = broker.topic(1, &[]).await?;
    connection.send(&produce(&topic, 0, batch(&["a"]).build(), -1), 9).await?;

    let check = async |story: &str, timestamp, partition, version, error: &str| -> Result<()> {
        let answer = connection.send(&list_offsets(&topic.name, partition, timestamp), version).await?;
        let answer = &answer.topics[0].partitions[0];
        assert_eq!(name_of(answer.error_code), error, "{story}");
        if error != "NONE" {
            assert_eq!((answer.offset, answer.timestamp), (-1, -1), "{story}");
        }
        Ok(())
    };
    check("an unknown partition", -1, 9, 7, "UNKNOWN_TOPIC_OR_PARTITION").await?;
    check("a negative partition", -1, -1, 7, "UNKNOWN_TOPIC_OR_PARTITION").await?;
    check("the newest before KIP-734", -3, 0, 6, "UNSUPPORTED_VERSION").await?;
    check("earliest local before KIP-405", -4, 0, 7, "UNSUPPORTED_VERSION").await?;
    check("latest tiered before KIP-1005", -5, 0, 8, "UNSUPPORTED_VERSION").await?;

    let epochs = [(-1, "NONE"), (0, "NONE"), (1, "UNKNOWN_LEADER_EPOCH")];
    for (epoch, error) in epochs {
        let mut request = list_offsets(&topic.name, 0, -1);
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        let answer = connection.send(&request, 7).await?;
        assert_eq!(name_of(answer.topics[0].partitions[0].error_code), error, "epoch {epoch}");
    }
    let mut twice = list_offsets(&topic.name, 0, -1);
    let partition = twice.topics[0].partitions[0].clone();
    twice.topics[0].partitions.push(partition);
    let answer = connection.send(&twice, 7).await?;
    for partition in &answer.topics[0].partitions {
        assert_eq!(name_of(partition.error_code), "INVALID_REQUEST", "a partition that is asked for twice");
    }
    Ok(())
}

/// Isolation counts: the last stable offset is the end of the log where no transaction is open.
#[tokio::test]
async fn read_committed_ends_at_the_last_stable_offset() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    let topic = broker.topic(1, &[]).await?;
    connection.send(&produce(&topic, 0, batch(&["a", "b"]).build(), -1), 9).await?;
    for version in 2..=10 {
        let answer =
            connection.send(&list_offsets(&topic.name, 0, -1).with_isolation_level(1), version).await?;
        assert_eq!(answer.topics[0].partitions[0].offset, 2, "v{version}");
    }
    Ok(())
}
