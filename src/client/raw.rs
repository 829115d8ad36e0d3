//! A bare connection: bytes out, frames in, nothing checked. For tests that say wrong things on purpose and
//! for whoever needs to see exactly what is on the wire. It must never know any message.

use crate::frames::FrameReader;
use crate::{ClientError, Result, transport};
use bytes::{BufMut, Bytes, BytesMut};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// One TCP connection without correlation, negotiation or any opinion.
pub struct RawConnection {
    peer: String,
    writer: OwnedWriteHalf,
    frames: FrameReader<OwnedReadHalf>,
    timeout: Duration,
}

impl RawConnection {
    /// `timeout` bounds the connect and every later wait; answers may be of any size up to 1 GiB.
    pub async fn connect(peer: &str, timeout: Duration) -> Result<RawConnection> {
        let (reader, writer) = transport::tcp(peer, timeout).await?.into_split();
        Ok(RawConnection { peer: peer.into(), writer, frames: FrameReader::new(reader, 1 << 30), timeout })
    }

    /// Sends bytes as they are. A peer that closed already is an error here or at the next receive.
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        let written = tokio::time::timeout(self.timeout, self.writer.write_all(bytes)).await;
        match written {
            Ok(written) => written.map_err(|error| self.closed(error.to_string())),
            Err(_) => Err(self.timed_out("taking bytes")),
        }
    }

    /// Sends `body` with its size in front.
    pub async fn send_frame(&mut self, body: &[u8]) -> Result<()> {
        let mut frame = BytesMut::with_capacity(4 + body.len());
        frame.put_i32(i32::try_from(body.len()).unwrap_or(i32::MAX));
        frame.put_slice(body);
        self.send_bytes(&frame).await
    }

    /// The next frame without its size; `None` if the peer closed or reset the connection.
    pub async fn receive_frame(&mut self) -> Result<Option<Bytes>> {
        match tokio::time::timeout(self.timeout, self.frames.next()).await {
            Ok(Ok(frame)) => Ok(frame),
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(None),
            Ok(Err(error)) => Err(self.closed(error.to_string())),
            Err(_) => Err(self.timed_out("a frame")),
        }
    }

    /// Tells the peer that nothing more will come; answers can still be received.
    pub async fn finish_sending(&mut self) {
        // The peer may be gone already, which is as finished as it gets.
        let _ = self.writer.shutdown().await;
    }

    fn closed(&self, reason: String) -> ClientError {
        ClientError::Closed { peer: self.peer.clone(), reason }
    }

    fn timed_out(&self, what: &str) -> ClientError {
        ClientError::TimedOut { peer: self.peer.clone(), what: what.into(), after: self.timeout }
    }
}
