//! Building batches: for coordinators and the metadata log, for clients and tests, and for compaction.

use bytes::{Bytes, BytesMut};

use crate::compression::{compress_at, decompress};
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use crate::primitives::{Writer, size_of_varint, size_of_varlong};

use super::control::ControlRecord;
use super::header::{CONTROL, DELETE_HORIZON, TRANSACTIONAL};
use super::{
    BatchError, BatchHeader, Compression, DecompressLimit, HEADER_BYTES, LENGTH_PREFIX_BYTES, MAGIC,
    NO_SEQUENCE, NO_TIMESTAMP, Record, TimestampType,
};

/// Collects records and writes them as one batch.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    compression: Compression,
    level: Option<i32>,
    /// The header, except for lengths, counts and checksum, which [`BatchBuilder::build`] fills in.
    header: BatchHeader,
    has_base_timestamp: bool,
    records: BytesMut,
}

impl BatchBuilder {
    pub fn new(compression: Compression) -> BatchBuilder {
        let header = BatchHeader {
            base_offset: 0,
            batch_length: 0,
            partition_leader_epoch: -1,
            magic: MAGIC,
            crc: 0,
            attributes: 0,
            last_offset_delta: -1,
            base_timestamp: NO_TIMESTAMP,
            max_timestamp: NO_TIMESTAMP,
            producer_id: ProducerId::NONE.0,
            producer_epoch: ProducerEpoch::NONE.0,
            base_sequence: NO_SEQUENCE,
            record_count: 0,
        };
        BatchBuilder { compression, level: None, header, has_base_timestamp: false, records: BytesMut::new() }
    }

    /// A builder for what compaction leaves of a batch: with the codec, flags, producer, sequences, offset range and, if
    /// it is an append time, timestamp of `header`. If no record stays, the largest timestamp is kept, too. Add the
    /// remaining records with [`BatchBuilder::append_at`].
    pub fn retaining(header: &BatchHeader) -> BatchBuilder {
        let mut builder = BatchBuilder::new(header.compression());
        builder.header = BatchHeader { record_count: 0, base_timestamp: NO_TIMESTAMP, ..*header };
        if let Some(horizon) = header.delete_horizon() {
            builder = builder.delete_horizon(horizon);
        }
        builder
    }

    /// See `compress_at`.
    pub fn level(mut self, level: i32) -> BatchBuilder {
        self.level = Some(level);
        self
    }

    pub fn producer(mut self, id: ProducerId, epoch: ProducerEpoch, base_sequence: i32) -> BatchBuilder {
        self.header.producer_id = id.0;
        self.header.producer_epoch = epoch.0;
        self.header.base_sequence = base_sequence;
        self
    }

    pub fn transactional(mut self) -> BatchBuilder {
        self.header.attributes |= TRANSACTIONAL;
        self
    }

    pub fn control(mut self) -> BatchBuilder {
        self.header.attributes |= CONTROL;
        self
    }

    /// Gives all records this timestamp, in ms, whatever they are appended with.
    pub fn log_append_time(mut self, timestamp: i64) -> BatchBuilder {
        self.header.set_timestamp_type(TimestampType::LogAppendTime);
        self.header.max_timestamp = timestamp;
        self
    }

    /// Sets when compaction may remove this batch's tombstones and markers, in ms (KIP-534). To be called before the
    /// first record.
    pub fn delete_horizon(mut self, timestamp: i64) -> BatchBuilder {
        assert!(self.is_empty(), "records were written against another base timestamp");
        self.header.attributes |= DELETE_HORIZON;
        self.header.base_timestamp = timestamp;
        self.has_base_timestamp = true;
        self
    }

    /// Adds a record at the next offset.
    pub fn append(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) -> &mut BatchBuilder {
        let delta = self.header.last_offset_delta + 1;
        self.header.last_offset_delta = delta;
        self.write(delta, timestamp, key, value, headers.iter().copied());
        self
    }

    /// Adds a record at an offset relative to the base offset. Deltas must ascend.
    pub fn append_at(&mut self, offset_delta: i32, record: &Record) -> &mut BatchBuilder {
        self.header.last_offset_delta = self.header.last_offset_delta.max(offset_delta);
        let headers = record.headers.iter().map(|(key, value)| (key.as_ref(), value.as_deref()));
        self.write(offset_delta, record.timestamp, record.key.as_deref(), record.value.as_deref(), headers);
        self
    }

    /// Adds a control record; the batch must be [`BatchBuilder::control`].
    pub fn append_control(&mut self, timestamp: i64, record: &ControlRecord) -> &mut BatchBuilder {
        self.append(timestamp, Some(&record.key()), Some(&record.value()), &[])
    }

