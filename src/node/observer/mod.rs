//! An observer of the metadata log: a node that is no voter and follows the log by Kafka's own Fetch and FetchSnapshot
//! (KIP-595, KIP-630), from our controllers or from Kafka's. What is agreed on becomes the image that the node shows.
//! It must never vote, nor know how a question travels.

mod asking;
mod beginning;
mod outcome;
mod replica;

use std::sync::Arc;

use bytes::Bytes;
use ottla_log::Disk;
use ottla_log::log::Log;
use ottla_model::image::Image;
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset};

use crate::applying::{Snapshots, Unsnapshotted};
use crate::quorum::snapshot::Partial;
use crate::quorum::{
    Fetch, FetchAnswer, FetchSnapshot, Fetched, Leadership, Membership, Piece, PieceAnswer, ReplicaKey,
    Snapshot, SnapshotId,
};
pub(crate) use asking::Asking;
use outcome::Stop;
use replica::Replica;

pub use crate::quorum::{Answer, Question, WAIT_MS};
pub use asking::{Asked, Leader, To};
pub use outcome::{ObserverError, Refused};

/// What can happen to an observer.
#[derive(Debug)]
pub enum Input {
    /// Time has passed: at [`Observer::wakes_ms`] at the latest.
    Tick,
    Answered(Box<Answered>),
    /// The snapshot that was asked for is on the disk, or could not be written.
    Snapshotted(Option<SnapshotId>),
}

/// A question, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    pub asked: Asked,
    /// `None`: there will be no answer.
    pub answer: Option<Answer>,
}

/// What an observer wants done.
#[derive(Debug)]
pub enum Output {
    Ask(Asked),
    /// The image has changed. The first one has everything that was agreed on when the leader was first heard: an older one
    /// would bring back what is long gone.
    Published(Arc<Image>),
    /// Write this snapshot when there is time, then bring its id back as [`Input::Snapshotted`].
    Snapshot(Snapshot),
    /// Somebody else leads the quorum, or nobody is known to.
    Led(Option<Leader>),
    /// What a controller has said was not taken.
    Refused(Refused),
}

/// What an observer is told of its cluster when it starts.
#[derive(Clone, Debug)]
pub struct Settings {
    pub cluster_id: String,
    pub me: ReplicaKey,
    pub snapshots: Snapshots,
    /// `controller.quorum.fetch.max.bytes`
    pub fetch_bytes: usize,
    /// `controller.quorum.fetch.snapshot.max.bytes`
    pub snapshot_bytes: usize,
    /// `controller.quorum.retry.backoff.ms`; it doubles with each failure in a row.
    pub retry_backoff_ms: i64,
    /// `controller.quorum.request.timeout.ms`
    pub request_timeout_ms: i64,
}

pub struct Observer {
    settings: Settings,
    replica: Replica,
    /// The newest epoch that this node has heard of.
    epoch: LeaderEpoch,
    asking: Asking,
    download: Option<Partial>,
    /// The largest high watermark that a leader has told this process.
    told: Option<Offset>,
    /// The offset of the image that was shown last.
    shown: Option<Offset>,
    unsnapshotted: Unsnapshotted,
}

/// What follows from an answer.
enum Next {
    AskAgain,
    AfterAPause,
    AskSomebodyElse,
}

impl Observer {
    /// Begins with what is in a metadata log that has been opened.
    pub fn open(
        disk: Arc<dyn Disk>,
        log: Log,
        settings: Settings,
        now_ms: i64,
    ) -> Result<Observer, ObserverError> {
        let replica = Replica::open(disk, log, now_ms)?;
        let asking = Asking::new(settings.retry_backoff_ms, settings.request_timeout_ms);
        let (download, told, shown, unsnapshotted) = Default::default();
        let epoch = replica.heard_epoch();
        Ok(Observer { settings, replica, epoch, asking, download, told, shown, unsnapshotted })
    }

    /// What is agreed on, as far as it is here. It may not have been shown yet.
    pub fn image(&self) -> &Arc<Image> {
        self.replica.image()
    }

