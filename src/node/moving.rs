//! Moves of partitions from one log directory to another (KIP-113): which are wanted, whose turn it is, and what follows
//! from how a step ended. How a log is copied is decided in `ottla_log::log`. It must never know who carries a move out, or
//! make and remove folders by itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ottla_log::log::{AppendError, LogError, NotMoved, Relocation};
use ottla_model::{TopicId, TopicPartition};
use ottla_protocol::Offset;

use crate::lane::LeftBehind;
use crate::replicas::Key;

/// What is copied between two syncs.
const SYNC_BYTES: u64 = 256 << 20;
/// How long until a move that found no room, or no log, is tried again; twice as long each time, up to a minute.
const RETRY_MS: i64 = 1_000;

/// The moves of one broker that are wanted and not over.
#[derive(Debug, Default)]
pub struct Moves {
    wanted: BTreeMap<Key, Wanted>,
}

/// A partition that is to live elsewhere.
#[derive(Debug)]
struct Wanted {
    id: TopicPartition,
    /// A log directory.
    to: PathBuf,
    /// Of the copy. It is there from the beginning: that is how the next start knows of the move.
    folder: PathBuf,
    busy: bool,
    tries: u32,
    not_before_ms: Option<i64>,
    copy: Option<Copied>,
}

/// How far a copy has come.
#[derive(Clone, Debug)]
pub struct Copied {
    pub id: TopicPartition,
    pub topic_id: TopicId,
    /// The log directory that it is in.
    pub dir: PathBuf,
    pub size: u64,
    pub log_end: Offset,
}

/// What somebody has to carry where.
#[derive(Clone, Debug)]
pub struct Errand {
    pub key: Key,
    pub to: PathBuf,
    pub folder: PathBuf,
}

/// What a wish to move a partition asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Wish {
    /// A copy that nobody wants any more, and that nobody is busy with.
    pub forget: Option<PathBuf>,
    /// Make the folder of a copy, then say so: [`Moves::begin`].
    pub begins: bool,
}

/// How a move ended.
#[derive(Debug)]
pub enum Ended {
    Moved,
    /// It is to go elsewhere, or nowhere.
    Unwanted,
    /// The broker stops; the next one goes on.
    Stopped,
    /// Its directory has no room, or its log is being opened anew.
    Later,
    /// `there`: the directory failed that the partition was to move to.
    Failed {
        why: String,
        there: bool,
    },
}

/// What becomes of a copy's folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folder {
    /// It has become the log's, or waits for the next start.
    Leave,
    /// It must be there, or a kill would find that there is no move.
    Keep,
    Forget,
}

/// Where the log of a partition is that is to move.
#[derive(Clone, Copy, Debug)]
pub enum Here<'a> {
    Gone,
    /// It could not be opened, or its owner has failed.
    Offline,
    Open {
        folder: &'a Path,
        /// `None`: the log takes nothing any more.
        size: Option<u64>,
    },
}

impl Moves {
    /// Somebody wants a partition in the log directory `to`. It lives in `from`, which may be that one.
    pub fn wish(&mut self, key: Key, from: Option<&Path>, to: &Path) -> Wish {
        if self.wanted.get(&key).is_some_and(|wanted| wanted.to == to) {
            return Wish { forget: None, begins: false };
        }
        // Whoever is busy with the other move finds that it is not wanted any more.
        let other = self.wanted.remove(&key).filter(|other| !other.busy);
        Wish { forget: other.map(|other| other.folder), begins: from != Some(to) }
    }

    /// The folder of a copy is there.
    pub fn begin(&mut self, key: Key, id: TopicPartition, to: PathBuf, folder: PathBuf) {
        let (busy, tries, not_before_ms, copy) = Default::default();
        self.wanted.insert(key, Wanted { id, to, folder, busy, tries, not_before_ms, copy });
    }

    /// The next errand, which is somebody's from now on.
    pub fn next(&mut self, now_ms: i64) -> Option<Errand> {
        let due = |wanted: &Wanted| !wanted.busy && wanted.not_before_ms.is_none_or(|at| at <= now_ms);
        let (key, wanted) = self.wanted.iter_mut().find(|(_, wanted)| due(wanted))?;
        wanted.busy = true;
        Some(Errand { key: *key, to: wanted.to.clone(), folder: wanted.folder.clone() })
    }

    /// When to ask for the next errand again. `None`: not before something changes.
    pub fn next_at_ms(&self) -> Option<i64> {
        self.wanted.values().filter(|wanted| !wanted.busy).filter_map(|wanted| wanted.not_before_ms).min()
    }

    /// Those that nobody is busy with.
    pub fn waiting(&self) -> usize {
        self.wanted.values().filter(|wanted| !wanted.busy).count()
    }

    pub fn busy(&self) -> usize {
        self.wanted.len() - self.waiting()
    }

    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// What is on its way.
    pub fn copies(&self) -> Vec<Copied> {
        self.wanted.values().filter_map(|wanted| wanted.copy.clone()).collect()
    }

