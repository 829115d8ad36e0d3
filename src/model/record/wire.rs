//! The encoding of each field type of metadata records: always in Kafka's flexible form (KIP-482), with the bounds of the
//! protocol's reader. It must never know a record.

use bytes::Bytes;
use ottla_protocol::LeaderEpoch;
use ottla_protocol::primitives::{Form, Problem, ReadError, Reader, STRING_BYTES_MAX, Writer};
use uuid::Uuid;

use super::{FencingChange, LeaderChange, QuotaValue, ResourceType, Secret};
use crate::ids::{BrokerEpoch, NodeId};

pub const FORM: Form = Form::Flexible;

/// A type that a field can have. `version` is the record's.
pub trait Field: Sized {
    /// The fewest bytes that a value takes. It limits an array's count before memory is allocated.
    const BYTES_MIN: usize;

    fn write(&self, version: i16, to: &mut Writer);

    fn read(version: i16, from: &mut Reader) -> Result<Self, ReadError>;

    /// Checks that the value can be written, and read again by Kafka.
    fn check(&self, _version: i16) -> Result<(), Unwritable> {
        Ok(())
    }
}

/// Why a record cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    #[error("{record} has no version {version}")]
    NoSuchVersion { record: &'static str, version: i16 },
    #[error("version {version} has no {field}, which is set")]
    NotInVersion { field: &'static str, version: i16 },
    #[error("a string of {0} bytes, of at most {STRING_BYTES_MAX}")]
    LongString(usize),
}

macro_rules! primitives {
    ($($type:ty: $method:ident;)*) => {$(
        impl Field for $type {
            const BYTES_MIN: usize = size_of::<$type>();
            fn write(&self, _: i16, to: &mut Writer) {
                to.$method(*self);
            }
            fn read(_: i16, from: &mut Reader) -> Result<$type, ReadError> {
                from.$method()
            }
        }
    )*};
}

primitives! {
    bool: bool;
    i8: i8;
    i16: i16;
    u16: u16;
    i32: i32;
    i64: i64;
    f64: f64;
    Uuid: uuid;
}

impl Field for String {
    const BYTES_MIN: usize = 1;
    fn write(&self, _: i16, to: &mut Writer) {
        to.string(FORM, self);
    }
    fn read(_: i16, from: &mut Reader) -> Result<String, ReadError> {
        from.string(FORM).map(str::to_string)
    }
    fn check(&self, _: i16) -> Result<(), Unwritable> {
        match self.len() {
            ..=STRING_BYTES_MAX => Ok(()),
            bytes => Err(Unwritable::LongString(bytes)),
        }
    }
}

impl Field for Option<String> {
    const BYTES_MIN: usize = 1;
    fn write(&self, _: i16, to: &mut Writer) {
        to.nullable_string(FORM, self.as_deref());
    }
    fn read(_: i16, from: &mut Reader) -> Result<Option<String>, ReadError> {
        Ok(from.nullable_string(FORM)?.map(str::to_string))
    }
    fn check(&self, version: i16) -> Result<(), Unwritable> {
        self.as_ref().map_or(Ok(()), |text| text.check(version))
    }
}

impl Field for Bytes {
    const BYTES_MIN: usize = 1;
    fn write(&self, _: i16, to: &mut Writer) {
        to.bytes(FORM, self);
    }
    fn read(_: i16, from: &mut Reader) -> Result<Bytes, ReadError> {
        from.bytes(FORM)
    }
}

impl<T: Field> Field for Vec<T> {
    const BYTES_MIN: usize = 1;
    fn write(&self, version: i16, to: &mut Writer) {
        to.array_of(FORM, self.iter(), |to, element| element.write(version, to));
    }
    fn read(version: i16, from: &mut Reader) -> Result<Vec<T>, ReadError> {
        from.array_of(FORM, T::BYTES_MIN, |from| T::read(version, from))
    }
    fn check(&self, version: i16) -> Result<(), Unwritable> {
        self.iter().try_for_each(|element| element.check(version))
    }
}

impl<T: Field> Field for Option<Vec<T>> {
    const BYTES_MIN: usize = 1;
    fn write(&self, version: i16, to: &mut Writer) {
        match self {
            Some(elements) => elements.write(version, to),
            None => to.nullable_array_len(FORM, None),
        }
    }
    fn read(version: i16, from: &mut Reader) -> Result<Option<Vec<T>>, ReadError> {
        let Some(count) = from.nullable_array_len(FORM, T::BYTES_MIN)? else { return Ok(None) };
        (0..count).map(|_| T::read(version, from)).collect::<Result<Vec<T>, ReadError>>().map(Some)
    }
    fn check(&self, version: i16) -> Result<(), Unwritable> {
        self.as_ref().map_or(Ok(()), |elements| elements.check(version))
    }
}

/// Types that wrap another type and are encoded as that type.
macro_rules! newtypes {
    ($($name:ident: $inner:ty;)*) => {$(
        impl Field for $name {
            const BYTES_MIN: usize = <$inner>::BYTES_MIN;
            fn write(&self, version: i16, to: &mut Writer) {
                self.0.write(version, to);
            }
            fn read(version: i16, from: &mut Reader) -> Result<$name, ReadError> {
                <$inner>::read(version, from).map($name)
            }
        }
    )*};
}

newtypes! {
    NodeId: i32;
    BrokerEpoch: i64;
    LeaderEpoch: i32;
    QuotaValue: f64;
    Secret: Bytes;
}

/// Types for which some numbers are invalid.
macro_rules! coded {
    ($($type:ty: $number:ty, $code:expr, $from:expr;)*) => {$(
        impl Field for $type {
            const BYTES_MIN: usize = <$number>::BYTES_MIN;
            fn write(&self, version: i16, to: &mut Writer) {
                let code: fn(&$type) -> $number = $code;
                code(self).write(version, to);
            }
            fn read(version: i16, from: &mut Reader) -> Result<$type, ReadError> {
                let value_of: fn($number) -> Option<$type> = $from;
                let at = from.clone();
                let number = <$number>::read(version, from)?;
                value_of(number).ok_or_else(|| at.error(Problem::Value(i64::from(number))))
            }
        }
    )*};
}

coded! {
    Option<NodeId>: i32, |node| node.map_or(-1, |node| node.0), |n| match n {
        -1 => Some(None),
        0.. => Some(Some(NodeId(n))),
        _ => None,
    };
    LeaderChange: i32, |change| match change {
        LeaderChange::Unchanged => -2,
        LeaderChange::Nobody => -1,
        LeaderChange::To(node) => node.0,
    }, |n| match n {
        -2 => Some(LeaderChange::Unchanged),
        -1 => Some(LeaderChange::Nobody),
        0.. => Some(LeaderChange::To(NodeId(n))),
        _ => None,
    };
    FencingChange: i8, |change| *change as i8, |n| match n {
        -1 => Some(FencingChange::Unfence),
        0 => Some(FencingChange::Unchanged),
        1 => Some(FencingChange::Fence),
        _ => None,
    };
    ResourceType: i8, |resource| resource.code(), ResourceType::from_code;
}
