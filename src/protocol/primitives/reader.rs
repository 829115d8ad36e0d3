//! Parses primitives from bytes of a peer or a disk. It must never panic, and never reserve memory for a length that is
//! only claimed.

use bytes::Bytes;
use uuid::Uuid;

use super::{Form, STRING_BYTES_MAX, unzigzag32, unzigzag64};

/// What is wrong with the bytes, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at byte {at}")]
pub struct ReadError {
    /// Position of the error, from the first byte that the reader was given.
    pub at: usize,
    pub problem: Problem,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("{needed} bytes needed where {remaining} remain")]
    Short { needed: usize, remaining: usize },
    #[error("a varint of more than {0} bytes")]
    LongVarint(usize),
    #[error("the negative length {0}")]
    NegativeLength(i64),
    #[error("null where a value is required")]
    Null,
    #[error("a string of {0} bytes, of at most {STRING_BYTES_MAX}")]
    LongString(usize),
    #[error("a string that is not UTF-8")]
    NotUtf8,
    #[error("an array of {count} elements where {remaining} bytes remain")]
    Count { count: usize, remaining: usize },
    #[error("{0} bytes more than the structure has")]
    Trailing(usize),
    /// For callers: the bytes are well formed, but the value is not allowed there.
    #[error("the value {0} is not allowed")]
    Value(i64),
}

/// A cursor over borrowed bytes. A reader made with [`Reader::over`] returns slices that share the owner's memory.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    /// The number of bytes at the start.
    total: usize,
    /// Position of this reader's first byte, for error messages: a tagged field has a reader of its own.
    origin: usize,
    owner: Option<&'a Bytes>,
}

impl<'a> Reader<'a> {
    /// A reader whose owned results are copies.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes, total: bytes.len(), origin: 0, owner: None }
    }

    /// A reader whose owned results are slices of `bytes`, without copying.
    pub fn over(bytes: &'a Bytes) -> Reader<'a> {
        Reader { rest: bytes, total: bytes.len(), origin: 0, owner: Some(bytes) }
    }

    #[inline]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    /// How many bytes have been read.
    #[inline]
    pub fn position(&self) -> usize {
        self.total - self.rest.len()
    }

    /// The bytes that have not been read yet.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// An error at the cursor.
    #[cold]
    pub fn error(&self, problem: Problem) -> ReadError {
        ReadError { at: self.origin + self.position(), problem }
    }

    /// Checks that no bytes are left: bytes after a complete message mean that the peer uses another version.
    pub fn finish(&self) -> Result<(), ReadError> {
        match self.remaining() {
            0 => Ok(()),
            n => Err(self.error(Problem::Trailing(n))),
        }
    }

    #[inline]
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], ReadError> {
        match self.rest.split_at_checked(count) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(self.error(Problem::Short { needed: count, remaining: self.remaining() })),
        }
    }

    /// As [`Reader::take`], as owned bytes, which share memory if this reader was made with [`Reader::over`].
    pub fn take_shared(&mut self, count: usize) -> Result<Bytes, ReadError> {
        let taken = self.take(count)?;
        Ok(self.own(taken))
    }

    pub fn skip(&mut self, count: usize) -> Result<(), ReadError> {
        self.take(count).map(|_| ())
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn own(&self, slice: &'a [u8]) -> Bytes {
        match self.owner {
            Some(owner) => owner.slice_ref(slice),
            None => Bytes::copy_from_slice(slice),
        }
    }
}

/// Fixed-width types, all big-endian.
impl<'a> Reader<'a> {
    #[inline]
    pub fn u8(&mut self) -> Result<u8, ReadError> {
        self.array::<1>().map(|[b]| b)
    }

    #[inline]
    pub fn i8(&mut self) -> Result<i8, ReadError> {
        self.array().map(i8::from_be_bytes)
    }

    /// Any byte except zero is true, as in Kafka.
    pub fn bool(&mut self) -> Result<bool, ReadError> {
        self.u8().map(|b| b != 0)
    }

    #[inline]
    pub fn i16(&mut self) -> Result<i16, ReadError> {
        self.array().map(i16::from_be_bytes)
    }

    pub fn u16(&mut self) -> Result<u16, ReadError> {
        self.array().map(u16::from_be_bytes)
    }

    #[inline]
    pub fn i32(&mut self) -> Result<i32, ReadError> {
        self.array().map(i32::from_be_bytes)
    }

    pub fn u32(&mut self) -> Result<u32, ReadError> {
        self.array().map(u32::from_be_bytes)
    }

    #[inline]
    pub fn i64(&mut self) -> Result<i64, ReadError> {
        self.array().map(i64::from_be_bytes)
    }

    pub fn f64(&mut self) -> Result<f64, ReadError> {
        self.array().map(f64::from_be_bytes)
    }

    pub fn uuid(&mut self) -> Result<Uuid, ReadError> {
        self.array().map(Uuid::from_bytes)
    }
}

/// Variable-width integers. Bits beyond the type's width are dropped, as in Kafka.
impl<'a> Reader<'a> {
    /// Unsigned, at most 5 bytes.
    #[inline]
    pub fn uvarint(&mut self) -> Result<u32, ReadError> {
        match self.short_varint() {
            Some(value) => Ok(value),
            None => self.long_varint(5).map(|v| v as u32),
        }
    }

    /// Unsigned, at most 10 bytes.
    #[inline]
    pub fn uvarlong(&mut self) -> Result<u64, ReadError> {
        match self.short_varint() {
            Some(value) => Ok(value.into()),
            None => self.long_varint(10),
        }
    }

    /// Zigzag, at most 5 bytes.
    #[inline]
    pub fn varint(&mut self) -> Result<i32, ReadError> {
        self.uvarint().map(unzigzag32)
    }

