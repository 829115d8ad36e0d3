//! Buffers of a thread, through which bytes pass to or from a socket, so that an idle connection needs no buffers of its
//! own. Nothing stays in them between two uses, and no use may wait.

use std::cell::RefCell;

/// Room for a few requests of usual size. A larger request has its size in the first bytes, and is read into a buffer of
/// that size.
const READ_BYTES: usize = 16 << 10;

thread_local! {
    static READ: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static GATHER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A buffer to read into; its contents have no meaning.
pub(super) fn to_read<R>(read: impl FnOnce(&mut [u8]) -> R) -> R {
    READ.with_borrow_mut(|buffer| {
        buffer.resize(READ_BYTES, 0);
        read(buffer)
    })
}

/// An empty buffer to collect small pieces in.
pub(super) fn to_gather<R>(gather: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    GATHER.with_borrow_mut(|buffer| {
        buffer.clear();
        gather(buffer)
    })
}
