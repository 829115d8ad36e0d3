//! Bytes written so that a person can check them against Kafka's schemas. It must never know a message.
//!
//! A template is hexadecimal digits in groups of any length, `'text'` for ASCII, `{name}` for bytes that are
//! known only at run time, `??` for any byte, `...` for any rest, and `#` comments to the end of the line.

use std::collections::BTreeMap;

/// Bytes with holes.
#[derive(Clone, Debug)]
pub struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Byte(u8),
    Any,
    Rest,
    Hole(String),
}

/// What fills the holes.
pub type Values = BTreeMap<&'static str, Vec<u8>>;

impl Template {
    /// Reads a template; one that is badly written is a mistake in the test.
    pub fn new(text: &str) -> Template {
        let lines: Vec<&str> = text.lines().map(|line| line.split('#').next().unwrap_or_default()).collect();
        let text = lines.join(" ");
        let mut pieces = Vec::new();
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let taken = match first {
                '\'' => {
                    let quoted = rest[1..].split('\'').next().expect("a quote");
                    pieces.extend(quoted.bytes().map(Piece::Byte));
                    quoted.len() + 2
                }
                '{' => {
                    let name = rest[1..].split('}').next().expect("a brace");
                    pieces.push(Piece::Hole(name.into()));
                    name.len() + 2
                }
                _ if rest.starts_with("...") => {
                    pieces.push(Piece::Rest);
                    3
                }
                _ if rest.starts_with("??") => {
                    pieces.push(Piece::Any);
                    2
                }
                _ => {
                    let byte = u8::from_str_radix(&rest[..2], 16);
                    pieces.push(Piece::Byte(byte.unwrap_or_else(|_| panic!("not hexadecimal: {rest}"))));
                    2
                }
            };
            rest = rest[taken..].trim_start();
        }
        Template(pieces)
    }

    /// The bytes, with nothing left open.
    pub fn fill(&self, values: &Values) -> Vec<u8> {
        let mut bytes = Vec::new();
        for piece in &self.0 {
            match piece {
                Piece::Byte(byte) => bytes.push(*byte),
                Piece::Hole(name) => bytes.extend(value(values, name)),
                Piece::Any | Piece::Rest => panic!("a request has no open bytes"),
            }
        }
        bytes
    }

    /// Whether `actual` fits; if not, where it first differs.
    pub fn compare(&self, values: &Values, actual: &[u8]) -> Result<(), String> {
        let mut at = 0;
        for piece in &self.0 {
            let expected: &[u8] = match piece {
                Piece::Rest => return Ok(()),
                Piece::Any if at < actual.len() => {
                    at += 1;
                    continue;
                }
                Piece::Any => &[0],
                Piece::Byte(byte) => &[*byte],
                Piece::Hole(name) => value(values, name),
            };
            let found = actual.get(at..at + expected.len());
            if found != Some(expected) {
                let from = at.saturating_sub(8);
                return Err(format!(
                    "byte {at}: expected {}, found {} (from byte {from})\nwhole: {}",
                    hex(expected),
                    hex(actual.get(from..(at + 16).min(actual.len())).unwrap_or_default()),
                    hex(actual),
                ));
            }
            at += expected.len();
        }
        match actual.len() - at {
            0 => Ok(()),
            _ => Err(format!("byte {at}: nothing more expected, found {}", hex(&actual[at..]))),
        }
    }
}

fn value<'a>(values: &'a Values, name: &str) -> &'a [u8] {
    values.get(name).unwrap_or_else(|| panic!("no value for {{{name}}}"))
}

/// Hexadecimal in groups of four bytes.
pub fn hex(bytes: &[u8]) -> String {
    let groups =
        bytes.chunks(4).map(|group| group.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    groups.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_fill_and_compare() {
        let values = Values::from([("id", vec![1, 2])]);
        assert_eq!(Template::new("0009 'ab' {id} # end").fill(&values), [0, 9, b'a', b'b', 1, 2]);
        let fits = |template: &str, bytes: &[u8]| Template::new(template).compare(&values, bytes).is_ok();
        assert!(fits("00 ?? {id}", &[0, 7, 1, 2]));
        assert!(fits("00 ...", &[0, 7, 1, 2]));
        assert!(!fits("00 ?? {id}", &[0, 7, 1, 3]), "a wrong byte");
        assert!(!fits("00", &[0, 7]), "one too many");
        assert!(!fits("00 ??", &[0]), "one too few");
    }
}
