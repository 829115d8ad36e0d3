//! One log directory as its partitions see it: whether it is full, whether it has failed. It must never know what is in
//! it, or act on its state.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::Instant;

use ottla_log::Disk;
use ottla_log::log::WriteOut;
use ottla_model::TopicPartition;
use parking_lot::Mutex;
use tracing::{error, info};

use super::publisher::Notice;
use super::room::Room;
use crate::run::work::threads::Threads;

/// The most ranges that wait to be written out. With more, the disk is too slow; the kernel and the next flush write the
/// rest.
const WAITING_MAX: usize = 1_000;

/// Shared by everything that has files there.
#[derive(Debug)]
pub(crate) struct Volume {
    path: PathBuf,
    /// Something found no room, and nobody has found any since.
    full: AtomicBool,
    room: Mutex<Room>,
    failed: AtomicBool,
    /// Hears of what happens here.
    publisher: OnceLock<Sender<Notice>>,
    /// One thread, so that the disk gets its work evenly.
    writers_out: Threads,
}

impl Volume {
    pub fn new(path: &Path) -> Volume {
        let (full, room, failed, publisher) = Default::default();
        let writers_out = Threads::new("writer-out", 1);
        Volume { path: path.to_owned(), full, room, failed, publisher, writers_out }
    }

    /// Sets who hears that there is no room, or that the disk has failed.
    pub fn report_to(&self, publisher: Sender<Notice>) {
        // Only the first call counts.
        let _ = self.publisher.set(publisher);
    }

    /// Asks the kernel to begin writing, soon, unless too many ranges wait already.
    pub fn write_out(&self, range: WriteOut) {
        if self.writers_out.waiting() < WAITING_MAX {
            self.writers_out.run(|| range.run());
        }
    }

    /// Logged and reported once, however many partitions notice it, until room was found.
    pub fn finds_no_room(&self, partition: &TopicPartition) {
        if self.full.swap(true, Ordering::AcqRel) {
            return;
        }
        self.room.lock().is_gone(Instant::now());
        error!(
            dir = %self.path.display(), %partition,
            "no space left in the log directory: others lead who have room, or producers are refused until there is room; reads and deletes go on"
        );
        self.report(Notice::VolumeFull);
    }

    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    /// Looks for room if there was none. A partition that waits for room may have nothing to write any more, so none of them
    /// can tell. Whether room was found.
    pub fn looks_for_room(&self, disk: &dyn Disk) -> bool {
        if !self.is_full()
            || self.has_failed()
            || !self.room.lock().is_found(Instant::now(), disk, &self.path)
        {
            return false;
        }
        info!(dir = %self.path.display(), "the log directory has room again");
        self.full.store(false, Ordering::Release);
        true
    }

    /// A write or sync has failed: nothing in the directory may be trusted until the next start (KIP-112).
    pub fn fail(&self, why: &str) {
        if self.failed.swap(true, Ordering::AcqRel) {
            return;
        }
        error!(dir = %self.path.display(), why, "the log directory has failed; it is offline until the next start");
        self.report(Notice::VolumeFailed);
    }

    /// Reports the failure once more, if there was one.
    pub fn fail_again(&self) {
        if self.has_failed() {
            self.report(Notice::VolumeFailed);
        }
    }

    fn report(&self, notice: Notice) {
        if let Some(publisher) = self.publisher.get() {
            // This fails only when the broker is stopping.
            let _ = publisher.send(notice);
        }
    }

    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }
}
