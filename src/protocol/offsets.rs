//! OffsetCommit 2-10 and OffsetFetch 1-10, parsed and answered by the broker, on the `kafka-protocol` crate's types.
//! Version 10 of both, which that crate cannot write, names topics by id (KIP-848). It must never know what an offset
//! means.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_commit_response::OffsetCommitResponseTopic;
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    GroupId, OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::codec::Malformed;
use crate::primitives::{Form, ReadError, Reader, Writer};

/// From this version on, topics are named by id.
pub const TOPIC_IDS_SINCE: i16 = 10;

const COMMIT_FLEXIBLE_SINCE: i16 = 8;
const FETCH_FLEXIBLE_SINCE: i16 = 6;
/// From this version on, a request can be for several groups (KIP-709).
const GROUPS_SINCE: i16 = 8;

/// Parses an OffsetCommit request.
pub fn read_commit(version: i16, body: &Bytes) -> Result<OffsetCommitRequest, Malformed> {
    let form = Form::of(version, COMMIT_FLEXIBLE_SINCE);
    let mut reader = Reader::over(body);
    commit(version, form, &mut reader).map_err(|e| named("OffsetCommit", version, e))
}

fn commit(version: i16, form: Form, reader: &mut Reader<'_>) -> Result<OffsetCommitRequest, ReadError> {
    let mut request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text(reader.string(form)?)))
        .with_generation_id_or_member_epoch(reader.i32()?)
        .with_member_id(text(reader.string(form)?));
    if version >= 7 {
        request.group_instance_id = reader.nullable_string(form)?.map(text);
    }
    if version <= 4 {
        request.retention_time_ms = reader.i64()?;
    }
    request.topics = reader.array_of(form, TOPIC_BYTES_MIN, |reader| -> Result<_, ReadError> {
        let (name, id) = topic(version, form, reader)?;
        let partitions = reader.array_of(form, COMMIT_BYTES_MIN, |reader| -> Result<_, ReadError> {
            let partition = OffsetCommitRequestPartition::default()
                .with_partition_index(reader.i32()?)
                .with_committed_offset(reader.i64()?)
                .with_committed_leader_epoch(if version >= 6 { reader.i32()? } else { -1 })
                .with_committed_metadata(reader.nullable_string(form)?.map(text));
            reader.skip_tagged_fields(form)?;
            Ok(partition)
        })?;
        reader.skip_tagged_fields(form)?;
        Ok(OffsetCommitRequestTopic::default().with_name(name).with_topic_id(id).with_partitions(partitions))
    })?;
    reader.skip_tagged_fields(form)?;
    Ok(request)
}

/// Writes the response to an OffsetCommit.
pub fn write_committed(response: &OffsetCommitResponse, version: i16, buf: &mut BytesMut) {
    let form = Form::of(version, COMMIT_FLEXIBLE_SINCE);
    let mut writer = Writer::new(buf);
    if version >= 3 {
        writer.i32(response.throttle_time_ms);
    }
    writer.array_of(form, response.topics.iter(), |writer, topic: &OffsetCommitResponseTopic| {
        write_topic(version, form, &topic.name, topic.topic_id, writer);
        writer.array_of(form, topic.partitions.iter(), |writer, partition| {
            writer.i32(partition.partition_index);
            writer.i16(partition.error_code);
            writer.no_tagged_fields(form);
        });
        writer.no_tagged_fields(form);
    });
    writer.no_tagged_fields(form);
}

/// Parses an OffsetFetch request.
pub fn read_fetch(version: i16, body: &Bytes) -> Result<OffsetFetchRequest, Malformed> {
    let form = Form::of(version, FETCH_FLEXIBLE_SINCE);
    let mut reader = Reader::over(body);
    fetch(version, form, &mut reader).map_err(|e| named("OffsetFetch", version, e))
}

fn fetch(version: i16, form: Form, reader: &mut Reader<'_>) -> Result<OffsetFetchRequest, ReadError> {
    let mut request = OffsetFetchRequest::default();
    if version >= GROUPS_SINCE {
        request.groups =
            reader.array_of(form, GROUP_BYTES_MIN, |reader| fetched_group(version, form, reader))?;
    } else {
        request.group_id = GroupId(text(reader.string(form)?));
        let count = match version {
            ..2 => Some(reader.array_len(form, TOPIC_BYTES_MIN)?),
            _ => reader.nullable_array_len(form, TOPIC_BYTES_MIN)?,
        };
        request.topics = topics(count, || {
            let (name, _) = topic(version, form, reader)?;
            let partitions = indexes(form, reader)?;
            Ok(OffsetFetchRequestTopic::default().with_name(name).with_partition_indexes(partitions))
        })?;
    }
    if version >= 7 {
        request.require_stable = reader.bool()?;
    }
    reader.skip_tagged_fields(form)?;
    Ok(request)
}

