//! Asks the kernel to begin writing, which no library offers without `unsafe`. Must never wait for the device, and
//! promises nothing: durability still needs a sync, which also reports an error of this write.

use std::fs::File;

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
pub(super) fn begin(file: &File, at: u64, len: u64) {
    use std::os::fd::AsRawFd;
    let (Ok(at), Ok(len)) = (i64::try_from(at), i64::try_from(len)) else { return };
    // SAFETY: three numbers and a descriptor that `file` keeps open; no memory of ours is read or written.
    let _ = unsafe { libc::sync_file_range(file.as_raw_fd(), at, len, libc::SYNC_FILE_RANGE_WRITE) };
}

#[cfg(not(target_os = "linux"))]
pub(super) fn begin(_: &File, _: u64, _: u64) {}
