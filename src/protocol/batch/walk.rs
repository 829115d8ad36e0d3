//! Iterates over the records of a batch without keeping them: over the whole body if it is small, otherwise piece by
//! piece as the codec yields them, whatever a record's size is.

use crate::compression::{CompressionError, DecompressLimit, decompress, decompress_in_pieces};
use crate::primitives::Reader;

use super::records::{
    HEADER_BYTES_MIN, Progress, RECORD_BYTES_MIN, RawRecord, compressed_nothing, open, timestamp_of,
};
use super::{BatchError, BatchHeader, Compression, RecordProblem};

/// What [`walk`] shows of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordMeta {
    /// The position in the batch, from 0. In a record error it is Kafka's batch index.
    pub index: usize,
    pub offset_delta: i32,
    pub timestamp_delta: i64,
    /// As [`super::Record::timestamp`].
    pub timestamp: i64,
    pub key_is_null: bool,
    pub value_is_null: bool,
    /// The size of the whole record, with its length field.
    pub size_in_bytes: usize,
}

/// What sees the records of a [`walk`]. A closure does not get the keys.
pub trait Visit {
    /// The next bytes of the key of the record for which [`Visit::record`] is called next. A key that is not null arrives
    /// in any number of parts. The record may still turn out to be wrong.
    fn key(&mut self, _part: &[u8]) {}

    fn record(&mut self, record: RecordMeta);
}

impl<F: FnMut(RecordMeta)> Visit for F {
    #[inline]
    fn record(&mut self, record: RecordMeta) {
        self(record);
    }
}

/// Validates every record of the batch at the start of `batch`, with its headers, without allocating memory per record,
/// and shows each to `visit`. Returns the uncompressed size of all records.
pub fn walk(batch: &[u8], limit: DecompressLimit, mut visit: impl Visit) -> Result<usize, BatchError> {
    let (header, body) = open(batch)?;
    match header.compression() {
        Compression::None => walk_whole(&header, body, &mut visit),
        codec if body.is_empty() => walk_whole(&header, compressed_nothing(codec, &header)?, &mut visit),
        codec => match decompress(codec, body, limit.min(WHOLE_BYTES_MAX)) {
            Ok(records) => walk_whole(&header, &records, &mut visit),
            Err(CompressionError::TooLarge { .. }) if limit > WHOLE_BYTES_MAX => {
                let mut records = Pieces::new(&header);
                let total =
                    decompress_in_pieces(codec, body, limit, |piece| records.feed(piece, &mut visit))?;
                records.finish(total)
            }
            Err(error) => Err(error.into()),
        },
    }
}

fn walk_whole(header: &BatchHeader, body: &[u8], visit: &mut impl Visit) -> Result<usize, BatchError> {
    let mut progress = Progress::new(header, body.len())?;
    while let Some(raw) = progress.next(header, body, |_, _| ())? {
        visit.key(raw.key.unwrap_or_default());
        visit.record(RecordMeta {
            index: progress.index - 1,
            offset_delta: raw.offset_delta,
            timestamp_delta: raw.timestamp_delta,
            timestamp: timestamp_of(header, raw.timestamp_delta),
            key_is_null: raw.key.is_none(),
            value_is_null: raw.value.is_none(),
            size_in_bytes: raw.size_in_bytes,
        });
    }
    Ok(body.len())
}

/// A walk over pieces. A record that is whole in a piece is read there. For the others, this keeps one varint and the
/// fields found so far.
pub(super) struct Pieces<'h> {
    header: &'h BatchHeader,
    progress: Progress,
    field: Field,
    varint: [u8; VARINT_BYTES_MAX],
    varint_bytes: usize,
    /// Size of the current record, without its length field.
    record_bytes: i32,
    record_left: usize,
    /// Bytes left of the current field.
    skip: usize,
    headers_left: usize,
    meta: RecordMeta,
}

/// The field that the next byte belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Size,
    Attributes,
    Timestamp,
    Offset,
    KeySize,
    Key,
    ValueSize,
    Value,
    HeaderCount,
    HeaderKeySize,
    HeaderKey,
    HeaderValueSize,
    HeaderValue,
    End,
}

