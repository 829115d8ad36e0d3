//! Kafka's frames: four bytes of size, then that many bytes. It must never look inside one.

use bytes::{Buf, Bytes, BytesMut};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Cuts a byte stream into frames. `next` may be cancelled at any time without losing bytes.
pub(crate) struct FrameReader<R> {
    reader: R,
    buffer: BytesMut,
    bytes_max: usize,
}

const SIZE_BYTES: usize = 4;
const READ_BYTES: usize = 16 * 1024;
const READ_BYTES_MAX: usize = 1 << 20;

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// `bytes_max` bounds the size a peer may declare, and with it the memory that one frame takes.
    pub(crate) fn new(reader: R, bytes_max: usize) -> FrameReader<R> {
        FrameReader { reader, buffer: BytesMut::new(), bytes_max }
    }

    /// The next frame without its size; `None` when the peer closed between two frames.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(frame) = self.cut()? {
                return Ok(Some(frame));
            }
            // Grow with what arrives, not with what was declared; but take much of a large frame at a time.
            self.buffer.reserve(self.missing().clamp(READ_BYTES, READ_BYTES_MAX));
            if self.reader.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the peer closed inside a frame"))
                };
            }
        }
    }

    // How much of the frame that has begun is still to come.
    fn missing(&self) -> usize {
        let declared = self.buffer.first_chunk::<SIZE_BYTES>().map_or(0, |size| i32::from_be_bytes(*size));
        (SIZE_BYTES + usize::try_from(declared).unwrap_or(0)).saturating_sub(self.buffer.len())
    }

    fn cut(&mut self) -> io::Result<Option<Bytes>> {
        let Some(size) = self.buffer.first_chunk::<SIZE_BYTES>() else { return Ok(None) };
        let declared = i32::from_be_bytes(*size);
        let size = usize::try_from(declared).ok().filter(|&size| size <= self.bytes_max);
        let Some(size) = size else {
            let what = format!("a frame of {declared} bytes, allowed are 0 to {}", self.bytes_max);
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        };
        if self.buffer.len() < SIZE_BYTES + size {
            return Ok(None);
        }
        self.buffer.advance(SIZE_BYTES);
        Ok(Some(self.buffer.split_to(size).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(story: &str, bytes: &[u8], expected: &[Result<Option<&[u8]>, io::ErrorKind>]) {
        let mut frames = FrameReader::new(bytes, 8);
        for want in expected {
            let got = frames.next().await.map_err(|error| error.kind());
            assert_eq!(
                got.as_ref().map(|frame| frame.as_deref()),
                want.as_ref().map(|want| *want),
                "{story}"
            );
        }
    }

    #[tokio::test]
    async fn cuts_frames_and_refuses_what_is_too_long() {
        check("nothing", &[], &[Ok(None)]).await;
        check("two", &[0, 0, 0, 1, 7, 0, 0, 0, 0], &[Ok(Some(&[7])), Ok(Some(&[])), Ok(None)]).await;
        check("cut short", &[0, 0, 0, 2, 7], &[Err(io::ErrorKind::UnexpectedEof)]).await;
        check("cut in the size", &[0, 0], &[Err(io::ErrorKind::UnexpectedEof)]).await;
        check("too long", &[0, 0, 0, 9, 7], &[Err(io::ErrorKind::InvalidData)]).await;
        check("negative", &[255, 255, 255, 255], &[Err(io::ErrorKind::InvalidData)]).await;
    }
}
