//! How the records are laid out, version by version. Values up to version 3 are in the classic form, version 4 is
//! flexible (KIP-482); keys are always classic and have a type where values have a version.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ottla_protocol::LeaderEpoch;
use ottla_protocol::primitives::{Form, ReadError, Reader, Tags, Writer};
use uuid::Uuid;

use super::{GroupMetadata, GroupRecord, MemberMetadata, OffsetCommit, OffsetKey, Unreadable};

pub fn write(record: &GroupRecord) -> (Bytes, Option<Bytes>) {
    match record {
        GroupRecord::OffsetCommit { key, value } => {
            let key = bytes(OFFSET_COMMIT, |to| {
                to.string(Form::Classic, &key.group);
                to.string(Form::Classic, &key.topic);
                to.i32(key.partition);
            });
            (key, value.as_ref().map(offset_commit))
        }
        GroupRecord::GroupMetadata { group, value } => {
            let key = bytes(GROUP_METADATA, |to| to.string(Form::Classic, group));
            (key, value.as_ref().map(group_metadata))
        }
    }
}

pub fn read(key: &Bytes, value: Option<&Bytes>) -> Result<Option<GroupRecord>, Unreadable> {
    let mut from = Reader::new(key);
    let kind = from.i16().map_err(Unreadable::Key)?;
    let record = match kind {
        OFFSET_COMMIT_LEGACY | OFFSET_COMMIT => {
            let key = read_offset_key(&mut from).map_err(Unreadable::Key)?;
            let value = value.map(|value| read_value("OffsetCommitValue", value, read_offset_commit));
            GroupRecord::OffsetCommit { key, value: value.transpose()? }
        }
        GROUP_METADATA => {
            let group = read_text(&mut from, Form::Classic).map_err(Unreadable::Key)?;
            let value = value.map(|value| read_value("GroupMetadataValue", value, read_group_metadata));
            GroupRecord::GroupMetadata { group, value: value.transpose()? }
        }
        _ => return Ok(None),
    };
    from.finish().map_err(Unreadable::Key)?;
    Ok(Some(record))
}

fn offset_commit(value: &OffsetCommit) -> Bytes {
    // Version 1 is the last one with an expiry time. It has no room for the later fields.
    let version = if value.expire_timestamp_ms.is_some() { 1 } else { VALUE_LATEST };
    let form = Form::of(version, FLEXIBLE_FROM);
    bytes(version, |to| {
        to.i64(value.offset);
        if version >= 3 {
            to.i32(value.leader_epoch.0);
        }
        to.string(form, &value.metadata);
        to.i64(value.commit_timestamp_ms);
        if let Some(at) = value.expire_timestamp_ms {
            to.i64(at);
        }
        let mut tags = Tags::new();
        if let Some(id) = value.topic_id {
            tags.field(TAG_TOPIC_ID, |to| to.uuid(id));
        }
        to.tagged_fields(form, &tags);
    })
}

fn group_metadata(value: &GroupMetadata) -> Bytes {
    const FORM: Form = Form::Classic;
    bytes(GROUP_METADATA_WRITTEN, |to| {
        to.string(FORM, &value.protocol_type);
        to.i32(value.generation);
        to.nullable_string(FORM, value.protocol.as_deref());
        to.nullable_string(FORM, value.leader.as_deref());
        to.i64(value.current_state_timestamp_ms.unwrap_or(-1));
        to.array_of(FORM, value.members.iter(), |to, member| {
            to.string(FORM, &member.member_id);
            to.nullable_string(FORM, member.instance_id.as_deref());
            to.string(FORM, &member.client_id);
            to.string(FORM, &member.client_host);
            to.i32(member.rebalance_timeout_ms.unwrap_or(-1));
            to.i32(member.session_timeout_ms);
            to.bytes(FORM, &member.subscription);
            to.bytes(FORM, &member.assignment);
        });
    })
}

