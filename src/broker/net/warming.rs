//! Reads from disk, on threads that may wait, what a connection is about to send. Afterwards it is in memory, and the
//! thread that serves the connection can send it without waiting. It must never know what the bytes are. It promises
//! nothing: bytes that were not read, or were dropped from memory again, are read when they are sent.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use ottla_log::FileRange;
use tokio::sync::oneshot;

use super::scratch;
use crate::run::work::threads::Threads;

/// How much is read at once, in one buffer of the thread.
const PIECE_BYTES: usize = 256 << 10;

/// Ends once the bytes have been read, or will not be read, for example because the job panicked.
#[derive(Debug)]
pub(super) struct Warming(oneshot::Receiver<()>);

impl Warming {
    /// Lets one of the threads read the bytes. Connections are served in the order in which they ask; each has one job at
    /// a time.
    pub fn begin(readers: &Threads, cold: Cold) -> Warming {
        let (done, told) = oneshot::channel();
        readers.run(move || {
            // If the connection has ended, the bytes are not needed.
            if !done.is_closed() {
                cold.read();
            }
            // The connection may have ended during the read.
            if done.send(()).is_ok() {
                cold.read_ahead();
            }
        });
        Warming(told)
    }
}

impl Future for Warming {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(context).map(drop)
    }
}

/// Ranges of files that are sent next, in order, and are only on disk.
#[derive(Debug, Default)]
pub(crate) struct Cold(Vec<FileRange>);

impl Cold {
    /// As many of these ranges as are worth reading now.
    pub fn first_of<'a>(ranges: impl Iterator<Item = &'a FileRange>) -> Cold {
        let mut left = ASKED_BYTES;
        let mut cold = Vec::new();
        for range in ranges {
            let len = range.len.min(left);
            cold.push(FileRange { len, ..range.clone() });
            left -= len;
            if left == 0 {
                break;
            }
        }
        Cold(cold)
    }

    /// How many bytes will certainly be read.
    pub fn now_bytes(&self) -> usize {
        self.0.iter().map(|range| range.len).sum::<usize>().min(READ_BYTES)
    }

    /// Reads the first bytes, and lets the kernel begin to read the others. Only on a thread that may wait.
    pub fn read(&self) {
        self.0.iter().for_each(|range| range.file.read_ahead(range.position, range.len as u64));
        let mut left = READ_BYTES;
        for range in &self.0 {
            let bytes = range.len.min(left);
            // The error shows again when the bytes are sent, and is reported then.
            if scratch::to_gather(|buffer| read(range, bytes, buffer)).is_err() {
                return;
            }
            left -= bytes;
        }
    }

    /// Lets the kernel read on after these ranges, for clients that read a log from one end to the other.
    pub fn read_ahead(&self) {
        for FileRange { file, position, len } in &self.0 {
            file.read_ahead(position + *len as u64, AHEAD * *len as u64);
        }
    }
}

fn read(range: &FileRange, bytes: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.resize(bytes.min(PIECE_BYTES), 0);
    for from in (0..bytes).step_by(PIECE_BYTES) {
        let piece = (bytes - from).min(PIECE_BYTES);
        range.file.read_exact_at(&mut buffer[..piece], range.position + from as u64)?;
    }
    Ok(())
}