    /// Shows how far a move has come. False: it is not wanted any more.
    pub fn goes_on(&mut self, errand: &Errand, carrying: &Carrying) -> bool {
        let Some(wanted) = self.of(errand) else { return false };
        let (id, topic_id, dir) = (wanted.id.clone(), errand.key.0, errand.to.clone());
        let (size, log_end) = (carrying.copy.size(), carrying.copy.log_end_offset());
        wanted.copy = Some(Copied { id, topic_id, dir, size, log_end });
        true
    }

    /// Whoever was busy with it is not any more.
    pub fn ended(&mut self, now_ms: i64, errand: &Errand, ended: &Ended) -> Folder {
        let Some(wanted) = self.of(errand) else {
            // Somebody has sent it elsewhere meanwhile.
            let lives = matches!(ended, Ended::Moved);
            return if lives { Folder::Leave } else { Folder::Forget };
        };
        (wanted.busy, wanted.copy) = (false, None);
        let folder = match ended {
            Ended::Stopped => return Folder::Leave,
            Ended::Later => {
                wanted.tries += 1;
                wanted.not_before_ms = Some(now_ms + RETRY_MS * (1 << wanted.tries.min(6)));
                return Folder::Keep;
            }
            Ended::Moved => Folder::Leave,
            Ended::Unwanted | Ended::Failed { .. } => Folder::Forget,
        };
        self.wanted.remove(&errand.key);
        folder
    }

    fn of(&mut self, errand: &Errand) -> Option<&mut Wanted> {
        self.wanted.get_mut(&errand.key).filter(|wanted| wanted.folder == errand.folder)
    }
}

impl Errand {
    /// Whether there is something to be carried. `has_room`: whether so many bytes fit into the directory that it goes to.
    pub fn may_begin(&self, here: Here<'_>, has_room: impl Fn(u64) -> bool) -> Result<(), Ended> {
        match here {
            Here::Gone => Err(Ended::Unwanted),
            Here::Offline => Err(Ended::Later),
            Here::Open { folder, .. } if folder.parent() == Some(&self.to) => Err(Ended::Unwanted),
            Here::Open { size: None, .. } => Err(failed("its log is offline".to_owned())),
            Here::Open { size: Some(size), .. } if !has_room(size) => Err(Ended::Later),
            Here::Open { .. } => Ok(()),
        }
    }
}

/// A move that is under way.
#[derive(Debug)]
pub struct Carrying {
    copy: Box<Relocation>,
    unsynced: u64,
}

/// What a step of a move came to.
#[derive(Debug)]
pub enum Step {
    /// So many bytes were copied: rest for them, then go on.
    Copied(Carrying, u64),
    /// For the log's owner: [`crate::lane::Input::Relocate`].
    CaughtUp(Box<Relocation>),
    Over(Ended),
}

/// What follows from an owner's answer.
#[derive(Debug)]
pub enum Answered {
    /// Remove the folder that is left behind, or say of its directory that it has failed.
    Moved(LeftBehind),
    GoOn(Carrying),
    Over(Ended),
}

impl Carrying {
    /// With the copy that was begun, or why it could not be.
    pub fn begin(begun: Result<Relocation, LogError>) -> Result<Carrying, Ended> {
        let copy = begun.map_err(|error| outcome_of(&error, Directory::Other))?;
        Ok(Carrying { copy: Box::new(copy), unsynced: 0 })
    }

    /// Copies at most about so many bytes, and syncs what was copied when nothing is missing.
    pub fn step(mut self, bytes_max: usize, now_ms: i64) -> Step {
        let stepped = self.copy.step(bytes_max, now_ms).and_then(|bytes| {
            self.unsynced += bytes;
            if bytes == 0 || self.unsynced > SYNC_BYTES {
                self.copy.flush()?;
                self.unsynced = 0;
            }
            Ok(bytes)
        });
        match stepped {
            Ok(0) => Step::CaughtUp(self.copy),
            Ok(bytes) => Step::Copied(self, bytes),
            Err(error) => {
                let directory = if self.copy.has_failed() { Directory::Other } else { Directory::Own };
                self.copy.abandon();
                Step::Over(match error {
                    AppendError::DiskFull { .. } => Ended::Later,
                    AppendError::Io(error) => outcome_of(&error, directory),
                })
            }
        }
    }

    /// What the owner says to a copy that has caught up.
    pub fn answered(outcome: Result<LeftBehind, NotMoved>) -> Answered {
        match outcome {
            Ok(left) => Answered::Moved(left),
            Err(NotMoved::Behind(copy)) => Answered::GoOn(Carrying { copy, unsynced: 0 }),
            // The log is opened anew, or the broker stops.
            Err(NotMoved::Failed(LogError::Offline { .. })) => Answered::Over(Ended::Later),
            Err(NotMoved::Failed(error)) => Answered::Over(outcome_of(&error, Directory::Own)),
            Err(NotMoved::There(error) | NotMoved::Torn(error)) => {
                Answered::Over(outcome_of(&error, Directory::Other))
            }
        }
    }