    pub fn log(&self) -> &Log {
        self.replica.log()
    }

    /// Who votes, and where they listen, as of the image.
    pub fn membership(&self) -> &Membership {
        self.replica.membership()
    }

    pub fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    pub fn leader(&self) -> Option<&Leader> {
        self.asking.leader.as_ref()
    }

    /// When there is something to do even if no answer comes.
    pub fn wakes_ms(&self) -> i64 {
        self.asking.wakes_ms()
    }

    /// One turn. An error is final.
    pub fn step(&mut self, now_ms: i64, input: Input, out: &mut Vec<Output>) -> Result<(), ObserverError> {
        match input {
            Input::Tick => {
                if let Some(asked) = self.asking.given_up(now_ms) {
                    self.asking.ask_somebody_else(now_ms, &asked.to);
                }
            }
            Input::Answered(answered) => {
                let Answered { asked, answer } = *answered;
                // Late ones and doubled ones are left aside.
                if let Some(since_ms) = self.asking.answered(&asked) {
                    self.hear(now_ms, &asked, answer, since_ms, out)?;
                }
            }
            Input::Snapshotted(outcome) => {
                self.unsnapshotted.written();
                if let Some(id) = outcome {
                    self.replica.snapshotted(id, &self.settings.snapshots.keep, now_ms)?;
                }
            }
        }
        if self.unsnapshotted.begins(self.replica.image(), &self.settings.snapshots, now_ms) {
            out.push(Output::Snapshot(self.replica.snapshot()));
        }
        self.ask(now_ms, out);
        Ok(())
    }

    fn ask(&mut self, now_ms: i64, out: &mut Vec<Output>) {
        let Some(to) = self.asking.next(now_ms) else { return };
        let cluster_id = Some(self.settings.cluster_id.clone());
        let (replica, epoch) = (Some(self.settings.me), self.epoch);
        let question = match &self.download {
            Some(download) if matches!(to, To::Leader(_)) => Question::FetchSnapshot(FetchSnapshot {
                cluster_id,
                replica,
                epoch,
                id: download.id(),
                position: download.written() as i64,
                max_bytes: self.settings.snapshot_bytes,
            }),
            _ => Question::Fetch(Fetch {
                cluster_id,
                replica,
                epoch,
                offset: self.log().log_end_offset(),
                last_epoch: self.replica.last_epoch(),
                high_watermark: Some(self.told.map_or(-1, |_| self.log().high_watermark())),
                max_bytes: self.settings.fetch_bytes,
            }),
        };
        let asked = Asked { to, question };
        self.asking.ask(now_ms, asked.clone());
        out.push(Output::Ask(asked));
    }

    fn hear(
        &mut self,
        now_ms: i64,
        asked: &Asked,
        answer: Option<Answer>,
        since_ms: i64,
        out: &mut Vec<Output>,
    ) -> Result<(), ObserverError> {
        let taken = match (answer, &asked.question) {
            (None, _) => Ok(Next::AskSomebodyElse),
            (Some(Answer::Fetched(answer)), Question::Fetch(_)) => self.take(now_ms, asked, answer, out),
            (Some(Answer::Piece(answer)), Question::FetchSnapshot(_)) => {
                self.take_piece(now_ms, asked, answer, out)
            }
            (Some(_), _) => Err(Refused::Unfit("an answer to another question".into()).into()),
        };
        match taken {
            Ok(Next::AskAgain) => self.asking.went_well(now_ms),
            // A leader that has nothing new waits, so that this does not turn in circles.
            Ok(Next::AfterAPause) if now_ms - since_ms >= WAIT_MS => self.asking.went_well(now_ms),
            Ok(Next::AfterAPause) => self.asking.pause(now_ms),
            Ok(Next::AskSomebodyElse) => self.asking.ask_somebody_else(now_ms, &asked.to),
            Err(Stop::Refused(refused)) => {
                out.push(Output::Refused(refused));
                self.asking.ask_somebody_else(now_ms, &asked.to);
            }
            Err(Stop::Broken(error)) => return Err(error),
        }
        Ok(())
    }

