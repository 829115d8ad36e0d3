//! What the leader of the metadata log gives to observers (KIP-595, KIP-630). Their fetches count for nothing: the voters agree
//! by messages of their own.
//! It must never wait, nor know how an answer travels.

use bytes::Bytes;
use ottla_log::log::Isolation;
use ottla_log::metadata::SnapshotId;
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset};
use raft::StateRole;

use super::fetch::{
    Ends, Fetch, FetchAnswer, FetchSnapshot, Fetched, Leadership, Piece, PieceAnswer, Served,
};
use super::followers::ObserverState;
use super::voters::{self, ReplicaKey};
use super::{Quorum, download};

impl Quorum {
    /// Answers a fetch. To be called between steps, when everything is settled: an epoch that is not on the disk yet must
    /// not be told to anybody.
    pub fn fetch(&mut self, now_ms: i64, fetch: &Fetch) -> Served {
        if self.is_other_cluster(fetch.cluster_id.as_deref()) {
            let leadership = Leadership::unsaid();
            let fetched = Err(ErrorCode::InconsistentClusterId);
            return Served::Answer(FetchAnswer { leadership, fetched, high_watermark: None, log_start: -1 });
        }
        let (high_watermark, log_start) = (self.told_high_watermark(), self.store().log().log_start_offset());
        let fetched = self.checked(fetch).and_then(|()| self.fetched(now_ms, fetch));
        let high_watermark = high_watermark.filter(|_| fetched.is_ok());
        let moved = fetch.high_watermark.is_some_and(|known| high_watermark.is_some_and(|now| now > known));
        let nothing_new = matches!(&fetched, Ok(Fetched::Records(bytes)) if bytes.is_empty()) && !moved;
        let answer = FetchAnswer { leadership: self.leadership(), fetched, high_watermark, log_start };
        if nothing_new { Served::NothingNew(answer) } else { Served::Answer(answer) }
    }

    /// Answers with a piece of a snapshot. To be called between steps, as [`Quorum::fetch`].
    pub fn fetch_snapshot(&mut self, fetch: &FetchSnapshot) -> PieceAnswer {
        if self.is_other_cluster(fetch.cluster_id.as_deref()) {
            let leadership = Leadership::unsaid();
            return PieceAnswer { leadership, piece: Err(ErrorCode::InconsistentClusterId) };
        }
        let piece = self.check_epoch(fetch.epoch).and_then(|()| self.piece(fetch));
        PieceAnswer { leadership: self.leadership(), piece }
    }

    /// What fetches wait for.
    pub fn ends(&self) -> Ends {
        let (log_end, high_watermark) = (self.next_offset(), self.told_high_watermark());
        Ends { log_end, high_watermark, epoch: self.epoch(), leads: self.is_leader() }
    }

    /// Who has fetched from this leader lately without being a voter.
    pub fn observers(&self, now_ms: i64) -> Vec<(ReplicaKey, ObserverState)> {
        let voters = self.voters();
        let mut observers = self.followers.states(now_ms);
        // Who has become a voter was an observer until then.
        observers.retain(|(key, _)| !voters.contains(*key));
        observers
    }

