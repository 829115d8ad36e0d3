//! What is on its way to a client: framed answers, their records still in the log's files until they are sent.
//! It must never know which request an answer belongs to.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;

use bytes::{Bytes, BytesMut};
use ottla_log::FileRange;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// A piece of an answer.
#[derive(Debug)]
pub(crate) enum Part {
    Bytes(Bytes),
    /// Bytes of a log file, read when they are sent.
    File(FileRange),
}

impl Part {
    pub fn len(&self) -> usize {
        match self {
            Part::Bytes(bytes) => bytes.len(),
            Part::File(range) => range.len,
        }
    }
}

/// Files go through a buffer of this size: large enough for few system calls, small enough for the cache.
const CHUNK_BYTES: usize = 256 << 10;
/// From here on the kernel copies, without a buffer between: below, one write for many small parts is cheaper.
const SENT_BY_KERNEL_BYTES: usize = 32 << 10;
/// More at once would keep other connections of the worker waiting.
const SENT_AT_ONCE_BYTES: usize = 1 << 20;
/// With this much waiting, sending comes before starting more requests.
const FULL_BYTES: usize = 256 << 10;

/// Answers that wait to be sent, in order.
#[derive(Default)]
pub(crate) struct Outbox {
    /// The bytes that go out next.
    text: BytesMut,
    /// What comes after them.
    parts: VecDeque<Part>,
    parts_bytes: usize,
    /// Where files pass through, kept from one answer to the next.
    stage: Vec<u8>,
}

impl Outbox {
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.parts.is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.text.len() + self.parts_bytes >= FULL_BYTES
    }

    /// Frees what an idle connection does not need.
    pub fn rest(&mut self) {
        if self.is_empty() {
            self.text = BytesMut::new();
            self.stage = Vec::new();
        }
    }

    /// Adds an answer: its size, its header, its parts.
    pub fn push(&mut self, header: impl FnOnce(&mut BytesMut), parts: Vec<Part>) {
        let body: usize = parts.iter().map(Part::len).sum();
        let mut head = if self.parts.is_empty() { std::mem::take(&mut self.text) } else { BytesMut::new() };
        let at = head.len();
        head.extend_from_slice(&[0; 4]);
        header(&mut head);
        let size = (head.len() - at - 4 + body) as u32;
        head[at..at + 4].copy_from_slice(&size.to_be_bytes());
        if self.parts.is_empty() {
            self.text = head;
        } else {
            self.add(Part::Bytes(head.freeze()));
        }
        for part in parts {
            match part {
                Part::Bytes(bytes) if self.parts.is_empty() => self.text.extend_from_slice(&bytes),
                part => self.add(part),
            }
        }
    }

    fn add(&mut self, part: Part) {
        self.parts_bytes += part.len();
        self.parts.push_back(part);
    }

    /// Sends everything. A file that has become shorter than promised fails the connection.
    pub async fn send(&mut self, stream: &TcpStream) -> io::Result<()> {
        if self.parts.is_empty() {
            write_all(stream, &self.text).await?;
            self.text.clear();
            return Ok(());
        }
        self.stage.resize(CHUNK_BYTES, 0);
        let mut stage = Stage { stream, buffer: &mut self.stage, filled: 0 };
        stage.bytes(&self.text).await?;
        self.text.clear();
        while let Some(part) = self.parts.pop_front() {
            self.parts_bytes -= part.len();
            match part {
                Part::Bytes(bytes) => stage.bytes(&bytes).await?,
                Part::File(range) => stage.file(range).await?,
            }
        }
        stage.flush().await
    }
}

/// A buffer between the parts of an answer and the socket, so that few large writes carry them.
struct Stage<'a> {
    stream: &'a TcpStream,
    buffer: &'a mut [u8],
    filled: usize,
}

impl Stage<'_> {
    async fn bytes(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(self.room().await?));
            self.buffer[self.filled..self.filled + now.len()].copy_from_slice(now);
            self.filled += now.len();
            bytes = later;
        }
        Ok(())
    }

    async fn file(&mut self, mut range: FileRange) -> io::Result<()> {
        if range.len >= SENT_BY_KERNEL_BYTES {
            self.flush().await?;
            self.by_kernel(&mut range).await?;
        }
        while range.len > 0 {
            let take = range.len.min(self.room().await?);
            let got =
                range.file.read_at(&mut self.buffer[self.filled..self.filled + take], range.position)?;
            if got == 0 {
                return Err(cut());
            }
            self.filled += got;
            range.position += got as u64;
            range.len -= got;
        }
        Ok(())
    }

    // From the page cache to the socket without a copy of ours. What is left of the range must be read.
    async fn by_kernel(&mut self, range: &mut FileRange) -> io::Result<()> {
        while range.len > 0 {
            let FileRange { file, position, len } = &*range;
            let send = || file.send(self.stream.as_fd(), *position, (*len).min(SENT_AT_ONCE_BYTES));
            match self.stream.try_io(Interest::WRITABLE, send) {
                Ok(Some(0)) => return Err(cut()),
                Ok(Some(sent)) => {
                    range.position += sent as u64;
                    range.len -= sent;
                }
                Ok(None) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.stream.writable().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    // At least one byte of room, after a write if there was none.
    async fn room(&mut self) -> io::Result<usize> {
        if self.filled == self.buffer.len() {
            self.flush().await?;
        }
        Ok(self.buffer.len() - self.filled)
    }

    async fn flush(&mut self) -> io::Result<()> {
        write_all(self.stream, &self.buffer[..self.filled]).await?;
        self.filled = 0;
        Ok(())
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a log file was cut while it was sent")
}

// The connection is the stream's only writer.
async fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