    fn take(
        &mut self,
        now_ms: i64,
        asked: &Asked,
        answer: FetchAnswer,
        out: &mut Vec<Output>,
    ) -> Result<Next, Stop> {
        let FetchAnswer { leadership, fetched, high_watermark, .. } = answer;
        if let Some(next) = self.hear_of_leader(asked, &leadership, fetched.as_ref().err(), out)? {
            return Ok(next);
        }
        self.told = self.told.max(high_watermark);
        if !matches!(fetched, Ok(Fetched::Snapshot(_))) {
            // The log goes on without it.
            self.abandon_download();
        }
        match fetched {
            Ok(Fetched::Records(records)) => self.grow(now_ms, records, out),
            // Where the logs may still part, nothing of this one is known to be agreed on, whatever the leader says.
            Ok(Fetched::Diverging { epoch, end }) => {
                self.replica.cut(epoch, end, now_ms)?;
                Ok(Next::AskAgain)
            }
            Ok(Fetched::Snapshot(id)) => {
                self.begin_download(id)?;
                Ok(Next::AskAgain)
            }
            Err(code) => Err(Refused::Said(code).into()),
        }
    }

    // The leader goes on from this log's end, so that all of this log is a beginning of the leader's.
    fn grow(&mut self, now_ms: i64, records: Bytes, out: &mut Vec<Output>) -> Result<Next, Stop> {
        let came = self.replica.append(records, self.epoch, now_ms)?;
        let applied = self.replica.agree(self.told.unwrap_or(-1))?;
        if applied > 0 {
            self.unsnapshotted.applied(applied, now_ms);
        }
        self.show(out);
        Ok(if came || applied > 0 { Next::AskAgain } else { Next::AfterAPause })
    }

    // Kafka's rules. `None`: whoever has answered leads in this observer's epoch, and what it says counts.
    fn hear_of_leader(
        &mut self,
        asked: &Asked,
        said: &Leadership,
        error: Option<&ErrorCode>,
        out: &mut Vec<Output>,
    ) -> Result<Option<Next>, Stop> {
        if let Some(code) = error.filter(|_| !said.epoch.is_some()) {
            return Err(Refused::Said(*code).into());
        }
        if said.epoch < self.epoch || error == Some(&ErrorCode::UnknownLeaderEpoch) {
            return Ok(Some(Next::AskSomebodyElse));
        }
        let leader = said.leader.map(|id| Leader { id, endpoint: said.endpoint.clone() });
        if said.epoch > self.epoch {
            let known = leader.is_some();
            self.follow(said.epoch, leader, out)?;
            return Ok(Some(if known { Next::AskAgain } else { Next::AskSomebodyElse }));
        }
        match (&self.asking.leader, leader) {
            (Some(known), Some(said)) if known.id != said.id => {
                let (epoch, known, other) = (self.epoch, known.id, said.id);
                return Err(Refused::SecondLeader { epoch, known, other }.into());
            }
            (None, Some(leader)) => self.follow(self.epoch, Some(leader), out)?,
            (Some(known), Some(said)) if said.endpoint.is_some() && *known != said => {
                self.asking.trust(Some(said.clone()));
                out.push(Output::Led(Some(said)));
            }
            (Some(known), Some(_)) if matches!(asked.to, To::Anybody(_)) => {
                let known = known.clone();
                self.asking.trust(Some(known));
            }
            // In this epoch nobody leads any more, or nobody leads yet.
            (_, None) => return Ok(Some(Next::AskSomebodyElse)),
            (Some(_), Some(_)) => {}
        }
        match (error, &asked.to) {
            (Some(ErrorCode::FencedLeaderEpoch | ErrorCode::NotLeaderOrFollower), To::Anybody(_)) => {
                Ok(Some(Next::AskAgain))
            }
            (Some(ErrorCode::FencedLeaderEpoch | ErrorCode::NotLeaderOrFollower), To::Leader(_)) => {
                Ok(Some(Next::AskSomebodyElse))
            }
            _ => Ok(None),
        }
    }

