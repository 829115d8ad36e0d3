//! Makes a body from a layout by a list of choices, and can damage one value in it.

use bytes::{Bytes, BytesMut};

use crate::primitives::{Form, Tags, Writer};
use crate::shape::{Field, Kind, Layout, Value};

/// The damage in the body.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Damage {
    None,
    /// The string or array with this number is null, although no version allows it. Only such values are counted.
    Null(usize),
    /// The string or array with this number is null, although only later versions allow it. Only such values are counted.
    EarlyNull(usize),
    /// The string or array with this number declares more than is there.
    Length(usize),
}

/// `None`: the body of these choices has no such value to damage.
pub fn make(layout: Layout, version: i16, form: Form, choices: &[u8], damage: Damage) -> Option<Bytes> {
    let mut buf = BytesMut::new();
    let mut maker =
        Maker { version, form, choices: choices.iter(), damage, candidates: 0, damaged: false, least: 0 };
    maker.fields(layout, &mut Writer::new(&mut buf));
    (maker.damaged || damage == Damage::None).then(|| buf.freeze())
}

struct Maker<'a> {
    /// The fewest elements of the next array.
    least: u8,
    version: i16,
    form: Form,
    choices: std::slice::Iter<'a, u8>,
    damage: Damage,
    /// How many values could have been damaged so far.
    candidates: usize,
    damaged: bool,
}

impl Maker<'_> {
    /// A number below `bound`, from the next choice. After the last choice, always the first number.
    fn below(&mut self, bound: u8) -> u8 {
        self.choices.next().copied().unwrap_or_default() % bound
    }

    fn fields(&mut self, layout: Layout, writer: &mut Writer<'_>) {
        let present = |field: &&Field| field.is_in(self.version);
        let (tagged, plain) =
            layout.iter().filter(present).partition::<Vec<_>, _>(|field| field.tag.is_some());
        for field in plain {
            self.field(field, writer);
        }
        let mut tags = Tags::new();
        for field in tagged {
            if self.form.is_flexible() && self.below(2) == 1 {
                let tag = field.tag.expect("it is tagged");
                // What has its default is left out by whoever writes it.
                self.least = 1;
                tags.field(tag, |writer| self.field(field, writer));
            }
        }
        if self.form.is_flexible() && self.below(4) == 1 {
            let size = self.below(5);
            tags.field(77, |writer| writer.raw(&vec![0xab; size.into()]));
        }
        writer.tagged_fields(self.form, &tags);
    }

    fn field(&mut self, field: &Field, writer: &mut Writer<'_>) {
        let least = std::mem::take(&mut self.least);
        let nullable = self.version >= field.nullable_since;
        let null = nullable && least == 0 && self.below(3) == 1;
        match field.kind {
            Kind::One(Value::Structure(_)) if null => writer.i8(-1),
            Kind::One(_) if null => writer.nullable_string(self.form, None),
            Kind::Array(_) if null => writer.nullable_array_len(self.form, None),
            Kind::One(value) => {
                if nullable && matches!(value, Value::Structure(_)) {
                    writer.i8(1);
                }
                self.value(value, field.nullable_since, writer);
            }
            Kind::Array(of) => {
                let count = self.below(4).max(least);
                if !self.damages(false, field.nullable_since, writer) {
                    writer.array_len(self.form, count.into());
                    (0..count).for_each(|_| self.value(of, i16::MAX, writer));
                }
            }
        }
    }

    fn value(&mut self, value: Value, nullable_since: i16, writer: &mut Writer<'_>) {
        match value {
            // 1 means true, and is not the default of a tagged field.
            Value::Fixed(1) => writer.u8(self.below(2)),
            Value::Fixed(bytes) => {
                let low = self.below(255) + 1;
                writer.raw(&[&vec![low / 2; bytes - 1][..], &[low]].concat());
            }
            Value::Text => {
                let text = ["", "a", "topic-\u{e9}", "a longer name with 38 bytes of plain text"];
                let text = text[usize::from(self.below(4))];
                if !self.damages(true, nullable_since, writer) {
                    writer.string(self.form, text);
                }
            }
            Value::Structure(fields) => self.fields(fields, writer),
        }
    }

    /// Writes a damaged length if this is the value to damage. The length is larger than everything that follows, so the
    /// body is wrong whatever comes after it.
    fn damages(&mut self, text: bool, nullable_since: i16, writer: &mut Writer<'_>) -> bool {
        let place = match self.damage {
            Damage::Null(place) if nullable_since == i16::MAX => place,
            Damage::EarlyNull(place) if (self.version + 1..i16::MAX).contains(&nullable_since) => place,
            Damage::Length(place) => place,
            _ => return false,
        };
        self.candidates += 1;
        if self.damaged || self.candidates != place + 1 {
            return false;
        }
        self.damaged = true;
        match (self.damage, text, self.form) {
            (Damage::Length(_), true, Form::Classic) => writer.i16(i16::MAX),
            (Damage::Length(_), false, Form::Classic) => writer.i32(i32::MAX),
            (Damage::Length(_), _, Form::Flexible) => writer.uvarint(u32::MAX),
            (_, true, _) => writer.nullable_string(self.form, None),
            (_, false, _) => writer.nullable_array_len(self.form, None),
        }
        true
    }
}
