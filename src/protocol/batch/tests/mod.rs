//! Stories of batches: compared with Kafka's bytes, through every codec, and with every kind of damage.

mod golden;
mod headers;
mod hostile;
mod kafka;
mod round_trip;
mod walking;

use bytes::Bytes;

use super::*;

const ROOMY: DecompressLimit = DecompressLimit(64 << 20);

fn from_hex(text: &str) -> Bytes {
    let digits: Vec<u8> = text
        .bytes()
        .filter(u8::is_ascii_hexdigit)
        .map(|d| (d as char).to_digit(16).expect("hex") as u8)
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn header_of(batch: &[u8]) -> BatchHeader {
    BatchHeader::parse(batch).expect("a valid header")
}

fn all_records(batch: &Bytes) -> Result<Vec<Record>, BatchError> {
    records(batch, ROOMY)?.collect()
}

/// A batch with `body`, which is not compressed whatever the header's codec, and the right checksum.
fn around(body: &[u8], change: impl FnOnce(&mut BatchHeader)) -> Bytes {
    let mut header = header_of(&BatchBuilder::new(Compression::None).build(0, crate::LeaderEpoch(0)));
    header.batch_length += body.len() as i32;
    change(&mut header);
    header.crc = header.crc_with(body);
    [&header.to_bytes()[..], body].concat().into()
}
