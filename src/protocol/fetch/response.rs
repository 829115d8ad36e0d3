//! The bytes of a Fetch response, with places for the records.

use bytes::{Bytes, BytesMut};

use super::{
    AbortedTransaction, CurrentLeader, EpochEndOffset, FetchPartitionResponse, FetchResponse,
    FetchTopicResponse, NodeEndpoint, SnapshotId, VERSIONS, form_of, naming_of,
};
use crate::codec::Malformed;
use crate::primitives::{Form, ReadError, Reader, Tags, Writer};
use crate::{ErrorCode, LeaderEpoch, ProducerId};

/// A part of a response. Parts are sent in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part<T> {
    Bytes(Bytes),
    /// Records. Their size must be the one that was given when the response was written.
    Records(T),
}

impl<T> FetchResponse<T> {
    /// Writes the body as parts, without the fields that the version does not have. `len_of` returns the size of the
    /// records as they will be sent. Panics on a version that is not served, or if a topic is named by name where the
    /// version needs an id, or the reverse.
    pub fn write(self, version: i16, len_of: impl Fn(&T) -> usize) -> Vec<Part<T>> {
        assert!(VERSIONS.contains(&version), "no Fetch v{version}");
        let (form, naming) = (form_of(version), naming_of(version));
        let mut parts = Vec::new();
        let mut buf = BytesMut::with_capacity(RESPONSE_BYTES_TYPICAL);
        let mut writer = Writer::new(&mut buf);
        writer.i32(self.throttle_time_ms);
        if version >= 7 {
            writer.i16(self.error.code());
            writer.i32(self.session_id);
        }
        writer.array_len(form, self.topics.len());
        for topic in self.topics {
            let mut writer = Writer::new(&mut buf);
            naming.write(&topic.topic, &mut writer);
            writer.array_len(form, topic.partitions.len());
            for mut partition in topic.partitions {
                let records = partition.records.take().map(|records| (len_of(&records), records));
                let mut writer = Writer::new(&mut buf);
                write_before_records(&partition, version, &mut writer);
                writer.array_len(form, records.as_ref().map_or(0, |(len, _)| *len));
                if let Some((1.., records)) = records {
                    parts.push(Part::Bytes(buf.split().freeze()));
                    parts.push(Part::Records(records));
                }
                Writer::new(&mut buf).tagged_fields(form, &tags(&partition));
            }
            Writer::new(&mut buf).no_tagged_fields(form);
        }
        let mut tags = Tags::new();
        if version >= 16 {
            NodeEndpoint::write_all(&self.node_endpoints, 0, &mut tags);
        }
        Writer::new(&mut buf).tagged_fields(form, &tags);
        if !buf.is_empty() {
            parts.push(Part::Bytes(buf.freeze()));
        }
        parts
    }
}

impl FetchResponse<Bytes> {
    /// Parses a body; records share its memory.
    pub fn read(version: i16, body: Bytes) -> Result<FetchResponse<Bytes>, Malformed> {
        read(version, &body).map_err(|malformed| malformed.within(format_args!("FetchResponse v{version}")))
    }
}

fn write_before_records<T>(partition: &FetchPartitionResponse<T>, version: i16, writer: &mut Writer<'_>) {
    let form = form_of(version);
    writer.i32(partition.index);
    writer.i16(partition.error.code());
    writer.i64(partition.high_watermark);
    writer.i64(partition.last_stable_offset);
    if version >= 5 {
        writer.i64(partition.log_start_offset);
    }
    let aborted = partition.aborted_transactions.as_deref();
    writer.nullable_array_len(form, aborted.map(<[_]>::len));
    for transaction in aborted.unwrap_or_default() {
        writer.i64(transaction.producer_id.0);
        writer.i64(transaction.first_offset);
        writer.no_tagged_fields(form);
    }
    if version >= 11 {
        writer.i32(partition.preferred_read_replica);
    }
}

/// All three tagged fields exist in every flexible version.
fn tags<T>(partition: &FetchPartitionResponse<T>) -> Tags {
    let mut tags = Tags::new();
    if let Some(diverging) = partition.diverging_epoch.filter(|diverging| *diverging != NO_DIVERGENCE) {
        tags.field(0, |writer| {
            writer.i32(diverging.epoch.0);
            writer.i64(diverging.end_offset);
            writer.no_tagged_fields(Form::Flexible);
        });
    }
    CurrentLeader::write(partition.current_leader, 1, &mut tags);
    if let Some(snapshot) = partition.snapshot_id.filter(|snapshot| *snapshot != NO_SNAPSHOT) {
        tags.field(2, |writer| {
            writer.i64(snapshot.end_offset);
            writer.i32(snapshot.epoch.0);
            writer.no_tagged_fields(Form::Flexible);
        });
    }
    tags
}

