//! The batch checksum: CRC-32C over everything from the attributes on.

use crc_fast::{CrcAlgorithm::Crc32Iscsi, Digest};

use super::{BatchHeader, CRC_FROM};

/// The checksum that `batch`, header and records, should carry. The slice must end where the batch ends.
/// Bytes that stop short of the attributes have the checksum of nothing.
pub fn crc_of(batch: &[u8]) -> u32 {
    crc32c(batch.get(CRC_FROM..).unwrap_or_default())
}

/// Like [`crc_of`] for a batch whose header and records lie apart: `header_from_attributes` is the header from
/// [`CRC_FROM`] on.
pub fn crc_of_parts(header_from_attributes: &[u8], body: &[u8]) -> u32 {
    let mut digest = Digest::new(Crc32Iscsi);
    digest.update(header_from_attributes);
    digest.update(body);
    digest.finalize() as u32
}

/// Whether the slice is one whole batch that carries its right checksum. False for anything that is no batch.
pub fn verify_crc(batch: &[u8]) -> bool {
    BatchHeader::parse(batch)
        .is_ok_and(|header| header.size_in_bytes() == batch.len() && header.crc == crc_of(batch))
}

fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}
