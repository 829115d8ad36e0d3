//! A record as `kafka-console-consumer` prints it. It must never fetch one.

use super::reader::Delivered;
use std::collections::BTreeMap;

/// Which parts of a record are printed, and what stands between them.
pub(super) struct Formatter {
    timestamp: bool,
    partition: bool,
    offset: bool,
    delivery: bool,
    epoch: bool,
    headers: bool,
    key: bool,
    value: bool,
    key_separator: Vec<u8>,
    line_separator: Vec<u8>,
    headers_separator: Vec<u8>,
    null_literal: Vec<u8>,
}

impl Formatter {
    pub(super) fn new(settings: &BTreeMap<String, String>) -> Formatter {
        let truth = |key: &str, default: bool| {
            settings.get(key).map_or(default, |value| value.trim().eq_ignore_ascii_case("true"))
        };
        let text =
            |key: &str, default: &str| settings.get(key).map_or(default, String::as_str).as_bytes().to_vec();
        Formatter {
            timestamp: truth("print.timestamp", false),
            partition: truth("print.partition", false),
            offset: truth("print.offset", false),
            delivery: truth("print.delivery", false),
            epoch: truth("print.epoch", false),
            headers: truth("print.headers", false),
            key: truth("print.key", false),
            value: truth("print.value", true),
            key_separator: text("key.separator", "\t"),
            line_separator: text("line.separator", "\n"),
            headers_separator: text("headers.separator", ","),
            null_literal: text("null.literal", "null"),
        }
    }

    pub(super) fn write(&self, delivered: &Delivered, to: &mut Vec<u8>) {
        let record = &delivered.record;
        let mut parts: Vec<Vec<u8>> = Vec::new();
        if self.timestamp {
            parts.push(format!("{}:{}", delivered.timestamp_type, record.timestamp).into_bytes());
        }
        if self.partition {
            parts.push(format!("Partition:{}", delivered.partition).into_bytes());
        }
        if self.offset {
            parts.push(format!("Offset:{}", record.offset).into_bytes());
        }
        if self.delivery {
            parts.push(b"Delivery:NOT_PRESENT".to_vec());
        }
        if self.epoch {
            parts.push(format!("Epoch:{}", delivered.leader_epoch).into_bytes());
        }
        if self.headers {
            parts.push(self.headers_of(delivered));
        }
        if self.key {
            parts.push(self.or_null(record.key.as_deref()).to_vec());
        }
        if self.value {
            parts.push(self.or_null(record.value.as_deref()).to_vec());
        }
        to.extend(parts.join(&self.key_separator[..]));
        // Without a value the last part ends the line, as a separator would.
        if self.value || !parts.is_empty() {
            to.extend(&self.line_separator);
        }
    }

    fn headers_of(&self, delivered: &Delivered) -> Vec<u8> {
        let headers = &delivered.record.headers;
        if headers.is_empty() {
            return b"NO_HEADERS".to_vec();
        }
        let header = |(key, value): &(bytes::Bytes, Option<bytes::Bytes>)| {
            [key.as_ref(), b":", self.or_null(value.as_deref())].concat()
        };
        headers.iter().map(header).collect::<Vec<_>>().join(&self.headers_separator[..])
    }

    fn or_null<'a>(&'a self, bytes: Option<&'a [u8]>) -> &'a [u8] {
        bytes.unwrap_or(&self.null_literal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use ottla_protocol::batch::Record;

    #[test]
    fn records_are_printed_part_by_part() {
        let check = |settings: &str, expected: &str| {
            let pairs = settings.split_whitespace().filter_map(|pair| pair.split_once('='));
            let settings = pairs.map(|(key, value)| (key.to_string(), value.to_string())).collect();
            let headers = vec![
                (Bytes::from_static(b"a"), Some(Bytes::from_static(b"1"))),
                (Bytes::from_static(b"b"), None),
            ];
            let value = Some(Bytes::from_static(b"v"));
            let record = Record { offset: 7, timestamp: 1_000, sequence: -1, key: None, value, headers };
            let delivered = Delivered { partition: 3, leader_epoch: 5, timestamp_type: "CreateTime", record };
            let mut line = Vec::new();
            Formatter::new(&settings).write(&delivered, &mut line);
            assert_eq!(String::from_utf8_lossy(&line), expected, "{settings:?}");
        };
        check("", "v\n");
        check("print.key=true", "null\tv\n");
        check("print.key=true null.literal=- key.separator=|", "-|v\n");
        check("print.headers=true", "a:1,b:null\tv\n");
        check(
            "print.timestamp=true print.partition=true print.offset=true",
            "CreateTime:1000\tPartition:3\tOffset:7\tv\n",
        );
        check("print.epoch=true print.delivery=true", "Delivery:NOT_PRESENT\tEpoch:5\tv\n");
        check("print.value=false print.key=true", "null\n");
        check("line.separator=;", "v;");
    }
}
