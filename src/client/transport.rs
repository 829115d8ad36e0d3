//! Where bytes meet the network, and the one place where TLS and SASL will be added.
//! It must never know about frames or Kafka messages.

use crate::{ClientError, Result};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// How a connection is secured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Security {
    /// Neither encryption nor authentication.
    #[default]
    Plaintext,
}

pub(crate) type ReadHalf = Box<dyn AsyncRead + Send + Unpin>;
pub(crate) type WriteHalf = Box<dyn AsyncWrite + Send + Unpin>;

/// Opens a stream to `peer` (`host:port`), trying each address that its name resolves to.
pub(crate) async fn open(
    peer: &str,
    security: &Security,
    timeout: Duration,
) -> Result<(ReadHalf, WriteHalf)> {
    let stream = tcp(peer, timeout).await?;
    match security {
        Security::Plaintext => {
            let (reader, writer) = stream.into_split();
            Ok((Box::new(reader), Box::new(writer)))
        }
    }
}

pub(crate) async fn tcp(peer: &str, timeout: Duration) -> Result<TcpStream> {
    let stream = match tokio::time::timeout(timeout, TcpStream::connect(peer)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(ClientError::connect(peer, &error)),
        Err(_) => {
            return Err(ClientError::TimedOut {
                peer: peer.into(),
                what: "a connect".into(),
                after: timeout,
            });
        }
    };
    stream.set_nodelay(true).map_err(|error| ClientError::connect(peer, &error))?;
    Ok(stream)
}
