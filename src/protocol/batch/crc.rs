//! The batch checksum: CRC-32C over everything from the attributes on.

use crc_fast::{CrcAlgorithm::Crc32Iscsi, Digest};

use super::{BatchHeader, CRC_FROM, HEADER_BYTES};

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

/// How the checksum changes when header bytes change and the records, `body_bytes` of them, stay.
pub(super) fn crc_patched(
    crc: u32,
    old: &[u8; HEADER_BYTES],
    new: &[u8; HEADER_BYTES],
    body_bytes: usize,
) -> u32 {
    // CRC is linear: taking the old header's part out leaves the body's CRC, to which the new header's part is added.
    let combine = |front: u32, back: u32| {
        crc_fast::checksum_combine(Crc32Iscsi, front.into(), back.into(), body_bytes as u64) as u32
    };
    let body = combine(crc32c(&old[CRC_FROM..]), crc);
    combine(crc32c(&new[CRC_FROM..]), body)
}
