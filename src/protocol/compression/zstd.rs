//! Zstandard, RFC 8878. Frames are decompressed at once, into memory whose size comes from a walk over their block
//! headers: this needs no window buffer and is faster than streaming. Content that is too large for it is streamed, with
//! a window.

use std::cell::RefCell;

use zstd::zstd_safe::{DCtx, get_error_name};

use super::{Compression, CompressionError, read_in_pieces};

pub fn compress(level: Option<i32>, bytes: &[u8]) -> Vec<u8> {
    let level = level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
    zstd::bulk::compress(bytes, level).expect("memory is all that it needs")
}

pub fn decompress(bytes: &[u8], limit: usize) -> Result<Vec<u8>, CompressionError> {
    let bound = survey(bytes)?.bound;
    if let Bound::Exactly(size) = bound
        && size > limit as u64
    {
        return Err(CompressionError::TooLarge { limit });
    }
    let (Bound::Exactly(size) | Bound::AtMost(size)) = bound;
    let mut out = Vec::with_capacity(size.min(limit as u64) as usize);
    match CONTEXT.with_borrow_mut(|context| context.decompress(&mut out, bytes)) {
        Ok(_) if out.len() > limit => Err(CompressionError::TooLarge { limit }),
        Ok(_) => {
            // The bound for the last block may be far above its content, and slices of this memory may live long.
            if out.capacity() > 2 * out.len() {
                out.shrink_to_fit();
            }
            Ok(out)
        }
        Err(OUTPUT_TOO_SMALL) if size > limit as u64 => Err(CompressionError::TooLarge { limit }),
        Err(code) => Err(corrupt(get_error_name(code))),
    }
}

/// A frame may ask for a window of up to 128 MiB, which a streaming decoder has to keep in memory. Every decoder has to
/// support 8 MiB. A frame with a larger window is decompressed at once, if its content is not too large in proportion to
/// the received bytes, and refused otherwise. Levels up to 19 never ask for more, and higher levels do so only for
/// content that large.
pub fn pieces<E: From<CompressionError>>(
    bytes: &[u8],
    limit: usize,
    mut each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    if survey(bytes)?.window_bytes > STREAMED_WINDOW_BYTES_MAX {
        let whole_max = WHOLE_BYTES_MAX.max(bytes.len().saturating_mul(WHOLE_RATIO_MAX));
        return each(&decompress(bytes, limit.min(whole_max))?);
    }
    let decoder = ::zstd::stream::read::Decoder::with_buffer(bytes).map_err(|e| corrupt(&e.to_string()))?;
    read_in_pieces(Compression::Zstd, decoder, PIECE_BYTES, each)
}

thread_local! {
    // Setting up its 160 KiB would cost more than to decompress a small batch. It keeps no state between calls.
    static CONTEXT: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
}

/// What the headers of the frames say.
struct Survey {
    bound: Bound,
    /// The largest window of all frames.
    window_bytes: u64,
}

#[derive(Clone, Copy)]
enum Bound {
    /// The frames declare this size; if they hold anything else, they are corrupt.
    Exactly(u64),
    AtMost(u64),
}

/// Adds up the sizes of the frames without decompressing them.
fn survey(mut rest: &[u8]) -> Result<Survey, CompressionError> {
    let mut exact = true;
    let mut total = 0u64;
    let mut window_bytes = 0;
    while !rest.is_empty() {
        let magic = u32::from_le_bytes(take_chunk(&mut rest)?);
        if magic & SKIPPABLE_MASK == SKIPPABLE {
            let size = u32::from_le_bytes(take_chunk(&mut rest)?);
            take(&mut rest, size as usize)?;
            continue;
        }
        if magic != MAGIC {
            return Err(corrupt("no zstd frame"));
        }
        let frame = Frame::read(&mut rest)?;
        window_bytes = window_bytes.max(frame.window_bytes);
        let blocks = frame.walk_blocks(&mut rest)?;
        // If the blocks cannot hold the size that the frame claims, the frame is corrupt; decompressing reports that.
        exact &= frame.content_bytes.is_some_and(|size| size <= blocks);
        total = total.saturating_add(frame.content_bytes.map_or(blocks, |size| size.min(blocks)));
    }
    let bound = if exact { Bound::Exactly(total) } else { Bound::AtMost(total) };
    Ok(Survey { bound, window_bytes })
}