    pub fn is_empty(&self) -> bool {
        self.record_count() == 0
    }

    pub fn record_count(&self) -> usize {
        self.header.record_count as usize
    }

    /// The size of the batch if it were built now without compression.
    pub fn size_in_bytes(&self) -> usize {
        HEADER_BYTES + self.records.len()
    }

    /// Builds the batch. May be called again, also after more records were added.
    pub fn build(&self, base_offset: Offset, leader_epoch: LeaderEpoch) -> Bytes {
        let header = BatchHeader { base_offset, partition_leader_epoch: leader_epoch.0, ..self.header };
        match self.compression {
            Compression::None => assemble(header, Compression::None, &self.records),
            codec => assemble(header, codec, &compress_at(codec, self.level, &self.records)),
        }
    }

    fn write<'a>(
        &mut self,
        offset_delta: i32,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl ExactSizeIterator<Item = (&'a [u8], Option<&'a [u8]>)> + Clone,
    ) {
        if !self.has_base_timestamp {
            self.has_base_timestamp = true;
            self.header.base_timestamp = timestamp;
        }
        if self.header.timestamp_type() == TimestampType::CreateTime {
            let earlier = if self.is_empty() { NO_TIMESTAMP } else { self.header.max_timestamp };
            self.header.max_timestamp = timestamp.max(earlier);
        }
        self.header.record_count += 1;
        let timestamp_delta = timestamp.wrapping_sub(self.header.base_timestamp);
        let header_bytes = |(key, value): (&[u8], Option<&[u8]>)| size_of(Some(key)) + size_of(value);
        let size = 1
            + size_of_varlong(timestamp_delta)
            + size_of_varint(offset_delta)
            + size_of(key)
            + size_of(value)
            + size_of_varint(length(headers.len()))
            + headers.clone().map(header_bytes).sum::<usize>();
        self.records.reserve(size + size_of_varint(length(size)));
        let mut writer = Writer::new(&mut self.records);
        writer.varint(length(size));
        writer.u8(0);
        writer.varlong(timestamp_delta);
        writer.varint(offset_delta);
        write_nullable(&mut writer, key);
        write_nullable(&mut writer, value);
        writer.varint(length(headers.len()));
        for (key, value) in headers {
            write_nullable(&mut writer, Some(key));
            write_nullable(&mut writer, value);
        }
    }
}

/// The same batch with its records in another codec, for topics with a `compression.type` of their own.
pub fn recompress(
    batch: &Bytes,
    to: Compression,
    level: Option<i32>,
    limit: DecompressLimit,
) -> Result<Bytes, BatchError> {
    let (header, body) = super::records::open(batch)?;
    Ok(match (header.compression(), to) {
        (from, to) if from == to => batch.slice(..header.size_in_bytes()),
        (Compression::None, to) => assemble(header, to, &compress_at(to, level, body)),
        (from, Compression::None) => assemble(header, to, &decompress(from, body, limit)?),
        (from, to) => assemble(header, to, &compress_at(to, level, &decompress(from, body, limit)?)),
    })
}

/// What compaction leaves of a batch that has to stay: its header, without a horizon or a codec (KIP-98).
pub fn empty_batch(header: &BatchHeader) -> Bytes {
    let mut empty = BatchHeader { record_count: 0, base_timestamp: NO_TIMESTAMP, ..*header };
    empty.attributes &= !DELETE_HORIZON;
    assemble(empty, Compression::None, &[])
}

fn assemble(mut header: BatchHeader, codec: Compression, body: &[u8]) -> Bytes {
    header.set_compression(codec);
    header.batch_length = length(HEADER_BYTES - LENGTH_PREFIX_BYTES + body.len());
    header.crc = header.crc_with(body);
    let mut bytes = BytesMut::with_capacity(HEADER_BYTES + body.len());
    bytes.extend_from_slice(&header.to_bytes());
    bytes.extend_from_slice(body);
    bytes.freeze()
}

fn size_of(field: Option<&[u8]>) -> usize {
    field.map_or(size_of_varint(-1), |bytes| size_of_varint(length(bytes.len())) + bytes.len())
}

fn write_nullable(writer: &mut Writer<'_>, field: Option<&[u8]>) {
    writer.varint(field.map_or(-1, |bytes| length(bytes.len())));
    writer.raw(field.unwrap_or_default());
}

fn length(bytes: usize) -> i32 {
    i32::try_from(bytes).expect("a batch is below 2 GiB")
}
