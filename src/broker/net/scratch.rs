//! Buffers that belong to a thread: bytes pass through them between a socket and whoever they are for, so that a
//! connection has none of its own while it rests. Nothing stays in them from one use to the next, and no use may wait.

use std::cell::RefCell;

/// Room for a few requests of usual size. What is larger names its size in the first bytes, and is read into a buffer of
/// that size.
const READ_BYTES: usize = 16 << 10;

thread_local! {
    static READ: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static GATHER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A buffer to read into; what is in it does not matter.
pub(super) fn to_read<R>(read: impl FnOnce(&mut [u8]) -> R) -> R {
    READ.with_borrow_mut(|buffer| {
        buffer.resize(READ_BYTES, 0);
        read(buffer)
    })
}

/// An empty buffer to put small pieces together in.
pub(super) fn to_gather<R>(gather: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    GATHER.with_borrow_mut(|buffer| {
        buffer.clear();
        gather(buffer)
    })
}
