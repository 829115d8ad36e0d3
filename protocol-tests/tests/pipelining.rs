//! Clients that write ahead, as librdkafka does: however many requests are under way and whatever they wait for, each is
//! answered, in order. The limits that they meet are those of a connection (requests in flight, bytes that wait to be
//! sent) and of the broker (`queued.max.request.bytes`).

use anyhow::{Context, Result, ensure};
use bytes::BytesMut;
use kafka_protocol::messages::{ApiVersionsRequest, ProduceResponse};
use kafka_protocol::protocol::Decodable;
use ottla_client::RawConnection;
use ottla_client::connection::request_frame;
use protocol_tests::broker::PATIENCE;
use protocol_tests::requests::{fetch, list_offsets, metadata, produce};
use protocol_tests::{Broker, Topic, batch, broker, broker_with};
use std::time::{Duration, Instant};

/// Requests of one write, numbered from 0.
#[derive(Default)]
struct Pipeline {
    bytes: BytesMut,
    next: i32,
}

impl Pipeline {
    fn add<R: kafka_protocol::protocol::Request>(&mut self, request: &R, version: i16) -> Result<i32> {
        let frame =
            request_frame(request, version, self.next, Some("pipelining")).map_err(anyhow::Error::msg)?;
        self.bytes.extend_from_slice(&frame);
        self.next += 1;
        Ok(self.next - 1)
    }

    fn fetch(&mut self, topic: &Topic, offset: i64, wait_ms: i32) -> Result<i32> {
        self.add(&fetch(topic, &[(0, offset)]).with_max_wait_ms(wait_ms).with_min_bytes(1), 12)
    }

    fn ask(&mut self) -> Result<i32> {
        self.add(&ApiVersionsRequest::default(), 0)
    }

    fn produce(&mut self, topic: &Topic, value: &str, acks: i16) -> Result<i32> {
        self.add(&produce(topic, 0, batch(&[value]).build(), acks), 9)
    }
}

/// Receives the answers to these requests, and no others.
async fn answered(raw: &mut RawConnection, story: &str, ids: impl IntoIterator<Item = i32>) -> Result<()> {
    for id in ids {
        let answer = raw.receive_frame().await.with_context(|| format!("{story}: request {id}"))?;
        let answer = answer.with_context(|| format!("{story}: closed before the answer to {id}"))?;
        ensure!(answer[..4] == id.to_be_bytes(), "{story}: an answer to something else than {id}");
    }
    Ok(())
}

const COUNTS: [i32; 7] = [1, 2, 62, 63, 64, 65, 200];

/// One Fetch that waits, and behind it requests that are answered at once: those answers wait for the Fetch's, and then
/// all leave together.
#[tokio::test]
async fn requests_behind_a_fetch_that_waits_are_all_answered() -> Result<()> {
    let broker = broker().await;
    let topic = broker.topic(1, &[]).await?;
    for count in COUNTS {
        let mut raw = broker.connect_raw().await?;
        let mut pipeline = Pipeline::default();
        pipeline.fetch(&topic, 0, 100)?;
        for _ in 0..count {
            pipeline.ask()?;
        }
        raw.send_bytes(&pipeline.bytes).await?;
        answered(&mut raw, &format!("{count} behind it"), 0..pipeline.next).await?;
    }
    Ok(())
}

/// The same where what ends the Fetch is a record that somebody else produces.
#[tokio::test]
async fn requests_behind_a_fetch_that_is_woken_are_all_answered() -> Result<()> {
    let broker = broker().await;
    let topic = broker.topic(1, &[]).await?;
    let writer = broker.connect().await?;
    for (offset, count) in (0..).zip(COUNTS) {
        let mut raw = broker.connect_raw().await?;
        let mut pipeline = Pipeline::default();
        for _ in 0..3 {
            pipeline.fetch(&topic, offset, 30_000)?;
            for _ in 0..count {
                pipeline.ask()?;
            }
        }
        raw.send_bytes(&pipeline.bytes).await?;
        writer.send(&produce(&topic, 0, batch(&["a"]).build(), -1), 9).await?;
        answered(&mut raw, &format!("{count} behind it"), 0..pipeline.next).await?;
    }
    Ok(())
}

/// Requests of every kind: those that must not overtake, and those that nobody answers.
#[tokio::test]
async fn mixed_requests_and_silent_produces_are_all_answered() -> Result<()> {
    let broker = broker().await;
    let topic = broker.topic(1, &[("flush.messages", "1")]).await?;
    let mut raw = broker.connect_raw().await?;
    let (mut pipeline, mut answers, mut produced) = (Pipeline::default(), Vec::new(), 0);
    for number in 0..400 {
        let id = match number % 8 {
            0 | 1 => pipeline.produce(&topic, "with an answer", -1)?,
            2 | 3 => {
                produced += 1;
                pipeline.produce(&topic, "without one", 0)?;
                continue;
            }
            4 => pipeline.fetch(&topic, produced, 5)?,
            5 => pipeline.add(&list_offsets(&topic.name, 0, -1), 7)?,
            6 => pipeline.add(&metadata(&[&topic.name]), 12)?,
            _ => pipeline.ask()?,
        };
        produced += i64::from(number % 8 < 2);
        answers.push(id);
    }
    raw.send_bytes(&pipeline.bytes).await?;
    answered(&mut raw, "mixed", answers).await
}