    /// Removes the copy.
    pub fn abandon(self) {
        self.copy.abandon();
    }
}

/// Whose failure it was.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Directory {
    /// The one that the log lives in.
    Own,
    /// The one that it was to move to.
    Other,
}

fn outcome_of(error: &LogError, directory: Directory) -> Ended {
    if error.is_full() {
        return Ended::Later;
    }
    let there = directory == Directory::Other && matches!(error, LogError::Io { .. });
    Ended::Failed { why: error.to_string(), there }
}

fn failed(why: String) -> Ended {
    Ended::Failed { why, there: false }
}

#[cfg(test)]
mod stories {
    use super::*;

    const KEY: Key = (TopicId::from_u128(1), 0);

    fn moves(to: &str, folder: &str) -> Moves {
        let mut moves = Moves::default();
        assert_eq!(moves.wish(KEY, Some(Path::new("/a")), Path::new(to)), begins());
        moves.begin(KEY, TopicPartition::new("t", 0), to.into(), folder.into());
        moves
    }

    fn begins() -> Wish {
        Wish { forget: None, begins: true }
    }

    #[test]
    fn what_becomes_of_a_copy() {
        let failed = |there| Ended::Failed { why: "a disk".into(), there };
        let rows = [
            ("moved", Ended::Moved, Folder::Leave, None),
            ("the broker stops: the next start finds the folder", Ended::Stopped, Folder::Leave, Some(0)),
            ("no room: tried again, and a kill finds the folder", Ended::Later, Folder::Keep, Some(2_000)),
            ("unwanted", Ended::Unwanted, Folder::Forget, None),
            ("failed", failed(true), Folder::Forget, None),
        ];
        for (what, ended, folder, again_ms) in rows {
            let mut moves = moves("/b", "/b/copy");
            let errand = moves.next(0).expect("it is due");
            assert!(moves.next(0).is_none(), "{what}: somebody is busy with it");
            assert_eq!(moves.ended(0, &errand, &ended), folder, "{what}");
            assert_eq!(moves.is_empty(), again_ms.is_none(), "{what}");
            let due = |now_ms| again_ms.is_some_and(|at| at <= now_ms);
            for now_ms in [0, 1_999, 2_000] {
                let errand = moves.next(now_ms);
                assert_eq!(errand.is_some(), due(now_ms), "{what} at {now_ms} ms");
                if errand.is_some() {
                    break;
                }
            }
        }
    }

    #[test]
    fn a_partition_that_is_sent_elsewhere_has_one_copy() {
        let mut idle = moves("/b", "/b/copy");
        assert_eq!(idle.wish(KEY, None, Path::new("/b")), Wish { forget: None, begins: false });
        let elsewhere = Wish { forget: Some("/b/copy".into()), begins: true };
        assert_eq!(idle.wish(KEY, Some(Path::new("/a")), Path::new("/c")), elsewhere);

        let mut busy = moves("/b", "/b/copy");
        let errand = busy.next(0).expect("it is due");
        let stays = Wish { forget: None, begins: false };
        assert_eq!(busy.wish(KEY, Some(Path::new("/a")), Path::new("/a")), stays);
        assert_eq!(busy.ended(0, &errand, &Ended::Unwanted), Folder::Forget);
        assert!(busy.is_empty());

        let mut late = moves("/b", "/b/copy");
        let errand = late.next(0).expect("it is due");
        assert_eq!(late.wish(KEY, Some(Path::new("/a")), Path::new("/c")), begins());
        late.begin(KEY, TopicPartition::new("t", 0), "/c".into(), "/c/copy".into());
        assert_eq!(late.ended(0, &errand, &Ended::Moved), Folder::Leave, "the folder is the log's now");
        assert_eq!(late.next(0).map(|errand| errand.folder), Some("/c/copy".into()));
    }

    #[test]
    fn when_a_move_may_begin() {
        let errand = Errand { key: KEY, to: "/b".into(), folder: "/b/copy".into() };
        let open = |folder, size| Here::Open { folder: Path::new(folder), size };
        let rows = [
            (Here::Gone, "Err(Unwanted)"),
            (Here::Offline, "Err(Later)"),
            (open("/b/t-0", Some(1)), "Err(Unwanted)"),
            (open("/a/t-0", Some(1)), "Ok(())"),
            (open("/a/t-0", Some(100)), "Err(Later)"),
        ];
        for (here, expected) in rows {
            assert_eq!(format!("{:?}", errand.may_begin(here, |bytes| bytes < 100)), expected, "{here:?}");
        }
        let offline = errand.may_begin(open("/a/t-0", None), |_| true);
        assert!(matches!(offline, Err(Ended::Failed { there: false, .. })));
    }
}
