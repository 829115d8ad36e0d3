//! The bytes to be sent to a client: framed answers, with their records in the log's files until they are sent. It must
//! never know which request an answer is for, and it never waits: bytes that the socket does not take stay here.

use std::collections::VecDeque;
use std::io;

use bytes::{Buf, BytesMut};
use ottla_log::FileRange;

use super::scratch;
use super::stream::Stream;
use super::warming::Cold;
use crate::request::Part;

/// If this many bytes wait, they are sent before further requests start.
pub(super) const FULL_BYTES: usize = 256 << 10;
/// Small pieces are collected up to this size: large enough for few system calls, small enough for the cache.
const GATHERED_BYTES: usize = 256 << 10;
/// A piece of this size or more is sent alone, a range of a file from the page cache without a buffer. Below it, one
/// write of all pieces is cheaper: the copy costs less than two more system calls, for each of which a reader on the same
/// machine is woken.
const LARGE_BYTES: usize = 128 << 10;
/// A larger amount at once would delay the other connections of the worker.
const SENT_AT_ONCE_BYTES: usize = 1 << 20;

/// Why sending stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    All,
    /// The socket takes no more now, and something is left.
    SocketFull,
    /// The next bytes have to be read from disk first: [`Outbox::cold`].
    Cold,
}

/// Answers that wait to be sent, in order.
#[derive(Default)]
pub(crate) struct Outbox {
    /// The bytes that are sent next.
    text: BytesMut,
    /// The parts after `text`; none of them is empty.
    parts: VecDeque<Part>,
    parts_bytes: usize,
    /// How many of the next bytes of files are in memory, because they were probed or have just been read from disk. They
    /// are sent without another probe, which would cost more than it is worth. Even if memory drops them again early, a
    /// connection makes progress each time.
    warm: usize,
}

impl Outbox {
    /// How many bytes wait to be sent.
    pub fn len(&self) -> usize {
        self.text.len() + self.parts_bytes
    }