/// What the header of a frame says.
struct Frame {
    content_bytes: Option<u64>,
    window_bytes: u64,
    block_bytes_max: u64,
    has_checksum: bool,
}

impl Frame {
    fn read(rest: &mut &[u8]) -> Result<Frame, CompressionError> {
        let [flags] = take_chunk(rest)?;
        let single_segment = flags & 0x20 != 0;
        let window = match single_segment {
            true => None,
            false => Some(window_bytes(take_chunk(rest)?)?),
        };
        take(rest, [0, 1, 2, 4][usize::from(flags & 0x03)])?;
        let content_bytes = match flags >> 6 {
            0 if !single_segment => None,
            0 => Some(u64::from(u8::from_le_bytes(take_chunk(rest)?))),
            1 => Some(u64::from(u16::from_le_bytes(take_chunk(rest)?)) + 256),
            2 => Some(u64::from(u32::from_le_bytes(take_chunk(rest)?))),
            _ => Some(u64::from_le_bytes(take_chunk(rest)?)),
        };
        let window = window.or(content_bytes).unwrap_or(BLOCK_BYTES_MAX);
        Ok(Frame {
            content_bytes,
            window_bytes: window,
            block_bytes_max: window.min(BLOCK_BYTES_MAX),
            has_checksum: flags & 0x04 != 0,
        })
    }

    /// Skips the blocks. Returns how many bytes they may hold.
    fn walk_blocks(&self, rest: &mut &[u8]) -> Result<u64, CompressionError> {
        let mut total = 0;
        loop {
            let [a, b, c] = take_chunk(rest)?;
            let word = u32::from_le_bytes([a, b, c, 0]);
            let size = word >> 3;
            total += match word >> 1 & 0x03 {
                RAW => {
                    take(rest, size as usize)?;
                    u64::from(size)
                }
                RUN_LENGTH => {
                    take(rest, 1)?;
                    u64::from(size)
                }
                COMPRESSED => {
                    take(rest, size as usize)?;
                    self.block_bytes_max
                }
                _ => return Err(corrupt("a block of the reserved type")),
            };
            if word & 1 != 0 {
                break;
            }
        }
        if self.has_checksum {
            take(rest, 4)?;
        }
        Ok(total)
    }
}

/// The window size. If it is above what streaming decoders accept by default, the frame is refused, because consumers
/// could not read the batch.
fn window_bytes([descriptor]: [u8; 1]) -> Result<u64, CompressionError> {
    let base = 1u64 << (10 + (descriptor >> 3));
    let window = base + (base >> 3) * u64::from(descriptor & 0x07);
    if window > WINDOW_BYTES_MAX {
        return Err(corrupt("a window above 128 MiB"));
    }
    Ok(window)
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
    CompressionError::corrupt(Compression::Zstd, what)
}

const MAGIC: u32 = 0xfd2f_b528;
const SKIPPABLE: u32 = 0x184d_2a50;
const SKIPPABLE_MASK: u32 = 0xffff_fff0;
const RAW: u32 = 0;
const RUN_LENGTH: u32 = 1;
const COMPRESSED: u32 = 2;
const BLOCK_BYTES_MAX: u64 = 128 * 1024;
const PIECE_BYTES: usize = 64 * 1024;
/// The window that every decoder should support, by RFC 8878.
const STREAMED_WINDOW_BYTES_MAX: u64 = 8 << 20;
const WHOLE_BYTES_MAX: usize = 32 << 20;
const WHOLE_RATIO_MAX: usize = 8;
const WINDOW_BYTES_MAX: u64 = 1 << 27;
/// zstd's error 70, as its functions return it.
const OUTPUT_TOO_SMALL: usize = 70usize.wrapping_neg();
