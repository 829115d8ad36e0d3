//! Limits of the broker on what it takes in: bytes of requests in memory (`queued.max.request.bytes`, KIP-72) and
//! connections per second (`max.connection.creation.rate`, KIP-612).

use anyhow::{Context, Result, ensure};
use ottla_protocol::messages::ApiVersionsRequest;
use protocol_tests::{Broker, broker_with};
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