    fn follow(
        &mut self,
        epoch: LeaderEpoch,
        leader: Option<Leader>,
        out: &mut Vec<Output>,
    ) -> Result<(), Stop> {
        self.replica.hear(epoch, leader.as_ref().map(|leader| leader.id))?;
        self.epoch = epoch;
        self.asking.trust(leader.clone());
        self.abandon_download();
        out.push(Output::Led(leader));
        Ok(())
    }

    fn begin_download(&mut self, id: SnapshotId) -> Result<(), Stop> {
        if id.end <= self.log().high_watermark() || !(LeaderEpoch(0)..=self.epoch).contains(&id.epoch) {
            let what = format!("the snapshot {} takes the place of what is agreed on", id.file_name());
            return Err(Refused::Unfit(what).into());
        }
        if self.download.as_ref().is_some_and(|download| download.id() == id) {
            return Ok(());
        }
        self.abandon_download();
        let begun = Partial::begin(&**self.replica.disk(), self.log().dir(), id);
        self.download = Some(begun.map_err(|error| Refused::Disk(error.to_string()))?);
        Ok(())
    }

    fn abandon_download(&mut self) {
        if let Some(download) = self.download.take() {
            download.abandon(&**self.replica.disk());
        }
    }

    fn take_piece(
        &mut self,
        now_ms: i64,
        asked: &Asked,
        answer: PieceAnswer,
        out: &mut Vec<Output>,
    ) -> Result<Next, Stop> {
        let PieceAnswer { leadership, piece } = answer;
        if let Some(next) = self.hear_of_leader(asked, &leadership, piece.as_ref().err(), out)? {
            return Ok(next);
        }
        match piece {
            Ok(piece) => self.keep(now_ms, piece, out),
            // The leader has a newer one by now, and will say so.
            Err(ErrorCode::SnapshotNotFound | ErrorCode::PositionOutOfRange) => {
                self.abandon_download();
                Ok(Next::AfterAPause)
            }
            Err(code) => Err(Refused::Said(code).into()),
        }
    }

    fn keep(&mut self, now_ms: i64, piece: Piece, out: &mut Vec<Output>) -> Result<Next, Stop> {
        let Some(mut download) = self.download.take() else { return Ok(Next::AskAgain) };
        let Piece { id, size, position, bytes } = piece;
        let disk = self.replica.disk().clone();
        let end = position.saturating_add(bytes.len() as u64);
        let fits = id == download.id() && position == download.written() && !bytes.is_empty() && end <= size;
        if !fits || size > SNAPSHOT_BYTES_MAX {
            download.abandon(&*disk);
            return Err(Refused::Unfit(format!("a piece of the snapshot {}", id.file_name())).into());
        }
        if let Err(error) = download.append(&bytes) {
            download.abandon(&*disk);
            return Err(Refused::Disk(error.to_string()).into());
        }
        if end < size {
            self.download = Some(download);
            return Ok(Next::AskAgain);
        }
        let loaded = download.finish(&*disk, |_| true).map_err(|error| Refused::Disk(error.to_string()))?;
        self.replica.install(loaded, now_ms)?;
        self.unsnapshotted.replaced();
        // A snapshot may be old. How much is agreed on is still to be heard of the leader, before anything is shown.
        self.told = self.told.map(|told| told.max(id.end));
        self.show(out);
        Ok(Next::AskAgain)
    }

    // Half of a metadata transaction is nothing to show (KIP-868).
    fn show(&mut self, out: &mut Vec<Output>) {
        let image = self.replica.image();
        let Some(told) = self.told else { return };
        let caught_up = self.shown.is_some() || image.offset + 1 >= told;
        if caught_up && self.shown != Some(image.offset) && !image.in_transaction() {
            self.shown = Some(image.offset);
            out.push(Output::Published(image.clone()));
        }
    }
}

/// The largest snapshot that is taken. It is read into memory once it is there.
const SNAPSHOT_BYTES_MAX: u64 = 1 << 30;

#[cfg(test)]
mod stories;
