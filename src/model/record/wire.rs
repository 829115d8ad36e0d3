//! How a field of a metadata record is laid out: Kafka's flexible encoding (KIP-482), bounded on the way in.
//! Knows types, not records.

use bytes::{BufMut, Bytes, BytesMut};
use ottla_protocol::LeaderEpoch;
use uuid::Uuid;

use super::{FencingChange, LeaderChange, QuotaValue, ResourceType, Secret};
use crate::ids::{BrokerEpoch, NodeId};

/// A type that a field can have.
pub trait Field: Sized {
    /// The fewest bytes that one takes on the wire. Bounds an array's count before anything is allocated.
    const BYTES_MIN: usize;
    fn write(&self, version: i16, out: &mut Out);
    fn read(version: i16, input: &mut In) -> Read<Self>;
}

pub type Read<T> = Result<T, Wrong>;

/// What is wrong with the bytes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    #[error("the record ends too early")]
    TooShort,
    #[error("{0} bytes are left over")]
    LeftOver(usize),
    #[error("a variable-length number is longer than it may be")]
    Varint,
    #[error("a count of {0} is more than the bytes that remain can hold")]
    Count(u32),
    #[error("something that must be there is null")]
    Null,
    #[error("a string is not UTF-8")]
    Utf8,
    #[error("tag {0} belongs to another version")]
    TagOfAnotherVersion(u32),
    #[error("{0} is not a value of a {1}")]
    Value(i64, &'static str),
}

/// Why a record cannot be written as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    #[error("version {version} of it has no {field}, which is set")]
    NotInVersion { field: &'static str, version: i16 },
    #[error("a string has {bytes} bytes, Kafka reads no more than {STRING_BYTES_MAX}")]
    StringTooLong { bytes: usize },
    #[error("it has no version {version}")]
    NoSuchVersion { version: i16 },
}

/// The longest string that Kafka's decoders accept, in bytes.
pub const STRING_BYTES_MAX: usize = i16::MAX as usize;

/// Where a field goes.
#[derive(Clone, Copy)]
pub struct Place {
    pub name: &'static str,
    pub since: i16,
    pub tag: Option<u32>,
}

/// The tagged fields of one struct, until they are written behind its plain ones.
#[derive(Default)]
pub struct Tagged(Vec<(u32, BytesMut)>);

/// Bytes being written, and the first thing that was wrong with what was asked.
#[derive(Default)]
pub struct Out {
    bytes: BytesMut,
    wrong: Option<Unwritable>,
}

impl Out {
    /// Writes a field where its version and its tag say. A tagged one that is its default is not written.
    pub fn field<T: Field + PartialEq>(
        &mut self,
        tagged: &mut Tagged,
        version: i16,
        place: Place,
        value: &T,
        default: impl FnOnce() -> T,
    ) {
        if version < place.since {
            if *value != default() {
                self.refuse(Unwritable::NotInVersion { field: place.name, version });
            }
            return;
        }
        let Some(tag) = place.tag else {
            return value.write(version, self);
        };
        if *value != default() {
            let outer = std::mem::take(&mut self.bytes);
            value.write(version, self);
            tagged.0.push((tag, std::mem::replace(&mut self.bytes, outer)));
        }
    }

    /// Ends a struct.
    pub fn tags(&mut self, tagged: Tagged) {
        let Tagged(mut fields) = tagged;
        fields.sort_by_key(|(tag, _)| *tag);
        self.uvarint(fields.len() as u32);
        for (tag, bytes) in fields {
            self.uvarint(tag);
            self.uvarint(bytes.len() as u32);
            self.bytes.put_slice(&bytes);
        }
    }

    pub fn uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.bytes.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.put_u8(value as u8);
    }

    fn string(&mut self, text: &str) {
        if text.len() > STRING_BYTES_MAX {
            self.refuse(Unwritable::StringTooLong { bytes: text.len() });
        }
        self.block(text.as_bytes());
    }

    fn block(&mut self, bytes: &[u8]) {
        self.uvarint(bytes.len() as u32 + 1);
        self.bytes.put_slice(bytes);
    }

    fn refuse(&mut self, why: Unwritable) {
        self.wrong.get_or_insert(why);
    }

    /// The bytes, and why they are not what was asked for, if so.
    pub fn finish(self) -> (Bytes, Option<Unwritable>) {
        (self.bytes.freeze(), self.wrong)
    }
}

/// Bytes being read. Every length is checked against what remains before it is used.
pub struct In<'a>(pub &'a [u8]);