/// Large records, as many as a client cares to send, on topics that are flushed at once or later: their answers come late.
#[tokio::test]
async fn pipelined_produces_of_large_records_are_all_answered() -> Result<()> {
    let broker = broker().await;
    for (flush_messages, bytes, count) in [("9223372036854775807", 300_000, 100), ("1", 60_000, 140)] {
        let topic = broker.topic(1, &[("flush.messages", flush_messages)]).await?;
        let mut raw = broker.connect_raw().await?;
        let mut pipeline = Pipeline::default();
        let value = "x".repeat(bytes);
        for _ in 0..count {
            pipeline.produce(&topic, &value, -1)?;
        }
        raw.send_bytes(&pipeline.bytes).await?;
        for id in 0..count {
            let mut answer = raw.receive_frame().await?.with_context(|| format!("an answer to {id}"))?;
            ensure!(answer[..4] == i32::to_be_bytes(id), "correlation ids in order");
            // Behind the correlation id and no tagged fields.
            let answer = ProduceResponse::decode(&mut answer.split_off(5), 9)?;
            let partition = &answer.responses[0].partition_responses[0];
            ensure!((partition.error_code, partition.base_offset) == (0, i64::from(id)), "{partition:?}");
        }
    }
    Ok(())
}

/// A client asks for much more than sockets hold, and reads nothing until it has asked for all of it. Others are served
/// meanwhile.
#[tokio::test]
async fn a_client_that_reads_late_gets_everything() -> Result<()> {
    let broker = broker().await;
    let topic = broker.topic(1, &[]).await?;
    let record = batch(&[&"x".repeat(200_000)]).build();
    let other = broker.connect().await?;
    other.send(&produce(&topic, 0, record.clone(), -1), 9).await?;
    let mut raw = broker.connect_raw().await?;
    let mut pipeline = Pipeline::default();
    for _ in 0..150 {
        pipeline.fetch(&topic, 0, 0)?;
        pipeline.ask()?;
    }
    raw.send_bytes(&pipeline.bytes).await?;
    for _ in 0..20 {
        other.send(&produce(&topic, 0, batch(&["b"]).build(), -1), 9).await?;
    }
    for id in 0..pipeline.next {
        let answer = raw.receive_frame().await?.with_context(|| format!("an answer to {id}"))?;
        ensure!(answer[..4] == id.to_be_bytes(), "correlation ids in order");
        let records = id % 2 == 0;
        ensure!(records == (answer.len() > record.len()), "{} bytes in answer {id}", answer.len());
    }
    Ok(())
}

/// A client may say that it sends no more before it has its answers.
#[tokio::test]
async fn a_client_that_sends_no_more_gets_its_answers() -> Result<()> {
    let broker = broker().await;
    let topic = broker.topic(1, &[]).await?;
    for count in COUNTS {
        let mut raw = broker.connect_raw().await?;
        let mut pipeline = Pipeline::default();
        pipeline.fetch(&topic, 0, 50)?;
        for _ in 0..count {
            pipeline.ask()?;
            pipeline.add(&list_offsets(&topic.name, 0, -1), 7)?;
        }
        raw.send_bytes(&pipeline.bytes).await?;
        raw.finish_sending().await;
        answered(&mut raw, &format!("{count} behind it"), 0..pipeline.next).await?;
        ensure!(raw.receive_frame().await?.is_none(), "and then the connection ends");
    }
    Ok(())
}

/// What was asked before a request that cannot be read is answered, and then the connection ends.
#[tokio::test]
async fn a_bad_request_ends_the_connection_after_the_answers_before_it() -> Result<()> {
    let broker = broker().await;
    let topic = broker.topic(1, &[]).await?;
    let unknown_api = [0, 0, 0, 10, 0x7f, 0, 0, 0, 0, 0, 0, 9, 0xff, 0xff];
    for (story, bad) in [("a negative size", &[0xff; 8][..]), ("an unknown API", &unknown_api)] {
        let mut raw = broker.connect_raw().await?;
        let mut pipeline = Pipeline::default();
        pipeline.ask()?;
        pipeline.add(&list_offsets(&topic.name, 0, -1), 7)?;
        pipeline.fetch(&topic, 0, 50)?;
        let good = pipeline.next;
        pipeline.bytes.extend_from_slice(bad);
        raw.send_bytes(&pipeline.bytes).await?;
        answered(&mut raw, story, 0..good).await?;
        ensure!(raw.receive_frame().await?.is_none(), "{story}: the connection ends");
    }
    Ok(())
}

