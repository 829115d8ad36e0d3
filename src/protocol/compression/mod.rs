//! Kafka's four codecs in Kafka's framings. Decompression stops at a limit. It must never take more memory than that,
//! whatever the bytes claim, and in pieces no more than one piece.

mod gzip;
mod lz4;
mod snappy;
#[cfg(test)]
mod tests;
mod zstd;

/// The codec of a batch, the low three bits of its attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Compression {
    pub const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    pub fn id(self) -> u8 {
        self as u8
    }

    pub fn from_id(id: u8) -> Option<Compression> {
        Compression::ALL.get(usize::from(id)).copied()
    }

    /// The name in `compression.type`. For `none`, that key also allows `uncompressed`, which the configuration handles.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }

    pub fn from_name(name: &str) -> Option<Compression> {
        Compression::ALL.into_iter().find(|c| c.name() == name)
    }
}

/// The most bytes that decompressing one batch may give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DecompressLimit(pub usize);

/// Why bytes cannot be decompressed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompressionError {
    #[error("decompresses to more than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("invalid {codec} data: {what}", codec = .codec.name())]
    Corrupt { codec: Compression, what: String },
}

impl CompressionError {
    pub(crate) fn corrupt(codec: Compression, what: impl Into<String>) -> CompressionError {
        CompressionError::Corrupt { codec, what: what.into() }
    }
}

/// Compresses at the codec's default level, which is the same as Kafka's.
pub fn compress(codec: Compression, bytes: &[u8]) -> Vec<u8> {
    compress_at(codec, None, bytes)
}

/// Compresses at a level of `compression.gzip.level` or `compression.zstd.level`. Snappy has no levels, and of lz4 only
/// the fast level is here; every level can be decompressed in the same way.
pub fn compress_at(codec: Compression, level: Option<i32>, bytes: &[u8]) -> Vec<u8> {
    match codec {
        Compression::None => bytes.to_vec(),
        Compression::Gzip => gzip::compress(level, bytes),
        Compression::Snappy => snappy::compress(bytes),
        Compression::Lz4 => lz4::compress(bytes),
        Compression::Zstd => zstd::compress(level, bytes),
    }
}

/// Decompresses all of `bytes`. Fails if that is more than `limit`.
pub fn decompress(
    codec: Compression,
    bytes: &[u8],
    limit: DecompressLimit,
) -> Result<Vec<u8>, CompressionError> {
    match codec {
        Compression::None if bytes.len() > limit.0 => Err(CompressionError::TooLarge { limit: limit.0 }),
        Compression::None => Ok(bytes.to_vec()),
        Compression::Gzip => gzip::decompress(bytes, limit.0),
        Compression::Snappy => snappy::decompress(bytes, limit.0),
        Compression::Lz4 => lz4::decompress(bytes, limit.0),
        Compression::Zstd => zstd::decompress(bytes, limit.0),
    }
}

/// Decompresses `bytes` piece by piece, calls `each` with each piece, and keeps none. Returns the number of bytes. The
/// size of a piece depends on the codec: 32 KiB of gzip, a chunk of snappy (or one bare block as a whole), a block of LZ4
/// (4 MiB at most), 64 KiB of zstd, which also needs memory for the frame's window.
pub fn decompress_in_pieces<E: From<CompressionError>>(
    codec: Compression,
    bytes: &[u8],
    limit: DecompressLimit,
    mut each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<usize, E> {
    let mut total = 0usize;
    let mut counted = |piece: &[u8]| {
        total += piece.len();
        match total > limit.0 {
            true => Err(CompressionError::TooLarge { limit: limit.0 }.into()),
            false => each(piece),
        }
    };
    match codec {
        Compression::None => counted(bytes)?,
        Compression::Gzip => gzip::pieces(bytes, counted)?,
        Compression::Snappy => snappy::pieces(bytes, limit.0, counted)?,
        Compression::Lz4 => lz4::pieces(bytes, counted)?,
        Compression::Zstd => zstd::pieces(bytes, limit.0, counted)?,
    }
    Ok(total)
}

/// Reads all of `from` into one buffer, again and again, and calls a function with each piece.
fn read_in_pieces<E: From<CompressionError>>(
    codec: Compression,
    mut from: impl std::io::Read,
    buffer_bytes: usize,
    mut each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut buffer = vec![0; buffer_bytes];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => each(&buffer[..count])?,
            Err(error) => return Err(CompressionError::corrupt(codec, error.to_string()).into()),
        }
    }
}

/// Adds `count` zero bytes to `out` and returns them, without doubling the capacity, which could take more memory than
/// that. The caller keeps `count` within the limit.
fn make_room(out: &mut Vec<u8>, count: usize) -> &mut [u8] {
    let filled = out.len();
    if filled == 0 {
        // The system supplies zeroed memory lazily, so an estimate that is too high costs little.
        *out = vec![0; count];
    } else {
        if out.capacity() - filled < count {
            out.reserve_exact(count);
        }
        out.resize(filled + count, 0);
    }
    &mut out[filled..]
}
