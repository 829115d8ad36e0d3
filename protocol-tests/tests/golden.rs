//! Golden bytes: requests as literal bytes, answers compared byte for byte where nothing in them is a matter of
//! chance. Each row can be checked by hand against Kafka's schemas.

use anyhow::{Context, Result};
use kafka_protocol::messages::{ApiVersionsRequest, MetadataResponse};
use ottla_client::admin::NewTopic;
use ottla_client::{RawConnection, Request};
use protocol_tests::requests::metadata;
use protocol_tests::template::Values;
use protocol_tests::{Broker, Template, broker};
use uuid::Uuid;

/// One record, key `k`, value `v`, at time 1 000, as a producer sends it; and as it is stored at offset 0.
const SENT: &str = "
    0000000000000000 0000003a ffffffff 02 {crc} # base offset, length, leader epoch, magic, checksum
    0000 00000000 00000000000003e8 00000000000003e8 # attributes, last offset delta, first and last time
    ffffffffffffffff ffff ffffffff 00000001 # producer id, epoch, sequence; count
    10 00 00 00 02 'k' 02 'v' 00";
const STORED: &str = "
    0000000000000000 0000003a 00000000 02 {crc}
    0000 00000000 00000000000003e8 00000000000003e8
    ffffffffffffffff ffff ffffffff 00000001
    10 00 00 00 02 'k' 02 'v' 00";
const CRC: [u8; 4] = [0x71, 0x6a, 0x61, 0x89];

/// A connection that says literal bytes, and what fills their holes.
struct Golden {
    raw: RawConnection,
    values: Values,
}

impl Golden {
    async fn new(broker: &Broker) -> Result<Golden> {
        let answer: MetadataResponse = broker.connect().await?.send(&metadata(&[]), 9).await?;
        let node = &answer.brokers[0];
        let versions = broker.connect().await?.versions().await?;
        let newest = versions.range(ApiVersionsRequest::KEY).context("ApiVersions")?.max;
        let cluster = answer.cluster_id.context("a cluster id")?;
        let mut values = Values::from([
            ("node", node.node_id.0.to_be_bytes().to_vec()),
            ("host", short(&node.host)),
            ("compact host", compact(&node.host)),
            ("port", node.port.to_be_bytes().to_vec()),
            ("cluster", short(&cluster)),
            ("compact cluster", compact(&cluster)),
            ("newest ApiVersions", newest.to_be_bytes().to_vec()),
            ("crc", CRC.to_vec()),
        ]);
        values.insert("sent", Template::new(SENT).fill(&values));
        values.insert("stored", Template::new(STORED).fill(&values));
        Ok(Golden { raw: broker.connect_raw().await?, values })
    }

    /// Makes a topic of one partition, known as `{topic}`, `{compact topic}` and `{topic id}`.
    async fn with_topic(mut self, broker: &Broker) -> Result<Golden> {
        let name = format!("golden-{}", Uuid::new_v4().simple());
        let cluster = broker.cluster().await?;
        let new = NewTopic {
            name: name.clone(),
            partitions: Some(1),
            replication_factor: Some(1),
            ..NewTopic::default()
        };
        let created = cluster.create_topic(&new, false).await?;
        cluster.list_offsets(&name, &[0], -1, Default::default()).await?;
        self.name_topic(&name);
        self.values.insert("topic id", created.topic_id.as_bytes().to_vec());
        Ok(self)
    }

    fn name_topic(&mut self, name: &str) {
        self.values.extend([("topic", short(name)), ("compact topic", compact(name))]);
    }

    /// `header` is API key and version; correlation id 42 and client id `t` are put behind it.
    async fn check(&mut self, story: &str, header: &str, body: &str, answer: &str) -> Result<()> {
        let request = format!("{header} 0000002a 0001 't' {body}");
        self.raw.send_frame(&Template::new(&request).fill(&self.values)).await?;
        let actual = self.raw.receive_frame().await?.with_context(|| format!("{story}: closed"))?;
        let expected = Template::new(&format!("0000002a {answer}"));
        expected.compare(&self.values, &actual).map_err(|difference| anyhow::anyhow!("{story}: {difference}"))
    }
}

/// Length in two bytes.
fn short(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat()
}

/// Length and one, in seven bits a byte.
fn compact(text: &str) -> Vec<u8> {
    assert!(text.len() < 127, "one byte is enough here");
    [&[text.len() as u8 + 1], text.as_bytes()].concat()
}