fn read_value<T>(
    record: &'static str,
    value: &Bytes,
    body: impl FnOnce(i16, &mut Reader<'_>) -> Result<T, ReadError>,
) -> Result<T, Unreadable> {
    let unreadable = |error| Unreadable::Value { record, error };
    let mut from = Reader::new(value);
    let version = from.i16().map_err(unreadable)?;
    if !(0..=VALUE_LATEST).contains(&version) {
        return Err(Unreadable::NoSuchVersion { record, version });
    }
    let value = body(version, &mut from).map_err(unreadable)?;
    from.finish().map_err(unreadable)?;
    Ok(value)
}

fn read_offset_key(from: &mut Reader<'_>) -> Result<OffsetKey, ReadError> {
    Ok(OffsetKey {
        group: read_text(from, Form::Classic)?,
        topic: read_text(from, Form::Classic)?,
        partition: from.i32()?,
    })
}

fn read_offset_commit(version: i16, from: &mut Reader<'_>) -> Result<OffsetCommit, ReadError> {
    let form = Form::of(version, FLEXIBLE_FROM);
    let mut value = OffsetCommit {
        offset: from.i64()?,
        leader_epoch: if version >= 3 { LeaderEpoch(from.i32()?) } else { LeaderEpoch::NONE },
        metadata: read_text(from, form)?,
        commit_timestamp_ms: from.i64()?,
        expire_timestamp_ms: if version == 1 { unless_minus_one(from.i64()?) } else { None },
        topic_id: None,
    };
    from.tagged_fields(form, |tag, from| -> Result<(), ReadError> {
        if tag == TAG_TOPIC_ID {
            value.topic_id = Some(from.uuid()?).filter(|id| *id != Uuid::nil());
        }
        Ok(())
    })?;
    Ok(value)
}

fn read_group_metadata(version: i16, from: &mut Reader<'_>) -> Result<GroupMetadata, ReadError> {
    let form = Form::of(version, FLEXIBLE_FROM);
    let value = GroupMetadata {
        protocol_type: read_text(from, form)?,
        generation: from.i32()?,
        protocol: read_nullable_text(from, form)?,
        leader: read_nullable_text(from, form)?,
        current_state_timestamp_ms: if version >= 2 { unless_minus_one(from.i64()?) } else { None },
        members: from.array_of(form, MEMBER_BYTES_MIN, |from| read_member(version, form, from))?,
    };
    from.skip_tagged_fields(form)?;
    Ok(value)
}

fn read_member(version: i16, form: Form, from: &mut Reader<'_>) -> Result<MemberMetadata, ReadError> {
    let member = MemberMetadata {
        member_id: read_text(from, form)?,
        instance_id: if version >= 3 { read_nullable_text(from, form)? } else { None },
        client_id: read_text(from, form)?,
        client_host: read_text(from, form)?,
        rebalance_timeout_ms: if version >= 1 { Some(from.i32()?).filter(|ms| *ms != -1) } else { None },
        session_timeout_ms: from.i32()?,
        // Copied, because a member lives longer than the chunk of log that it was read from.
        subscription: from.bytes(form)?,
        assignment: from.bytes(form)?,
    };
    from.skip_tagged_fields(form)?;
    Ok(member)
}

fn read_text(from: &mut Reader<'_>, form: Form) -> Result<Arc<str>, ReadError> {
    from.string(form).map(Arc::from)
}

fn read_nullable_text(from: &mut Reader<'_>, form: Form) -> Result<Option<Arc<str>>, ReadError> {
    Ok(from.nullable_string(form)?.map(Arc::from))
}

fn unless_minus_one(value: i64) -> Option<i64> {
    (value != -1).then_some(value)
}

/// A key or a value: its leading number, then its fields.
fn bytes(number: i16, fields: impl FnOnce(&mut Writer<'_>)) -> Bytes {
    let mut buf = BytesMut::new();
    let mut to = Writer::new(&mut buf);
    to.i16(number);
    fields(&mut to);
    buf.freeze()
}

const OFFSET_COMMIT_LEGACY: i16 = 0;
const OFFSET_COMMIT: i16 = 1;
const GROUP_METADATA: i16 = 2;

const VALUE_LATEST: i16 = 4;
const FLEXIBLE_FROM: i16 = 4;
/// Kafka reads version 4 of a GroupMetadataValue and writes version 3, which older brokers can read, too (KIP-915).
const GROUP_METADATA_WRITTEN: i16 = 3;
const TAG_TOPIC_ID: u32 = 0;
/// The smallest member in the flexible form: empty strings, two numbers, and the count of tagged fields.
const MEMBER_BYTES_MIN: usize = 15;
