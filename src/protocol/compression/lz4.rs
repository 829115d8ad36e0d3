//! LZ4 frames with independent blocks, the part of the format that Kafka's Java client reads. A frame that the Java
//! client refuses is refused here, or a partition would contain a batch that its consumers cannot read.

use lz4_flex::block::{DecompressError, compress_into, decompress_into, get_maximum_output_size};
use twox_hash::XxHash32;

use super::{Compression, CompressionError, make_room};

pub fn compress(bytes: &[u8]) -> Vec<u8> {
    let mut out =
        Vec::with_capacity(HEADER.len() + 8 + get_maximum_output_size(bytes.len().min(BLOCK_BYTES)));
    out.extend(HEADER);
    for block in bytes.chunks(BLOCK_BYTES) {
        let start = out.len() + 4;
        out.resize(start + get_maximum_output_size(block.len()), 0);
        let size = compress_into(block, &mut out[start..]).expect("there is room for the worst case");
        let word = if size < block.len() {
            out.truncate(start + size);
            size as u32
        } else {
            out.truncate(start);
            out.extend(block);
            block.len() as u32 | STORED
        };
        out[start - 4..start].copy_from_slice(&word.to_le_bytes());
    }
    out.extend(END.to_le_bytes());
    out
}

pub fn decompress(bytes: &[u8], limit: usize) -> Result<Vec<u8>, CompressionError> {
    let mut out = Vec::new();
    each_block(bytes, |block, block_bytes_max| match block {
        Block::Stored(bytes) if bytes.len() > limit - out.len() => Err(CompressionError::TooLarge { limit }),
        Block::Stored(bytes) => {
            out.extend_from_slice(bytes);
            Ok(())
        }
        Block::Compressed(bytes) => append_block(bytes, &mut out, block_bytes_max, limit),
    })?;
    Ok(out)
}

pub fn pieces<E: From<CompressionError>>(
    bytes: &[u8],
    mut each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut buffer = Vec::new();
    each_block(bytes, |block, block_bytes_max| match block {
        Block::Stored(bytes) => each(bytes),
        Block::Compressed(bytes) => {
            let room = block_bytes_max.min(bytes.len().saturating_mul(RATIO_MAX));
            if buffer.len() < room {
                buffer = vec![0; room];
            }
            let size =
                decompress_into(bytes, &mut buffer[..room]).map_err(|error| corrupt(&error.to_string()))?;
            each(&buffer[..size])
        }
    })
}

enum Block<'a> {
    Stored(&'a [u8]),
    Compressed(&'a [u8]),
}

/// Calls a function with each block of the frame, and the most bytes that the block may hold.
fn each_block<E: From<CompressionError>>(
    bytes: &[u8],
    mut each: impl FnMut(Block<'_>, usize) -> Result<(), E>,
) -> Result<(), E> {
    let mut rest = bytes;
    let frame = Frame::read(&mut rest)?;
    loop {
        let word = u32::from_le_bytes(take_chunk(&mut rest)?);
        let size = (word & !STORED) as usize;
        if size == 0 {
            // A checksum of the content may follow. As in Kafka it is not verified: the batch has its own checksum.
            return Ok(());
        }
        if size > frame.block_bytes_max {
            return Err(corrupt("a block above the frame's maximum").into());
        }
        let block = take(&mut rest, size)?;
        if frame.has_block_checksums
            && XxHash32::oneshot(0, block) != u32::from_le_bytes(take_chunk(&mut rest)?)
        {
            return Err(corrupt("a block with a wrong checksum").into());
        }
        let block = if word & STORED != 0 { Block::Stored(block) } else { Block::Compressed(block) };
        each(block, frame.block_bytes_max)?;
    }
}

/// A block does not say its decompressed size: the room starts at an ordinary ratio and grows until the block fits.
fn append_block(
    block: &[u8],
    out: &mut Vec<u8>,
    block_bytes_max: usize,
    limit: usize,
) -> Result<(), CompressionError> {
    let filled = out.len();
    let allowed = limit - filled;
    let room_max = block_bytes_max.min(allowed).min(block.len().saturating_mul(RATIO_MAX));
    let mut room = room_max.min((4 * block.len()).max(ROOM_BYTES_MIN));
    loop {
        match decompress_into(block, make_room(out, room)) {
            Ok(size) => {
                out.truncate(filled + size);
                return Ok(());
            }
            Err(DecompressError::OutputTooSmall { .. }) if room < room_max => {
                out.truncate(filled);
                room = room_max.min(4 * room);
            }
            Err(DecompressError::OutputTooSmall { .. }) if room == allowed => {
                return Err(CompressionError::TooLarge { limit });
            }
            Err(error) => return Err(corrupt(&error.to_string())),
        }
    }
}

/// The frame's descriptor.
struct Frame {
    block_bytes_max: usize,
    has_block_checksums: bool,
}

impl Frame {
    fn read(rest: &mut &[u8]) -> Result<Frame, CompressionError> {
        if take_chunk(rest)? != MAGIC {
            return Err(corrupt("no LZ4 frame"));
        }
        let described = *rest;
        let [flags, block_descriptor] = take_chunk(rest)?;
        if flags & VERSION_MASK != VERSION_1 {
            return Err(corrupt("an unknown version of the frame format"));
        }
        if flags & RESERVED_OR_DICTIONARY != 0 || block_descriptor & 0x8f != 0 {
            return Err(corrupt("a reserved bit or a dictionary"));
        }
        if flags & INDEPENDENT == 0 {
            return Err(corrupt("blocks that depend on one another"));
        }
        if block_descriptor < SMALLEST_BLOCK_SIZE {
            return Err(corrupt("an unknown block size"));
        }
        if flags & HAS_CONTENT_SIZE != 0 {
            take(rest, 8)?;
        }
        let described = &described[..described.len() - rest.len()];
        let [check] = take_chunk(rest)?;
        if check != (XxHash32::oneshot(0, described) >> 8) as u8 {
            return Err(corrupt("a descriptor with a wrong checksum"));
        }
        Ok(Frame {
            block_bytes_max: 1 << (8 + 2 * (block_descriptor >> 4)),
            has_block_checksums: flags & HAS_BLOCK_CHECKSUMS != 0,
        })
    }
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], CompressionError> {
    rest.split_off(..count).ok_or_else(|| corrupt("the frame ends early"))
}

fn take_chunk<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], CompressionError> {
    let (chunk, tail) = rest.split_first_chunk().ok_or_else(|| corrupt("the frame ends early"))?;
    *rest = tail;
    Ok(*chunk)
}

fn corrupt(what: &str) -> CompressionError {
    CompressionError::corrupt(Compression::Lz4, what)
}

const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
/// Magic, version 1 with independent blocks and without checksums, blocks of 64 KiB, and the check byte.
const HEADER: [u8; 7] = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82];
const BLOCK_BYTES: usize = 64 * 1024;
/// Flag in a block's size: the block is not compressed.
const STORED: u32 = 0x8000_0000;
const END: u32 = 0;

const VERSION_MASK: u8 = 0xc0;
const VERSION_1: u8 = 0x40;
const INDEPENDENT: u8 = 0x20;
const HAS_BLOCK_CHECKSUMS: u8 = 0x10;
const HAS_CONTENT_SIZE: u8 = 0x08;
const RESERVED_OR_DICTIONARY: u8 = 0x03;
const SMALLEST_BLOCK_SIZE: u8 = 0x40;

/// In the densest case, each byte is a match length byte of 255.
const RATIO_MAX: usize = 255;
const ROOM_BYTES_MIN: usize = 1024;