fn fetched_group(
    version: i16,
    form: Form,
    reader: &mut Reader<'_>,
) -> Result<OffsetFetchRequestGroup, ReadError> {
    let mut group = OffsetFetchRequestGroup::default().with_group_id(GroupId(text(reader.string(form)?)));
    if version >= 9 {
        group.member_id = reader.nullable_string(form)?.map(text);
        group.member_epoch = reader.i32()?;
    }
    let count = reader.nullable_array_len(form, TOPIC_BYTES_MIN)?;
    group.topics = topics(count, || {
        let (name, id) = topic(version, form, reader)?;
        let partitions = indexes(form, reader)?;
        let topic = OffsetFetchRequestTopics::default().with_name(name).with_topic_id(id);
        Ok(topic.with_partition_indexes(partitions))
    })?;
    reader.skip_tagged_fields(form)?;
    Ok(group)
}

// Null means all topics.
fn topics<T>(
    count: Option<usize>,
    mut one: impl FnMut() -> Result<T, ReadError>,
) -> Result<Option<Vec<T>>, ReadError> {
    count.map(|count| (0..count).map(|_| one()).collect()).transpose()
}

fn indexes(form: Form, reader: &mut Reader<'_>) -> Result<Vec<i32>, ReadError> {
    let partitions = reader.array_of(form, 4, |reader| reader.i32())?;
    reader.skip_tagged_fields(form)?;
    Ok(partitions)
}

/// Writes the response to an OffsetFetch.
pub fn write_fetched(response: &OffsetFetchResponse, version: i16, buf: &mut BytesMut) {
    let form = Form::of(version, FETCH_FLEXIBLE_SINCE);
    let mut writer = Writer::new(buf);
    if version >= 3 {
        writer.i32(response.throttle_time_ms);
    }
    if version >= GROUPS_SINCE {
        writer.array_of(form, response.groups.iter(), |writer, group: &OffsetFetchResponseGroup| {
            writer.string(form, &group.group_id);
            writer.array_of(form, group.topics.iter(), |writer, topic: &OffsetFetchResponseTopics| {
                write_topic(version, form, &topic.name, topic.topic_id, writer);
                writer.array_of(
                    form,
                    topic.partitions.iter(),
                    |writer, p: &OffsetFetchResponsePartitions| {
                        let offset = (p.committed_offset, p.committed_leader_epoch);
                        write_offset(
                            version,
                            form,
                            p.partition_index,
                            offset,
                            &p.metadata,
                            p.error_code,
                            writer,
                        );
                    },
                );
                writer.no_tagged_fields(form);
            });
            writer.i16(group.error_code);
            writer.no_tagged_fields(form);
        });
    } else {
        writer.array_of(form, response.topics.iter(), |writer, topic: &OffsetFetchResponseTopic| {
            writer.string(form, &topic.name);
            writer.array_of(form, topic.partitions.iter(), |writer, p: &OffsetFetchResponsePartition| {
                let offset = (p.committed_offset, p.committed_leader_epoch);
                write_offset(version, form, p.partition_index, offset, &p.metadata, p.error_code, writer);
            });
            writer.no_tagged_fields(form);
        });
        if version >= 2 {
            writer.i16(response.error_code);
        }
    }
    writer.no_tagged_fields(form);
}

fn write_offset(
    version: i16,
    form: Form,
    partition: i32,
    (offset, leader_epoch): (i64, i32),
    metadata: &Option<StrBytes>,
    error: i16,
    writer: &mut Writer<'_>,
) {
    writer.i32(partition);
    writer.i64(offset);
    if version >= 5 {
        writer.i32(leader_epoch);
    }
    writer.nullable_string(form, metadata.as_deref());
    writer.i16(error);
    writer.no_tagged_fields(form);
}

fn topic(version: i16, form: Form, reader: &mut Reader<'_>) -> Result<(TopicName, Uuid), ReadError> {
    Ok(match version {
        TOPIC_IDS_SINCE.. => (TopicName::default(), reader.uuid()?),
        _ => (TopicName(text(reader.string(form)?)), Uuid::nil()),
    })
}