#[tokio::test]
async fn api_versions() -> Result<()> {
    let mut golden = Golden::new(broker().await).await?;
    golden.check("v0", "0012 0000", "", "0000 000000 ?? ...").await?;
    golden.check("v3", "0012 0003", "00 02 'c' 02 '1' 00", "0000 ?? 0000 ...").await?;
    let refused = "0023 00000001 0012 0000 {newest ApiVersions}";
    golden.check("a version that is not known", "0012 7fff", "00 02 'c' 02 '1' 00", refused).await?;
    golden.check("a name that is none", "0012 0003", "00 02 ' ' 02 '1' 00", "002a 01 00000000 00").await?;
    golden.check("no name", "0012 0003", "00 01 02 '1' 00", "002a 01 00000000 00").await?;
    if golden.values["newest ApiVersions"] == [0, 5] {
        let v5 = "0012 0005";
        golden.check("v5 to any cluster", v5, "00 02 'c' 02 '1' 00 ffffffff 00", "0000 ...").await?;
        golden
            .check("v5 to this one", v5, "00 02 'c' 02 '1' {compact cluster} {node} 00", "0000 ...")
            .await?;
        let moved = "0081 01 00000000 00";
        golden
            .check("v5 to another cluster (KIP-1242)", v5, "00 02 'c' 02 '1' 05 'else' {node} 00", moved)
            .await?;
        golden
            .check("v5 to another node", v5, "00 02 'c' 02 '1' {compact cluster} 00001267 00", moved)
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn produce_and_fetch() -> Result<()> {
    let broker = broker().await;
    let mut golden = Golden::new(broker).await?.with_topic(broker).await?;
    // Transactional id, acks, timeout; topic, partition, records.
    let plain = "ffff ffff 00001388 00000001 {topic} 00000001 00000000 00000046 {sent}";
    // Topics, partitions: index, error, base offset, append time; throttle time.
    golden
        .check(
            "Produce v3",
            "0000 0003",
            plain,
            "00000001 {topic} 00000001 00000000 0000 0000000000000000 ffffffffffffffff 00000000",
        )
        .await?;
    golden
        .check("Produce v5: log start offset", "0000 0005", plain,
            "00000001 {topic} 00000001 00000000 0000 0000000000000001 ffffffffffffffff 0000000000000000 00000000")
        .await?;
    golden
        .check("Produce v8: record errors, message", "0000 0008", plain,
            "00000001 {topic} 00000001 00000000 0000 0000000000000002 ffffffffffffffff 0000000000000000 00000000 ffff 00000000")
        .await?;
    let compact = "00 00 ffff 00001388 02 {compact topic} 02 00000000 47 {sent} 00 00 00";
    golden
        .check("Produce v9: compact", "0000 0009", compact,
            "00 02 {compact topic} 02 00000000 0000 0000000000000003 ffffffffffffffff 0000000000000000 01 00 00 00 00000000 00")
        .await?;
    let by_id = "00 00 ffff 00001388 02 {topic id} 02 00000000 47 {sent} 00 00 00";
    golden
        .check("Produce v13: by id", "0000 000d", by_id,
            "00 02 {topic id} 02 00000000 0000 0000000000000004 ffffffffffffffff 0000000000000000 01 00 00 00 00000000 00")
        .await?;
    let nowhere = "00 00 ffff 00001388 02 08 'nowhere' 02 00000000 47 {sent} 00 00 00";
    golden
        .check("Produce v9 to an unknown topic", "0000 0009", nowhere,
            "00 02 08 'nowhere' 02 00000000 0003 ffffffffffffffff ffffffffffffffff ffffffffffffffff 01 00 00 00 00000000 00")
        .await?;

    // Replica, wait, bytes from and to, isolation; topic, partition, offset, bytes; the first batch only.
    golden
        .check("Fetch v4", "0001 0004",
            "ffffffff 00000000 00000000 00001000 00 00000001 {topic} 00000001 00000000 0000000000000000 00000001",
            "00000000 00000001 {topic} 00000001 00000000 0000 0000000000000005 0000000000000005 ffffffff 00000046 {stored}")
        .await?;
    golden
        .check("Fetch v12, read_committed, no session", "0001 000c",
            "00 ffffffff 00000000 00000000 00001000 01 00000000 ffffffff
             02 {compact topic} 02 00000000 ffffffff 0000000000000000 ffffffff ffffffffffffffff 00000001 00 00 01 01 00",
            "00 00000000 0000 00000000 02 {compact topic} 02
             00000000 0000 0000000000000005 0000000000000005 0000000000000000 01 ffffffff 47 {stored} 00 00 00")
        .await?;
    golden
        .check("Fetch v17 by id at the end of the log", "0001 0011",
            "00 00000000 00000000 00001000 00 00000000 ffffffff
             02 {topic id} 02 00000000 ffffffff 0000000000000005 ffffffff ffffffffffffffff 00001000 00 00 01 01 00",
            "00 00000000 0000 00000000 02 {topic id} 02
             00000000 0000 0000000000000005 0000000000000005 0000000000000000 00 ffffffff 01 00 00 00")
        .await?;
    golden
        .check("Fetch v12 past the end", "0001 000c",
            "00 ffffffff 00000000 00000000 00001000 00 00000000 ffffffff
             02 {compact topic} 02 00000000 ffffffff 0000000000000006 ffffffff ffffffffffffffff 00000001 00 00 01 01 00",
            "00 00000000 0000 00000000 02 {compact topic} 02
             00000000 0001 ffffffffffffffff ffffffffffffffff ffffffffffffffff ?? ffffffff 01 00 00 00")
        .await?;
    golden
        .check(
            "Fetch v7 with an unknown session",
            "0001 0007",
            "ffffffff 00000000 00000000 00001000 00 00003039 00000001 00000000 00000000",
            "00000000 0046 00000000 00000000",
        )
        .await?;

    golden
        .check(
            "ListOffsets v1, latest",
            "0002 0001",
            "ffffffff 00000001 {topic} 00000001 00000000 ffffffffffffffff",
            "00000001 {topic} 00000001 00000000 0000 ffffffffffffffff 0000000000000005",
        )
        .await?;
    golden
        .check("ListOffsets v6, by time", "0002 0006",
            "00 ffffffff 00 02 {compact topic} 02 00000000 ffffffff 00000000000003e8 00 00 00",
            "00 00000000 02 {compact topic} 02 00000000 0000 00000000000003e8 0000000000000000 00000000 00 00 00")
        .await?;
    golden
        .check("ListOffsets v10, after the newest", "0002 000a",
            "00 ffffffff 00 02 {compact topic} 02 00000000 ffffffff 00000000000003e9 00 00 00001000 00",
            "00 00000000 02 {compact topic} 02 00000000 0000 ffffffffffffffff ffffffffffffffff ffffffff 00 00 00")
        .await
}

#[tokio::test]
async fn metadata_of_a_topic() -> Result<()> {
    let broker = broker().await;
    let mut golden = Golden::new(broker).await?.with_topic(broker).await?;
    // One partition: error, index, leader, replicas, in-sync replicas.
    golden
        .check("v0", "0003 0000", "00000001 {topic}",
            "00000001 {node} {host} {port} 00000001 0000 {topic} 00000001 0000 00000000 {node} 00000001 {node} 00000001 {node}")
        .await?;
    golden
        .check("v1: no topics", "0003 0001", "00000000", "00000001 {node} {host} {port} ffff {node} 00000000")
        .await?;
    golden
        .check(
            "v7: leader epoch, offline replicas",
            "0003 0007",
            "00000001 {topic} 00",
            "00000000 00000001 {node} {host} {port} ffff {cluster} {node} 00000001
             0000 {topic} 00 00000001 0000 00000000 {node} 00000000 00000001 {node} 00000001 {node} 00000000",
        )
        .await?;
    golden
        .check("v9: compact, no operations asked for", "0003 0009", "00 02 {compact topic} 00 00 00 00 00",
            "00 00000000 02 {node} {compact host} {port} 00 00 {compact cluster} {node} 02
             0000 {compact topic} 00 02 0000 00000000 {node} 00000000 02 {node} 02 {node} 01 00 80000000 00 80000000 00")
        .await?;
    golden
        .check("v13 by id", "0003 000d", "00 02 {topic id} 00 00 00 00 00",
            "00 00000000 02 {node} {compact host} {port} 00 00 {compact cluster} {node} 02
             0000 {compact topic} {topic id} 00 02 0000 00000000 {node} 00000000 02 {node} 02 {node} 01 00 80000000 00 0000 00")
        .await?;
    golden
        .check(
            "v12 of an unknown topic",
            "0003 000c",
            "00 02 00000000000000000000000000000000 08 'nowhere' 00 00 00 00",
            "00 00000000 02 {node} {compact host} {port} 00 00 {compact cluster} {node} 02
             0003 08 'nowhere' 00000000000000000000000000000000 00 01 80000000 00 00",
        )
        .await?;
    golden
        .check(
            "DescribeTopicPartitions v0",
            "004b 0000",
            "00 02 {compact topic} 00 00001000 ff 00",
            "00 00000000 02 0000 {compact topic} {topic id} 00 02
             0000 00000000 {node} 00000000 02 {node} 02 {node} ?? ?? 01 00 ???????? 00 ff 00",
        )
        .await?;
    golden
        .check(
            "DescribeCluster v0",
            "003c 0000",
            "00 00 00",
            "00 00000000 0000 00 {compact cluster} {node} 02 {node} {compact host} {port} 00 00 80000000 00",
        )
        .await?;
    golden
        .check("DescribeCluster v2", "003c 0002", "00 00 01 00 00",
            "00 00000000 0000 00 01 {compact cluster} {node} 02 {node} {compact host} {port} 00 00 00 80000000 00")
        .await
}

#[tokio::test]
async fn create_and_delete_topics() -> Result<()> {
    let broker = broker().await;
    let mut golden = Golden::new(broker).await?;
    for version in ["0002", "0004"] {
        golden.name_topic(&format!("golden-{}", Uuid::new_v4().simple()));
        // Name, partitions, replicas, assignments, configs; timeout, validate only.
        golden
            .check(
                "CreateTopics v2, v4",
                &format!("0013 {version}"),
                "00000001 {topic} 00000001 0001 00000000 00000000 00001388 00",
                "00000000 00000001 {topic} 0000 ffff",
            )
            .await?;
        golden
            .check(
                "DeleteTopics v1",
                "0014 0001",
                "00000001 {topic} 00001388",
                "00000000 00000001 {topic} 0000",
            )
            .await?;
    }
    golden
        .check(
            "DeleteTopics v4 of an unknown topic",
            "0014 0004",
            "00 02 08 'nowhere' 00001388 00",
            "00 00000000 02 08 'nowhere' 0003 00 00",
        )
        .await?;
    let mut golden = golden.with_topic(broker).await?;
    golden
        .check(
            "DeleteTopics v6 by id",
            "0014 0006",
            "00 02 00 {topic id} 00 00001388 00",
            "00 00000000 02 {compact topic} {topic id} 0000 00 00 00",
        )
        .await?;
    golden.check("CreateTopics v7: nothing", "0013 0007", "00 01 00001388 00 00", "00 00000000 01 00").await
}

#[tokio::test]
async fn producer_ids() -> Result<()> {
    let mut golden = Golden::new(broker().await).await?;
    // The first ids of a broker may be a moment away: another test's client waits for them.
    let start = std::time::Instant::now();
    while let Err(error) =
        golden.check("v0", "0016 0000", "ffff 0000ea60", "00000000 0000 ???????????????? 0000").await
    {
        assert!(start.elapsed() < protocol_tests::broker::PATIENCE, "{error}");
    }
    golden
        .check("v2: compact", "0016 0002", "00 00 0000ea60 00", "00 00000000 0000 ???????????????? 0000 00")
        .await?;
    golden
        .check(
            "v4 with a former id",
            "0016 0004",
            "00 00 0000ea60 ffffffffffffffff ffff 00",
            "00 00000000 0000 ???????????????? 0000 00",
        )
        .await?;
    golden
        .check(
            "v1 with an empty transactional id",
            "0016 0001",
            "0000 0000ea60",
            "00000000 002a ffffffffffffffff ffff",
        )
        .await
}

#[tokio::test]
async fn describe_configs() -> Result<()> {
    let broker = broker().await;
    let mut golden = Golden::new(broker).await?.with_topic(broker).await?;
    // Resource type, name, keys; synonyms. Answer: name, value, read-only, source, sensitive, synonyms.
    golden
        .check(
            "v1 with synonyms",
            "0020 0001",
            "00000001 02 {topic} 00000001 000d 'segment.bytes' 01",
            "00000000 00000001 0000 0000 02 {topic} 00000001 000d 'segment.bytes' 000a '1073741824' 00 05 00
             00000001 0011 'log.segment.bytes' 000a '1073741824' 05",
        )
        .await?;
    golden
        .check("v2 without", "0020 0002", "00000001 02 {topic} 00000001 0008 'flush.ms' 00",
            "00000000 00000001 0000 0000 02 {topic} 00000001 0008 'flush.ms' 0013 '9223372036854775807' 00 05 00 00000000")
        .await?;
    golden
        .check("v4: compact, type, no text", "0020 0004", "00 02 02 {compact topic} 02 0f 'cleanup.policy' 00 00 00 00",
            "00 00000000 02 0000 ?? 02 {compact topic} 02 0f 'cleanup.policy' 07 'delete' 00 05 00 01 07 00 00 00 00")
        .await?;
    golden
        .check(
            "v1 of an unknown topic",
            "0020 0001",
            "00000001 02 0007 'nowhere' ffffffff 00",
            "00000000 00000001 0003 ...",
        )
        .await
}
