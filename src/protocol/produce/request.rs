//! The bytes of a Produce request.

use bytes::{Bytes, BytesMut};

use super::{ProducePartition, ProduceRequest, ProduceTopic, VERSIONS, form_of, naming_of};
use crate::codec::{Malformed, nullable_text};
use crate::primitives::{ReadError, Reader, Writer};

impl ProduceRequest {
    /// Parses a body; its records share its memory.
    pub fn read(version: i16, body: Bytes) -> Result<ProduceRequest, Malformed> {
        read(version, &body).map_err(|malformed| malformed.within(format_args!("ProduceRequest v{version}")))
    }

    /// Writes the body. Panics on a version that is not served, or if a topic is named by name where the version needs an
    /// id, or the reverse.
    pub fn write(&self, version: i16, buf: &mut BytesMut) {
        assert!(VERSIONS.contains(&version), "no Produce v{version}");
        let (form, naming) = (form_of(version), naming_of(version));
        let mut writer = Writer::new(buf);
        writer.nullable_string(form, self.transactional_id.as_deref());
        writer.i16(self.acks);
        writer.i32(self.timeout_ms);
        writer.array_of(form, self.topics.iter(), |writer, topic| {
            naming.write(&topic.topic, writer);
            writer.array_of(form, topic.partitions.iter(), |writer, partition| {
                writer.i32(partition.index);
                writer.nullable_bytes(form, partition.records.as_deref());
                writer.no_tagged_fields(form);
            });
            writer.no_tagged_fields(form);
        });
        writer.no_tagged_fields(form);
    }
}

fn read(version: i16, body: &Bytes) -> Result<ProduceRequest, Malformed> {
    if !VERSIONS.contains(&version) {
        return Err(Malformed::new("", "this version is not served"));
    }
    let (form, naming) = (form_of(version), naming_of(version));
    let mut reader = Reader::over(body);
    let request = ProduceRequest {
        transactional_id: nullable_text(body, &mut reader, form)?,
        acks: reader.i16()?,
        timeout_ms: reader.i32()?,
        topics: reader.array_of(form, naming.bytes_min() + 1, |reader| {
            let topic = ProduceTopic {
                topic: naming.read(body, reader)?,
                partitions: reader.array_of(form, PARTITION_BYTES_MIN, |reader| {
                    let partition =
                        ProducePartition { index: reader.i32()?, records: reader.nullable_bytes(form)? };
                    reader.skip_tagged_fields(form)?;
                    Ok::<_, ReadError>(partition)
                })?,
            };
            reader.skip_tagged_fields(form)?;
            Ok::<_, ReadError>(topic)
        })?,
    };
    reader.skip_tagged_fields(form)?;
    Ok(request)
}

/// The smallest partition: an index and a length. Exact for the flexible form; the classic one takes more.
const PARTITION_BYTES_MIN: usize = 4 + 1;
