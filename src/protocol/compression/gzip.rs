//! Gzip, RFC 1952: one or more members.

use std::io::{Read, Write};

use flate2::Compression as Level;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::{Compression, CompressionError, make_room, read_in_pieces};

pub fn compress(level: Option<i32>, bytes: &[u8]) -> Vec<u8> {
    let level = match level {
        Some(level @ 1..=9) => Level::new(level as u32),
        _ => Level::default(),
    };
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 2 + 32), level);
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("writing to memory does not fail")
}

pub fn decompress(bytes: &[u8], limit: usize) -> Result<Vec<u8>, CompressionError> {
    let mut decoder = MultiGzDecoder::new(bytes);
    let mut out = Vec::new();
    let mut room = claimed_bytes(bytes).min(limit);
    loop {
        let filled = out.len();
        let read = fill(&mut decoder, make_room(&mut out, room))?;
        out.truncate(filled + read);
        let mut next = [0];
        if read < room || fill(&mut decoder, &mut next)? == 0 {
            return Ok(out);
        }
        if out.len() >= limit {
            return Err(CompressionError::TooLarge { limit });
        }
        // At least the byte that was just read is left, so the grant is at least one byte.
        let grant = out.len().max(GRANT_BYTES_MIN).min(limit - out.len());
        out.reserve_exact(grant);
        out.extend(next);
        room = grant - 1;
    }
}

pub fn pieces<E: From<CompressionError>>(
    bytes: &[u8],
    each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    read_in_pieces(Compression::Gzip, MultiGzDecoder::new(bytes), PIECE_BYTES, each)
}

fn fill(from: &mut impl Read, to: &mut [u8]) -> Result<usize, CompressionError> {
    let mut filled = 0;
    while filled < to.len() {
        match from.read(&mut to[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) => return Err(CompressionError::corrupt(Compression::Gzip, error.to_string())),
        }
    }
    Ok(filled)
}

/// The size in the trailer. It is right for one correct member. Otherwise it is only the size at which growing starts.
fn claimed_bytes(bytes: &[u8]) -> usize {
    let claimed = bytes.last_chunk().map_or(0, |size| u32::from_le_bytes(*size) as usize);
    claimed.min(bytes.len().saturating_mul(DEFLATE_RATIO_MAX))
}

/// The largest ratio that deflate can reach.
const DEFLATE_RATIO_MAX: usize = 1032;
const GRANT_BYTES_MIN: usize = 4096;
const PIECE_BYTES: usize = 32 * 1024;
