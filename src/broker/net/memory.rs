//! The limit on the bytes of requests in memory, over all connections (`queued.max.request.bytes`, KIP-72). It must never
//! know what a request says, or which connection it came from.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::Notify;

/// Memory for requests. As in Kafka, a whole frame is granted while any memory is left, so that a large frame does not
/// wait for ever. The limit may be exceeded by less than one request for each connection.
#[derive(Clone, Default)]
pub(crate) struct RequestMemory(Option<Arc<Bounded>>);

struct Bounded {
    free: AtomicI64,
    freed: Notify,
}

/// The bytes of one request. Dropping this gives them back.
#[derive(Default)]
pub(crate) struct Grant(Option<(Arc<Bounded>, i64)>);

impl RequestMemory {
    /// If `bytes` is not positive, there is no limit; Kafka's default is -1.
    pub fn new(bytes: i64) -> RequestMemory {
        let bounded = || Arc::new(Bounded { free: AtomicI64::new(bytes), freed: Notify::new() });
        RequestMemory((bytes > 0).then(bounded))
    }

    pub fn is_bounded(&self) -> bool {
        self.0.is_some()
    }

    /// Memory for a frame of `bytes`. `None`: wait for [`RequestMemory::freed`] and ask again.
    pub fn take(&self, bytes: usize) -> Option<Grant> {
        let Some(bounded) = &self.0 else { return Some(Grant(None)) };
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let left = |free: i64| (free > 0).then(|| free.saturating_sub(bytes));
        let taken = bounded.free.fetch_update(Ordering::AcqRel, Ordering::Acquire, left);
        taken.is_ok().then(|| Grant(Some((bounded.clone(), bytes))))
    }

    /// Returns once there is memory. Another connection may take it first.
    pub async fn freed(&self) {
        let Some(bounded) = &self.0 else { return };
        loop {
            let freed = bounded.freed.notified();
            tokio::pin!(freed);
            // Registered before the check, so that memory which is freed after the check is noticed.
            freed.as_mut().enable();
            if bounded.free.load(Ordering::Acquire) > 0 {
                return;
            }
            freed.await;
        }
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        let Some((bounded, bytes)) = self.0.take() else { return };
        let before = bounded.free.fetch_add(bytes, Ordering::AcqRel);
        if before <= 0 && before + bytes > 0 {
            bounded.freed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_bound_there_is_always_room() {
        let memory = RequestMemory::new(-1);
        let grants: Vec<_> = (0..100).map(|_| memory.take(usize::MAX)).collect();
        assert!(grants.iter().all(Option::is_some));
    }

    #[test]
    fn a_frame_goes_in_whole_while_there_is_any_room() {
        let memory = RequestMemory::new(100);
        let small = memory.take(99);
        let large = memory.take(1 << 20);
        assert!(small.is_some() && large.is_some());
        assert!(memory.take(1).is_none(), "one byte more");
        drop(small);
        assert!(memory.take(1).is_none(), "the large one is still here");
        drop(large);
        assert!(memory.take(1).is_some());
    }

    #[tokio::test]
    async fn whoever_waits_is_woken_by_what_is_given_back() {
        let memory = RequestMemory::new(10);
        let held = memory.take(10);
        let waiting = tokio::spawn({
            let memory = memory.clone();
            async move {
                memory.freed().await;
                memory.take(5).is_some()
            }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(held);
        assert!(waiting.await.expect("the task ends"));
    }
}
