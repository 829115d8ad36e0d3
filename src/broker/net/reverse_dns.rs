//! The DNS query for the name of an address, and its answer (RFC 1035, RFC 3596). It must never send a query.

use std::net::IpAddr;

/// The query for the PTR record of an address.
pub(super) fn asked(id: u16, address: IpAddr) -> Vec<u8> {
    let mut question = Vec::from(id.to_be_bytes());
    // With recursion; one question, nothing else.
    question.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in reversed(address) {
        question.push(label.len() as u8);
        question.extend(label.as_bytes());
    }
    question.push(0);
    question.extend([0, PTR as u8, 0, 1]);
    question
}

fn reversed(address: IpAddr) -> Vec<String> {
    let mut labels: Vec<String> = match address {
        IpAddr::V4(v4) => v4.octets().iter().rev().map(u8::to_string).collect(),
        IpAddr::V6(v6) => {
            let halves = v6.octets().into_iter().rev().flat_map(|byte| [byte & 15, byte >> 4]);
            halves.map(|half| format!("{half:x}")).collect()
        }
    };
    labels.extend([if address.is_ipv4() { "in-addr" } else { "ip6" }.to_owned(), "arpa".to_owned()]);
    labels
}

/// The name in the answer to the query with this id. `None`: the server knows none, or the answer cannot be parsed.
pub(super) fn answered(id: u16, answer: &[u8]) -> Option<String> {
    let number = |at: usize| Some(u16::from_be_bytes([*answer.get(at)?, *answer.get(at + 1)?]));
    let flags = number(2)?;
    let is_good_answer = number(0)? == id && flags & 0x8000 != 0 && flags & 0x000f == 0;
    if !is_good_answer {
        return None;
    }
    let mut at = HEADER_BYTES;
    for _ in 0..number(4)? {
        at = behind_name(answer, at)? + 4;
    }
    for _ in 0..number(6)? {
        let fields = behind_name(answer, at)?;
        let data = fields + 10;
        if number(fields)? == PTR {
            return name(answer, data);
        }
        at = data + usize::from(number(fields + 8)?);
    }
    None
}

// A name ends with an empty label, or with a pointer to its rest.
fn behind_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            pointer if pointer & 0xc0 == 0xc0 => return Some(at + 2),
            len => at += 1 + usize::from(len),
        }
    }
}

fn name(message: &[u8], mut at: usize) -> Option<String> {
    let mut labels = Vec::new();
    // Pointers may form a circle.
    for _ in 0..LABELS_MAX {
        match *message.get(at)? {
            0 => {
                let name = labels.join(".");
                return Some(name).filter(|name| !name.is_empty() && name.len() <= NAME_BYTES_MAX);
            }
            pointer if pointer & 0xc0 == 0xc0 => {
                at = usize::from(pointer & 0x3f) << 8 | usize::from(*message.get(at + 1)?);
            }
            len => {
                let label = message.get(at + 1..at + 1 + usize::from(len))?;
                if !label.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte)) {
                    return None;
                }
                labels.push(String::from_utf8(label.to_vec()).ok()?);
                at += 1 + usize::from(len);
            }
        }
    }
    None
}

const PTR: u16 = 12;
const HEADER_BYTES: usize = 12;
const LABELS_MAX: usize = 255;
const NAME_BYTES_MAX: usize = 253;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The answer of a server: first an alias, as for networks with delegated reverse zones, then the name.
    pub fn answer(question: &[u8], labels: &[&str]) -> Vec<u8> {
        let mut answer = question.to_vec();
        answer[2..4].copy_from_slice(&[0x81, 0x80]);
        answer[6..8].copy_from_slice(&[0, 2]);
        let mut record = |kind: u8, data: &[u8]| {
            // The name is the one in the query, at byte 12.
            answer.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60, 0, data.len() as u8]);
            answer.extend(data);
        };
        record(5, &[1, b'x', 0]);
        let mut name = Vec::new();
        for label in labels {
            name.push(label.len() as u8);
            name.extend(label.as_bytes());
        }
        name.push(0);
        record(12, &name);
        answer
    }

    #[test]
    fn the_question_has_the_address_backwards() {
        let question = asked(0x1234, [10, 1, 2, 30].into());
        let expected =
            b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x0230\x012\x011\x0210\x07in-addr\x04arpa\0\0\x0c\0\x01";
        assert_eq!(question, expected);
        let labels = reversed("2001:db8::1f".parse().expect("an address"));
        assert_eq!(labels.len(), 34);
        assert_eq!(labels[..4].join("."), "f.1.0.0");
        assert_eq!(labels[24..].join("."), "8.b.d.0.1.0.0.2.ip6.arpa");
    }

    #[test]
    fn the_answer_has_the_name() {
        let question = asked(7, [10, 1, 2, 3].into());
        let whole = answer(&question, &["box", "example", "org"]);
        assert_eq!(answered(7, &whole).as_deref(), Some("box.example.org"));
        assert_eq!(answered(8, &whole), None, "another question's");
        assert_eq!(answered(7, &question), None, "no answer");
        let mut unknown = whole.clone();
        unknown[3] |= 3;
        assert_eq!(answered(7, &unknown), None, "no such name");
        assert_eq!(answered(7, &answer(&question, &["a b"])), None, "no host name");
        assert_eq!(answered(7, &answer(&question, &[])), None, "the root");
    }

    #[test]
    fn no_bytes_of_a_server_are_a_panic() {
        let question = asked(7, [10, 1, 2, 3].into());
        let whole = answer(&question, &["box", "example", "org"]);
        for len in 0..whole.len() {
            assert_eq!(answered(7, &whole[..len]), None, "cut at {len}");
        }
        for at in 2..whole.len() {
            for byte in [0, 1, 0x3f, 0x40, 0x7f, 0xc0, 0xff] {
                let mut wrong = whole.clone();
                wrong[at] = byte;
                answered(7, &wrong);
            }
        }
        let mut circle = whole.clone();
        let name = circle.len() - 17;
        circle[name..name + 2].copy_from_slice(&[0xc0, name as u8]);
        assert_eq!(answered(7, &circle), None, "a name that points at itself");
    }
}