/// How much a connection waits for at a time.
const READ_BYTES: usize = 1 << 20;
/// How much is being read from disk in the meantime, from one file or several.
const ASKED_BYTES: usize = 4 << 20;
/// How much to read ahead of a file, as a multiple of what is sent now: for the next answers, whatever their size.
const AHEAD: u64 = 2;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::future::poll_fn;
    use std::io::IoSlice;
    use std::os::fd::BorrowedFd;
    use std::path::Path;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Receiver, channel};
    use std::sync::{Arc, Barrier};

    use ottla_log::disk::{MemoryDisk, OpenHow, RealDisk, SyncMark, worker};
    use ottla_log::{Disk, DiskFile};
    use parking_lot::Mutex;
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::net::outbox::{Outbox, Sent};
    use crate::net::stream::Stream;
    use crate::request::Part;

    const FILE_BYTES: usize = 3 << 20;
    const PAGE_BYTES: u64 = 4 << 10;

    /// What happens when a cold file is read on a thread that may wait.
    #[derive(Debug)]
    enum Reading {
        /// The bytes are in memory from then on.
        Warms,
        /// They are dropped from memory at once.
        Forgotten,
        Panics,
        /// The read waits until the other end is dropped.
        Waits(Mutex<Receiver<()>>),
    }

    /// A file on disk of which nothing is in memory at first.
    #[derive(Debug)]
    struct ColdFile {
        inner: Arc<dyn DiskFile>,
        reading: Reading,
        warm: Mutex<BTreeSet<u64>>,
        /// Reads of bytes that were not in memory; and those on threads that serve clients.
        reads: AtomicUsize,
        waits: AtomicUsize,
    }

    impl ColdFile {
        fn new(disk: &dyn Disk, folder: &Path, reading: Reading) -> Arc<ColdFile> {
            disk.create_dir_all(folder).expect("a folder");
            let inner = disk.open(&folder.join("records"), OpenHow::CreateEmpty).expect("a file");
            inner.write_at(&bytes(0, FILE_BYTES), 0).expect("is written");
            let (warm, reads, waits) = Default::default();
            Arc::new(ColdFile { inner, reading, warm, reads, waits })
        }

        fn in_memory(reading: Reading) -> Arc<ColdFile> {
            ColdFile::new(&MemoryDisk::new(1), Path::new("/log"), reading)
        }

        fn range(self: &Arc<Self>, position: usize, len: usize) -> Part {
            Part::File(FileRange { file: self.clone(), position: position as u64, len })
        }

        // How many bytes from there on are in memory.
        fn warm_bytes(&self, at: u64) -> usize {
            let warm = self.warm.lock();
            let pages = (at / PAGE_BYTES..).take_while(|page| warm.contains(page)).count() as u64;
            ((at / PAGE_BYTES + pages) * PAGE_BYTES).saturating_sub(at) as usize
        }

        fn touch(&self, at: u64, len: usize) {
            if self.warm_bytes(at) < len {
                self.reads.fetch_add(1, Ordering::Relaxed);
                self.waits.fetch_add(usize::from(worker::is_marked()), Ordering::Relaxed);
            }
        }
    }

    impl DiskFile for ColdFile {
        fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
            self.touch(at, buf.len());
            match &self.reading {
                Reading::Warms => {}
                Reading::Forgotten => return self.inner.read_at(buf, at),
                Reading::Panics => panic!("on purpose"),
                Reading::Waits(go) => drop(go.lock().recv()),
            }
            let read = self.inner.read_at(buf, at)?;
            self.warm.lock().extend(at / PAGE_BYTES..(at + read as u64).div_ceil(PAGE_BYTES));
            Ok(read)
        }

        fn read_cached_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
            match self.warm_bytes(at).min(buf.len()) {
                0 => Err(io::ErrorKind::WouldBlock.into()),
                warm => self.inner.read_at(&mut buf[..warm], at),
            }
        }

        fn send(&self, to: BorrowedFd<'_>, at: u64, len: usize) -> io::Result<Option<usize>> {
            let sent = self.inner.send(to, at, len)?;
            self.touch(at, sent.unwrap_or(0));
            Ok(sent)
        }

        fn write_vectored_at(&self, bufs: &[IoSlice<'_>], at: u64) -> io::Result<()> {
            self.inner.write_vectored_at(bufs, at)
        }

        fn len(&self) -> io::Result<u64> {
            self.inner.len()
        }

        fn truncate(&self, len: u64) -> io::Result<()> {
            self.inner.truncate(len)
        }

        fn sync_begin(&self) -> SyncMark {
            self.inner.sync_begin()
        }

        fn sync_end(&self, mark: SyncMark) -> io::Result<()> {
            self.inner.sync_end(mark)
        }

        fn reserve(&self, at: u64, len: u64) -> io::Result<()> {
            self.inner.reserve(at, len)
        }
    }

    /// Bytes that differ at each position, so that a mix-up is noticed.
    fn bytes(from: usize, len: usize) -> Vec<u8> {
        (from..from + len).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
    }

    async fn pair() -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let client = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("connects");
        (Stream::Plain(listener.accept().await.expect("is accepted").0), client)
    }

    /// Sends one answer as a connection does. Returns how often it had to wait for the disk.
    async fn send(readers: Threads, mut server: Stream, parts: Vec<Part>) -> usize {
        let (mut outbox, mut cold) = (Outbox::default(), 0);
        outbox.push(|_| {}, parts);
        loop {
            match outbox.send(&mut server).expect("it is sent") {
                Sent::All => return cold,
                Sent::SocketFull => {
                    poll_fn(|context| server.poll_write_ready(context)).await.expect("it will be");
                }
                Sent::Cold => {
                    Warming::begin(&readers, outbox.cold()).await;
                    cold += 1;
                }
            }
        }
    }

    async fn receive(mut client: TcpStream, expected: Vec<u8>) {
        let mut received = vec![0; 4 + expected.len()];
        client.read_exact(&mut received).await.expect("everything comes");
        assert!(received[4..] == expected, "the bytes are the same");
    }

    // Sends large and small ranges, and bytes between them. Returns how often the connection had to wait for the disk.
    async fn check(file: &Arc<ColdFile>) -> usize {
        worker::mark();
        let (server, client) = pair().await;
        let sizes = [100, 20_000, 5, 31_000, 2 << 20, 700, 40_000, 300_000, 1];
        let (mut parts, mut expected, mut position) = (Vec::new(), Vec::new(), 100);
        for size in sizes {
            parts.extend([Part::Bytes(bytes(7, size / 3).into()), file.range(position, size)]);
            expected.extend(bytes(7, size / 3));
            expected.extend(bytes(position, size));
            position += size + 70_000;
        }
        let sends = send(Threads::new("test", 2), server, parts);
        tokio::join!(sends, receive(client, expected)).0
    }

    #[tokio::test]
    async fn what_is_on_disk_only_is_sent_whole_and_in_order_and_never_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        for file in [
            ColdFile::new(&RealDisk::default(), folder.path(), Reading::Warms),
            ColdFile::in_memory(Reading::Warms),
        ] {
            let cold = check(&file).await;
            assert!((2..=6).contains(&cold), "a megabyte at a time, not piece by piece: {cold}");
            assert_eq!(file.waits.load(Ordering::Relaxed), 0);
            let reads = file.reads.load(Ordering::Relaxed);
            assert_eq!(check(&file).await, 0, "it is in memory now");
            assert_eq!(file.reads.load(Ordering::Relaxed), reads, "nothing was read for it");
        }
    }

    #[tokio::test]
    async fn what_memory_forgets_at_once_is_sent_nevertheless() {
        let folder = tempfile::tempdir().expect("a folder");
        // Before this thread counts as one that serves clients.
        let in_memory = ColdFile::in_memory(Reading::Forgotten);
        check(&ColdFile::new(&RealDisk::default(), folder.path(), Reading::Forgotten)).await;
        check(&in_memory).await;
    }

    #[tokio::test]
    async fn a_job_that_panics_keeps_nobody_waiting() {
        let file = ColdFile::in_memory(Reading::Panics);
        let range = FileRange { file, position: 0, len: 100 };
        Warming::begin(&Threads::new("test", 1), Cold::first_of([range].iter())).await;
    }

    #[tokio::test]
    async fn nothing_is_read_for_a_connection_that_has_gone() {
        let readers = Threads::new("test", 1);
        let barrier = Arc::new(Barrier::new(2));
        let held = barrier.clone();
        readers.run(move || {
            held.wait();
        });
        let file = ColdFile::in_memory(Reading::Warms);
        let cold = || Cold::first_of([FileRange { file: file.clone(), position: 0, len: 100 }].iter());
        drop(Warming::begin(&readers, cold()));
        let later = Warming::begin(&readers, Cold::default());
        barrier.wait();
        later.await;
        assert_eq!(file.reads.load(Ordering::Relaxed), 0);
        assert_eq!(Arc::strong_count(&file), 1, "nobody holds it any more");
        Warming::begin(&readers, cold()).await;
        assert_eq!(file.reads.load(Ordering::Relaxed), 1, "for others there is");
    }

    /// One thread serves them all, as a worker does.
    #[tokio::test(flavor = "current_thread")]
    async fn other_connections_are_served_while_one_waits_for_the_disk() {
        let readers = Threads::new("test", 1);
        let (go, waits) = channel();
        let stalled = ColdFile::in_memory(Reading::Waits(Mutex::new(waits)));
        let (server, client) = pair().await;
        let sending = tokio::spawn(send(readers.clone(), server, vec![stalled.range(0, 50_000)]));
        let warm = ColdFile::in_memory(Reading::Warms);
        warm.read_at(&mut vec![0; FILE_BYTES], 0).expect("it is read");
        for _ in 0..20 {
            let (server, client) = pair().await;
            let sends = send(readers.clone(), server, vec![warm.range(9, 60_000)]);
            assert_eq!(tokio::join!(sends, receive(client, bytes(9, 60_000))).0, 0);
        }
        assert!(!sending.is_finished(), "the disk has not answered");
        // From now on every read is answered.
        drop(go);
        receive(client, bytes(0, 50_000)).await;
        assert_eq!(sending.await.expect("it ends"), 1);
    }
}
