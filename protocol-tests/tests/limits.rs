//! Limits of the broker on what it takes in: bytes of requests in memory (`queued.max.request.bytes`, KIP-72) and
//! connections per second (`max.connection.creation.rate`, KIP-612); and what a connection takes while it rests.

use anyhow::{Context, Result, ensure};
use ottla_client::connection::request_frame;
use ottla_client::{Connection, RawConnection};
use ottla_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use ottla_protocol::messages::{ApiVersionsRequest, IncrementalAlterConfigsRequest};
use protocol_tests::requests::text;
use protocol_tests::{Broker, broker_alone, broker_with};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// How long nothing must happen to count as never.
const QUIET: Duration = Duration::from_millis(300);

/// The first bytes of a Produce of a megabyte, which never goes on.
async fn begun(broker: &Broker) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(&broker.address).await?;
    let mut bytes = (1i32 << 20).to_be_bytes().to_vec();
    bytes.extend([0, 0, 0, 9, 0, 0, 0, 1, 0xff, 0xff, 0]);
    stream.write_all(&bytes).await?;
    Ok(stream)
}

#[tokio::test]
async fn requests_beyond_the_bound_wait_until_there_is_room() -> Result<()> {
    let bound = [("queued.max.request.bytes", "2000000"), ("socket.request.max.bytes", "2000000")];
    let Some(broker) = broker_with(&bound).await? else { return Ok(()) };
    let client = broker.connect().await?;
    let request = ApiVersionsRequest::default();
    let ask = || client.send(&request, 0);
    // Two frames of a megabyte take all the room there is.
    let first = begun(&broker).await?;
    let second = begun(&broker).await?;
    // Whether the broker has read them is seen from outside only by its not answering any more.
    let deadline = Instant::now() + Duration::from_secs(30);
    let waiting = loop {
        ensure!(Instant::now() < deadline, "the bound is not kept");
        match tokio::time::timeout(QUIET, ask()).await {
            Ok(answered) => drop(answered?),
            Err(_) => break ask(),
        }
    };
    drop(first);
    tokio::time::timeout(Duration::from_secs(30), waiting)
        .await
        .context("woken by what was given back")??;
    drop(second);
    ask().await?;
    Ok(())
}

#[tokio::test]
async fn connections_come_in_at_their_rate() -> Result<()> {
    let Some(broker) = broker_with(&[("max.connection.creation.rate", "5")]).await? else { return Ok(()) };
    let began = Instant::now();
    let mut kept = Vec::new();
    // Ten seconds' worth may come at once; the ten that follow take two seconds.
    for _ in 0..60 {
        let client = broker.connect().await?;
        client.send(&ApiVersionsRequest::default(), 0).await?;
        kept.push(client);
    }
    ensure!(began.elapsed() > Duration::from_secs(1), "60 connections after {:?}", began.elapsed());
    Ok(())
}

/// A listener that makes a connection wait hears that the rate was raised. At a rate of none it would wait for days.
#[tokio::test]
async fn a_raised_rate_lets_in_who_waits() -> Result<()> {
    let Some(broker) = broker_with(&[]).await? else { return Ok(()) };
    let admin = broker.connect().await?;
    set_rate(&admin, "0").await?;
    let mut waiting = Vec::new();
    for _ in 0..10 {
        waiting.push(asked_once(&broker).await?);
    }
    let last = waiting.last_mut().context("the last one")?;
    let early = tokio::time::timeout(QUIET, last.receive_frame()).await;
    ensure!(early.is_err(), "nobody made it wait: {early:?}");
    set_rate(&admin, "100000").await?;
    for raw in &mut waiting {
        raw.receive_frame().await?.context("an answer")?;
    }
    Ok(())
}

async fn set_rate(admin: &Connection, per_second: &str) -> Result<()> {
    let rate = AlterableConfig::default()
        .with_name(text("max.connection.creation.rate"))
        .with_value(Some(text(per_second)));
    let of_all_brokers = AlterConfigsResource::default().with_resource_type(4).with_configs(vec![rate]);
    let change = IncrementalAlterConfigsRequest::default().with_resources(vec![of_all_brokers]);
    let changed = admin.send(&change, 1).await?;
    ensure!(changed.responses[0].error_code == 0, "{changed:?}");
    Ok(())
}

async fn asked_once(broker: &Broker) -> Result<RawConnection> {
    let mut raw = broker.connect_raw().await?;
    let frame = request_frame(&ApiVersionsRequest::default(), 0, 1, Some("resting"));
    raw.send_bytes(&frame.map_err(anyhow::Error::msg)?).await?;
    Ok(raw)
}

/// What a connection may take that has asked once and rests.
const RESTING_BYTES: u64 = 4 << 10;
/// What the process may take besides, for whatever reason.
const SLACK_BYTES: u64 = 1 << 20;

#[tokio::test]
async fn connections_that_rest_take_little_memory() -> Result<()> {
    let broker = broker_alone().await?;
    let most = open_files()?.saturating_sub(200).min(3_000);
    let mut resting = Vec::new();
    let mut before = None;
    for number in 0..most {
        // Behind the first hundred, which find out how much the allocator sets aside.
        if number == 100 {
            before = broker.resident_bytes()?;
        }
        let mut raw = asked_once(&broker).await?;
        raw.receive_frame().await?.context("an answer")?;
        resting.push(raw);
    }
    if let (Some(before), Some(now)) = (before, broker.resident_bytes()?) {
        let grown = now.saturating_sub(before);
        let bound = RESTING_BYTES * (most - 100) + SLACK_BYTES;
        ensure!(grown < bound, "{most} connections take {grown} bytes, {bound} at most");
    }
    Ok(())
}

/// How many files this process may have open.
fn open_files() -> Result<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next()).context("a limit of open files")?;
    Ok(soft.parse().unwrap_or(1 << 20))
}
