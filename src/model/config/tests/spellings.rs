//! Unusual spellings of values, parsed and printed as Kafka's `ConfigDef` does. Their effect on a broker is in the
//! protocol tests, which Apache Kafka passes, too.

use crate::config::{Kind, Value, broker_key, topic_key};

/// Each text and how it is printed. `None`: it is not a value of this kind.
fn check(kind: Kind, rows: &[(&str, Option<&str>)]) {
    for (text, shown) in rows {
        let value = Value::parse(kind, text).map(|value| value.to_text());
        assert_eq!(value.as_deref(), *shown, "{text:?} as {}", kind.name());
    }
}

#[test]
fn whole_numbers() {
    let rows = [
        ("5", Some("5")),
        ("+5", Some("5")),
        ("-5", Some("-5")),
        ("-0", Some("0")),
        ("007", Some("7")),
        ("00000000000000000000000000000000000005", Some("5")),
        ("٥", Some("5")),
        ("५०", Some("50")),
        ("５", Some("5")),
        ("-١", Some("-1")),
        ("𝟓", None),
        ("", None),
        ("+", None),
        ("-", None),
        ("--5", None),
        ("+-5", None),
        ("−5", None),
        ("5.0", None),
        ("5L", None),
        ("1e3", None),
        ("0x10", None),
        ("1_000", None),
        ("1,000", None),
        ("5 0", None),
        ("Ⅴ", None),
        ("⁵", None),
    ];
    for kind in [Kind::Int, Kind::Short, Kind::Long] {
        check(kind, &rows);
    }
    check(
        Kind::Short,
        &[("32767", Some("32767")), ("32768", None), ("-32768", Some("-32768")), ("-32769", None)],
    );
    check(Kind::Int, &[("2147483647", Some("2147483647")), ("2147483648", None), ("-2147483649", None)]);
    let (least, most) = ("-9223372036854775808", "9223372036854775807");
    check(Kind::Long, &[(least, Some(least)), (most, Some(most)), ("9223372036854775808", None)]);
    check(Kind::Long, &[("-9223372036854775809", None), ("99999999999999999999999999", None)]);
}

#[test]
fn fractions() {
    let rows = [
        ("0.5f", "0.5"),
        ("0.5F", "0.5"),
        ("0.5d", "0.5"),
        ("0.5D", "0.5"),
        ("5.f", "5.0"),
        (".5", "0.5"),
        ("+.5", "0.5"),
        ("-.5", "-0.5"),
        ("00.5", "0.5"),
        ("-0", "-0.0"),
        ("5.e1", "50.0"),
        ("1e5", "100000.0"),
        ("1E+5", "100000.0"),
        ("1e-5d", "1.0E-5"),
        ("0.001", "0.001"),
        ("0.0009999", "9.999E-4"),
        ("9999999.999", "9999999.999"),
        ("1e7", "1.0E7"),
        ("12345678.9", "1.23456789E7"),
        ("NaN", "NaN"),
        ("+NaN", "NaN"),
        ("-NaN", "NaN"),
        ("Infinity", "Infinity"),
        ("+Infinity", "Infinity"),
        ("-Infinity", "-Infinity"),
        ("1e400", "Infinity"),
        ("-1e400", "-Infinity"),
        ("1e-400", "0.0"),
        ("1e99999999999999999999", "Infinity"),
        ("0e99999999999999999999", "0.0"),
        ("4.9e-324", "4.9E-324"),
        ("2.4703282292062327e-324", "0.0"),
        ("2.4703282292062328e-324", "4.9E-324"),
        ("1.7976931348623158e308", "1.7976931348623157E308"),
        ("1.7976931348623159e308", "Infinity"),
        ("9007199254740993", "9.007199254740992E15"),
        ("0x1p0", "1.0"),
        ("0X1P+3D", "8.0"),
        ("-0x1p0", "-1.0"),
        ("0x1.8p1", "3.0"),
        ("0x.8p0", "0.5"),
        ("0x8.p0f", "8.0"),
        ("0x0p99999999999999", "0.0"),
        ("0x1p99999999999999", "Infinity"),
        ("0x1p-99999999999999", "0.0"),
        ("0x1.fffffffffffffp1023", "1.7976931348623157E308"),
        ("0x1.fffffffffffff7p1023", "1.7976931348623157E308"),
        ("0x1.fffffffffffff8p1023", "Infinity"),
        ("0x1p-1074", "4.9E-324"),
        ("0x1p-1075", "0.0"),
        ("0x1.8p-1075", "4.9E-324"),
        ("0x0.7p-1074", "0.0"),
        ("0x0.0000000000001p-1022", "4.9E-324"),
        ("0x1.fffffffffffffp-1023", "2.2250738585072014E-308"),
        ("0x1.00000000000008p0", "1.0"),
        ("0x1.00000000000018p0", "1.0000000000000004"),
        ("0x1.0000000000000800000000000000000001p0", "1.0000000000000002"),
        ("0x00000000000000000000000000000000001p0", "1.0"),
        ("0x100000000000000000000000000000000000000p0", "5.70899077082384E45"),
        ("0x.00000000000000000000000000000000000000001p160", "0.0625"),
    ];
    check(Kind::Double, &rows.map(|(text, shown)| (text, Some(shown))));
    let wrong = [
        "",
        ".",
        "+",
        "-",
        "e5",
        "1e",
        "1e+",
        "1e1.5",
        "1 0",
        "1,5",
        "1_0",
        "0.5ff",
        "f",
        "1L",
        "nan",
        "inf",
        "Inf",
        "infinity",
        "INFINITY",
        "NaNf",
        "Infinityf",
        "--1",
        "1-1",
        "1.5.",
        "0b1",
        "0x1",
        "0x1p",
        "0x.p0",
        "0xp0",
        "0x_1p0",
        "0x1p1.5",
        "0x1.8",
        "0x1p0L",
        "0x1e5",
        "٠.٥",
        "1e٣",
        "1e 5",
    ];
    check(Kind::Double, &wrong.map(|text| (text, None)));
}