impl<'h> Pieces<'h> {
    pub fn new(header: &'h BatchHeader) -> Pieces<'h> {
        let left = usize::try_from(header.record_count).unwrap_or(0);
        let meta = RecordMeta {
            index: 0,
            offset_delta: 0,
            timestamp_delta: 0,
            timestamp: 0,
            key_is_null: true,
            value_is_null: true,
            size_in_bytes: 0,
        };
        Pieces {
            header,
            progress: Progress::unbounded(left),
            field: Field::Size,
            varint: [0; VARINT_BYTES_MAX],
            varint_bytes: 0,
            record_bytes: 0,
            record_left: 0,
            skip: 0,
            headers_left: 0,
            meta,
        }
    }

    /// The errors are those of a walk over the whole body, except that remaining bytes are counted in the piece.
    pub fn feed(&mut self, mut piece: &[u8], visit: &mut impl Visit) -> Result<(), BatchError> {
        while !piece.is_empty() {
            if self.progress.left == 0 {
                return Err(BatchError::Leftover(piece.len()));
            }
            if self.field == Field::Size && self.varint_bytes == 0 && lies_whole_in(piece) {
                let raw = RawRecord::read(piece, |_, _| ()).map_err(|problem| self.wrong(problem))?;
                piece = &piece[raw.size_in_bytes..];
                visit.key(raw.key.unwrap_or_default());
                self.meta = RecordMeta {
                    offset_delta: raw.offset_delta,
                    timestamp_delta: raw.timestamp_delta,
                    key_is_null: raw.key.is_none(),
                    value_is_null: raw.value.is_none(),
                    size_in_bytes: raw.size_in_bytes,
                    ..self.meta
                };
                self.end_of_record(visit)?;
            } else {
                self.step(&mut piece, visit)?;
            }
        }
        Ok(())
    }

    /// To be called after the last piece. `total` is the size of all pieces.
    pub fn finish(self, total: usize) -> Result<usize, BatchError> {
        let count = self.header.record_count;
        match usize::try_from(count) {
            Ok(_) if self.progress.left == 0 => Ok(total),
            Ok(count) if count <= total / RECORD_BYTES_MIN => Err(self.wrong(match self.field {
                Field::Size => RecordProblem::Truncated,
                _ => RecordProblem::Size {
                    size: self.record_bytes,
                    remaining: self.record_bytes as usize - self.record_left,
                },
            })),
            _ => Err(BatchError::RecordCount { count, bytes: total }),
        }
    }

    /// Takes bytes of one field. At the end of the field, goes on to the next one.
    fn step(&mut self, piece: &mut &[u8], visit: &mut impl Visit) -> Result<(), BatchError> {
        use Field::*;
        match self.field {
            Key | Value | HeaderKey | HeaderValue => {
                let taken = piece.split_off(..self.skip.min(piece.len())).unwrap_or_default();
                self.skip -= taken.len();
                self.record_left -= taken.len();
                if self.field == Key {
                    visit.key(taken);
                }
                if self.skip == 0 {
                    self.field = match self.field {
                        Key => ValueSize,
                        Value => HeaderCount,
                        HeaderKey => HeaderValueSize,
                        _ => self.next_header(),
                    };
                }
            }
            Attributes => {
                self.take_byte(piece)?;
                self.field = Timestamp;
            }
            _ => self.step_varint(piece)?,
        }
        if self.field == End {
            if self.record_left > 0 {
                return Err(self.wrong(RecordProblem::Leftover(self.record_left)));
            }
            self.end_of_record(visit)?;
        }
        Ok(())
    }

    fn step_varint(&mut self, piece: &mut &[u8]) -> Result<(), BatchError> {
        use Field::*;
        let byte = self.take_byte(piece)?;
        self.varint[self.varint_bytes] = byte;
        self.varint_bytes += 1;
        let bytes_max = if self.field == Timestamp { VARINT_BYTES_MAX } else { 5 };
        if byte >= 0x80 && self.varint_bytes < bytes_max {
            return Ok(());
        }
        let bytes = self.varint_bytes;
        let whole = self.varint;
        let mut reader = Reader::new(&whole[..std::mem::take(&mut self.varint_bytes)]);
        let endless = match self.field {
            Size => RecordProblem::Truncated,
            _ => RecordProblem::Structure,
        };
        if self.field == Timestamp {
            self.meta.timestamp_delta = reader.varlong().map_err(|_| self.wrong(endless))?;
            self.field = Offset;
            return Ok(());
        }
        let value = reader.varint().map_err(|_| self.wrong(endless))?;
        let size = usize::try_from(value).ok();
        self.field = match self.field {
            Size => {
                let problem = RecordProblem::Size { size: value, remaining: piece.len() };
                self.record_left = size.ok_or_else(|| self.wrong(problem))?;
                self.record_bytes = value;
                self.meta.size_in_bytes = bytes + self.record_left;
                Attributes
            }
            Offset => {
                self.meta.offset_delta = value;
                KeySize
            }
            KeySize => {
                self.meta.key_is_null = size.is_none();
                self.begin(size, Key, ValueSize)?
            }
            ValueSize => {
                self.meta.value_is_null = size.is_none();
                self.begin(size, Value, HeaderCount)?
            }
            HeaderCount => {
                let remaining = self.record_left;
                let fits = size.filter(|count| *count <= remaining / HEADER_BYTES_MIN);
                let problem = RecordProblem::HeaderCount { count: value, remaining };
                self.headers_left = fits.ok_or_else(|| self.wrong(problem))?;
                self.next_header()
            }
            HeaderKeySize => {
                let size = size.ok_or_else(|| self.wrong(RecordProblem::NullHeaderKey(value)))?;
                self.begin(Some(size), HeaderKey, HeaderValueSize)?
            }
            _ => match self.begin(size, HeaderValue, End)? {
                HeaderValue => HeaderValue,
                _ => self.next_header(),
            },
        };
        Ok(())
    }

    /// Takes one byte. It counts as a byte of the current record, unless it is in the record's length field.
    fn take_byte(&mut self, piece: &mut &[u8]) -> Result<u8, BatchError> {
        if self.field != Field::Size {
            self.record_left =
                self.record_left.checked_sub(1).ok_or_else(|| self.wrong(RecordProblem::Structure))?;
        }
        Ok(*piece.split_off_first().expect("only called with bytes left"))
    }

    fn begin(&mut self, size: Option<usize>, field: Field, after: Field) -> Result<Field, BatchError> {
        match size {
            Some(size) if size > self.record_left => Err(self.wrong(RecordProblem::Structure)),
            None | Some(0) => Ok(after),
            Some(size) => {
                self.skip = size;
                Ok(field)
            }
        }
    }

    fn next_header(&mut self) -> Field {
        match self.headers_left.checked_sub(1) {
            Some(left) => {
                self.headers_left = left;
                Field::HeaderKeySize
            }
            None => Field::End,
        }
    }

    fn end_of_record(&mut self, visit: &mut impl Visit) -> Result<(), BatchError> {
        let index = self.progress.index;
        self.progress
            .check_delta(self.meta.offset_delta, self.header.last_offset_delta)
            .map_err(|problem| self.wrong(problem))?;
        visit.record(RecordMeta {
            index,
            timestamp: timestamp_of(self.header, self.meta.timestamp_delta),
            ..self.meta
        });
        self.progress.index += 1;
        self.progress.left -= 1;
        self.field = Field::Size;
        Ok(())
    }

    fn wrong(&self, problem: RecordProblem) -> BatchError {
        BatchError::Record { index: self.progress.index, problem }
    }
}

/// Whether the record at the start of `piece` ends in this piece.
#[inline]
fn lies_whole_in(piece: &[u8]) -> bool {
    let mut reader = Reader::new(piece);
    let size = reader.varint().ok().and_then(|size| usize::try_from(size).ok());
    size.is_some_and(|size| size <= reader.remaining())
}

/// Up to this size, decompressing at once is faster and needs little memory. Ordinary batches are smaller.
const WHOLE_BYTES_MAX: DecompressLimit = DecompressLimit(1 << 20);
const VARINT_BYTES_MAX: usize = 10;
