//! TxnOffsetCommit 0-6, parsed and answered by the broker. Version 6, which the `kafka-protocol` crate does not know, names
//! topics by id (KIP-1319). What is committed is told in the types of OffsetCommit, which has the same. It must never know
//! what an offset means.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_commit_response::OffsetCommitResponseTopic;
use kafka_protocol::messages::{GroupId, OffsetCommitRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use crate::codec::Malformed;
use crate::offsets::{named, text};
use crate::primitives::{Form, ReadError, Reader, Writer};
use crate::{ProducerEpoch, ProducerId};

/// From this version on, topics are named by id.
pub const TOPIC_IDS_SINCE: i16 = 6;

const FLEXIBLE_SINCE: i16 = 3;

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub struct TxnOffsetCommitRequest {
    pub transactional_id: StrBytes,
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    /// The group, the member, and the offsets.
    pub commit: OffsetCommitRequest,
}

/// A response.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TxnOffsetCommitResponse {
    pub throttle_time_ms: i32,
    pub topics: Vec<OffsetCommitResponseTopic>,
}

impl TxnOffsetCommitRequest {
    /// Parses a body.
    pub fn read(version: i16, body: &Bytes) -> Result<TxnOffsetCommitRequest, Malformed> {
        let mut reader = Reader::over(body);
        read(version, &mut reader).map_err(|error| named("TxnOffsetCommit", version, error))
    }

    /// Writes a body.
    pub fn write(&self, version: i16, buf: &mut BytesMut) {
        let form = Form::of(version, FLEXIBLE_SINCE);
        let mut writer = Writer::new(buf);
        let commit = &self.commit;
        writer.string(form, &self.transactional_id);
        writer.string(form, &commit.group_id);
        writer.i64(self.producer_id.0);
        writer.i16(self.producer_epoch.0);
        if version >= 3 {
            writer.i32(commit.generation_id_or_member_epoch);
            writer.string(form, &commit.member_id);
            writer.nullable_string(form, commit.group_instance_id.as_deref());
        }
        writer.array_of(form, commit.topics.iter(), |writer, topic: &OffsetCommitRequestTopic| {
            match version {
                TOPIC_IDS_SINCE.. => writer.uuid(topic.topic_id),
                _ => writer.string(form, &topic.name),
            }
            writer.array_of(form, topic.partitions.iter(), |writer, partition| {
                writer.i32(partition.partition_index);
                writer.i64(partition.committed_offset);
                if version >= 2 {
                    writer.i32(partition.committed_leader_epoch);
                }
                writer.nullable_string(form, partition.committed_metadata.as_deref());
                writer.no_tagged_fields(form);
            });
            writer.no_tagged_fields(form);
        });
        writer.no_tagged_fields(form);
    }
}

fn read(version: i16, reader: &mut Reader<'_>) -> Result<TxnOffsetCommitRequest, ReadError> {
    let form = Form::of(version, FLEXIBLE_SINCE);
    let transactional_id = text(reader.string(form)?);
    let mut commit = OffsetCommitRequest::default()
        .with_group_id(GroupId(text(reader.string(form)?)))
        .with_generation_id_or_member_epoch(-1);
    let producer_id = ProducerId(reader.i64()?);
    let producer_epoch = ProducerEpoch(reader.i16()?);
    if version >= 3 {
        commit.generation_id_or_member_epoch = reader.i32()?;
        commit.member_id = text(reader.string(form)?);
        commit.group_instance_id = reader.nullable_string(form)?.map(text);
    }
    commit.topics = reader.array_of(form, TOPIC_BYTES_MIN, |reader| topic(version, form, reader))?;
    reader.skip_tagged_fields(form)?;
    Ok(TxnOffsetCommitRequest { transactional_id, producer_id, producer_epoch, commit })
}

fn topic(version: i16, form: Form, reader: &mut Reader<'_>) -> Result<OffsetCommitRequestTopic, ReadError> {
    let topic = OffsetCommitRequestTopic::default();
    let topic = match version {
        TOPIC_IDS_SINCE.. => topic.with_topic_id(reader.uuid()?),
        _ => topic.with_name(TopicName(text(reader.string(form)?))),
    };
    let partitions = reader.array_of(form, PARTITION_BYTES_MIN, |reader| -> Result<_, ReadError> {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(reader.i32()?)
            .with_committed_offset(reader.i64()?)
            .with_committed_leader_epoch(if version >= 2 { reader.i32()? } else { -1 })
            .with_committed_metadata(reader.nullable_string(form)?.map(text));
        reader.skip_tagged_fields(form)?;
        Ok(partition)
    })?;
    reader.skip_tagged_fields(form)?;
    Ok(topic.with_partitions(partitions))
}