#[test]
fn truth_and_lists() {
    let rows = [
        ("true", Some("true")),
        ("TRUE", Some("true")),
        ("False", Some("false")),
        ("falſe", Some("false")),
        ("", None),
        ("yes", None),
        ("1", None),
        ("t", None),
    ];
    check(Kind::Boolean, &rows);
    let rows = [
        ("", Some("")),
        ("a", Some("a")),
        ("a,b", Some("a,b")),
        ("a , b\t,\u{b}c", Some("a,b,c")),
        ("a,a", Some("a,a")),
        ("a,,b", Some("a,,b")),
        (",", Some(",")),
        ("a b", Some("a b")),
        ("a\u{a0},\u{1},b", Some("a\u{a0},\u{1},b")),
    ];
    check(Kind::List, &rows);
}

#[test]
fn validators_and_the_space_around_a_value() {
    let check = |key: &str, text: &str, shown: Option<&str>| {
        let row = topic_key(key).or_else(|| broker_key(key)).expect(key);
        assert_eq!(row.parse(text).ok().map(|value| value.to_text()).as_deref(), shown, "{key}={text:?}");
    };
    check("cleanup.policy", "delete,delete", Some("delete"));
    check("cleanup.policy", " compact ,delete,  compact", Some("compact,delete"));
    check("cleanup.policy", "", Some(""));
    for wrong in ["delete,", ",", "delete,,delete", "Delete", "delete;compact", "delete compact", "[delete]"]
    {
        check("cleanup.policy", wrong, None);
    }
    check("retention.ms", "\u{1}\t 5 \r\n\0", Some("5"));
    for space in ['\u{a0}', '\u{2003}', '\u{3000}', '\u{85}'] {
        check("retention.ms", &format!("5{space}"), None);
        check("preallocate", &format!("{space}true"), None);
    }
    check("min.cleanable.dirty.ratio", "NaN", Some("NaN"));
    check("min.cleanable.dirty.ratio", "-0.0", Some("-0.0"));
    check("min.cleanable.dirty.ratio", "0x1p0", Some("1.0"));
    for wrong in ["Infinity", "-1e-300", "1.0000000000000002", "1e400"] {
        check("min.cleanable.dirty.ratio", wrong, None);
    }
    check("compression.type", " gzip ", Some("gzip"));
    check("compression.type", "GZIP", None);
    check("group.consumer.migration.policy", "Upgrade", Some("Upgrade"));
    check(
        "leader.replication.throttled.replicas",
        "0:1, 0:1 ,,99999999999:0",
        Some("0:1,0:1,,99999999999:0"),
    );
    check("leader.replication.throttled.replicas", ",*", Some(",*"));
    for wrong in ["*,*", "*,0:1", "0:", "0:-1", "0:1:2", "٠:١", "0 : 1"] {
        check("leader.replication.throttled.replicas", wrong, None);
    }
    check("log.dirs", "/a, /b ,/a", Some("/a,/b"));
    check("sasl.enabled.mechanisms", "PLAIN,PLAIN", Some("PLAIN"));
    check("offsets.topic.replication.factor", "+3", Some("3"));
    check("ssl.keystore.password", "  s3cret  ", Some("[hidden]"));
}
