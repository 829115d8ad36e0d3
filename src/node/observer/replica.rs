//! An observer's copy of the metadata log on its disk, and the image that it makes of what is agreed on. Nothing waits for a
//! flush: an observer promises nobody that it has anything.
//! It must never know from whom the log is copied, nor when.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use ottla_log::Disk;
use ottla_log::log::{AppendError, Isolation, Log};
use ottla_log::metadata::{Loaded, control_records};
use ottla_model::NodeId;
use ottla_model::image::Image;
use ottla_protocol::batch::{BatchError, BatchHeader, batches};
use ottla_protocol::{LeaderEpoch, Offset};

use super::outcome::{ObserverError, Refused, Stop};
use crate::applying::apply_batch;
use crate::quorum::batches::{flush, read, read_batch};
use crate::quorum::{
    Committed, Keep, Membership, QuorumError, RESERVED_BYTES, Snapshot, SnapshotId, Vote, snapshot, vote,
};

pub(super) struct Replica {
    disk: Arc<dyn Disk>,
    log: Log,
    /// The epoch of the last batch in the log, or of the snapshot where it begins; 0 if there is neither.
    last_epoch: LeaderEpoch,
    /// What is agreed on, as far as it is here.
    image: Arc<Image>,
    /// Who votes as of the image.
    membership: Membership,
    /// Raft index of the image's last batch, as the voters count. `None`: the log began with a snapshot that does not say.
    raft_index: Option<u64>,
    last_timestamp_ms: i64,
    newest: Option<SnapshotId>,
    vote_path: PathBuf,
    vote: Vote,
    /// The folder's own name is on the disk.
    folder_kept: bool,
    /// What is left of the room that was set aside: whoever leads what a full disk led here has to be known here.
    reserved_bytes: u64,
}

impl Replica {
    /// Begins with what is on the disk. What of a log is agreed on, besides a snapshot, only the leader can say.
    pub fn open(disk: Arc<dyn Disk>, log: Log, now_ms: i64) -> Result<Replica, ObserverError> {
        let vote_path = log.dir().join("quorum-state");
        let vote = vote::read(&*disk, &vote_path)?;
        let loaded = snapshot::newest(&*disk, log.dir()).map_err(QuorumError::Snapshot)?;
        let mut replica = Replica {
            disk,
            log,
            last_epoch: LeaderEpoch(0),
            image: Arc::new(Image::empty()),
            membership: Membership::default(),
            raft_index: Some(0),
            last_timestamp_ms: -1,
            newest: None,
            vote_path,
            vote,
            folder_kept: false,
            reserved_bytes: 0,
        };
        match loaded {
            // Names voters alone.
            Some(loaded) if loaded.id.end == 0 => replica.membership = loaded.membership,
            Some(loaded) if !snapshot::is_in(&replica.log, loaded.id)? => replica.restart(loaded, now_ms)?,
            Some(loaded) => replica.begin_with(loaded),
            None => {}
        }
        let start = replica.log.log_start_offset();
        if start > 0 && replica.newest.is_none() {
            let what = format!("it begins at offset {start}, and there is no snapshot");
            return Err(QuorumError::Refused(what).into());
        }
        replica.find_last_epoch()?;
        replica.takes_room(0);
        Ok(replica)
    }

    pub fn image(&self) -> &Arc<Image> {
        &self.image
    }

    pub fn log(&self) -> &Log {
        &self.log
    }

    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    pub fn last_epoch(&self) -> LeaderEpoch {
        self.last_epoch
    }

    /// The newest epoch that this node knows of. A leader of an earlier one is not believed after a restart either: it may
    /// know less than what was shown before.
    pub fn heard_epoch(&self) -> LeaderEpoch {
        LeaderEpoch(self.vote.term as i32).max(self.last_epoch)
    }

    /// Epoch and leader are on the disk when this returns, as Kafka's observers keep them.
    pub fn hear(&mut self, epoch: LeaderEpoch, leader: Option<NodeId>) -> Result<(), ObserverError> {
        let term = epoch.0.max(0) as u64;
        let voted_for = self.vote.voted_for.filter(|_| term == self.vote.term);
        let vote = Vote { term, voted_for, ..self.vote };
        vote::write_heard(&*self.disk, &self.vote_path, vote, leader)?;
        if let Some(parent) = self.log.dir().parent().filter(|_| !self.folder_kept) {
            let failed = |source| QuorumError::Vote { path: parent.to_owned(), source };
            self.disk.sync_dir(parent).map_err(failed)?;
            self.folder_kept = true;
        }
        self.vote = vote;
        Ok(())
    }

