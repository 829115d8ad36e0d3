//! Frames that no client sends. After each one the broker has answered with the right error or closed that
//! connection, serves others as before, and has not taken memory for what was only declared.

use anyhow::{Result, ensure};
use bytes::Bytes;
use ottla_client::connection::request_frame;
use protocol_tests::requests::{fetch, list_offsets, metadata, produce};
use protocol_tests::{Broker, Topic, batch, broker_alone, template};

/// What a frame may take for good: allocators and caches keep some of what passes through.
const MEMORY_SLACK_BYTES: u64 = 96 << 20;

/// What the broker does with the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Closed,
    Answered,
    /// Kafka's own brokers differ here between versions; either is fine.
    Either,
}
use Expected::{Answered, Closed, Either};

struct Watch<'a> {
    broker: &'a Broker,
    resident_before: Option<u64>,
}

impl<'a> Watch<'a> {
    fn over(broker: &'a Broker) -> Result<Watch<'a>> {
        Ok(Watch { broker, resident_before: broker.resident_bytes()? })
    }

    /// Sends bytes as they are, `then` says what comes back; then looks after the broker.
    async fn check(&self, story: &str, bytes: &[u8], expected: Expected) -> Result<()> {
        let mut raw = self.broker.connect_raw().await?;
        // The broker may close before it has read everything.
        let sent = raw.send_bytes(bytes).await;
        raw.finish_sending().await;
        let answer = if sent.is_ok() { raw.receive_frame().await } else { Ok(None) };
        let found = match answer {
            Ok(Some(_)) => Answered,
            Ok(None) => Closed,
            Err(error) => anyhow::bail!("{story}: neither answered nor closed: {error}"),
        };
        ensure!(expected == Either || expected == found, "{story}: expected {expected:?}, found {found:?}");
        self.still_well(story).await
    }

    async fn still_well(&self, story: &str) -> Result<()> {
        let answer = self.broker.connect().await?.send(&metadata(&[]), 9).await;
        ensure!(answer.is_ok(), "{story}: the broker does not serve any more: {answer:?}");
        if let (Some(before), Some(now)) = (self.resident_before, self.broker.resident_bytes()?) {
            let grown = now.saturating_sub(before);
            ensure!(grown < MEMORY_SLACK_BYTES, "{story}: took {} MiB", grown >> 20);
        }
        Ok(())
    }
}

/// A frame around a body, with its true size.
fn framed(body: &[u8]) -> Vec<u8> {
    let mut frame = (body.len() as i32).to_be_bytes().to_vec();
    frame.extend(body);
    frame
}

fn hex(text: &str) -> Vec<u8> {
    template::Template::new(text).fill(&template::Values::new())
}

#[tokio::test]
async fn sizes_that_are_not_true() -> Result<()> {
    let broker = broker_alone().await?;
    let watch = Watch::over(&broker)?;
    let good = request_frame(&metadata(&[]), 9, 1, Some("t")).expect("a request");
    watch.check("a good one", &good, Answered).await?;
    for size in [-1, i32::MIN, i32::MAX, 104_857_601, 1 << 30] {
        let mut frame = good.to_vec();
        frame[..4].copy_from_slice(&size.to_be_bytes());
        watch.check(&format!("size {size}"), &frame, Closed).await?;
    }
    watch.check("size 0", &hex("00000000"), Closed).await?;
    watch.check("half a size", &hex("0000"), Closed).await?;
    watch.check("nothing at all", &[], Closed).await?;
    watch.check("size without a body", &good[..4], Closed).await?;
    watch.check("the largest size without a body", &104_857_600i32.to_be_bytes(), Closed).await?;
    watch.check("HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", Closed).await?;
    watch.check("TLS", &hex("16030100 f5010000 f10303"), Closed).await?;
    watch.check("noise", &noise(4_096), Closed).await
}

/// Each good request, cut after each of its bytes (the size is true), and with each byte replaced.
#[tokio::test]
async fn requests_cut_short_and_altered() -> Result<()> {
    let broker = broker_alone().await?;
    let watch = Watch::over(&broker)?;
    let topic = broker.topic(1, &[]).await?;
    for (name, frame) in good_requests(&topic) {
        let body = &frame[4..];
        for length in 0..body.len() {
            watch
                .check(
                    &format!("{name} cut to {length} of {} bytes", body.len()),
                    &framed(&body[..length]),
                    Closed,
                )
                .await?;
        }
        let mut longer = body.to_vec();
        longer.extend([0; 3]);
        watch.check(&format!("{name} with bytes left over"), &framed(&longer), Either).await?;
        // Kafka never answers a Produce whose records are null, and leaves the connection open.
        if !broker.is_ours() && name.starts_with("Produce") {
            continue;
        }
        // From the client id on: other APIs and versions are told of elsewhere.
        for at in 8..body.len() {
            for byte in [0xff, 0x7f, 0x80] {
                let mut altered = body.to_vec();
                altered[at] = byte;
                watch.check(&format!("{name} with byte {at} = {byte:#x}"), &framed(&altered), Either).await?;
            }
        }
    }
    Ok(())
}

fn good_requests(topic: &Topic) -> Vec<(&'static str, Bytes)> {
    let frame = |result: std::result::Result<Bytes, String>| result.expect("a request");
    vec![
        ("Metadata v4", frame(request_frame(&metadata(&["t"]), 4, 1, Some("c")))),
        ("Metadata v12", frame(request_frame(&metadata(&["t"]), 12, 1, Some("c")))),
        ("ListOffsets v2", frame(request_frame(&list_offsets(&topic.name, 0, -1), 2, 1, Some("c")))),
        ("Fetch v12", frame(request_frame(&fetch(topic, &[(0, 0)]), 12, 1, Some("c")))),
        ("Produce v3", frame(request_frame(&produce(topic, 0, batch(&["a"]).build(), 1), 3, 1, Some("c")))),
        ("Produce v9", frame(request_frame(&produce(topic, 0, batch(&["a"]).build(), 1), 9, 1, Some("c")))),
    ]
}

/// Counts and lengths far beyond the frame: twelve bytes must not cost gigabytes.
#[tokio::test]
async fn counts_that_are_not_true() -> Result<()> {
    let broker = broker_alone().await?;
    let watch = Watch::over(&broker)?;
    let check =
        async |story: &str, body: &str, expected| watch.check(story, &framed(&hex(body)), expected).await;
    for (count, compact) in [("7fffffff", "ffffffff0f"), ("01000000", "8080808001"), ("00ffffff", "ffffff07")]
    {
        check(&format!("Metadata v1 of {count} topics"), &format!("0003 0001 00000001 ffff {count}"), Closed)
            .await?;
        check(
            &format!("Metadata v9, compact {compact}"),
            &format!("0003 0009 00000001 ffff 00 {compact}"),
            Closed,
        )
        .await?;
        check(
            &format!("Produce v3 to {count} topics"),
            &format!("0000 0003 00000001 ffff ffff 0001 00001000 {count}"),
            Closed,
        )
        .await?;
        check(
            &format!("Produce v3 of {count} bytes"),
            &format!(
                "0000 0003 00000001 ffff ffff 0001 00001000 00000001 0001 't' 00000001 00000000 {count}"
            ),
            Closed,
        )
        .await?;
        check(
            &format!("Produce v9, compact {compact}"),
            &format!("0000 0009 00000001 ffff 00 00 0001 00001000 {compact}"),
            Closed,
        )
        .await?;
        check(
            &format!("Fetch v4 of {count} topics"),
            &format!("0001 0004 00000001 ffff ffffffff 00000000 00000000 00001000 00 {count}"),
            Closed,
        )
        .await?;
        check(&format!("Fetch v12, compact {compact}"),
            &format!("0001 000c 00000001 ffff 00 ffffffff 00000000 00000000 00001000 00 00000000 ffffffff {compact}"), Closed)
            .await?;
        check(
            &format!("ListOffsets v1 of {count}"),
            &format!("0002 0001 00000001 ffff ffffffff {count}"),
            Closed,
        )
        .await?;
        check(&format!("CreateTopics v2 of {count}"), &format!("0013 0002 00000001 ffff {count}"), Closed)
            .await?;
        check(&format!("DeleteTopics v1 of {count}"), &format!("0014 0001 00000001 ffff {count}"), Closed)
            .await?;
        check(&format!("DescribeConfigs v1 of {count}"), &format!("0020 0001 00000001 ffff {count}"), Closed)
            .await?;
        check(
            &format!("{compact} tagged fields in the header"),
            &format!("0003 0009 00000001 ffff {compact}"),
            Closed,
        )
        .await?;
        check(
            &format!("a tagged field of {compact} bytes"),
            &format!("0003 0009 00000001 ffff 01 05 {compact}"),
            Closed,
        )
        .await?;
        check(&format!("a client id of {count}"), &format!("0003 0001 00000001 {}", &count[..4]), Closed)
            .await?;
    }
    check("a negative count of topics", "0003 0001 00000001 ffff fffffffe", Either).await?;
    check("a negative client id", "0003 0001 00000001 8000 00000000", Either).await?;
    check("a varint that does not end", "0003 0009 00000001 ffff 00 ffffffffffffffffffff", Closed).await?;
    check("a string that is not UTF-8", "0003 0001 00000001 ffff 00000001 0002 c328", Either).await?;
    check("a client id that is not UTF-8", "0003 0001 00000001 0002 c328 00000000", Either).await?;
    check("the same tag twice", "0003 0009 00000001 ffff 02 05 01 00 05 01 00 01 00 00 00 00", Either)
        .await?;
    check(
        "a null string where none may be",
        "0013 0002 00000001 ffff 00000001 ffff 00000001 0001 00000000 00000000 00001000 00",
        Closed,
    )
    .await
}

/// Large frames that are true, made of as many parts as fit.
#[tokio::test]
async fn many_small_parts() -> Result<()> {
    let broker = broker_alone().await?;
    let watch = Watch::over(&broker)?;
    let many: u32 = 20_000;
    // Metadata v1 of many topics with empty names: each is answered with an error.
    let mut body = hex("0003 0004 00000001 ffff");
    body.extend(many.to_be_bytes());
    body.extend(vec![0; many as usize * 2]);
    body.push(0);
    watch.check("many empty topic names", &framed(&body), Either).await?;
    // Many topics without partitions in a Produce. With one name Kafka takes a minute to sort them.
    let mut topics = vec![("many topics", false)];
    if watch.broker.is_ours() {
        topics.push(("many times one topic", true));
    }
    for (story, same) in topics {
        let mut body = hex("0000 0003 00000001 ffff ffff 0001 00001000");
        body.extend(many.to_be_bytes());
        for index in 0..many {
            let name = format!("{:06}", if same { 0 } else { index });
            body.extend([&hex("0006"), name.as_bytes(), &[0; 4]].concat());
        }
        watch.check(story, &framed(&body), Either).await?;
    }
    // Many tagged fields that nobody knows.
    let mut body = hex("0003 0009 00000001 ffff");
    body.extend([0xff, 0xff, 0x03]);
    for tag in 0..65_535u32 {
        body.extend([tag as u8 | 0x80, (tag >> 7) as u8 | 0x80, (tag >> 14) as u8, 0]);
    }
    body.extend(hex("01 00 00 00 00"));
    watch.check("many unknown tags", &framed(&body), Either).await
}

/// The same connection after a refused request is of no use, but a hundred others are.
#[tokio::test]
async fn many_bad_connections_at_once() -> Result<()> {
    let broker = broker_alone().await?;
    let watch = Watch::over(&broker)?;
    let mut open = Vec::new();
    for _ in 0..200 {
        let mut raw = broker.connect_raw().await?;
        // Declares a megabyte and sends half a header.
        raw.send_bytes(&hex("00100000 0003 0009")).await?;
        open.push(raw);
    }
    watch.still_well("with 200 connections in the middle of a frame").await?;
    drop(open);
    watch.still_well("after they went").await
}

/// Bytes without sense, the same in each run.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..count).map(|_| next()).collect()
}
