//! How Java parses and prints values: space, whole numbers, fractions, booleans.
//! It must never know about configuration keys.

use std::collections::BTreeSet;

/// Removes what Java's `trim` removes: control characters, too, but no space characters beyond ASCII.
pub fn trim(text: &str) -> &str {
    text.trim_matches(|c| c <= ' ')
}

/// The items between commas, without the space around them (in the sense of Java's `\s`).
pub fn items(text: &str) -> Vec<String> {
    let item = |item: &str| item.trim_matches(['\t', '\n', '\u{b}', '\u{c}', '\r', ' ']).to_owned();
    if text.is_empty() { Vec::new() } else { text.split(',').map(item).collect() }
}

/// Whether an item occurs twice in the text of a list.
pub fn has_duplicates(text: &str) -> bool {
    let mut seen = BTreeSet::new();
    !items(trim(text)).into_iter().all(|item| seen.insert(item))
}

pub fn boolean(text: &str) -> Option<bool> {
    [true, false].into_iter().find(|value| equal_in_any_case(text, if *value { "true" } else { "false" }))
}

/// As `Long.parseLong`: a sign may come first, and the digits may be of any script.
pub fn whole(text: &str) -> Option<i64> {
    let (digits, sign) = match text.strip_prefix('-') {
        Some(digits) => (digits, -1),
        None => (text.strip_prefix('+').unwrap_or(text), 1),
    };
    if digits.is_empty() {
        return None;
    }
    let next = |sum: i64, c: char| sum.checked_mul(10)?.checked_add(sign * digit(c)?);
    digits.chars().try_fold(0, next)
}

// Java looks at single UTF-16 units, so characters beyond the first 65,536 are not digits.
fn digit(c: char) -> Option<i64> {
    let from_zero = |zero: &u16| u32::from(c).checked_sub(u32::from(*zero)).filter(|digit| *digit < 10);
    ZEROS.iter().find_map(from_zero).map(i64::from)
}

/// As `Double.parseDouble`: also hexadecimal, `NaN`, `Infinity`, and a type letter at the end.
pub fn double(text: &str) -> Option<f64> {
    let (number, negative) = match text.strip_prefix('-') {
        Some(number) => (number, true),
        None => (text.strip_prefix('+').unwrap_or(text), false),
    };
    let value = match number {
        "NaN" => f64::NAN,
        "Infinity" => f64::INFINITY,
        _ if number.starts_with("0x") || number.starts_with("0X") => hexadecimal(&number[2..])?,
        _ => decimal(number)?,
    };
    Some(if negative { -value } else { value })
}

const TYPE_LETTERS: [char; 4] = ['f', 'F', 'd', 'D'];

fn decimal(text: &str) -> Option<f64> {
    let number = text.strip_suffix(TYPE_LETTERS).unwrap_or(text);
    let plain = number.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && number.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    if plain { number.parse().ok() } else { None }
}

// Hexadecimal digits, perhaps with a point, and an exponent of two, which is required.
fn hexadecimal(text: &str) -> Option<f64> {
    let (digits, power) = text.split_once(['p', 'P'])?;
    let power = power_of_two(power.strip_suffix(TYPE_LETTERS).unwrap_or(power))?;
    let (before, after) = digits.split_once('.').unwrap_or((digits, ""));
    if before.is_empty() && after.is_empty() {
        return None;
    }
    let (mut significand, mut inexact, mut exponent) = (0_u64, false, power);
    for (at, c) in before.chars().chain(after.chars()).enumerate() {
        let digit = c.to_digit(16)?;
        let room = significand >> 60 == 0;
        let is_fraction = at >= before.len();
        exponent = match (room, is_fraction) {
            (true, true) => exponent.saturating_sub(4),
            (false, false) => exponent.saturating_add(4),
            _ => exponent,
        };
        if room {
            significand = significand << 4 | u64::from(digit);
        } else {
            inexact |= digit != 0;
        }
    }
    Some(rounded(u128::from(significand) << 1 | u128::from(inexact), exponent.saturating_sub(1)))
}

fn power_of_two(text: &str) -> Option<i64> {
    let (digits, sign) = match text.strip_prefix('-') {
        Some(digits) => (digits, -1),
        None => (text.strip_prefix('+').unwrap_or(text), 1),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // With an exponent this large or small, the result is zero or infinite anyway.
    Some(sign * digits.parse().unwrap_or(FAR_OUT).min(FAR_OUT))
}

const FAR_OUT: i64 = 1 << 40;

// The double nearest to significand * 2^exponent; if two are equally near, the even one.
fn rounded(significand: u128, exponent: i64) -> f64 {
    const DIGITS: i64 = 53;
    const SMALLEST: i64 = -1022;
    let digits = 128 - i64::from(significand.leading_zeros());
    let top = digits - 1 + exponent;
    if significand == 0 || top < SMALLEST - DIGITS - 1 {
        return 0.0;
    }
    if top > 1023 {
        return f64::INFINITY;
    }
    let kept = DIGITS - (SMALLEST - top).max(0);
    let dropped = (digits - kept).max(0);
    let (mut kept, rest) = (significand >> dropped, significand & ((1 << dropped) - 1));
    let twice = rest << 1;
    if dropped > 0 && (twice > 1 << dropped || (twice == 1 << dropped && kept & 1 == 1)) {
        kept += 1;
    }
    // In two steps, since a power of two alone can be too small for a normal double. The first step is exact, and so is
    // the second, since `kept` has only as many digits as the result can hold.
    let power = exponent + dropped;
    let (half, other) = (power / 2, power - power / 2);
    kept as f64 * 2_f64.powi(half as i32) * 2_f64.powi(other as i32)
}

/// Tools compare these strings with those of Kafka's Java code: "0.5", "1.0E-4", "1.7976931348623157E308".
pub fn double_text(x: f64) -> String {
    if x.is_infinite() {
        return if x > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    if x.is_nan() || x == 0.0 || (1e-3..1e7).contains(&x.abs()) {
        return format!("{x:?}");
    }
    let text = format!("{x:e}");
    match text.split_once('e') {
        Some((digits, power)) if digits.contains('.') => format!("{digits}E{power}"),
        // At least two digits. For the smallest numbers they are both digits of the value: 4.9E-324.
        _ => format!("{x:.1e}").replace('e', "E"),
    }
}

/// As `equalsIgnoreCase`, character by character: a long s equals an s.
pub fn equal_in_any_case(left: &str, right: &str) -> bool {
    let upper = |c: char| {
        let mut upper = c.to_uppercase();
        if upper.len() == 1 { upper.next().unwrap_or(c) } else { c }
    };
    left.chars().map(upper).eq(right.chars().map(upper))
}

/// The zeros of all digit scripts in the first 65,536 characters. The other nine digits follow each.
const ZEROS: [u16; 37] = [
    0x0030, 0x0660, 0x06f0, 0x07c0, 0x0966, 0x09e6, 0x0a66, 0x0ae6, 0x0b66, 0x0be6, 0x0c66, 0x0ce6, 0x0d66,
    0x0de6, 0x0e50, 0x0ed0, 0x0f20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50,
    0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10,
];
