//! Writes primitives. The values are our own, so one that cannot be encoded is a bug, and panics.

use bytes::{BufMut, BytesMut};
use uuid::Uuid;

use super::{Form, STRING_BYTES_MAX, zigzag32, zigzag64};

/// Appends to a buffer of the caller.
#[derive(Debug)]
pub struct Writer<'a> {
    buf: &'a mut BytesMut,
}

impl<'a> Writer<'a> {
    pub fn new(buf: &'a mut BytesMut) -> Writer<'a> {
        Writer { buf }
    }

    /// The number of bytes in the buffer, with those that were there before this writer.
    pub fn position(&self) -> usize {
        self.buf.len()
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.buf.put_slice(bytes);
    }

    pub fn u8(&mut self, value: u8) {
        self.buf.put_u8(value);
    }

    pub fn i8(&mut self, value: i8) {
        self.buf.put_i8(value);
    }

    pub fn bool(&mut self, value: bool) {
        self.buf.put_u8(u8::from(value));
    }

    pub fn i16(&mut self, value: i16) {
        self.buf.put_i16(value);
    }

    pub fn u16(&mut self, value: u16) {
        self.buf.put_u16(value);
    }

    pub fn i32(&mut self, value: i32) {
        self.buf.put_i32(value);
    }

    pub fn u32(&mut self, value: u32) {
        self.buf.put_u32(value);
    }

    pub fn i64(&mut self, value: i64) {
        self.buf.put_i64(value);
    }

    pub fn f64(&mut self, value: f64) {
        self.buf.put_f64(value);
    }

    pub fn uuid(&mut self, value: Uuid) {
        self.buf.put_slice(value.as_bytes());
    }

    pub fn uvarint(&mut self, value: u32) {
        self.uvarlong(u64::from(value));
    }

    pub fn uvarlong(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.buf.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.buf.put_u8(value as u8);
    }

    pub fn varint(&mut self, value: i32) {
        self.uvarint(zigzag32(value));
    }

    pub fn varlong(&mut self, value: i64) {
        self.uvarlong(zigzag64(value));
    }

    pub fn string(&mut self, form: Form, value: &str) {
        self.nullable_string(form, Some(value));
    }

    pub fn nullable_string(&mut self, form: Form, value: Option<&str>) {
        let length = value.map(str::len);
        assert!(length.is_none_or(|n| n <= STRING_BYTES_MAX), "a string of {length:?} bytes has no encoding");
        match form {
            Form::Classic => self.i16(length.map_or(-1, |n| n as i16)),
            Form::Flexible => self.uvarint(length.map_or(0, |n| n as u32 + 1)),
        }
        self.raw(value.unwrap_or_default().as_bytes());
    }

    pub fn bytes(&mut self, form: Form, value: &[u8]) {
        self.nullable_bytes(form, Some(value));
    }

    pub fn nullable_bytes(&mut self, form: Form, value: Option<&[u8]>) {
        self.nullable_array_len(form, value.map(<[u8]>::len));
        self.raw(value.unwrap_or_default());
    }

    pub fn array_len(&mut self, form: Form, count: usize) {
        self.nullable_array_len(form, Some(count));
    }

    /// Also for the length of a byte string whose bytes are written in another way.
    pub fn nullable_array_len(&mut self, form: Form, count: Option<usize>) {
        assert!(count.is_none_or(|n| n < i32::MAX as usize), "a length of {count:?} has no encoding");
        match form {
            Form::Classic => self.i32(count.map_or(-1, |n| n as i32)),
            Form::Flexible => self.uvarint(count.map_or(0, |n| n as u32 + 1)),
        }
    }

    /// Writes the length and then the elements.
    pub fn array_of<T>(
        &mut self,
        form: Form,
        elements: impl ExactSizeIterator<Item = T>,
        mut element: impl FnMut(&mut Writer<'_>, T),
    ) {
        self.array_len(form, elements.len());
        for each in elements {
            element(self, each);
        }
    }

    /// The end of a structure without tagged fields.
    pub fn no_tagged_fields(&mut self, form: Form) {
        if form == Form::Flexible {
            self.uvarint(0);
        }
    }

    /// The end of a structure. The classic form has no tagged fields, and leaves `tags` out.
    pub fn tagged_fields(&mut self, form: Form, tags: &Tags) {
        if form == Form::Flexible {
            self.uvarint(tags.count);
            self.raw(&tags.bytes);
        }
    }
}

/// Tagged fields to be written. They are collected first, because their number and sizes come before them.
#[derive(Debug, Default)]
pub struct Tags {
    count: u32,
    last: Option<u32>,
    bytes: BytesMut,
}

impl Tags {
    pub fn new() -> Tags {
        Tags::default()
    }

    /// Adds one field; tags must ascend.
    pub fn field(&mut self, tag: u32, write: impl FnOnce(&mut Writer<'_>)) -> &mut Tags {
        assert!(self.last.is_none_or(|last| last < tag), "tag {tag} after {:?}", self.last);
        let mut body = BytesMut::new();
        write(&mut Writer::new(&mut body));
        let mut writer = Writer::new(&mut self.bytes);
        writer.uvarint(tag);
        writer.uvarint(u32::try_from(body.len()).expect("a tagged field is far below 4 GiB"));
        writer.raw(&body);
        self.count += 1;
        self.last = Some(tag);
        self
    }
}

/// The number of bytes that [`Writer::uvarint`] writes.
pub fn size_of_uvarint(value: u32) -> usize {
    bytes_of_bits(32 - value.leading_zeros())
}

/// The number of bytes that [`Writer::varint`] writes.
pub fn size_of_varint(value: i32) -> usize {
    size_of_uvarint(zigzag32(value))
}

/// The number of bytes that [`Writer::varlong`] writes.
pub fn size_of_varlong(value: i64) -> usize {
    size_of_uvarlong(zigzag64(value))
}

/// The number of bytes that [`Writer::uvarlong`] writes.
pub fn size_of_uvarlong(value: u64) -> usize {
    bytes_of_bits(64 - value.leading_zeros())
}

fn bytes_of_bits(bits: u32) -> usize {
    bits.div_ceil(7).max(1) as usize
}
