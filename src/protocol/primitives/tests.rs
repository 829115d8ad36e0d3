//! Stories of primitives: golden bytes, round trips, hostile lengths.

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use uuid::Uuid;

use super::Form::{Classic, Flexible};
use super::*;

fn written(write: impl FnOnce(&mut Writer<'_>)) -> Bytes {
    let mut buf = BytesMut::new();
    write(&mut Writer::new(&mut buf));
    buf.freeze()
}

/// The value is written as these bytes, parsed back as the same value, and no prefix of the bytes can be parsed.
fn check<T: PartialEq + Debug>(
    what: T,
    bytes: &[u8],
    write: impl FnOnce(&mut Writer<'_>, &T),
    read: impl Fn(&mut Reader<'_>) -> Result<T, ReadError>,
) {
    assert_eq!(written(|w| write(w, &what)), bytes, "writing {what:?}");
    let mut reader = Reader::new(bytes);
    assert_eq!(read(&mut reader).as_ref(), Ok(&what));
    assert_eq!(reader.finish(), Ok(()));
    for cut in 0..bytes.len() {
        let outcome = read(&mut Reader::new(&bytes[..cut]));
        assert!(outcome.is_err(), "{cut} bytes of {what:?} read as {outcome:?}");
    }
}

#[test]
fn fixed_width_values_are_big_endian() {
    check(-2, &[0xfe], |w, v| w.i8(*v), |r| r.i8());
    check(0xfe, &[0xfe], |w, v| w.u8(*v), |r| r.u8());
    check(true, &[1], |w, v| w.bool(*v), |r| r.bool());
    check(-2, &[0xff, 0xfe], |w, v| w.i16(*v), |r| r.i16());
    check(9092, &[0x23, 0x84], |w, v| w.u16(*v), |r| r.u16());
    check(0x0102_0304, &[1, 2, 3, 4], |w, v| w.i32(*v), |r| r.i32());
    check(u32::MAX, &[0xff; 4], |w, v| w.u32(*v), |r| r.u32());
    check(i64::MIN, &[0x80, 0, 0, 0, 0, 0, 0, 0], |w, v| w.i64(*v), |r| r.i64());
    check(-0.5, &[0xbf, 0xe0, 0, 0, 0, 0, 0, 0], |w, v| w.f64(*v), |r| r.f64());
    check(
        Uuid::from_u64_pair(1, 2),
        &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2],
        |w, v| w.uuid(*v),
        |r| r.uuid(),
    );
}

#[test]
fn varints_take_as_few_bytes_as_they_can() {
    for (value, bytes) in [
        (0, &[0][..]),
        (-1, &[1]),
        (63, &[0x7e]),
        (-64, &[0x7f]),
        (64, &[0x80, 0x01]),
        (i32::MAX, &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
        (i32::MIN, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
    ] {
        check(value, bytes, |w, v| w.varint(*v), |r| r.varint());
        check(i64::from(value), bytes, |w, v| w.varlong(*v), |r| r.varlong());
        assert_eq!(size_of_varint(value), bytes.len());
        assert_eq!(size_of_varlong(value.into()), bytes.len());
    }
    check(300, &[0xac, 0x02], |w, v| w.uvarint(*v), |r| r.uvarint());
    let longest = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    check(u64::MAX, &longest, |w, v| w.uvarlong(*v), |r| r.uvarlong());
    check(i64::MIN, &longest, |w, v| w.varlong(*v), |r| r.varlong());
}

#[test]
fn a_varint_that_does_not_end_is_refused() {
    let endless = [0x80; 12];
    let error = |problem| ReadError { at: 0, problem };
    assert_eq!(Reader::new(&endless).uvarint(), Err(error(Problem::LongVarint(5))));
    assert_eq!(Reader::new(&endless).varint(), Err(error(Problem::LongVarint(5))));
    assert_eq!(Reader::new(&endless).varlong(), Err(error(Problem::LongVarint(10))));
    assert_eq!(Reader::new(&endless[..3]).varint(), Err(error(Problem::Short { needed: 4, remaining: 3 })));
    // Bits that do not fit are dropped, as in Kafka.
    assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x7f]).uvarint(), Ok(u32::MAX));
}

#[test]
fn strings_and_bytes_have_two_forms() {
    let text = || Some("né".to_owned());
    let read_text = |form| move |r: &mut Reader<'_>| r.nullable_string(form).map(|s| s.map(str::to_owned));
    check(text(), b"\0\x03n\xc3\xa9", |w, v| w.nullable_string(Classic, v.as_deref()), read_text(Classic));
    check(text(), b"\x04n\xc3\xa9", |w, v| w.nullable_string(Flexible, v.as_deref()), read_text(Flexible));
    check(
        None,
        b"\xff\xff",
        |w, v: &Option<String>| w.nullable_string(Classic, v.as_deref()),
        read_text(Classic),
    );
    check(
        None,
        b"\0",
        |w, v: &Option<String>| w.nullable_string(Flexible, v.as_deref()),
        read_text(Flexible),
    );

    let blob = || Some(Bytes::from_static(b"ab"));
    check(
        blob(),
        b"\0\0\0\x02ab",
        |w, v| w.nullable_bytes(Classic, v.as_deref()),
        |r| r.nullable_bytes(Classic),
    );
    check(blob(), b"\x03ab", |w, v| w.nullable_bytes(Flexible, v.as_deref()), |r| r.nullable_bytes(Flexible));
    check(
        None,
        b"\xff\xff\xff\xff",
        |w, _: &Option<Bytes>| w.nullable_bytes(Classic, None),
        |r| r.nullable_bytes(Classic),
    );
    check(Bytes::new(), b"\x01", |w, v| w.bytes(Flexible, v), |r| r.bytes(Flexible));
}

#[test]
fn hostile_lengths_are_refused_before_memory_is_taken() {
    type Read = dyn Fn(&mut Reader<'_>) -> Result<(), ReadError>;
    let rows: &[(&[u8], &Read, Problem)] = &[
        (b"\x7f\xffab", &|r| r.string(Classic).map(drop), Problem::Short { needed: 32767, remaining: 2 }),
        (b"\xff\xfe", &|r| r.string(Classic).map(drop), Problem::NegativeLength(-2)),
        (b"\xff\xff", &|r| r.string(Classic).map(drop), Problem::Null),
        (b"\0", &|r| r.string(Flexible).map(drop), Problem::Null),
        (b"\x81\x80\x02", &|r| r.string(Flexible).map(drop), Problem::LongString(32768)),
        (b"\x02\xff", &|r| r.string(Flexible).map(drop), Problem::NotUtf8),
        (
            b"\xff\xff\xff\xff\x0f",
            &|r| r.bytes(Flexible).map(drop),
            Problem::Short { needed: 4294967294, remaining: 0 },
        ),
        (b"\x80\0\0\0", &|r| r.bytes(Classic).map(drop), Problem::NegativeLength(i32::MIN.into())),
        (b"\xff\xff\xff\xff", &|r| r.array_len(Classic, 1).map(drop), Problem::Null),
        (
            b"\0\0\0\x02\0\0\0",
            &|r| r.array_len(Classic, 2).map(drop),
            Problem::Count { count: 2, remaining: 3 },
        ),
        (
            b"\x7f\xff\xff\xff",
            &|r| r.array_len(Classic, 0).map(drop),
            Problem::Count { count: 0x7fff_ffff, remaining: 0 },
        ),
        (
            b"\xff\xff\xff\xff\x0f",
            &|r| r.skip_tagged_fields(Flexible),
            Problem::Short { needed: 1, remaining: 0 },
        ),
        (b"\x01\0\x05ab", &|r| r.skip_tagged_fields(Flexible), Problem::Short { needed: 5, remaining: 2 }),
        (b"a", &|r| r.finish(), Problem::Trailing(1)),
    ];
    for (bytes, read, problem) in rows {
        let error = read(&mut Reader::new(bytes)).expect_err("a hostile length");
        assert_eq!(error.problem, *problem, "{bytes:x?}");
    }
    assert_eq!(Reader::new(b"\0\0\0\x02abcd").array_len(Classic, 2), Ok(2));
}

#[test]
fn tagged_fields_are_read_within_their_own_bounds() {
    let mut tags = Tags::new();
    tags.field(0, |w| w.i32(7)).field(5, |w| w.string(Flexible, "x"));
    let bytes = written(|w| {
        w.tagged_fields(Flexible, &tags);
        w.i8(1);
    });
    assert_eq!(bytes, &b"\x02\x00\x04\0\0\0\x07\x05\x02\x02x\x01"[..]);

    let mut seen = Vec::new();
    let mut reader = Reader::over(&bytes);
    let unknown_is_skipped = reader.tagged_fields(Flexible, |tag, r| {
        seen.push(tag);
        if tag == 0 { r.i32().map(|v| assert_eq!(v, 7)) } else { Ok(()) }
    });
    assert_eq!((unknown_is_skipped, seen), (Ok::<_, ReadError>(()), vec![0, 5]));
    assert_eq!(reader.i8(), Ok(1));

    let too_far = Reader::over(&bytes).tagged_fields(Flexible, |_, r| r.i64().map(drop));
    assert_eq!(too_far, Err(ReadError { at: 3, problem: Problem::Short { needed: 8, remaining: 4 } }));
    assert_eq!(Reader::new(b"").skip_tagged_fields(Classic), Ok(()));
    assert_eq!(written(|w| w.tagged_fields(Classic, &tags)), "");
}

#[test]
fn a_reader_over_owned_bytes_shares_them() {
    let owner = Bytes::from_static(b"\x04abc");
    let shared = Reader::over(&owner).bytes(Flexible).expect("three bytes");
    assert_eq!(shared.as_ptr(), owner[1..].as_ptr());
    let copied = Reader::new(&owner).bytes(Flexible).expect("three bytes");
    assert_ne!(copied.as_ptr(), owner[1..].as_ptr());
}

proptest! {
    #[test]
    fn every_integer_survives(a: i32, b: i64, c: u32, d: u64) {
        let bytes = written(|w| {
            w.varint(a);
            w.varlong(b);
            w.uvarint(c);
            w.uvarlong(d);
        });
        prop_assert_eq!(bytes.len(), size_of_varint(a) + size_of_varlong(b) + size_of_uvarint(c) + size_of_uvarlong(d));
        let mut r = Reader::new(&bytes);
        prop_assert_eq!((r.varint(), r.varlong(), r.uvarint(), r.uvarlong()), (Ok(a), Ok(b), Ok(c), Ok(d)));
        prop_assert!(r.is_empty());
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, flexible: bool) {
        let form = if flexible { Flexible } else { Classic };
        let at = || Reader::new(&bytes);
        let _ = (at().nullable_string(form), at().nullable_bytes(form), at().skip_tagged_fields(form));
        let _ = (at().varint(), at().varlong(), at().uuid(), at().f64());
        let elements = at().array_of(form, 2, |r| r.string(form).map(str::len));
        prop_assert!(elements.map_or(0, |e| e.len()) <= bytes.len());
    }
}
