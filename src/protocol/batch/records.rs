//! The records of a batch as an iterator over owned slices, and the parsing of one record.

use bytes::Bytes;

use crate::compression::{CompressionError, DecompressLimit, decompress};
use crate::ids::Offset;
use crate::primitives::{ReadError, Reader};

use super::{BatchError, BatchHeader, Compression, HEADER_BYTES, NO_SEQUENCE, RecordProblem, TimestampType};

/// One record. Key, value and headers share the memory of the batch, or of its decompressed records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub offset: Offset,
    /// In milliseconds. The append time, if that is the batch's timestamp type.
    pub timestamp: i64,
    /// -1 in a batch without sequences.
    pub sequence: i32,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    /// In the order in which they were sent, with duplicates. Keys should be UTF-8, which is not checked.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// The records of the batch at the start of `batch`; bytes after the batch are ignored. The checksum is not verified. The
/// batch is decompressed at once, and decoded record by record.
pub fn records(batch: &Bytes, limit: DecompressLimit) -> Result<Records, BatchError> {
    let (header, body) = open(batch)?;
    let body = match header.compression() {
        Compression::None => batch.slice_ref(body),
        codec if body.is_empty() => compressed_nothing(codec, &header)?.into(),
        codec => Bytes::from(decompress(codec, body, limit)?),
    };
    let progress = Progress::new(&header, body.len())?;
    Ok(Records { header, body, progress })
}

/// See [`records`]. After an error the iterator ends.
#[derive(Clone, Debug)]
pub struct Records {
    header: BatchHeader,
    body: Bytes,
    progress: Progress,
}

impl Records {
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }
}

impl Iterator for Records {
    type Item = Result<Record, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Records { header, body, progress } = self;
        let mut headers = Vec::new();
        let share = |slice| body.slice_ref(slice);
        let raw = progress.next(header, body, |key, value| headers.push((share(key), value.map(share))));
        Some(raw.transpose()?.map(|raw| Record {
            offset: header.base_offset.wrapping_add(raw.offset_delta.into()),
            timestamp: timestamp_of(header, raw.timestamp_delta),
            sequence: raw.sequence(header),
            key: raw.key.map(share),
            value: raw.value.map(share),
            headers,
        }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.progress.left))
    }
}

pub(super) fn open(batch: &[u8]) -> Result<(BatchHeader, &[u8]), BatchError> {
    let header = BatchHeader::parse(batch)?;
    let need = header.size_in_bytes();
    let body = batch.get(HEADER_BYTES..need).ok_or(BatchError::Truncated { have: batch.len(), need })?;
    Ok((header, body))
}

/// Whether the body is empty: a batch that compaction has emptied may still name its codec.
pub(super) fn compressed_nothing(
    codec: Compression,
    header: &BatchHeader,
) -> Result<&'static [u8], BatchError> {
    match header.record_count {
        0 => Ok(&[]),
        _ => Err(CompressionError::corrupt(codec, "no bytes at all").into()),
    }
}

/// The position in a batch that is being read.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    at: usize,
    pub index: usize,
    pub left: usize,
    previous_delta: Option<i32>,
}

impl Progress {
    pub fn new(header: &BatchHeader, bytes: usize) -> Result<Progress, BatchError> {
        let count = header.record_count;
        match usize::try_from(count) {
            Ok(0) if bytes > 0 => Err(BatchError::Leftover(bytes)),
            Ok(left) if left <= bytes / RECORD_BYTES_MIN => Ok(Progress::unbounded(left)),
            _ => Err(BatchError::RecordCount { count, bytes }),
        }
    }

    /// For a caller that does not know the number of bytes yet.
    pub fn unbounded(left: usize) -> Progress {
        Progress { at: 0, index: 0, left, previous_delta: None }
    }

