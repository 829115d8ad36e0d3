//! The bytes of a Fetch request.

use bytes::{Bytes, BytesMut};

use super::{
    FetchPartition, FetchRequest, FetchTopic, ForgottenTopic, HIGH_WATERMARK_UNSUPPORTED, IsolationLevel,
    VERSIONS, form_of, naming_of,
};
use crate::LeaderEpoch;
use crate::codec::{Malformed, nullable_text, text};
use crate::primitives::{Form, Problem, ReadError, Reader, Tags, Writer};

impl FetchRequest {
    /// Parses a body; names share its memory.
    pub fn read(version: i16, body: Bytes) -> Result<FetchRequest, Malformed> {
        read(version, &body).map_err(|malformed| malformed.within(format_args!("FetchRequest v{version}")))
    }

    /// Writes the body, without the fields that the version does not have. Panics on a version that is not served, or if
    /// a topic is named by name where the version needs an id, or the reverse.
    pub fn write(&self, version: i16, buf: &mut BytesMut) {
        assert!(VERSIONS.contains(&version), "no Fetch v{version}");
        let (form, naming) = (form_of(version), naming_of(version));
        let mut writer = Writer::new(buf);
        if version < 15 {
            writer.i32(self.replica_id);
        }
        writer.i32(self.max_wait_ms);
        writer.i32(self.min_bytes);
        writer.i32(self.max_bytes);
        writer.i8(self.isolation_level as i8);
        if version >= 7 {
            writer.i32(self.session_id);
            writer.i32(self.session_epoch);
        }
        writer.array_of(form, self.topics.iter(), |writer, topic| {
            naming.write(&topic.topic, writer);
            writer.array_of(form, topic.partitions.iter(), |writer, partition| {
                write_partition(partition, version, writer);
            });
            writer.no_tagged_fields(form);
        });
        if version >= 7 {
            writer.array_of(form, self.forgotten_topics.iter(), |writer, topic| {
                naming.write(&topic.topic, writer);
                writer.array_of(form, topic.partitions.iter(), |writer, index| writer.i32(*index));
                writer.no_tagged_fields(form);
            });
        }
        if version >= 11 {
            writer.string(form, &self.rack_id);
        }
        writer.tagged_fields(form, &self.tags(version));
    }

    fn tags(&self, version: i16) -> Tags {
        let mut tags = Tags::new();
        if let Some(cluster_id) = &self.cluster_id {
            tags.field(0, |writer| writer.string(Form::Flexible, cluster_id));
        }
        if version >= 15 && (self.replica_id, self.replica_epoch) != (-1, -1) {
            tags.field(1, |writer| {
                writer.i32(self.replica_id);
                writer.i64(self.replica_epoch);
                writer.no_tagged_fields(Form::Flexible);
            });
        }
        tags
    }
}

fn write_partition(partition: &FetchPartition, version: i16, writer: &mut Writer<'_>) {
    writer.i32(partition.index);
    if version >= 9 {
        writer.i32(partition.current_leader_epoch.0);
    }
    writer.i64(partition.fetch_offset);
    if version >= 12 {
        writer.i32(partition.last_fetched_epoch.0);
    }
    if version >= 5 {
        writer.i64(partition.log_start_offset);
    }
    writer.i32(partition.max_bytes);
    let mut tags = Tags::new();
    if version >= 17 && !partition.replica_directory_id.is_nil() {
        tags.field(0, |writer| writer.uuid(partition.replica_directory_id));
    }
    if version >= 18 && partition.high_watermark != HIGH_WATERMARK_UNSUPPORTED {
        tags.field(1, |writer| writer.i64(partition.high_watermark));
    }
    writer.tagged_fields(form_of(version), &tags);
}

fn read(version: i16, body: &Bytes) -> Result<FetchRequest, Malformed> {
    if !VERSIONS.contains(&version) {
        return Err(Malformed::new("", "this version is not served"));
    }
    let (form, naming) = (form_of(version), naming_of(version));
    let mut reader = Reader::over(body);
    let mut request = FetchRequest {
        replica_id: if version < 15 { reader.i32()? } else { -1 },
        max_wait_ms: reader.i32()?,
        min_bytes: reader.i32()?,
        max_bytes: reader.i32()?,
        isolation_level: read_isolation_level(&mut reader)?,
        ..FetchRequest::default()
    };
    if version >= 7 {
        request.session_id = reader.i32()?;
        request.session_epoch = reader.i32()?;
    }
    request.topics = reader.array_of(form, naming.bytes_min() + 1, |reader| {
        let topic = FetchTopic {
            topic: naming.read(body, reader)?,
            partitions: reader
                .array_of(form, PARTITION_BYTES_MIN, |reader| read_partition(version, reader))?,
        };
        reader.skip_tagged_fields(form)?;
        Ok::<_, ReadError>(topic)
    })?;
    if version >= 7 {
        request.forgotten_topics = reader.array_of(form, naming.bytes_min() + 1, |reader| {
            let topic = naming.read(body, reader)?;
            let partitions = reader.array_of(form, 4, Reader::i32)?;
            reader.skip_tagged_fields(form)?;
            Ok::<_, ReadError>(ForgottenTopic { topic, partitions })
        })?;
    }
    if version >= 11 {
        request.rack_id = text(body, &mut reader, form)?;
    }
    reader.tagged_fields(form, |tag, reader| {
        match tag {
            0 => request.cluster_id = nullable_text(body, reader, form)?,
            1 if version >= 15 => {
                request.replica_id = reader.i32()?;
                request.replica_epoch = reader.i64()?;
                reader.skip_tagged_fields(form)?;
            }
            _ => return Ok(()),
        }
        reader.finish()
    })?;
    Ok(request)
}

fn read_isolation_level(reader: &mut Reader<'_>) -> Result<IsolationLevel, ReadError> {
    let code = reader.i8()?;
    IsolationLevel::from_code(code).ok_or_else(|| reader.error(Problem::Value(code.into())))
}

fn read_partition(version: i16, reader: &mut Reader<'_>) -> Result<FetchPartition, ReadError> {
    let mut partition = FetchPartition::new(reader.i32()?, -1, 0);
    if version >= 9 {
        partition.current_leader_epoch = LeaderEpoch(reader.i32()?);
    }
    partition.fetch_offset = reader.i64()?;
    if version >= 12 {
        partition.last_fetched_epoch = LeaderEpoch(reader.i32()?);
    }
    if version >= 5 {
        partition.log_start_offset = reader.i64()?;
    }
    partition.max_bytes = reader.i32()?;
    reader.tagged_fields(form_of(version), |tag, reader| {
        match tag {
            0 if version >= 17 => partition.replica_directory_id = reader.uuid()?,
            1 if version >= 18 => partition.high_watermark = reader.i64()?,
            _ => return Ok(()),
        }
        reader.finish()
    })?;
    Ok(partition)
}

/// The smallest partition of any version: an index, an offset and a limit.
const PARTITION_BYTES_MIN: usize = 4 + 8 + 4;
