//! The bytes of a Produce response.

use bytes::{Bytes, BytesMut};

use super::{
    CurrentLeader, NodeEndpoint, ProducePartitionResponse, ProduceResponse, ProduceTopicResponse,
    RecordError, VERSIONS, form_of, naming_of,
};
use crate::ErrorCode;
use crate::codec::{Malformed, nullable_text};
use crate::primitives::{Form, ReadError, Reader, STRING_BYTES_MAX, Tags, Writer};

impl ProduceResponse {
    /// Writes the body, without the fields that the version does not have. Panics on a version that is not served, or if
    /// a topic is named by name where the version needs an id, or the reverse.
    pub fn write(&self, version: i16, buf: &mut BytesMut) {
        assert!(VERSIONS.contains(&version), "no Produce v{version}");
        let (form, naming) = (form_of(version), naming_of(version));
        let mut writer = Writer::new(buf);
        writer.array_of(form, self.topics.iter(), |writer, topic| {
            naming.write(&topic.topic, writer);
            writer.array_of(form, topic.partitions.iter(), |writer, partition| {
                write_partition(partition, version, form, writer);
            });
            writer.no_tagged_fields(form);
        });
        writer.i32(self.throttle_time_ms);
        let mut tags = Tags::new();
        if version >= 10 {
            NodeEndpoint::write_all(&self.node_endpoints, 0, &mut tags);
        }
        writer.tagged_fields(form, &tags);
    }

    /// Parses a body.
    pub fn read(version: i16, body: Bytes) -> Result<ProduceResponse, Malformed> {
        read(version, &body).map_err(|malformed| malformed.within(format_args!("ProduceResponse v{version}")))
    }
}

fn write_partition(partition: &ProducePartitionResponse, version: i16, form: Form, writer: &mut Writer<'_>) {
    writer.i32(partition.index);
    writer.i16(partition.error.code());
    writer.i64(partition.base_offset);
    writer.i64(partition.log_append_time_ms);
    if version >= 5 {
        writer.i64(partition.log_start_offset);
    }
    if version >= 8 {
        writer.array_of(form, partition.record_errors.iter(), |writer, error| {
            writer.i32(error.batch_index);
            writer.nullable_string(form, error.message.as_deref().map(cut));
            writer.no_tagged_fields(form);
        });
        writer.nullable_string(form, partition.error_message.as_deref().map(cut));
    }
    let mut tags = Tags::new();
    if version >= 10 {
        CurrentLeader::write(partition.current_leader, 0, &mut tags);
    }
    writer.tagged_fields(form, &tags);
}

/// As much of the message as fits into a string.
fn cut(message: &str) -> &str {
    &message[..message.floor_char_boundary(STRING_BYTES_MAX)]
}

fn read(version: i16, body: &Bytes) -> Result<ProduceResponse, Malformed> {
    if !VERSIONS.contains(&version) {
        return Err(Malformed::new("", "this version is not served"));
    }
    let (form, naming) = (form_of(version), naming_of(version));
    let mut reader = Reader::over(body);
    let topics = reader.array_of(form, naming.bytes_min() + 1, |reader| {
        let topic = ProduceTopicResponse {
            topic: naming.read(body, reader)?,
            partitions: reader
                .array_of(form, PARTITION_BYTES_MIN, |reader| read_partition(version, form, body, reader))?,
        };
        reader.skip_tagged_fields(form)?;
        Ok::<_, Malformed>(topic)
    })?;
    let throttle_time_ms = reader.i32()?;
    let mut node_endpoints = Vec::new();
    reader.tagged_fields(form, |tag, reader| {
        if tag == 0 && version >= 10 {
            node_endpoints = NodeEndpoint::read_all(body, reader)?;
        }
        Ok::<_, Malformed>(())
    })?;
    reader.finish()?;
    Ok(ProduceResponse { topics, throttle_time_ms, node_endpoints })
}

fn read_partition(
    version: i16,
    form: Form,
    body: &Bytes,
    reader: &mut Reader<'_>,
) -> Result<ProducePartitionResponse, Malformed> {
    let (index, error) = (reader.i32()?, ErrorCode::from_code(reader.i16()?));
    let mut partition = ProducePartitionResponse {
        base_offset: reader.i64()?,
        log_append_time_ms: reader.i64()?,
        ..ProducePartitionResponse::failed(index, error)
    };
    if version >= 5 {
        partition.log_start_offset = reader.i64()?;
    }
    if version >= 8 {
        partition.record_errors = reader.array_of(form, RECORD_ERROR_BYTES_MIN, |reader| {
            let error =
                RecordError { batch_index: reader.i32()?, message: nullable_text(body, reader, form)? };
            reader.skip_tagged_fields(form)?;
            Ok::<_, ReadError>(error)
        })?;
        partition.error_message = nullable_text(body, reader, form)?;
    }
    reader.tagged_fields(form, |tag, reader| {
        if tag == 0 && version >= 10 {
            partition.current_leader = CurrentLeader::read(reader)?;
        }
        Ok::<_, ReadError>(())
    })?;
    Ok(partition)
}

/// The smallest partition of any version: an index, an error code and two offsets.
const PARTITION_BYTES_MIN: usize = 4 + 2 + 8 + 8;
/// The smallest record error: an index and a length.
const RECORD_ERROR_BYTES_MIN: usize = 4 + 1;