    fn is_leader(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    fn is_other_cluster(&self, cluster_id: Option<&str>) -> bool {
        cluster_id.is_some_and(|id| id != self.store().voters().cluster_id)
    }

    fn leadership(&self) -> Leadership {
        let leader = match self.is_leader() {
            true => Some(self.store().voters().me.id),
            false => voters::node_of(self.raw.raft.leader_id),
        };
        Leadership { epoch: self.epoch(), leader, endpoint: None }
    }

    // What a leader of before has agreed on may be more than this one knows, until a batch of its own epoch is agreed on.
    // Kafka's observers end if a high watermark goes back.
    fn told_high_watermark(&self) -> Option<Offset> {
        self.leads().then(|| self.high_watermark())
    }

    fn checked(&self, fetch: &Fetch) -> Result<(), ErrorCode> {
        let Fetch { epoch, offset, last_epoch, .. } = *fetch;
        if offset < 0 || !last_epoch.is_some() || last_epoch > epoch {
            return Err(ErrorCode::InvalidRequest);
        }
        self.check_epoch(epoch)?;
        // Kafka says the same to a node that claims to be its leader.
        let me = self.store().voters().me.id;
        match fetch.replica.is_some_and(|replica| replica.id == me) {
            true => Err(ErrorCode::UnknownServerError),
            false => Ok(()),
        }
    }

    fn check_epoch(&self, asked: LeaderEpoch) -> Result<(), ErrorCode> {
        match asked.cmp(&self.epoch()) {
            std::cmp::Ordering::Less => Err(ErrorCode::FencedLeaderEpoch),
            std::cmp::Ordering::Greater => Err(ErrorCode::UnknownLeaderEpoch),
            std::cmp::Ordering::Equal if !self.is_leader() => Err(ErrorCode::NotLeaderOrFollower),
            std::cmp::Ordering::Equal => Ok(()),
        }
    }

    fn fetched(&mut self, now_ms: i64, fetch: &Fetch) -> Result<Fetched, ErrorCode> {
        if let Some(parted) = self.parted(fetch.offset, fetch.last_epoch) {
            return Ok(parted);
        }
        let log = self.store().log();
        let (log_end, bytes_max) = (log.log_end_offset(), fetch.max_bytes.min(FETCH_BYTES_MAX));
        let failed = |_| ErrorCode::KafkaStorageError;
        let slice = log.reader().read(fetch.offset, bytes_max, Isolation::LogEnd, true).map_err(failed)?;
        let read = slice.range.map(|range| range.read()).transpose();
        let bytes = read.map_err(|_| ErrorCode::KafkaStorageError)?.map_or_else(Bytes::new, Bytes::from);
        if let Some(replica) = fetch.replica.filter(|replica| !self.voters().contains(*replica)) {
            self.followers.fetched(replica, fetch.offset, log_end, now_ms);
        }
        Ok(Fetched::Records(bytes))
    }

    // `None`: a log that ends there, in that epoch, is a beginning of this one. What this log holds of an epoch, a log of
    // the same length holds too if that is its last epoch (the log matching property).
    fn parted(&self, offset: Offset, last_epoch: LeaderEpoch) -> Option<Fetched> {
        let store = self.store();
        let (start, newest) = (store.log().log_start_offset(), store.newest_snapshot());
        // An observer without a log has it sooner from a snapshot.
        if let Some(id) = newest.filter(|_| offset < start.max(1)) {
            return Some(Fetched::Snapshot(id));
        }
        let ends_as = |id: SnapshotId| (id.end, id.epoch) == (offset, last_epoch);
        if offset == 0 || newest.is_some_and(ends_as) {
            return None;
        }
        let first = store.log().reader().smallest_epoch();
        if start > 0 && first.is_none_or(|first| last_epoch < first) {
            // The only log of such an epoch that this one goes on from is the one that ends where this one begins. One of a later
            // epoch, of which nothing is here, has parted there or before. It may have everything else, so a snapshot would
            // be none to it.
            let before = store.epoch_before(start).filter(|before| *before <= last_epoch);
            return match (before, newest) {
                (Some(before), _) if before == last_epoch && offset == start => None,
                (Some(epoch), _) => Some(Fetched::Diverging { epoch, end: start }),
                (None, Some(id)) => Some(Fetched::Snapshot(id)),
                (None, None) if offset == start => None,
                (None, None) => Some(Fetched::Diverging { epoch: last_epoch, end: start }),
            };
        }
        let (epoch, end) = store.epoch_end(last_epoch);
        (epoch != last_epoch || end < offset).then_some(Fetched::Diverging { epoch, end })
    }

    fn piece(&self, fetch: &FetchSnapshot) -> Result<Piece, ErrorCode> {
        let SnapshotId { end, epoch } = fetch.id;
        // The one that ends at offset 0 is each node's own.
        if end <= 0 || !epoch.is_some() {
            return Err(ErrorCode::SnapshotNotFound);
        }
        let position = u64::try_from(fetch.position).map_err(|_| ErrorCode::PositionOutOfRange)?;
        let size = download::size(self.store(), fetch.id).ok_or(ErrorCode::SnapshotNotFound)?;
        if position >= size {
            return Err(ErrorCode::PositionOutOfRange);
        }
        let bytes_max = fetch.max_bytes.clamp(1, FETCH_BYTES_MAX);
        let bytes = download::piece(self.store(), fetch.id, position, bytes_max);
        let bytes = bytes.ok_or(ErrorCode::SnapshotNotFound)?;
        Ok(Piece { id: fetch.id, size, position, bytes })
    }
}

/// One answer's bytes at most, besides a first batch that is larger.
const FETCH_BYTES_MAX: usize = 8 << 20;