    /// Frees the buffers, which an idle connection does not need.
    pub fn rest(&mut self) {
        if self.len() == 0 {
            *self = Outbox::default();
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
        if part.len() > 0 {
            self.parts_bytes += part.len();
            self.parts.push_back(part);
        }
    }

    /// What to read from disk before sending can go on: the next bytes of files.
    pub fn cold(&mut self) -> Cold {
        let files = self.parts.iter().filter_map(|part| match part {
            Part::File(range) => Some(range),
            Part::Bytes(_) => None,
        });
        let cold = Cold::first_of(files);
        self.warm = cold.now_bytes();
        cold
    }

    /// Sends as much as the socket takes and memory has. If a file is shorter than announced, that is an error, after
    /// which the connection cannot go on.
    pub fn send(&mut self, stream: &mut Stream) -> io::Result<Sent> {
        while self.len() > 0 {
            let sent = if self.parts.is_empty() || self.text.len() >= LARGE_BYTES {
                Sent::of(write(stream, &mut self.text)?)
            } else if self.text.is_empty() && self.parts.front().is_some_and(|part| part.len() >= LARGE_BYTES)
            {
                self.send_front(stream)?
            } else {
                scratch::to_gather(|buffer| self.send_gathered(stream, buffer))?
            };
            if sent != Sent::All {
                return Ok(sent);
            }
        }
        Ok(Sent::All)
    }

    // Sends from the first part, which is large.
    fn send_front(&mut self, stream: &mut Stream) -> io::Result<Sent> {
        let Some(mut part) = self.parts.pop_front() else { return Ok(Sent::All) };
        self.parts_bytes -= part.len();
        let sent = match &mut part {
            Part::Bytes(bytes) => Sent::of(write(stream, bytes)?),
            Part::File(range) => match self.send_by_kernel(stream, range)? {
                Some(sent) => sent,
                None => scratch::to_gather(|buffer| self.send_read(stream, range, buffer))?,
            },
        };
        if part.len() > 0 {
            self.parts_bytes += part.len();
            self.parts.push_front(part);
        }
        Ok(sent)
    }

    // Sends the beginning of a file that the kernel cannot send.
    fn send_read(
        &mut self,
        stream: &mut Stream,
        range: &mut FileRange,
        buffer: &mut Vec<u8>,
    ) -> io::Result<Sent> {
        let most = if self.warm > 0 { self.warm.min(GATHERED_BYTES) } else { GATHERED_BYTES };
        let bytes = range.len.min(most);
        if !self.read(range, bytes, buffer)? {
            return Ok(Sent::Cold);
        }
        self.write_or_keep(stream, buffer)
    }

    // Sends the text and the small parts after it, in one write.
    fn send_gathered(&mut self, stream: &mut Stream, buffer: &mut Vec<u8>) -> io::Result<Sent> {
        buffer.extend_from_slice(&self.text);
        self.text.clear();
        let fits = |part: &mut Part, filled: usize| {
            part.len() < LARGE_BYTES && filled + part.len() <= GATHERED_BYTES
        };
        while let Some(part) = self.parts.pop_front_if(|part| fits(part, buffer.len())) {
            match part {
                Part::Bytes(bytes) => {
                    self.parts_bytes -= bytes.len();
                    buffer.extend_from_slice(&bytes);
                }
                Part::File(mut range) => {
                    let bytes = range.len;
                    if !self.read(&mut range, bytes, buffer)? {
                        self.parts.push_front(Part::File(range));
                        break;
                    }
                    self.parts_bytes -= bytes;
                }
            }
        }
        if buffer.is_empty() {
            return Ok(Sent::Cold);
        }
        self.write_or_keep(stream, buffer)
    }

    // Sends these bytes, and keeps what the socket does not take as the next bytes.
    fn write_or_keep(&mut self, stream: &mut Stream, mut bytes: &[u8]) -> io::Result<Sent> {
        let all = write(stream, &mut bytes)?;
        self.text.extend_from_slice(bytes);
        Ok(Sent::of(all))
    }

    // Sends from the page cache to the socket, without a copy of our own. `None`: the kernel cannot send this file, which
    // has to be read instead.
    fn send_by_kernel(&mut self, stream: &mut Stream, range: &mut FileRange) -> io::Result<Option<Sent>> {
        while range.len > 0 {
            let FileRange { file, position, len } = &*range;
            if self.warm == 0 {
                self.warm = file.cached_bytes(*position, (*len).min(SENT_AT_ONCE_BYTES));
            }
            let piece = self.warm.min(*len);
            if piece == 0 {
                return Ok(Some(Sent::Cold));
            }
            match stream.try_send_file(&**file, *position, piece) {
                Ok(Some(0)) => return Err(cut()),
                Ok(Some(sent)) => {
                    advance(range, sent);
                    self.warm = self.warm.saturating_sub(sent);
                }
                Ok(None) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Some(Sent::SocketFull)),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(Sent::All))
    }

    // Appends the first bytes of the range to the buffer, and removes them from the range. False: they are only on disk,
    // and nothing has changed.
    fn read(&mut self, range: &mut FileRange, bytes: usize, buffer: &mut Vec<u8>) -> io::Result<bool> {
        let (before, warm) = (buffer.len(), self.warm >= bytes);
        let (mut at, file) = (before, &range.file);
        buffer.resize(before + bytes, 0);
        while at < buffer.len() {
            let (rest, position) = (&mut buffer[at..], range.position + (at - before) as u64);
            let got = if warm { file.read_at(rest, position) } else { file.read_cached_at(rest, position) };
            match got {
                Ok(0) => return Err(cut()),
                Ok(got) => at += got,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    buffer.truncate(before);
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        advance(range, bytes);
        self.warm = self.warm.saturating_sub(bytes);
        Ok(true)
    }
}

impl Sent {
    fn of(all: bool) -> Sent {
        if all { Sent::All } else { Sent::SocketFull }
    }
}

fn advance(range: &mut FileRange, bytes: usize) {
    range.position += bytes as u64;
    range.len -= bytes;
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a log file was cut while it was sent")
}

// Sends from the front of `bytes` what the socket takes. Returns whether that was all. Only the connection writes to the
// stream.
fn write(stream: &mut Stream, bytes: &mut impl Buf) -> io::Result<bool> {
    while bytes.has_remaining() {
        match stream.try_write(bytes.chunk()) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes.advance(written),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::path::Path;
    use std::sync::Arc;

    use ottla_log::disk::{MemoryDisk, OpenHow, RealDisk};
    use ottla_log::{Disk, DiskFile};
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// Bytes that differ at each position, so that a mix-up is noticed.
    fn bytes(from: usize, len: usize) -> Vec<u8> {
        (from..from + len).map(|at| (at ^ (at >> 8)) as u8).collect()
    }

    fn file(disk: &dyn Disk, folder: &Path) -> Arc<dyn DiskFile> {
        disk.create_dir_all(folder).expect("a folder");
        let file = disk.open(&folder.join("records"), OpenHow::CreateEmpty).expect("a file");
        file.write_at(&bytes(0, 2 << 20), 0).expect("is written");
        file
    }

    /// A client that does not read at once, and sockets with small buffers.
    async fn pair() -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let client = TcpStream::connect(address).await.expect("connects");
        let (server, _) = listener.accept().await.expect("is accepted");
        socket2::SockRef::from(&server).set_send_buffer_size(32 << 10).expect("is set");
        socket2::SockRef::from(&client).set_recv_buffer_size(32 << 10).expect("is set");
        (Stream::Plain(server), client)
    }

    async fn check(files: &[Arc<dyn DiskFile>]) {
        let (mut server, mut client) = pair().await;
        let mut outbox = Outbox::default();
        let mut expected = Vec::new();
        let (below, above) = (LARGE_BYTES - 1, LARGE_BYTES + 1);
        let sizes = [0, 1, 500, 40_000, 3, below, below, 200_000, 7, 700_000, LARGE_BYTES, 0, above];
        for (number, size) in sizes.into_iter().enumerate() {
            let mut parts = vec![Part::Bytes(bytes(number, size).into())];
            let mut body = bytes(number, size);
            for (nth, file) in files.iter().enumerate() {
                let (position, len) = (number * 1_000 + nth, sizes[(number + nth) % sizes.len()]);
                parts.push(Part::File(FileRange { file: file.clone(), position: position as u64, len }));
                body.extend(bytes(position, len));
            }
            outbox.push(|head| head.extend_from_slice(b"head"), parts);
            expected.extend((body.len() as u32 + 4).to_be_bytes());
            expected.extend(b"head");
            expected.extend(body);
        }
        assert_eq!(outbox.len(), expected.len());
        let mut received = vec![0; expected.len()];
        let sent = async {
            let mut waited = 0;
            while outbox.send(&mut server).expect("is sent") != Sent::All {
                assert!(outbox.len() > 0, "something is left");
                waited += 1;
                poll_fn(|context| server.poll_write_ready(context)).await.expect("it will be");
            }
            waited
        };
        let (waited, read) = tokio::join!(sent, client.read_exact(&mut received));
        read.expect("everything comes");
        assert!(waited > 1, "the socket was full {waited} times");
        assert_eq!(outbox.len(), 0);
        assert!(received == expected, "the bytes are the same");
    }

    #[tokio::test]
    async fn what_the_socket_does_not_take_is_sent_later_and_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let by_kernel = file(&RealDisk::default(), folder.path());
        let read = file(&MemoryDisk::new(1), Path::new("/log"));
        check(&[]).await;
        check(std::slice::from_ref(&by_kernel)).await;
        check(std::slice::from_ref(&read)).await;
        check(&[by_kernel.clone(), read, by_kernel]).await;
    }

    #[tokio::test]
    async fn a_file_that_was_cut_ends_the_connection() {
        let folder = tempfile::tempdir().expect("a folder");
        for file in [file(&RealDisk::default(), folder.path()), file(&MemoryDisk::new(1), Path::new("/log"))]
        {
            for (position, len) in [((2 << 20) - 10, 20), ((2 << 20) - 10, LARGE_BYTES)] {
                let (mut server, _client) = pair().await;
                let mut outbox = Outbox::default();
                outbox.push(|_| {}, vec![Part::File(FileRange { file: file.clone(), position, len })]);
                poll_fn(|context| server.poll_write_ready(context)).await.expect("it is");
                let failed = outbox.send(&mut server).expect_err("nobody makes up the rest");
                assert_eq!(failed.kind(), io::ErrorKind::InvalidData);
            }
        }
    }
}
