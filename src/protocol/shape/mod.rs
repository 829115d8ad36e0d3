//! The layout of each message on the wire, with just enough detail to walk over it: if the walk succeeds, everything that
//! the message declares is there, so a decoder that trusts counts may read it. It knows sizes, versions and null; it must
//! never know meanings.
//!
//! The layouts are in [`apis`]. A test makes messages from them, and `kafka-protocol` reads and writes each.

mod admin;
mod apis;
mod controllers;
mod groups;
mod security;
#[cfg(test)]
mod tests;
mod transactions;

pub(crate) use admin::*;
pub(crate) use apis::*;
pub(crate) use controllers::*;
pub(crate) use groups::*;
pub(crate) use security::*;
pub(crate) use transactions::*;

use bytes::Bytes;

use crate::codec::Malformed;
use crate::primitives::{Form, Problem, Reader};

/// The fields of a message or structure, in wire order.
pub(crate) type Layout = &'static [Field];

/// Both directions of an API.
#[derive(Debug)]
pub(crate) struct Shapes {
    pub request: Layout,
    pub response: Layout,
}

/// One field: its kind, and the versions in which it exists, may be null, or is tagged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    name: &'static str,
    kind: Kind,
    since: i16,
    until: i16,
    nullable_since: i16,
    tag: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    One(Value),
    Array(Value),
}

#[derive(Clone, Copy, Debug)]
enum Value {
    /// This many bytes: numbers, booleans, uuids.
    Fixed(usize),
    Text,
    Structure(Layout),
}

const fn field(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, since: 0, until: i16::MAX, nullable_since: i16::MAX, tag: None }
}

const fn boolean(name: &'static str) -> Field {
    field(name, Kind::One(Value::Fixed(1)))
}

const fn int8(name: &'static str) -> Field {
    field(name, Kind::One(Value::Fixed(1)))
}

const fn int16(name: &'static str) -> Field {
    field(name, Kind::One(Value::Fixed(2)))
}

const fn int32(name: &'static str) -> Field {
    field(name, Kind::One(Value::Fixed(4)))
}

const fn int64(name: &'static str) -> Field {
    field(name, Kind::One(Value::Fixed(8)))
}

const fn uuid(name: &'static str) -> Field {
    field(name, Kind::One(Value::Fixed(16)))
}

const fn uuids(name: &'static str) -> Field {
    field(name, Kind::Array(Value::Fixed(16)))
}

const fn string(name: &'static str) -> Field {
    field(name, Kind::One(Value::Text))
}

/// On the wire, this is an array of single bytes.
const fn bytes(name: &'static str) -> Field {
    field(name, Kind::Array(Value::Fixed(1)))
}

const fn structure(name: &'static str, fields: Layout) -> Field {
    field(name, Kind::One(Value::Structure(fields)))
}

const fn int8s(name: &'static str) -> Field {
    field(name, Kind::Array(Value::Fixed(1)))
}

const fn int64s(name: &'static str) -> Field {
    field(name, Kind::Array(Value::Fixed(8)))
}

const fn int32s(name: &'static str) -> Field {
    field(name, Kind::Array(Value::Fixed(4)))
}

const fn strings(name: &'static str) -> Field {
    field(name, Kind::Array(Value::Text))
}

/// An array of structures, whose fields [`Field::of`] names.
const fn array(name: &'static str) -> Field {
    field(name, Kind::Array(Value::Structure(&[])))
}

impl Field {
    /// The fields of an array's structures.
    const fn of(self, fields: Layout) -> Field {
        Field { kind: Kind::Array(Value::Structure(fields)), ..self }
    }

    /// The field exists from this version on.
    const fn since(self, version: i16) -> Field {
        Field { since: version, ..self }
    }

    /// The field exists up to this version.
    const fn until(self, version: i16) -> Field {
        Field { until: version, ..self }
    }

    /// The field may be null from this version on.
    const fn nullable(self, since: i16) -> Field {
        Field { nullable_since: since, ..self }
    }

    /// The field is a tagged field in all versions that have it.
    const fn tagged(self, tag: u32) -> Field {
        Field { tag: Some(tag), ..self }
    }

    fn is_in(&self, version: i16) -> bool {
        (self.since..=self.until).contains(&version)
    }
}

/// Walks over a whole body.
pub(crate) fn check(layout: Layout, version: i16, form: Form, body: &Bytes) -> Result<(), Malformed> {
    let mut reader = Reader::over(body);
    Walk { version, form }.fields(layout, &mut reader)?;
    Ok(reader.finish()?)
}

/// Walks over a body that other bytes may follow.
pub(crate) fn check_front(layout: Layout, version: i16, form: Form, body: &Bytes) -> Result<(), Malformed> {
    Walk { version, form }.fields(layout, &mut Reader::over(body))
}

#[derive(Clone, Copy)]
struct Walk {
    version: i16,
    form: Form,
}

impl Walk {
    fn fields(self, layout: Layout, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        for field in layout.iter().filter(|field| field.is_in(self.version) && field.tag.is_none()) {
            self.field(field, reader).map_err(|malformed| malformed.within(field.name))?;
        }
        reader.tagged_fields(self.form, |tag, reader| {
            let known = layout.iter().find(|field| field.tag == Some(tag) && field.is_in(self.version));
            let Some(field) = known else { return Ok(()) };
            // A decoder uses the field's type and not its declared size, so the two have to agree.
            self.field(field, reader)
                .and_then(|()| Ok(reader.finish()?))
                .map_err(|malformed| malformed.within(field.name))
        })
    }

    fn field(self, field: &Field, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        let nullable = self.version >= field.nullable_since;
        match field.kind {
            Kind::One(value) => self.value(value, nullable, reader),
            Kind::Array(of) => {
                let bytes_min = self.bytes_min(of);
                let count = match nullable {
                    true => reader.nullable_array_len(self.form, bytes_min)?.unwrap_or(0),
                    false => reader.array_len(self.form, bytes_min)?,
                };
                (0..count).try_for_each(|_| self.value(of, false, reader))
            }
        }
    }

    fn value(self, value: Value, nullable: bool, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        match value {
            Value::Fixed(bytes) => reader.skip(bytes)?,
            Value::Text if nullable => drop(reader.nullable_string(self.form)?),
            Value::Text => drop(reader.string(self.form)?),
            Value::Structure(fields) if nullable => match reader.i8()? {
                1 => self.fields(fields, reader)?,
                present if present < 0 => {}
                present => return Err(reader.error(Problem::Value(present.into())).into()),
            },
            Value::Structure(fields) => self.fields(fields, reader)?,
        }
        Ok(())
    }

    /// The fewest bytes that one element of an array takes.
    fn bytes_min(self, element: Value) -> usize {
        match (element, self.form) {
            (Value::Fixed(bytes), _) => bytes,
            (Value::Text, Form::Classic) => 2,
            (Value::Text, Form::Flexible) => 1,
            (Value::Structure(fields), form) => {
                let fields = fields.iter().filter(|field| field.is_in(self.version) && field.tag.is_none());
                fields.map(|field| self.field_bytes_min(field)).sum::<usize>()
                    + usize::from(form.is_flexible())
            }
        }
    }

    fn field_bytes_min(self, field: &Field) -> usize {
        match field.kind {
            Kind::One(Value::Structure(_)) if self.version >= field.nullable_since => 1,
            Kind::One(value) => self.bytes_min(value),
            Kind::Array(_) if self.form.is_flexible() => 1,
            Kind::Array(_) => 4,
        }
    }
}
