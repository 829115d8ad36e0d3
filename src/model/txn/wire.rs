//! How the records are laid out. A value of version 0 is in the classic form, version 1 is flexible (KIP-482); keys are
//! always classic and have a type where values have a version.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ottla_protocol::primitives::{Form, ReadError, Reader, Tags, Writer};
use ottla_protocol::{ProducerEpoch, ProducerId};

use super::{
    Layout, Partitions, TransactionMetadata, TransactionRecord, TransactionState, TransactionVersion,
    Unreadable,
};

pub fn write(record: &TransactionRecord) -> (Bytes, Option<Bytes>) {
    let key = bytes(TRANSACTION_LOG, |to| to.string(Form::Classic, &record.transactional_id));
    (key, record.value.as_ref().map(write_value))
}

pub fn read(key: &Bytes, value: Option<&Bytes>) -> Result<Option<TransactionRecord>, Unreadable> {
    let mut from = Reader::new(key);
    if from.i16().map_err(Unreadable::Key)? != TRANSACTION_LOG {
        return Ok(None);
    }
    let transactional_id = Arc::from(from.string(Form::Classic).map_err(Unreadable::Key)?);
    from.finish().map_err(Unreadable::Key)?;
    let Some(value) = value else { return Ok(Some(TransactionRecord { transactional_id, value: None })) };
    let mut from = Reader::new(value);
    let layout = match from.i16()? {
        0 => Layout::Classic,
        1 => Layout::Flexible,
        _ => return Ok(None),
    };
    let value = read_value(layout, &mut from)?;
    from.finish()?;
    Ok(Some(TransactionRecord { transactional_id, value: Some(value) }))
}

fn write_value(value: &TransactionMetadata) -> Bytes {
    let (version, form) = match value.layout {
        Layout::Classic => (0, Form::Classic),
        Layout::Flexible => (1, Form::Flexible),
    };
    bytes(version, |to| {
        to.i64(value.producer_id.0);
        to.i16(value.producer_epoch.0);
        to.i32(value.timeout_ms);
        to.i8(number(value.state));
        write_partitions(to, form, value);
        to.i64(value.last_update_ms);
        to.i64(value.start_ms.unwrap_or(NO_TIME));
        to.tagged_fields(form, &tags(value));
    })
}

fn write_partitions(to: &mut Writer<'_>, form: Form, value: &TransactionMetadata) {
    if value.state == TransactionState::Empty {
        return to.nullable_array_len(form, None);
    }
    to.array_of(form, value.partitions.iter(), |to, (topic, partitions)| {
        to.string(form, topic);
        to.array_of(form, partitions.iter(), |to, partition| to.i32(*partition));
        to.no_tagged_fields(form);
    });
}

/// Fields that hold their default are not written.
fn tags(value: &TransactionMetadata) -> Tags {
    let mut tags = Tags::new();
    let producer_ids = [(TAG_PREVIOUS_ID, value.previous_producer_id), (TAG_NEXT_ID, value.next_producer_id)];
    for (tag, id) in producer_ids {
        if id != ProducerId::NONE {
            tags.field(tag, |to| to.i64(id.0));
        }
    }
    if value.client_version != TransactionVersion::ORIGINAL {
        tags.field(TAG_CLIENT_VERSION, |to| to.i16(value.client_version.0));
    }
    tags
}

fn read_value(layout: Layout, from: &mut Reader<'_>) -> Result<TransactionMetadata, Unreadable> {
    let form = match layout {
        Layout::Classic => Form::Classic,
        Layout::Flexible => Form::Flexible,
    };
    let producer_id = ProducerId(from.i64()?);
    let producer_epoch = ProducerEpoch(from.i16()?);
    let timeout_ms = from.i32()?;
    let state = state(from.i8()?)?;
    let partitions = read_partitions(from, form)?;
    let mut value = TransactionMetadata {
        layout,
        producer_id,
        previous_producer_id: ProducerId::NONE,
        next_producer_id: ProducerId::NONE,
        producer_epoch,
        timeout_ms,
        state,
        // Kafka does not look at them in this state either.
        partitions: if state == TransactionState::Empty { Partitions::new() } else { partitions },
        last_update_ms: from.i64()?,
        start_ms: Some(from.i64()?).filter(|ms| *ms != NO_TIME),
        client_version: TransactionVersion::ORIGINAL,
    };
    from.tagged_fields(form, |tag, from| -> Result<(), ReadError> {
        match tag {
            TAG_PREVIOUS_ID => value.previous_producer_id = ProducerId(from.i64()?),
            TAG_NEXT_ID => value.next_producer_id = ProducerId(from.i64()?),
            TAG_CLIENT_VERSION => value.client_version = TransactionVersion(from.i16()?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(value)
}

fn read_partitions(from: &mut Reader<'_>, form: Form) -> Result<Partitions, ReadError> {
    let mut partitions = Partitions::new();
    let topics = from.nullable_array_len(form, TOPIC_BYTES_MIN)?.unwrap_or(0);
    for _ in 0..topics {
        let topic = Arc::from(from.string(form)?);
        let ids = from.array_of(form, size_of::<i32>(), |from| from.i32())?;
        from.skip_tagged_fields(form)?;
        if !ids.is_empty() {
            partitions.entry(topic).or_default().extend(ids);
        }
    }
    Ok(partitions)
}

fn number(state: TransactionState) -> i8 {
    state as i8
}

fn state(number: i8) -> Result<TransactionState, Unreadable> {
    let known = usize::try_from(number).ok().and_then(|place| TransactionState::ALL.get(place));
    known.copied().ok_or(Unreadable::NoSuchState(number))
}

/// A key or a value: the number it begins with, then its fields.
fn bytes(number: i16, fields: impl FnOnce(&mut Writer<'_>)) -> Bytes {
    let mut buf = BytesMut::new();
    let mut to = Writer::new(&mut buf);
    to.i16(number);
    fields(&mut to);
    buf.freeze()
}

const TRANSACTION_LOG: i16 = 0;
const TAG_PREVIOUS_ID: u32 = 0;
const TAG_NEXT_ID: u32 = 1;
const TAG_CLIENT_VERSION: u32 = 2;
const NO_TIME: i64 = -1;
/// Of a topic in the flexible form: an empty name, no partitions, and the count of its tagged fields.
const TOPIC_BYTES_MIN: usize = 3;
