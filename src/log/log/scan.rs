//! Iterates over the batches of a log file by their headers. Checks what can be checked in one header; it must never know
//! which offset comes next, and it does not compute checksums.

use std::io;

use ottla_protocol::batch::{BatchHeader, HEADER_BYTES};

use crate::DiskFile;

/// Reads few, large pieces. Of a batch that is larger than a piece, only the header is read.
pub(crate) struct Scan<'a> {
    file: &'a dyn DiskFile,
    at: u64,
    end: u64,
    piece_bytes: usize,
    buffer: Vec<u8>,
    buffer_at: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct FoundBatch {
    pub position: u64,
    pub header: BatchHeader,
}

#[derive(Debug)]
pub(crate) enum Stopped {
    Io(io::Error),
    /// No batch starts at `position`, or the batch ends after the end of the file.
    Invalid {
        position: u64,
        what: String,
    },
}

impl FoundBatch {
    pub fn end(&self) -> u64 {
        self.position + self.header.size_in_bytes() as u64
    }
}

impl<'a> Scan<'a> {
    /// Scans from `at`, where a batch must start, up to `end`.
    pub fn new(file: &'a dyn DiskFile, at: u64, end: u64, piece_bytes: usize) -> Scan<'a> {
        Scan { file, at, end, piece_bytes, buffer: Vec::new(), buffer_at: 0 }
    }

    /// The next batch. `None`: the end is reached exactly.
    pub fn next(&mut self) -> Result<Option<FoundBatch>, Stopped> {
        let position = self.at;
        if position >= self.end {
            return Ok(None);
        }
        let invalid = |what: String| Stopped::Invalid { position, what };
        let left = self.end - position;
        let have = usize::try_from(left).unwrap_or(usize::MAX).min(HEADER_BYTES);
        let header = BatchHeader::parse(self.bytes_at(position, have).map_err(Stopped::Io)?)
            .map_err(|e| invalid(e.to_string()))?;
        let size = header.size_in_bytes() as u64;
        if size > left {
            return Err(invalid(format!("{left} bytes of a batch of {size}")));
        }
        if header.base_offset < 0 || header.last_offset_delta < 0 {
            let BatchHeader { base_offset, last_offset_delta, .. } = header;
            return Err(invalid(format!("base offset {base_offset}, last offset delta {last_offset_delta}")));
        }
        self.at = position + size;
        Ok(Some(FoundBatch { position, header }))
    }

    /// All bytes of a batch that was found.
    pub fn batch(&mut self, found: &FoundBatch) -> io::Result<&[u8]> {
        self.bytes_at(found.position, found.header.size_in_bytes())
    }

    fn bytes_at(&mut self, at: u64, len: usize) -> io::Result<&[u8]> {
        let buffered = self.buffer_at..self.buffer_at + self.buffer.len() as u64;
        if !(buffered.contains(&at) && at + len as u64 <= buffered.end) {
            let left = usize::try_from(self.end - at).unwrap_or(usize::MAX);
            self.buffer.resize(self.piece_bytes.max(len).min(left), 0);
            self.buffer_at = at;
            self.file.read_exact_at(&mut self.buffer, at)?;
        }
        let from = (at - self.buffer_at) as usize;
        Ok(&self.buffer[from..from + len])
    }
}

/// To read a few headers near an index entry.
pub(super) const LOOKUP_BYTES: usize = 4 << 10;
/// To read the headers of a large part of a segment.
pub(crate) const WALK_BYTES: usize = 64 << 10;
/// To read a whole segment.
pub(super) const RECOVERY_BYTES: usize = 1 << 20;
