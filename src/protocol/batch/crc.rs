//! The batch checksum: CRC-32C over everything from the attributes to the end.

use crc_fast::{CrcAlgorithm::Crc32Iscsi, Digest};

use super::{BatchHeader, CRC_FROM};

/// The checksum that `batch`, header and records, should have. The slice must end where the batch ends. If it ends before
/// the attributes, the result is the checksum of an empty slice.
pub fn crc_of(batch: &[u8]) -> u32 {
    crc32c(batch.get(CRC_FROM..).unwrap_or_default())
}

/// As [`crc_of`], for a batch whose header and records are in different places. `header_from_attributes` is the header
/// from [`CRC_FROM`] on.
pub fn crc_of_parts(header_from_attributes: &[u8], body: &[u8]) -> u32 {
    let mut digest = Digest::new(Crc32Iscsi);
    digest.update(header_from_attributes);
    digest.update(body);
    digest.finalize() as u32
}

/// Whether the slice is one whole batch with the right checksum. False for anything that is not a batch.
pub fn verify_crc(batch: &[u8]) -> bool {
    BatchHeader::parse(batch)
        .is_ok_and(|header| header.size_in_bytes() == batch.len() && header.crc == crc_of(batch))
}

fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}
