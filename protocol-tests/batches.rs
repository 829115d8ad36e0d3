//! Record batches (magic 2) written and read a second time, apart from `ottla-protocol`, so that a mistake
//! there cannot hide; each field can be made to lie. It must never share code with the broker.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;

/// A batch before it is written. `None` is what is right.
#[derive(Clone, Debug)]
pub struct Batch {
    pub base_offset: i64,
    pub length: Option<i32>,
    pub leader_epoch: i32,
    pub magic: i8,
    pub crc: Option<u32>,
    pub attributes: i16,
    pub last_offset_delta: Option<i32>,
    /// Milliseconds; each record's is relative to it.
    pub base_timestamp: i64,
    pub max_timestamp: Option<i64>,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub record_count: Option<i32>,
    pub records: Vec<Record>,
    /// What stands in place of the records: compressed ones, or nonsense.
    pub body: Option<Vec<u8>>,
}

/// One record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    pub timestamp_delta: i64,
    /// `None` counts from 0.
    pub offset_delta: Option<i32>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// A batch of records without keys, all at time 1 000.
pub fn batch(values: &[&str]) -> Batch {
    let record = |value: &&str| Record { value: Some(value.as_bytes().to_vec()), ..Record::default() };
    Batch::of(values.iter().map(record).collect())
}

impl Batch {
    /// A batch of these records, without a producer id, at time 1 000.
    pub fn of(records: Vec<Record>) -> Batch {
        Batch {
            base_offset: 0,
            length: None,
            leader_epoch: -1,
            magic: 2,
            crc: None,
            attributes: 0,
            last_offset_delta: None,
            base_timestamp: 1_000,
            max_timestamp: None,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            record_count: None,
            records,
            body: None,
        }
    }

    /// The same with a producer's id, epoch and sequence.
    pub fn by(self, producer_id: i64, producer_epoch: i16, base_sequence: i32) -> Batch {
        Batch { producer_id, producer_epoch, base_sequence, ..self }
    }

    /// The bytes of the records alone, uncompressed.
    pub fn records_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (index, record) in (0..).zip(&self.records) {
            record.write(index, &mut bytes);
        }
        bytes
    }

    /// The whole batch.
    pub fn build(&self) -> Bytes {
        let count = i32::try_from(self.records.len()).expect("a small batch");
        let newest = self.records.iter().map(|record| self.base_timestamp + record.timestamp_delta).max();
        let mut after_crc = Vec::new();
        after_crc.extend(self.attributes.to_be_bytes());
        after_crc.extend(self.last_offset_delta.unwrap_or(count - 1).to_be_bytes());
        after_crc.extend(self.base_timestamp.to_be_bytes());
        after_crc.extend(self.max_timestamp.or(newest).unwrap_or(-1).to_be_bytes());
        after_crc.extend(self.producer_id.to_be_bytes());
        after_crc.extend(self.producer_epoch.to_be_bytes());
        after_crc.extend(self.base_sequence.to_be_bytes());
        after_crc.extend(self.record_count.unwrap_or(count).to_be_bytes());
        after_crc.extend(self.body.clone().unwrap_or_else(|| self.records_bytes()));

        let length = i32::try_from(4 + 1 + 4 + after_crc.len()).expect("a small batch");
        let mut bytes = Vec::new();
        bytes.extend(self.base_offset.to_be_bytes());
        bytes.extend(self.length.unwrap_or(length).to_be_bytes());
        bytes.extend(self.leader_epoch.to_be_bytes());
        bytes.push(self.magic.to_be_bytes()[0]);
        bytes.extend(self.crc.unwrap_or_else(|| crc32c(&after_crc)).to_be_bytes());
        bytes.extend(after_crc);
        Bytes::from(bytes)
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta.unwrap_or(0))
    }

    /// Reads batches, uncompressed ones to the last record. A partial one at the end is left out, as a
    /// consumer does.
    pub fn read_all(mut bytes: &[u8]) -> Result<Vec<Batch>> {
        let mut batches = Vec::new();
        while let Some(length) = bytes.get(8..12) {
            let end = 12 + usize::try_from(i32::from_be_bytes(length.try_into()?))?;
            let Some(whole) = bytes.get(..end) else { break };
            batches.push(Batch::read(whole)?);
            bytes = &bytes[end..];
        }
        Ok(batches)
    }

    fn read(bytes: &[u8]) -> Result<Batch> {
        let mut from = Cursor(bytes);
        let mut batch = Batch::of(Vec::new());
        batch.base_offset = i64::from_be_bytes(from.take()?);
        batch.length = Some(i32::from_be_bytes(from.take()?));
        batch.leader_epoch = i32::from_be_bytes(from.take()?);
        batch.magic = i8::from_be_bytes(from.take()?);
        let crc = u32::from_be_bytes(from.take()?);
        ensure!(crc == crc32c(from.0), "the checksum does not fit");
        batch.crc = Some(crc);
        batch.attributes = i16::from_be_bytes(from.take()?);
        batch.last_offset_delta = Some(i32::from_be_bytes(from.take()?));
        batch.base_timestamp = i64::from_be_bytes(from.take()?);
        batch.max_timestamp = Some(i64::from_be_bytes(from.take()?));
        batch.producer_id = i64::from_be_bytes(from.take()?);
        batch.producer_epoch = i16::from_be_bytes(from.take()?);
        batch.base_sequence = i32::from_be_bytes(from.take()?);
        let count = i32::from_be_bytes(from.take()?);
        batch.record_count = Some(count);
        if batch.attributes & 7 != 0 {
            batch.body = Some(from.0.to_vec());
            return Ok(batch);
        }
        for _ in 0..count {
            batch.records.push(Record::read(&mut from)?);
        }
        ensure!(from.0.is_empty(), "bytes after the last record");
        Ok(batch)
    }
}

