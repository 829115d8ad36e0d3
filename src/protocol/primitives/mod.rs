//! Kafka's primitive types: a bounded [`Reader`] and a [`Writer`]. Every length and count is checked against the bytes
//! that are there before anything is taken or memory is reserved. It must never know a message or a version, only
//! [`Form`].

mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use reader::{Problem, ReadError, Reader};
pub use writer::{Tags, Writer, size_of_uvarint, size_of_uvarlong, size_of_varint, size_of_varlong};

/// How a message version encodes lengths (KIP-482).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Fixed-width lengths, no tagged fields.
    Classic,
    /// Compact lengths (unsigned varint, plus one), tagged fields after each structure.
    Flexible,
}

impl Form {
    /// The form of `version`, if versions from `flexible_from` on are flexible. Negative: none is.
    pub fn of(version: i16, flexible_from: i16) -> Form {
        if flexible_from >= 0 && version >= flexible_from { Form::Flexible } else { Form::Classic }
    }

    pub fn is_flexible(self) -> bool {
        self == Form::Flexible
    }
}

/// The longest string that Kafka reads or writes, in bytes, in both forms.
pub const STRING_BYTES_MAX: usize = i16::MAX as usize;

pub fn zigzag32(value: i32) -> u32 {
    ((value << 1) ^ (value >> 31)) as u32
}

pub fn zigzag64(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

pub fn unzigzag32(raw: u32) -> i32 {
    (raw >> 1) as i32 ^ -((raw & 1) as i32)
}

pub fn unzigzag64(raw: u64) -> i64 {
    (raw >> 1) as i64 ^ -((raw & 1) as i64)
}