    #[inline]
    pub fn next<'a>(
        &mut self,
        header: &BatchHeader,
        body: &'a [u8],
        on_header: impl FnMut(&'a [u8], Option<&'a [u8]>),
    ) -> Result<Option<RawRecord<'a>>, BatchError> {
        if self.left == 0 {
            return Ok(None);
        }
        // Every early return below leaves `left` at zero: nothing is read after a wrong record.
        let left = std::mem::take(&mut self.left) - 1;
        let index = self.index;
        let wrong = |problem| BatchError::Record { index, problem };
        let raw = RawRecord::read(&body[self.at..], on_header).map_err(wrong)?;
        self.check_delta(raw.offset_delta, header.last_offset_delta).map_err(wrong)?;
        self.at += raw.size_in_bytes;
        self.index += 1;
        if left == 0 && self.at < body.len() {
            return Err(BatchError::Leftover(body.len() - self.at));
        }
        self.left = left;
        Ok(Some(raw))
    }

    /// Offset deltas ascend, and are between 0 and the last one in the header; compaction leaves gaps. If the count
    /// equals the range, as in every batch from a client, they are 0, 1, 2 and so on.
    #[inline]
    pub fn check_delta(&mut self, delta: i32, last: i32) -> Result<(), RecordProblem> {
        let previous = self.previous_delta.replace(delta);
        if delta <= previous.unwrap_or(-1) || delta > last {
            return Err(RecordProblem::OffsetDelta { delta, previous, last });
        }
        Ok(())
    }
}

/// A record as it is in the batch.
pub(super) struct RawRecord<'a> {
    pub offset_delta: i32,
    pub timestamp_delta: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub size_in_bytes: usize,
}

impl<'a> RawRecord<'a> {
    #[inline]
    pub fn read(
        rest: &'a [u8],
        on_header: impl FnMut(&'a [u8], Option<&'a [u8]>),
    ) -> Result<RawRecord<'a>, RecordProblem> {
        let mut reader = Reader::new(rest);
        let size = reader.varint().map_err(|_| RecordProblem::Truncated)?;
        let remaining = reader.remaining();
        let body = usize::try_from(size).ok().and_then(|size| reader.take(size).ok());
        let mut body = Reader::new(body.ok_or(RecordProblem::Size { size, remaining })?);
        let _attributes = body.u8().map_err(structure)?;
        let timestamp_delta = body.varlong().map_err(structure)?;
        let offset_delta = body.varint().map_err(structure)?;
        let key = nullable(&mut body)?;
        let value = nullable(&mut body)?;
        read_headers(&mut body, on_header)?;
        match body.remaining() {
            0 => {
                Ok(RawRecord { offset_delta, timestamp_delta, key, value, size_in_bytes: reader.position() })
            }
            n => Err(RecordProblem::Leftover(n)),
        }
    }

    fn sequence(&self, header: &BatchHeader) -> i32 {
        match header.base_sequence {
            base if base >= 0 => super::increment_sequence(base, self.offset_delta),
            _ => NO_SEQUENCE,
        }
    }
}

pub(super) fn timestamp_of(header: &BatchHeader, delta: i64) -> i64 {
    match header.timestamp_type() {
        TimestampType::CreateTime => header.base_timestamp.wrapping_add(delta),
        TimestampType::LogAppendTime => header.max_timestamp,
    }
}

#[inline]
fn read_headers<'a>(
    body: &mut Reader<'a>,
    mut on_header: impl FnMut(&'a [u8], Option<&'a [u8]>),
) -> Result<(), RecordProblem> {
    let count = body.varint().map_err(structure)?;
    let remaining = body.remaining();
    if usize::try_from(count).map_or(true, |count| count > remaining / HEADER_BYTES_MIN) {
        return Err(RecordProblem::HeaderCount { count, remaining });
    }
    for _ in 0..count {
        let size = body.varint().map_err(structure)?;
        let size = usize::try_from(size).map_err(|_| RecordProblem::NullHeaderKey(size))?;
        let key = body.take(size).map_err(structure)?;
        on_header(key, nullable(body)?);
    }
    Ok(())
}

/// Any negative length means null, as in Kafka.
#[inline]
fn nullable<'a>(body: &mut Reader<'a>) -> Result<Option<&'a [u8]>, RecordProblem> {
    let size = body.varint().map_err(structure)?;
    match usize::try_from(size) {
        Ok(size) => body.take(size).map(Some).map_err(structure),
        Err(_) => Ok(None),
    }
}

fn structure(_: ReadError) -> RecordProblem {
    RecordProblem::Structure
}

/// Length, attributes, two deltas, two lengths and a header count of one byte each.
pub(super) const RECORD_BYTES_MIN: usize = 7;
/// Two lengths of one byte each.
pub(super) const HEADER_BYTES_MIN: usize = 2;