impl<'a> In<'a> {
    fn take(&mut self, n: usize) -> Read<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n).ok_or(Wrong::TooShort)?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk().ok_or(Wrong::TooShort)?;
        self.0 = rest;
        Ok(*head)
    }

    pub fn uvarint(&mut self) -> Read<u32> {
        let mut value = 0u32;
        for shift in (0..35).step_by(7) {
            let [byte] = self.array()?;
            let bits = u32::from(byte & 0x7f);
            if shift == 28 && byte > 0x0f {
                return Err(Wrong::Varint);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Wrong::Varint)
    }

    /// A compact count or length: one more than itself, zero for null. What it counts takes at least
    /// `bytes_min` each.
    fn count(&mut self, bytes_min: usize) -> Read<Option<usize>> {
        let Some(count) = self.uvarint()?.checked_sub(1) else {
            return Ok(None);
        };
        match (count as usize).checked_mul(bytes_min) {
            Some(bytes) if bytes <= self.0.len() => Ok(Some(count as usize)),
            _ => Err(Wrong::Count(count)),
        }
    }

    fn block(&mut self) -> Read<Option<&'a [u8]>> {
        match self.count(1)? {
            Some(length) => self.take(length).map(Some),
            None => Ok(None),
        }
    }

    fn string(&mut self) -> Read<Option<String>> {
        let Some(bytes) = self.block()? else { return Ok(None) };
        let text = std::str::from_utf8(bytes).map_err(|_| Wrong::Utf8)?;
        Ok(Some(text.to_string()))
    }

    /// Reads the end of a struct. `field` gets each tagged field and must use up its bytes.
    pub fn tags(&mut self, mut field: impl FnMut(u32, &mut In) -> Read<()>) -> Read<()> {
        for _ in 0..self.uvarint()? {
            let tag = self.uvarint()?;
            let length = self.uvarint()? as usize;
            let mut inside = In(self.take(length)?);
            field(tag, &mut inside)?;
            inside.finish()?;
        }
        Ok(())
    }

    pub fn skip_rest(&mut self) {
        self.0 = &[];
    }

    /// Everything must have been used.
    pub fn finish(&self) -> Read<()> {
        match self.0.len() {
            0 => Ok(()),
            left => Err(Wrong::LeftOver(left)),
        }
    }
}

macro_rules! number {
    ($($type:ty),*) => {$(
        impl Field for $type {
            const BYTES_MIN: usize = size_of::<$type>();
            fn write(&self, _: i16, out: &mut Out) {
                out.bytes.put_slice(&self.to_be_bytes());
            }
            fn read(_: i16, input: &mut In) -> Read<$type> {
                input.array().map(<$type>::from_be_bytes)
            }
        }
    )*};
}

number!(i8, i16, u16, i32, i64, f64);

impl Field for bool {
    const BYTES_MIN: usize = 1;
    fn write(&self, version: i16, out: &mut Out) {
        i8::from(*self).write(version, out);
    }
    fn read(version: i16, input: &mut In) -> Read<bool> {
        i8::read(version, input).map(|byte| byte != 0)
    }
}

impl Field for Uuid {
    const BYTES_MIN: usize = 16;
    fn write(&self, _: i16, out: &mut Out) {
        out.bytes.put_slice(self.as_bytes());
    }
    fn read(_: i16, input: &mut In) -> Read<Uuid> {
        input.array().map(Uuid::from_bytes)
    }
}

impl Field for String {
    const BYTES_MIN: usize = 1;
    fn write(&self, _: i16, out: &mut Out) {
        out.string(self);
    }
    fn read(_: i16, input: &mut In) -> Read<String> {
        input.string()?.ok_or(Wrong::Null)
    }
}

impl Field for Option<String> {
    const BYTES_MIN: usize = 1;
    fn write(&self, _: i16, out: &mut Out) {
        match self {
            Some(text) => out.string(text),
            None => out.uvarint(0),
        }
    }
    fn read(_: i16, input: &mut In) -> Read<Option<String>> {
        input.string()
    }
}

impl Field for Bytes {
    const BYTES_MIN: usize = 1;
    fn write(&self, _: i16, out: &mut Out) {
        out.block(self);
    }
    fn read(_: i16, input: &mut In) -> Read<Bytes> {
        input.block()?.map(Bytes::copy_from_slice).ok_or(Wrong::Null)
    }
}

impl<T: Field> Field for Vec<T> {
    const BYTES_MIN: usize = 1;
    fn write(&self, version: i16, out: &mut Out) {
        out.uvarint(self.len() as u32 + 1);
        for element in self {
            element.write(version, out);
        }
    }
    fn read(version: i16, input: &mut In) -> Read<Vec<T>> {
        Option::<Vec<T>>::read(version, input)?.ok_or(Wrong::Null)
    }
}

impl<T: Field> Field for Option<Vec<T>> {
    const BYTES_MIN: usize = 1;
    fn write(&self, version: i16, out: &mut Out) {
        match self {
            Some(elements) => elements.write(version, out),
            None => out.uvarint(0),
        }
    }
    fn read(version: i16, input: &mut In) -> Read<Option<Vec<T>>> {
        let Some(count) = input.count(T::BYTES_MIN)? else { return Ok(None) };
        (0..count).map(|_| T::read(version, input)).collect::<Read<Vec<T>>>().map(Some)
    }
}

macro_rules! newtype {
    ($($name:ident: $inner:ty),*) => {$(
        impl Field for $name {
            const BYTES_MIN: usize = <$inner>::BYTES_MIN;
            fn write(&self, version: i16, out: &mut Out) {
                self.0.write(version, out);
            }
            fn read(version: i16, input: &mut In) -> Read<$name> {
                <$inner>::read(version, input).map($name)
            }
        }
    )*};
}

newtype!(NodeId: i32, BrokerEpoch: i64, LeaderEpoch: i32, QuotaValue: f64, Secret: Bytes);

/// Declares how a type that is more than its number travels.
macro_rules! coded {
    ($($type:ty: $number:ty, $code:expr, $from:expr;)*) => {$(
        impl Field for $type {
            const BYTES_MIN: usize = <$number>::BYTES_MIN;
            fn write(&self, version: i16, out: &mut Out) {
                let code: fn(&$type) -> $number = $code;
                code(self).write(version, out);
            }
            fn read(version: i16, input: &mut In) -> Read<$type> {
                let from: fn($number) -> Option<$type> = $from;
                let number = <$number>::read(version, input)?;
                from(number).ok_or(Wrong::Value(i64::from(number), stringify!($type)))
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
