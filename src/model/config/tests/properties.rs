//! Unusual files, parsed as `java.util.Properties` does: `properties.txt` has the results of a JVM.

use std::collections::BTreeMap;

use crate::config::parse_properties;

const LIST: &str = include_str!("properties.txt");

#[test]
fn files_are_read_as_java_reads_them() {
    let (mut single, mut sets) = (0, 0);
    for line in LIST.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["every", length, alphabet, expected] => {
                let length = length.parse().expect("a number of symbols");
                assert_eq!(format!("{:016x}", every(length, alphabet)), expected, "{line}");
                sets += 1;
            }
            [file, expected] => {
                assert_eq!(outcome(&decoded(file)), expected, "{file}");
                single += 1;
            }
            _ => panic!("no case: {line}"),
        }
    }
    assert!(single > 100 && sets > 2, "{single} files, {sets} sets of files");
}

#[test]
fn a_broken_escape_names_its_line() {
    let check = |text: &str, line: usize| {
        assert_eq!(parse_properties(text.as_bytes()).map_err(|e| e.line), Err(line), "{text:?}");
    };
    check("a=\\u12", 1);
    check("a=1\n\nb=\\uzzzz", 3);
    check("a=1\r\n\r\n  b=\\uzzzz", 3);
    check("a=1\r\rb=\\uzzzz", 3);
    check("# c\na=1\\\n2\nb=\\u+123", 4);
    check("# c\na=1\\\n2\\u+123", 2);
    check("\\\n\n# c\n\\u", 4);
}

// A digest of the results for all files with this many symbols.
fn every(length: usize, alphabet: &str) -> u64 {
    let symbols: Vec<Vec<u8>> = alphabet.split(',').map(decoded).collect();
    let mut digest = 0xcbf2_9ce4_8422_2325_u64;
    for number in 0..symbols.len().pow(length as u32) {
        let digit = |at: usize| number / symbols.len().pow((length - 1 - at) as u32) % symbols.len();
        let file: Vec<u8> = (0..length).flat_map(|at| symbols[digit(at)].clone()).collect();
        for byte in (outcome(&file) + "\n").bytes() {
            digest = (digest ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
    digest
}

fn outcome(file: &[u8]) -> String {
    let Ok(pairs) = parse_properties(file) else { return "malformed".to_owned() };
    let last: BTreeMap<String, String> = pairs.into_iter().collect();
    let mut pairs: Vec<String> = last.iter().map(|(k, v)| format!("{}={}", encoded(k), encoded(v))).collect();
    pairs.sort();
    if pairs.is_empty() { "nothing".to_owned() } else { pairs.join("&") }
}

fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"%&=#".contains(&byte);
    let one = |byte: u8| if plain(byte) { (byte as char).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(one).collect()
}

fn decoded(text: &str) -> Vec<u8> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(digits, 16).expect("two hexadecimal digits"));
        bytes.extend_from_slice(rest.as_bytes());
    }
    bytes
}