impl Record {
    /// A record with a key and a value.
    pub fn keyed(key: &str, value: &str) -> Record {
        Record { key: Some(key.into()), value: Some(value.into()), ..Record::default() }
    }

    /// The same, so much after the batch's base timestamp.
    pub fn at(self, timestamp_delta: i64) -> Record {
        Record { timestamp_delta, ..self }
    }

    fn write(&self, index: i32, to: &mut Vec<u8>) {
        let mut body = vec![0];
        varint(self.timestamp_delta, &mut body);
        varint(self.offset_delta.unwrap_or(index).into(), &mut body);
        nullable(self.key.as_deref(), &mut body);
        nullable(self.value.as_deref(), &mut body);
        varint(self.headers.len() as i64, &mut body);
        for (key, value) in &self.headers {
            nullable(Some(key.as_bytes()), &mut body);
            nullable(value.as_deref(), &mut body);
        }
        varint(body.len() as i64, to);
        to.extend(body);
    }

    fn read(from: &mut Cursor<'_>) -> Result<Record> {
        let mut body = Cursor(from.nullable()?.context("a record")?);
        body.take::<1>()?;
        let timestamp_delta = body.varint()?;
        let offset_delta = Some(i32::try_from(body.varint()?)?);
        let key = body.nullable()?.map(<[u8]>::to_vec);
        let value = body.nullable()?.map(<[u8]>::to_vec);
        let mut headers = Vec::new();
        for _ in 0..body.varint()? {
            let key = body.nullable()?.context("a header key")?.to_vec();
            headers.push((String::from_utf8(key)?, body.nullable()?.map(<[u8]>::to_vec)));
        }
        ensure!(body.0.is_empty(), "bytes after a record");
        Ok(Record { timestamp_delta, offset_delta, key, value, headers })
    }
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>().context("the bytes end too early")?;
        self.0 = rest;
        Ok(*taken)
    }

    fn varint(&mut self) -> Result<i64> {
        let mut zigzag = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.take()?;
            zigzag |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64));
            }
        }
        anyhow::bail!("a varint that does not end")
    }

    fn nullable(&mut self) -> Result<Option<&'a [u8]>> {
        let length = self.varint()?;
        if length < 0 {
            return Ok(None);
        }
        let (taken, rest) = self.0.split_at_checked(usize::try_from(length)?).context("too few bytes")?;
        self.0 = rest;
        Ok(Some(taken))
    }
}

/// Zigzag and then seven bits a byte.
pub fn varint(value: i64, to: &mut Vec<u8>) {
    let mut zigzag = ((value << 1) ^ (value >> 63)) as u64;
    while zigzag >= 0x80 {
        to.push(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    to.push(zigzag as u8);
}

fn nullable(bytes: Option<&[u8]>, to: &mut Vec<u8>) {
    varint(bytes.map_or(-1, |bytes| bytes.len() as i64), to);
    to.extend(bytes.unwrap_or_default());
}

/// Castagnoli's polynomial, bit by bit.
pub fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() -> Result<()> {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        let header = ("h".to_string(), None);
        let record = Record { headers: vec![header.clone(), header], ..Record::keyed("k", "v") }.at(-3);
        let written = Batch::of(vec![record, Record::default()]);
        let read = Batch::read_all(&written.build())?;
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].build(), written.build());
        assert_eq!(read[0].records[0].headers.len(), 2);
        Ok(())
    }
}
