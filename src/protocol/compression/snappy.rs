//! Snappy in both forms that Kafka's clients write: chunks in the framing of snappy-java ("xerial"), from the Java client
//! and most others, or one bare block, from librdkafka.

use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

use super::{Compression, CompressionError, make_room};

pub fn compress(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + max_compress_len(bytes.len().min(CHUNK_BYTES)));
    out.extend(MAGIC);
    out.extend(VERSION.to_be_bytes());
    out.extend(VERSION.to_be_bytes());
    let mut encoder = Encoder::new();
    for chunk in bytes.chunks(CHUNK_BYTES) {
        let start = out.len();
        out.resize(start + 4 + max_compress_len(chunk.len()), 0);
        let size = encoder.compress(chunk, &mut out[start + 4..]).expect("there is room for the worst case");
        out[start..start + 4].copy_from_slice(&(size as u32).to_be_bytes());
        out.truncate(start + 4 + size);
    }
    out
}

pub fn decompress(bytes: &[u8], limit: usize) -> Result<Vec<u8>, CompressionError> {
    let mut out = Vec::new();
    each_block(bytes, |block| {
        let size = block_bytes(block, out.len(), limit)?;
        decompress_block(block, make_room(&mut out, size))
    })?;
    Ok(out)
}

pub fn pieces<E: From<CompressionError>>(
    bytes: &[u8],
    limit: usize,
    mut each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut buffer = Vec::new();
    each_block(bytes, |block| {
        let size = block_bytes(block, 0, limit)?;
        if buffer.len() < size {
            buffer = vec![0; size];
        }
        decompress_block(block, &mut buffer[..size])?;
        each(&buffer[..size])
    })
}

fn each_block<E: From<CompressionError>>(
    bytes: &[u8],
    mut each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let Some(mut rest) = after_header(bytes)? else { return each(bytes) };
    while !rest.is_empty() {
        // Streams may follow one another, each with its own header.
        if let Some(next) = after_header(rest)? {
            rest = next;
            continue;
        }
        let (size, tail) = rest.split_first_chunk().ok_or_else(|| corrupt("a chunk without its size"))?;
        let size = u32::from_be_bytes(*size) as usize;
        let (chunk, tail) = tail.split_at_checked(size).ok_or_else(|| corrupt("a chunk past the end"))?;
        each(chunk)?;
        rest = tail;
    }
    Ok(())
}

/// The bytes after the framing header. `None`: there is no such header.
fn after_header(bytes: &[u8]) -> Result<Option<&[u8]>, CompressionError> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    if header[..8] != MAGIC {
        return Ok(None);
    }
    // The version that wrote it, and the lowest version that can read it. The Java client checks only the first.
    match i32::from_be_bytes([header[8], header[9], header[10], header[11]]) {
        version if version < VERSION => Err(corrupt("an unknown version of the framing")),
        _ => Ok(Some(rest)),
    }
}

/// The decompressed size in the block's header, if it is within the limit and possible.
fn block_bytes(block: &[u8], filled: usize, limit: usize) -> Result<usize, CompressionError> {
    let size = decompress_len(block).map_err(|error| corrupt(&error.to_string()))?;
    if size > limit - filled {
        return Err(CompressionError::TooLarge { limit });
    }
    if size > block.len().saturating_mul(RATIO_MAX) {
        return Err(corrupt("a block that claims more than snappy can hold"));
    }
    Ok(size)
}

fn decompress_block(block: &[u8], room: &mut [u8]) -> Result<(), CompressionError> {
    Decoder::new().decompress(block, room).map(|_| ()).map_err(|error| corrupt(&error.to_string()))
}

fn corrupt(what: &str) -> CompressionError {
    CompressionError::corrupt(Compression::Snappy, what)
}

const MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
const VERSION: i32 = 1;
const HEADER_BYTES: usize = 16;
const CHUNK_BYTES: usize = 32 * 1024;
/// Three bytes can copy at most 64 bytes.
const RATIO_MAX: usize = 22;