    /// Zigzag, at most 10 bytes.
    #[inline]
    pub fn varlong(&mut self) -> Result<i64, ReadError> {
        self.uvarlong().map(unzigzag64)
    }

    /// A value of one or two bytes, as almost all are. If it is longer, nothing is read.
    #[inline(always)]
    fn short_varint(&mut self) -> Option<u32> {
        let (value, rest) = match self.rest {
            [a, rest @ ..] if *a < 0x80 => (u32::from(*a), rest),
            [a, b, rest @ ..] if *b < 0x80 => (u32::from(*a & 0x7f) | u32::from(*b) << 7, rest),
            _ => return None,
        };
        self.rest = rest;
        Some(value)
    }

    fn long_varint(&mut self, bytes_max: usize) -> Result<u64, ReadError> {
        let mut value = 0u64;
        for (i, &b) in self.rest.iter().take(bytes_max).enumerate() {
            // The tenth byte is shifted by 63, which is below the width of the type.
            value |= u64::from(b & 0x7f) << (7 * i);
            if b < 0x80 {
                self.rest = &self.rest[i + 1..];
                return Ok(value);
            }
        }
        Err(self.error(match self.remaining() {
            remaining if remaining < bytes_max => Problem::Short { needed: remaining + 1, remaining },
            _ => Problem::LongVarint(bytes_max),
        }))
    }
}

/// Strings, byte strings and arrays.
impl<'a> Reader<'a> {
    pub fn string(&mut self, form: Form) -> Result<&'a str, ReadError> {
        let start = self.clone();
        self.nullable_string(form)?.ok_or_else(|| start.error(Problem::Null))
    }

    pub fn nullable_string(&mut self, form: Form) -> Result<Option<&'a str>, ReadError> {
        let start = self.clone();
        let length = match form {
            Form::Classic => i64::from(self.i16()?),
            Form::Flexible => i64::from(self.uvarint()?) - 1,
        };
        let Some(length) = start.length(length)? else { return Ok(None) };
        if length > STRING_BYTES_MAX {
            return Err(start.error(Problem::LongString(length)));
        }
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map(Some).map_err(|_| start.error(Problem::NotUtf8))
    }

    /// The result shares memory with the owner; see [`Reader::over`].
    pub fn bytes(&mut self, form: Form) -> Result<Bytes, ReadError> {
        let start = self.clone();
        self.nullable_bytes(form)?.ok_or_else(|| start.error(Problem::Null))
    }

    /// The result shares memory with the owner; see [`Reader::over`].
    pub fn nullable_bytes(&mut self, form: Form) -> Result<Option<Bytes>, ReadError> {
        match self.wide_length(form)? {
            None => Ok(None),
            Some(length) => self.take_shared(length).map(Some),
        }
    }

    /// The number of elements, which take at least `element_bytes_min` bytes each and all have to fit into the remaining
    /// bytes. So memory may be reserved for this count.
    pub fn array_len(&mut self, form: Form, element_bytes_min: usize) -> Result<usize, ReadError> {
        let start = self.clone();
        self.nullable_array_len(form, element_bytes_min)?.ok_or_else(|| start.error(Problem::Null))
    }

    /// As [`Reader::array_len`], for an array that may be null.
    pub fn nullable_array_len(
        &mut self,
        form: Form,
        element_bytes_min: usize,
    ) -> Result<Option<usize>, ReadError> {
        let start = self.clone();
        let Some(count) = self.wide_length(form)? else { return Ok(None) };
        let remaining = self.remaining();
        if count > remaining / element_bytes_min.max(1) {
            return Err(start.error(Problem::Count { count, remaining }));
        }
        Ok(Some(count))
    }

    /// Parses an array whose elements take at least `element_bytes_min` bytes each.
    pub fn array_of<T, E: From<ReadError>>(
        &mut self,
        form: Form,
        element_bytes_min: usize,
        mut element: impl FnMut(&mut Reader<'a>) -> Result<T, E>,
    ) -> Result<Vec<T>, E> {
        let count = self.array_len(form, element_bytes_min)?;
        (0..count).map(|_| element(self)).collect()
    }

    fn wide_length(&mut self, form: Form) -> Result<Option<usize>, ReadError> {
        let start = self.clone();
        start.length(match form {
            Form::Classic => i64::from(self.i32()?),
            Form::Flexible => i64::from(self.uvarint()?) - 1,
        })
    }

    /// -1 means null; anything below is an error.
    fn length(&self, length: i64) -> Result<Option<usize>, ReadError> {
        match length {
            -1 => Ok(None),
            n => usize::try_from(n).map(Some).map_err(|_| self.error(Problem::NegativeLength(n))),
        }
    }
}

/// Tagged fields (KIP-482).
impl<'a> Reader<'a> {
    /// Calls `field` with each tagged field and a reader that ends where the field ends. What `field` leaves unread is
    /// skipped, so an unknown tag can be ignored. In the classic form nothing is read.
    pub fn tagged_fields<E: From<ReadError>>(
        &mut self,
        form: Form,
        mut field: impl FnMut(u32, &mut Reader<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        if form == Form::Classic {
            return Ok(());
        }
        for _ in 0..self.uvarint()? {
            let tag = self.uvarint()?;
            let size = self.uvarint()? as usize;
            let origin = self.origin + self.position();
            let bytes = self.take(size)?;
            field(tag, &mut Reader { rest: bytes, total: size, origin, owner: self.owner })?;
        }
        Ok(())
    }

    pub fn skip_tagged_fields(&mut self, form: Form) -> Result<(), ReadError> {
        self.tagged_fields(form, |_, _| Ok(()))
    }
}
