//! One log directory as its partitions see it: whether it is full, whether it has failed. It must never know what is in
//! it, or act on its state.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

use ottla_log::log::WriteOut;
use ottla_model::TopicPartition;
use parking_lot::Mutex;
use tracing::{error, info};

use super::publisher::Notice;
use crate::run::work::threads::Threads;

/// The most ranges that wait to be written out. With more, the disk is too slow; the kernel and the next flush write the
/// rest.
const WAITING_MAX: usize = 1_000;

/// Shared by everything that has files there.
#[derive(Debug)]
pub(crate) struct Volume {
    path: PathBuf,
    /// Partitions whose last append found no room.
    full: Mutex<BTreeSet<TopicPartition>>,
    failed: AtomicBool,
    failures: OnceLock<Sender<Notice>>,
    /// One thread, so that the disk gets its work evenly.
    writers_out: Threads,
}

impl Volume {
    pub fn new(path: &Path) -> Volume {
        let (full, failed, failures) = Default::default();
        Volume { path: path.to_owned(), full, failed, failures, writers_out: Threads::new("writer-out", 1) }
    }

    /// Sets where a failure is reported, so that the partitions are taken offline.
    pub fn report_to(&self, publisher: Sender<Notice>) {
        // Only the first call counts.
        let _ = self.failures.set(publisher);
    }

    /// Asks the kernel to begin writing, soon, unless too many ranges wait already.
    pub fn write_out(&self, range: WriteOut) {
        if self.writers_out.waiting() < WAITING_MAX {
            self.writers_out.run(|| range.run());
        }
    }

    /// Logged once, however many partitions notice it.
    pub fn is_full(&self, partition: &TopicPartition) {
        let mut full = self.full.lock();
        if full.is_empty() {
            error!(
                dir = %self.path.display(), %partition,
                "no space left in the log directory: producers are refused until there is room; reads and deletes go on"
            );
        }
        full.insert(partition.clone());
    }

    /// The partition has written again, or was removed.
    pub fn has_room(&self, partition: &TopicPartition) {
        let mut full = self.full.lock();
        if full.remove(partition) && full.is_empty() {
            info!(dir = %self.path.display(), "the log directory has room again");
        }
    }

    /// A write or sync has failed: nothing in the directory may be trusted until the next start (KIP-112).
    pub fn fail(&self, why: &str) {
        if self.failed.swap(true, Ordering::AcqRel) {
            return;
        }
        error!(dir = %self.path.display(), why, "the log directory has failed; it is offline until the next start");
        if let Some(publisher) = self.failures.get() {
            // This fails only when the broker is stopping.
            let _ = publisher.send(Notice::VolumeFailed);
        }
    }

    /// Reports the failure once more, if there was one.
    pub fn fail_again(&self) {
        if self.has_failed()
            && let Some(publisher) = self.failures.get()
        {
            let _ = publisher.send(Notice::VolumeFailed);
        }
    }

    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }
}
