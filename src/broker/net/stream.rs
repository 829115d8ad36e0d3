//! What a connection speaks. Everything that is done with the bytes of a connection is one of these calls, and none of them
//! waits, so that a stream that encrypts (KIP-12) can stand beside the one that does not.
//! It must never know what the bytes say.

use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use ottla_log::DiskFile;
use tokio::io::{AsyncRead, Interest, ReadBuf};
use tokio::net::TcpStream;

/// The connection's side of a stream of bytes.
pub(crate) enum Stream {
    /// TCP, with nothing in between.
    Plain(TcpStream),
}

impl Stream {
    /// Writes as many of the bytes as there is room for, and says how many; `WouldBlock` where there is none.
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(tcp) => tcp.try_write(bytes),
        }
    }

    /// Sends at most `len` bytes of a file from `at` on without a copy in between, and says how many. `None`: the bytes have
    /// to be read and written.
    pub fn try_send_file(&mut self, file: &dyn DiskFile, at: u64, len: usize) -> io::Result<Option<usize>> {
        match self {
            Stream::Plain(tcp) => tcp.try_io(Interest::WRITABLE, || file.send(tcp.as_fd(), at, len)),
        }
    }

    /// Ready once there is room for bytes.
    pub fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Plain(tcp) => tcp.poll_write_ready(context),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(tcp) => Pin::new(tcp).poll_read(context, buffer),
        }
    }
}