    /// Appends what the leader of this epoch has behind this log's end. Whether there was anything.
    pub fn append(&mut self, records: Bytes, epoch: LeaderEpoch, now_ms: i64) -> Result<bool, Stop> {
        let whole = self.checked(&records, epoch)?;
        let Some(last) = whole.last else { return Ok(false) };
        let records = records.slice(..whole.bytes);
        // Not for safety: what is not flushed keeps files open, and a disk that was full has to be flushed first.
        if self.log.needs_flush_to_append() || self.log.unflushed_bytes() >= UNFLUSHED_BYTES_MAX {
            flush(&mut self.log)?;
        }
        let size = records.len() as u64;
        match self.log.append_as_follower(records, epoch, now_ms) {
            Ok(Ok(_)) => self.takes_room(size),
            Ok(Err(refused)) => return Err(Refused::Unfit(refused.message).into()),
            // There may be room again.
            Err(full @ AppendError::DiskFull { .. }) => {
                self.reserved_bytes = 0;
                return Err(Refused::Disk(full.to_string()).into());
            }
            Err(AppendError::Io(error)) => return Err(ObserverError::from(QuorumError::Log(error)).into()),
        }
        self.last_epoch = LeaderEpoch(last.partition_leader_epoch);
        Ok(true)
    }

    // Sets room aside again once half of it is taken, where there is any.
    fn takes_room(&mut self, bytes: u64) {
        self.reserved_bytes = self.reserved_bytes.saturating_sub(bytes);
        if self.reserved_bytes < RESERVED_BYTES / 2 && self.log.reserve(RESERVED_BYTES).is_ok() {
            self.reserved_bytes = RESERVED_BYTES;
        }
    }

    // Whole batches, one behind the other, the first one at the log's end. Their checksums are looked at when they are
    // appended.
    fn checked(&self, records: &Bytes, epoch: LeaderEpoch) -> Result<Whole, Refused> {
        let unfit = |what: &str| Err(Refused::Unfit(what.to_owned()));
        let (mut next, mut last_epoch) = (self.log.log_end_offset(), self.last_epoch);
        let mut whole = Whole::default();
        for batch in batches(records) {
            let (header, batch) = match batch {
                Ok(batch) => batch,
                // An answer may end in the middle of a batch.
                Err(error) if error.is_incomplete() && whole.last.is_some() => break,
                Err(error) => return Err(Refused::Unfit(error.to_string())),
            };
            if header.base_offset != next || header.last_offset_delta < 0 {
                return unfit("a batch at another offset than here");
            }
            if !(last_epoch..=epoch).contains(&LeaderEpoch(header.partition_leader_epoch)) {
                return unfit("a batch of an epoch that it cannot have");
            }
            (next, last_epoch) = (header.next_offset(), LeaderEpoch(header.partition_leader_epoch));
            whole = Whole { bytes: whole.bytes + batch.len(), last: Some(header) };
        }
        Ok(whole)
    }

    /// Everything below this offset is agreed on: what of it is here goes into the image. How many bytes.
    pub fn agree(&mut self, high_watermark: Offset) -> Result<usize, ObserverError> {
        self.log.advance_high_watermark(high_watermark.min(self.log.log_end_offset()));
        if self.log.high_watermark() <= self.image.offset + 1 {
            return Ok(0);
        }
        let mut image = (*self.image).clone();
        let mut applied = 0;
        while image.offset + 1 < self.log.high_watermark() {
            let next = image.offset + 1;
            let Some(bytes) = read(&self.log, next, READ_BYTES, Isolation::HighWatermark)? else { break };
            for batch in batches(&bytes) {
                let broken = |e: BatchError| QuorumError::Refused(format!("at offset {next}: {e}"));
                let (header, batch) = batch.map_err(broken)?;
                applied += batch.len();
                self.apply(&mut image, header, batch)?;
            }
        }
        self.image = Arc::new(image);
        Ok(applied)
    }

    fn apply(&mut self, image: &mut Image, header: BatchHeader, batch: Bytes) -> Result<(), ObserverError> {
        if header.is_control() {
            control_records(&batch).iter().for_each(|record| self.membership.notice(record));
        }
        let (base_offset, last_offset) = (header.base_offset, header.last_offset());
        let epoch = LeaderEpoch(header.partition_leader_epoch);
        apply_batch(image, &Committed { base_offset, last_offset, epoch, batch })?;
        (image.offset, image.epoch) = (last_offset, epoch);
        self.raft_index = self.raft_index.map(|index| index + 1);
        self.last_timestamp_ms = self.last_timestamp_ms.max(header.max_timestamp);
        Ok(())
    }

