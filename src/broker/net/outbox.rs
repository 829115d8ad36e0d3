//! What is on its way to a client: framed answers, their records still in the log's files until they are sent.
//! It must never know which request an answer belongs to.

use std::collections::VecDeque;
use std::io;

use bytes::{Bytes, BytesMut};
use ottla_log::FileRange;
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
        if self.text.capacity() > 0 && self.is_empty() {
            self.text = BytesMut::new();
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
        let mut stream = Sink(stream);
        while let Some(part) = self.parts.pop_front() {
            self.parts_bytes -= part.len();
            match part {
                Part::Bytes(bytes) => self.text.extend_from_slice(&bytes),
                Part::File(range) => self.copy_file(&mut stream, range).await?,
            }
            if self.text.len() >= CHUNK_BYTES {
                stream.write_all(&self.text).await?;
                self.text.clear();
            }
        }
        stream.write_all(&self.text).await?;
        self.text.clear();
        Ok(())
    }

    async fn copy_file(&mut self, stream: &mut Sink<'_>, mut range: FileRange) -> io::Result<()> {
        while range.len > 0 {
            let room = CHUNK_BYTES.saturating_sub(self.text.len()).max(4096);
            let take = room.min(range.len);
            let at = self.text.len();
            self.text.resize(at + take, 0);
            let got = range.file.read_at(&mut self.text[at..], range.position)?;
            if got == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "a log file was cut while it was sent",
                ));
            }
            self.text.truncate(at + got);
            range.position += got as u64;
            range.len -= got;
            if self.text.len() >= CHUNK_BYTES {
                stream.write_all(&self.text).await?;
                self.text.clear();
            }
        }
        Ok(())
    }
}

/// Writing through a shared stream; the connection is its only writer.
struct Sink<'a>(&'a TcpStream);

impl Sink<'_> {
    async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.0.try_write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.0.writable().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