/// All clients together send many times the bytes that the broker takes in at once, behind Fetches that wait.
#[tokio::test]
async fn with_little_memory_for_requests_all_are_answered() -> Result<()> {
    let bound = [("queued.max.request.bytes", "60000"), ("socket.request.max.bytes", "60000")];
    let Some(broker) = broker_with(&bound).await? else { return Ok(()) };
    let mut clients = tokio::task::JoinSet::new();
    for (flush_messages, client) in
        [("9223372036854775807", 0), ("1", 1), ("1", 2), ("9223372036854775807", 3)]
    {
        let topic = broker.topic(1, &[("flush.messages", flush_messages)]).await?;
        let empty = broker.topic(1, &[]).await?;
        let mut raw = broker.connect_raw().await?;
        let mut pipeline = Pipeline::default();
        for number in 0..100 {
            match number % 10 {
                0 => pipeline.fetch(&empty, 0, 20)?,
                5 => pipeline.add(&metadata(&[&topic.name]), 12)?,
                _ => pipeline.produce(&topic, &"x".repeat(40_000), -1)?,
            };
        }
        clients.spawn(async move {
            raw.send_bytes(&pipeline.bytes).await?;
            answered(&mut raw, &format!("client {client}"), 0..pipeline.next).await
        });
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    Ok(())
}

/// A Produce whose answer has to wait behind a Fetch gives its memory back all the same: what the Fetch waits for may
/// need it.
#[tokio::test]
async fn an_answer_that_waits_its_turn_keeps_no_memory() -> Result<()> {
    let bound = [("queued.max.request.bytes", "60000"), ("socket.request.max.bytes", "60000")];
    let Some(broker) = broker_with(&bound).await? else { return Ok(()) };
    // Flushed at once, so that both are answered later than they start, and hold all memory until then.
    let topic = broker.topic(1, &[("flush.messages", "1")]).await?;
    let empty = broker.topic(1, &[]).await?;
    let mut raw = broker.connect_raw().await?;
    let writer = broker.connect().await?;
    let mut pipeline = Pipeline::default();
    let began = Instant::now();
    pipeline.fetch(&empty, 0, 40_000)?;
    pipeline.produce(&topic, &"x".repeat(40_000), -1)?;
    pipeline.produce(&topic, &"x".repeat(40_000), -1)?;
    raw.send_bytes(&pipeline.bytes).await?;
    writer.send(&produce(&empty, 0, batch(&["wakes"]).build(), -1), 9).await?;
    answered(&mut raw, "all", 0..3).await?;
    ensure!(began.elapsed() < Duration::from_secs(30), "the Fetch was not woken");
    Ok(())
}

/// Neither a client that does not read nor one that never stops asking keeps the broker from stopping.
#[tokio::test]
async fn no_client_keeps_the_broker_from_stopping() -> Result<()> {
    let Some(broker) = broker_with(&[]).await? else { return Ok(()) };
    let topic = broker.topic(1, &[]).await?;
    let connection = broker.connect().await?;
    connection.send(&produce(&topic, 0, batch(&[&"x".repeat(900_000)]).build(), -1), 9).await?;
    let mut deaf = broker.connect_raw().await?;
    let mut pipeline = Pipeline::default();
    for _ in 0..60 {
        pipeline.fetch(&topic, 0, 0)?;
    }
    deaf.send_bytes(&pipeline.bytes).await?;
    let mut eager = broker.connect_raw().await?;
    let asking = tokio::spawn(async move {
        let mut pipeline = Pipeline::default();
        for _ in 0..500 {
            pipeline.ask()?;
        }
        // Until the broker closes the connection.
        while eager.send_bytes(&pipeline.bytes).await.is_ok() {
            for _ in 0..500 {
                if !matches!(eager.receive_frame().await, Ok(Some(_))) {
                    return Ok(());
                }
            }
        }
        anyhow::Ok(())
    });
    let pid = broker.pid.context("a process of ours")?.to_string();
    ensure!(std::process::Command::new("kill").args(["-TERM", &pid]).status()?.success());
    let began = Instant::now();
    while is_running(&broker) {
        ensure!(began.elapsed() < PATIENCE, "the broker does not stop");
        tokio::task::yield_now().await;
    }
    asking.await??;
    Ok(())
}

// Whoever started it may not have asked how it ended yet.
fn is_running(broker: &Broker) -> bool {
    let pid = broker.pid.unwrap_or_default();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|state| !state.is_empty() && !state.starts_with('Z'))
}