    /// The leader's log has nothing of this one's from there on (KIP-101): `epoch` is the largest of its epochs that is not
    /// above this log's last one, and ends at `end` there.
    pub fn cut(&mut self, epoch: LeaderEpoch, end: Offset, now_ms: i64) -> Result<(), Stop> {
        let log_end = self.log.log_end_offset();
        let to = match self.log.epoch_end_offset(epoch) {
            (LeaderEpoch::NONE, _) => log_end,
            (known, known_end) if known == epoch => known_end.min(end),
            (_, known_end) => known_end,
        };
        // KAFKA-12460: what is agreed on is not to be lost to anybody's mistake.
        if to < self.log.high_watermark() {
            let agreed = self.log.high_watermark();
            let what =
                format!("its log parts from this one at {to}, and everything below {agreed} is agreed on");
            return Err(Refused::Unfit(what).into());
        }
        if to >= log_end {
            return Err(Refused::Unfit("its log parts from this one behind this one's end".into()).into());
        }
        self.log.truncate_to(to, now_ms).map_err(QuorumError::Log).map_err(ObserverError::from)?;
        self.reserved_bytes = 0;
        self.find_last_epoch()?;
        Ok(())
    }

    /// A snapshot is on the disk that takes the place of everything here.
    pub fn install(&mut self, loaded: Loaded, now_ms: i64) -> Result<(), ObserverError> {
        let id = loaded.id;
        self.restart(loaded, now_ms)?;
        let older = snapshot::older(&*self.disk, self.log.dir(), id).map_err(QuorumError::Snapshot)?;
        older.iter().try_for_each(|path| self.disk.remove_file(path)).map_err(QuorumError::Snapshot)?;
        Ok(())
    }

    fn restart(&mut self, loaded: Loaded, now_ms: i64) -> Result<(), ObserverError> {
        self.log.truncate_fully(loaded.id.end, now_ms).map_err(QuorumError::Log)?;
        self.last_epoch = loaded.id.epoch;
        self.reserved_bytes = 0;
        self.begin_with(loaded);
        Ok(())
    }

    fn begin_with(&mut self, loaded: Loaded) {
        let Loaded { id, image, membership, raft_index } = loaded;
        self.log.advance_high_watermark(id.end);
        self.image = Arc::new(image);
        (self.membership, self.raft_index, self.newest) = (membership, raft_index, Some(id));
    }

    /// A snapshot of what is agreed on here.
    pub fn snapshot(&self) -> Snapshot {
        let dir = self.log.dir().to_owned();
        let index = self.raft_index.filter(|index| *index > 0);
        Snapshot::new(self.image.clone(), index, self.membership.clone(), dir, self.last_timestamp_ms)
    }

    /// A snapshot of this node's own is on the disk.
    pub fn snapshotted(&mut self, id: SnapshotId, keep: &Keep, now_ms: i64) -> Result<(), ObserverError> {
        if self.newest.is_some_and(|newest| newest >= id) {
            return Ok(());
        }
        self.newest = Some(id);
        let age_ms = now_ms.saturating_sub(self.last_timestamp_ms);
        snapshot::replace_older(&*self.disk, &mut self.log, id, keep, age_ms, now_ms)?;
        Ok(())
    }

    fn find_last_epoch(&mut self) -> Result<(), ObserverError> {
        let end = self.log.log_end_offset();
        self.last_epoch = match self.newest {
            _ if end > self.log.log_start_offset() => {
                let header = BatchHeader::parse(&read_batch(&self.log, end - 1)?);
                let broken = |e: BatchError| QuorumError::Refused(format!("at offset {}: {e}", end - 1));
                LeaderEpoch(header.map_err(broken)?.partition_leader_epoch)
            }
            Some(id) if id.end == end => id.epoch,
            _ => LeaderEpoch(0),
        };
        Ok(())
    }
}

/// What of an answer is whole batches.
#[derive(Default)]
struct Whole {
    bytes: usize,
    last: Option<BatchHeader>,
}

const UNFLUSHED_BYTES_MAX: u64 = 4 << 20;
const READ_BYTES: usize = 1 << 20;
