//! Batches one after another, as in a Produce request, a Fetch response and a segment.

use bytes::Bytes;

use super::{BatchError, BatchHeader};

/// Splits `bytes` into whole batches. The iterator ends after an error. [`BatchError::is_incomplete`] distinguishes a
/// batch that a fetch limit has cut off from one that is damaged. Checksums are not verified.
pub fn batches(bytes: &Bytes) -> Batches {
    Batches { rest: bytes.clone() }
}

/// See [`batches`].
#[derive(Clone, Debug)]
pub struct Batches {
    rest: Bytes,
}

impl Iterator for Batches {
    type Item = Result<(BatchHeader, Bytes), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let rest = std::mem::take(&mut self.rest);
        Some(BatchHeader::parse(&rest).and_then(|header| {
            let (have, need) = (rest.len(), header.size_in_bytes());
            if have < need {
                return Err(BatchError::Truncated { have, need });
            }
            self.rest = rest.slice(need..);
            Ok((header, rest.slice(..need)))
        }))
    }
}