fn read(version: i16, body: &Bytes) -> Result<FetchResponse<Bytes>, Malformed> {
    if !VERSIONS.contains(&version) {
        return Err(Malformed::new("", "this version is not served"));
    }
    let (form, naming) = (form_of(version), naming_of(version));
    let mut reader = Reader::over(body);
    let mut response = FetchResponse { throttle_time_ms: reader.i32()?, ..FetchResponse::default() };
    if version >= 7 {
        response.error = ErrorCode::from_code(reader.i16()?);
        response.session_id = reader.i32()?;
    }
    response.topics = reader.array_of(form, naming.bytes_min() + 1, |reader| {
        let topic = FetchTopicResponse {
            topic: naming.read(body, reader)?,
            partitions: reader
                .array_of(form, PARTITION_BYTES_MIN, |reader| read_partition(version, reader))?,
        };
        reader.skip_tagged_fields(form)?;
        Ok::<_, ReadError>(topic)
    })?;
    reader.tagged_fields(form, |tag, reader| {
        if tag == 0 && version >= 16 {
            response.node_endpoints = NodeEndpoint::read_all(body, reader)?;
        }
        Ok::<_, Malformed>(())
    })?;
    reader.finish()?;
    Ok(response)
}

fn read_partition(version: i16, reader: &mut Reader<'_>) -> Result<FetchPartitionResponse<Bytes>, ReadError> {
    let form = form_of(version);
    let mut partition = FetchPartitionResponse::failed(reader.i32()?, ErrorCode::from_code(reader.i16()?));
    partition.high_watermark = reader.i64()?;
    partition.last_stable_offset = reader.i64()?;
    if version >= 5 {
        partition.log_start_offset = reader.i64()?;
    }
    partition.aborted_transactions = read_aborted_transactions(form, reader)?;
    if version >= 11 {
        partition.preferred_read_replica = reader.i32()?;
    }
    partition.records = reader.nullable_bytes(form)?.filter(|records| !records.is_empty());
    reader.tagged_fields(form, |tag, reader| {
        match tag {
            0 => {
                let diverging =
                    EpochEndOffset { epoch: LeaderEpoch(reader.i32()?), end_offset: reader.i64()? };
                reader.skip_tagged_fields(form)?;
                partition.diverging_epoch = Some(diverging).filter(|diverging| *diverging != NO_DIVERGENCE);
            }
            1 => partition.current_leader = CurrentLeader::read(reader)?,
            2 => {
                let snapshot = SnapshotId { end_offset: reader.i64()?, epoch: LeaderEpoch(reader.i32()?) };
                reader.skip_tagged_fields(form)?;
                partition.snapshot_id = Some(snapshot).filter(|snapshot| *snapshot != NO_SNAPSHOT);
            }
            _ => return Ok(()),
        }
        reader.finish()
    })?;
    Ok(partition)
}

fn read_aborted_transactions(
    form: Form,
    reader: &mut Reader<'_>,
) -> Result<Option<Vec<AbortedTransaction>>, ReadError> {
    let Some(count) = reader.nullable_array_len(form, 8 + 8)? else { return Ok(None) };
    let mut transactions = Vec::with_capacity(count);
    for _ in 0..count {
        let (producer_id, first_offset) = (ProducerId(reader.i64()?), reader.i64()?);
        reader.skip_tagged_fields(form)?;
        transactions.push(AbortedTransaction { producer_id, first_offset });
    }
    Ok(Some(transactions))
}

/// The defaults of the two fields, which stand for their absence.
const NO_DIVERGENCE: EpochEndOffset = EpochEndOffset { epoch: LeaderEpoch::NONE, end_offset: -1 };
const NO_SNAPSHOT: SnapshotId = SnapshotId { end_offset: -1, epoch: LeaderEpoch::NONE };

/// The smallest partition of any version: an index, an error code, two offsets and two lengths.
const PARTITION_BYTES_MIN: usize = 4 + 2 + 8 + 8 + 1 + 1;
/// Room for the response of one partition.
const RESPONSE_BYTES_TYPICAL: usize = 128;