impl TxnOffsetCommitResponse {
    /// Writes a body.
    pub fn write(&self, version: i16, buf: &mut BytesMut) {
        let form = Form::of(version, FLEXIBLE_SINCE);
        let mut writer = Writer::new(buf);
        writer.i32(self.throttle_time_ms);
        writer.array_of(form, self.topics.iter(), |writer, topic: &OffsetCommitResponseTopic| {
            match version {
                TOPIC_IDS_SINCE.. => writer.uuid(topic.topic_id),
                _ => writer.string(form, &topic.name),
            }
            writer.array_of(form, topic.partitions.iter(), |writer, partition| {
                writer.i32(partition.partition_index);
                writer.i16(partition.error_code);
                writer.no_tagged_fields(form);
            });
            writer.no_tagged_fields(form);
        });
        writer.no_tagged_fields(form);
    }
}

/// The smallest topic: the lengths of a name and of an array.
const TOPIC_BYTES_MIN: usize = 2;
const PARTITION_BYTES_MIN: usize = 13;

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::offset_commit_response::OffsetCommitResponsePartition;
    use kafka_protocol::messages::{
        TxnOffsetCommitRequest as TheirRequest, TxnOffsetCommitResponse as TheirResponse,
    };
    use kafka_protocol::protocol::Decodable;
    use uuid::Uuid;

    use super::*;

    const ID: Uuid = Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);

    fn request(version: i16) -> TxnOffsetCommitRequest {
        let partition = |index, metadata: Option<&str>| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(index)
                .with_committed_offset(41)
                .with_committed_leader_epoch(if version >= 2 { 5 } else { -1 })
                .with_committed_metadata(metadata.map(text))
        };
        let topic = OffsetCommitRequestTopic::default();
        let topic = match version {
            TOPIC_IDS_SINCE.. => topic.with_topic_id(ID),
            _ => topic.with_name(TopicName(text("t"))),
        };
        let member = version >= 3;
        let commit = OffsetCommitRequest::default()
            .with_group_id(GroupId(text("g")))
            .with_generation_id_or_member_epoch(if member { 3 } else { -1 })
            .with_member_id(text(if member { "m" } else { "" }))
            .with_group_instance_id(member.then(|| text("i")))
            .with_topics(vec![topic.with_partitions(vec![partition(0, None), partition(1, Some("note"))])]);
        TxnOffsetCommitRequest {
            transactional_id: text("tx"),
            producer_id: ProducerId(7),
            producer_epoch: ProducerEpoch(2),
            commit,
        }
    }

    #[test]
    fn what_is_written_is_read_and_the_messages_crate_reads_the_same() {
        for version in 0..=6 {
            let (request, mut buf) = (request(version), BytesMut::new());
            request.write(version, &mut buf);
            let body = buf.freeze();
            assert_eq!(TxnOffsetCommitRequest::read(version, &body).unwrap(), request, "v{version}");
            for end in 0..body.len() {
                let cut = TxnOffsetCommitRequest::read(version, &body.slice(..end));
                assert!(cut.is_err(), "v{version} cut at {end}");
            }
            if version < TOPIC_IDS_SINCE {
                let mut left = body.clone();
                let theirs = TheirRequest::decode(&mut left, version).unwrap();
                let ours = &request.commit.topics[0].partitions[1];
                let told = &theirs.topics[0].partitions[1];
                assert_eq!((&theirs.transactional_id.0, theirs.producer_id.0), (&text("tx"), 7));
                assert_eq!(
                    (told.committed_offset, told.committed_leader_epoch, &told.committed_metadata),
                    (ours.committed_offset, ours.committed_leader_epoch, &ours.committed_metadata)
                );
                assert!(left.is_empty(), "v{version}");
            }
        }
    }

    #[test]
    fn answers_read_with_the_messages_crate() {
        let partition = OffsetCommitResponsePartition::default().with_partition_index(4).with_error_code(25);
        let topic = OffsetCommitResponseTopic::default().with_name(TopicName(text("t"))).with_topic_id(ID);
        let response = TxnOffsetCommitResponse {
            throttle_time_ms: 0,
            topics: vec![topic.with_partitions(vec![partition])],
        };
        for version in 0..=5 {
            let mut buf = BytesMut::new();
            response.write(version, &mut buf);
            let mut body = buf.freeze();
            let theirs = TheirResponse::decode(&mut body, version).unwrap();
            let told = &theirs.topics[0].partitions[0];
            assert_eq!((told.partition_index, told.error_code, body.is_empty()), (4, 25, true), "v{version}");
        }
        let mut buf = BytesMut::new();
        response.write(6, &mut buf);
        assert_eq!(buf, [b"\0\0\0\0\x02", &ID.as_bytes()[..], b"\x02\0\0\0\x04\0\x19\0\0\0"].concat());
    }

    #[test]
    fn counts_that_are_not_true_take_no_memory() {
        let before = b"\x02t\x02g\0\0\0\0\0\0\0\x07\0\0\xff\xff\xff\xff\x01\0";
        let body = [&before[..], b"\xff\xff\xff\xff\x0f"].concat();
        assert!(TxnOffsetCommitRequest::read(6, &body.into()).is_err());
    }
}