fn write_topic(version: i16, form: Form, name: &TopicName, id: Uuid, writer: &mut Writer<'_>) {
    match version {
        TOPIC_IDS_SINCE.. => writer.uuid(id),
        _ => writer.string(form, name),
    }
}

pub(crate) fn text(read: &str) -> StrBytes {
    StrBytes::from_string(read.to_owned())
}

pub(crate) fn named(api: &str, version: i16, error: ReadError) -> Malformed {
    Malformed::from(error).within(format_args!("{api}Request v{version}"))
}

/// The smallest topic: the lengths of a name and of an array.
const TOPIC_BYTES_MIN: usize = 2;
const COMMIT_BYTES_MIN: usize = 13;
const GROUP_BYTES_MIN: usize = 2;

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::offset_commit_response::OffsetCommitResponsePartition;
    use kafka_protocol::protocol::{Decodable, Encodable};

    use super::*;

    fn encoded(message: &impl Encodable, version: i16) -> Bytes {
        let mut buf = BytesMut::new();
        message.encode(&mut buf, version).unwrap();
        buf.freeze()
    }

    fn commit_of(version: i16) -> OffsetCommitRequest {
        let partition = |index, metadata: Option<&str>| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(index)
                .with_committed_offset(41)
                .with_committed_leader_epoch(if version >= 6 { 5 } else { -1 })
                .with_committed_metadata(metadata.map(text))
        };
        let partitions = vec![partition(0, None), partition(1, Some("")), partition(2, Some("note"))];
        let topic = |name| OffsetCommitRequestTopic::default().with_name(TopicName(text(name)));
        OffsetCommitRequest::default()
            .with_group_id(GroupId(text("g")))
            .with_generation_id_or_member_epoch(3)
            .with_member_id(text("m"))
            .with_group_instance_id((version >= 7).then(|| text("i")))
            .with_retention_time_ms(if version <= 4 { 9 } else { -1 })
            .with_topics(vec![topic("t").with_partitions(partitions), topic("empty")])
    }

    #[test]
    fn commits_are_read_as_the_messages_crate_writes_them() {
        for version in 2..=9 {
            let request = commit_of(version);
            let body = encoded(&request, version);
            assert_eq!(read_commit(version, &body).unwrap(), request, "v{version}");
            for end in 0..body.len() {
                assert!(read_commit(version, &body.slice(..end)).is_err(), "v{version} cut at {end}");
            }
        }
    }

    #[test]
    fn what_is_answered_to_a_commit_reads_with_the_messages_crate() {
        let partition = OffsetCommitResponsePartition::default().with_partition_index(4).with_error_code(25);
        let topic = OffsetCommitResponseTopic::default().with_name(TopicName(text("t")));
        let response =
            OffsetCommitResponse::default().with_topics(vec![topic.with_partitions(vec![partition])]);
        for version in 2..=9 {
            let mut buf = BytesMut::new();
            write_committed(&response, version, &mut buf);
            assert_eq!(
                OffsetCommitResponse::decode(&mut buf.freeze(), version).unwrap(),
                response,
                "v{version}"
            );
        }
    }

    fn fetches_of(version: i16) -> Vec<OffsetFetchRequest> {
        let base = OffsetFetchRequest::default().with_require_stable(version >= 7);
        let name = TopicName(text("t"));
        if version >= GROUPS_SINCE {
            let topic =
                OffsetFetchRequestTopics::default().with_name(name).with_partition_indexes(vec![1, 2]);
            let group = |name, topics| {
                let group =
                    OffsetFetchRequestGroup::default().with_group_id(GroupId(text(name))).with_topics(topics);
                if version >= 9 { group.with_member_id(Some(text("m"))).with_member_epoch(4) } else { group }
            };
            return vec![base.with_groups(vec![group("all", None), group("some", Some(vec![topic]))])];
        }
        let topic = OffsetFetchRequestTopic::default().with_name(name).with_partition_indexes(vec![1, 2]);
        let base = base.with_group_id(GroupId(text("g")));
        let mut requests = vec![base.clone().with_topics(Some(vec![topic]))];
        requests.extend((version >= 2).then(|| base.with_topics(None)));
        requests
    }

    #[test]
    fn fetches_are_read_as_the_messages_crate_writes_them() {
        for version in 1..=9 {
            for request in fetches_of(version) {
                let body = encoded(&request, version);
                assert_eq!(read_fetch(version, &body).unwrap(), request, "v{version}");
                for end in 0..body.len() {
                    assert!(read_fetch(version, &body.slice(..end)).is_err(), "v{version} cut at {end}");
                }
            }
        }
    }

    #[test]
    fn what_is_answered_to_a_fetch_reads_with_the_messages_crate() {
        for version in 1..=9 {
            let epoch = if version >= 5 { 6 } else { -1 };
            let mut response = OffsetFetchResponse::default();
            if version >= GROUPS_SINCE {
                let partition = OffsetFetchResponsePartitions::default().with_committed_offset(8);
                let partition = partition.with_committed_leader_epoch(epoch).with_metadata(Some(text("m")));
                let topic = OffsetFetchResponseTopics::default().with_name(TopicName(text("t")));
                let group = OffsetFetchResponseGroup::default().with_group_id(GroupId(text("g")));
                response.groups = vec![group.with_topics(vec![topic.with_partitions(vec![partition])])];
            } else {
                let partition = OffsetFetchResponsePartition::default().with_committed_offset(8);
                let partition = partition.with_committed_leader_epoch(epoch).with_metadata(None);
                let topic = OffsetFetchResponseTopic::default().with_name(TopicName(text("t")));
                response.topics = vec![topic.with_partitions(vec![partition])];
                response.error_code = if version >= 2 { 3 } else { 0 };
            }
            let mut buf = BytesMut::new();
            write_fetched(&response, version, &mut buf);
            assert_eq!(
                OffsetFetchResponse::decode(&mut buf.freeze(), version).unwrap(),
                response,
                "v{version}"
            );
        }
    }

    const ID: Uuid = Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);

    // Written from the schemas: version 9 with an id in place of the name.
    #[test]
    fn version_10_names_topics_by_id() {
        let id = ID.as_bytes();
        let body = [
            b"\x02g\0\0\0\x03\x02m\0\x02",
            &id[..],
            b"\x02\0\0\0\x01\0\0\0\0\0\0\0\x29\xff\xff\xff\xff\0\0\0\0",
        ];
        let request = read_commit(10, &body.concat().into()).unwrap();
        let [topic] = &request.topics[..] else { panic!("one topic") };
        assert_eq!((topic.topic_id, &*topic.name.0), (ID, ""));
        assert_eq!((topic.partitions[0].partition_index, topic.partitions[0].committed_offset), (1, 41));

        let partition = OffsetCommitResponsePartition::default().with_partition_index(1);
        let topic = OffsetCommitResponseTopic::default().with_topic_id(ID).with_partitions(vec![partition]);
        let mut buf = BytesMut::new();
        write_committed(&OffsetCommitResponse::default().with_topics(vec![topic]), 10, &mut buf);
        assert_eq!(buf, [b"\0\0\0\0\x02", &id[..], b"\x02\0\0\0\x01\0\0\0\0\0"].concat());

        let body = [b"\x02\x02g\0\xff\xff\xff\xff\x02", &id[..], b"\x02\0\0\0\x01\0\0\x01\0"].concat();
        let request = read_fetch(10, &body.into()).unwrap();
        let topics = request.groups[0].topics.as_ref().unwrap();
        assert_eq!((topics[0].topic_id, &topics[0].partition_indexes[..]), (ID, &[1][..]));
        assert!(request.require_stable);

        let partition = OffsetFetchResponsePartitions::default().with_committed_offset(41);
        let topic = OffsetFetchResponseTopics::default().with_topic_id(ID);
        let topic = topic.with_partitions(vec![partition.with_metadata(Some(text("")))]);
        let group = OffsetFetchResponseGroup::default().with_group_id(GroupId(text("g")));
        let mut buf = BytesMut::new();
        let response = OffsetFetchResponse::default().with_groups(vec![group.with_topics(vec![topic])]);
        write_fetched(&response, 10, &mut buf);
        let told = b"\x02\0\0\0\0\0\0\0\0\0\0\0\x29\xff\xff\xff\xff\x01\0\0\0\0\0\0\0\0";
        assert_eq!(buf, [b"\0\0\0\0\x02\x02g\x02", &id[..], &told[..]].concat());
    }

    #[test]
    fn counts_that_are_not_true_take_no_memory() {
        for version in 8..=10 {
            assert!(
                read_commit(version, &Bytes::from_static(b"\x02g\0\0\0\x03\x02m\0\xff\xff\xff\x7f")).is_err()
            );
            assert!(read_fetch(version, &Bytes::from_static(b"\xff\xff\xff\x7f\x02g")).is_err());
        }
        assert!(
            read_commit(2, &Bytes::from_static(b"\0\x01g\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\x7f\xff\xff\xff"))
                .is_err()
        );
    }
}
