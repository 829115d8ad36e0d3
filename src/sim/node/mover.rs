//! The threads that move partitions between log directories, as the broker's do (KIP-113). They must never decide:
//! `node::moving` does.

use std::path::{Path, PathBuf};

use ottla_core::controller::{AssignReplicas, Assignment};
use ottla_core::question::Question;
use ottla_log::log::{LogError, NotMoved};
use ottla_node::lane::{Input, LeftBehind};
use ottla_node::moving::{Answered, Carrying, Ended, Errand, Folder, Here, Moves, Step};

use super::{Key, Node, Said, Task, Who};

/// The moves, and those who carry them out.
#[derive(Default)]
pub(super) struct Mover {
    moves: Moves,
    hands: [Hand; HANDS],
}

/// What a thread is at.
#[derive(Default)]
enum Hand {
    #[default]
    Idle,
    Carrying(Errand, Carrying),
    /// The copy is with the log's owner.
    Waiting(Errand),
    /// The log has moved.
    Done(Errand, LeftBehind),
}

impl Mover {
    pub fn rests(&self) -> bool {
        self.moves.is_empty() && self.hands.iter().all(|hand| matches!(hand, Hand::Idle))
    }
}

impl Node {
    pub(super) fn resume_moves(&mut self, now_ms: i64, said: &mut Vec<Said>) {
        for unfinished in std::mem::take(&mut self.storage.unfinished_moves) {
            let found = self.partitions.iter().find(|(_, here)| here.id == unfinished.partition);
            if let Some(key) = found.map(|(key, _)| *key) {
                let to = unfinished.folder.parent().unwrap_or(Path::new("")).to_owned();
                self.send_to(key, to, Some(unfinished.folder));
            }
        }
        (0..HANDS).for_each(|hand| self.carry(now_ms, hand, said));
    }

    pub(super) fn send_somewhere(&mut self, said: &mut Vec<Said>) {
        let Some(works) = &mut self.works else { return };
        let every_ms = works.plan.move_every_ms;
        let keys: Vec<Key> = self.partitions.keys().copied().collect();
        if !keys.is_empty() {
            let key = *works.dice.pick(&keys);
            let to = works.dice.pick(&self.storage.paths()).clone();
            self.send_to(key, to, None);
        }
        self.later(Task::Send, every_ms, said);
    }

    fn send_to(&mut self, key: Key, to: PathBuf, folder: Option<PathBuf>) {
        let unique = self.unique();
        let Some(moves) = self.works.as_mut().map(|works| &mut works.mover.moves) else { return };
        let Some(partition) = self.partitions.get(&key) else { return };
        let from = partition.log().and_then(|log| log.dir().parent());
        let wish = moves.wish(key, from, &to);
        if let Some(unwanted) = wish.forget {
            ottla_log::moves::forget_copy(&*self.storage.disk, &unwanted);
        }
        if wish.begins {
            let made = folder.map_or_else(|| self.storage.new_copy(&to, &partition.id, unique), Ok);
            // Otherwise the operator hears of an error.
            if let Ok(folder) = made {
                moves.begin(key, partition.id.clone(), to, folder);
            }
        }
    }

    pub(super) fn carry(&mut self, now_ms: i64, hand: usize, said: &mut Vec<Said>) {
        let Some(works) = &mut self.works else { return };
        match std::mem::take(&mut works.mover.hands[hand]) {
            Hand::Idle => match works.mover.moves.next(now_ms) {
                None => self.later(Task::Move(hand), IDLE_MS, said),
                Some(errand) => match self.begin_carrying(now_ms, &errand) {
                    Ok(carrying) => self.go_on(hand, Hand::Carrying(errand, carrying), said),
                    Err(ended) => self.put_down(now_ms, hand, &errand, &ended, said),
                },
            },
            Hand::Carrying(errand, carrying) => self.step_move(now_ms, hand, errand, carrying, said),
            Hand::Waiting(errand) => works.mover.hands[hand] = Hand::Waiting(errand),
            Hand::Done(errand, left) => self.moved(now_ms, hand, &errand, left, said),
        }
    }

    fn begin_carrying(&mut self, now_ms: i64, errand: &Errand) -> Result<Carrying, Ended> {
        let (key, jitter_seed) = (errand.key, self.dice.number());
        let log = self.partitions.get(&key).and_then(|partition| partition.log());
        let here = match log {
            Some(log) => Here::Open { folder: log.dir(), size: (!log.is_offline()).then(|| log.size()) },
            None if self.image.topic_by_id(key.0).is_some() => Here::Offline,
            None => Here::Gone,
        };
        let disk = &self.storage.disk;
        errand.may_begin(here, |size| disk.free_bytes(&errand.to).map_or(true, |free| free > size))?;
        let Some(partition) = self.partitions.get(&key) else { return Err(Ended::Unwanted) };
        let (from, config) = (&partition.reader, partition.config.clone());
        Carrying::begin(self.storage.begin_move(from, key.0, config, errand, now_ms, jitter_seed))
    }

    fn step_move(
        &mut self,
        now_ms: i64,
        hand: usize,
        errand: Errand,
        carrying: Carrying,
        said: &mut Vec<Said>,
    ) {
        let Some(works) = &mut self.works else { return };
        let bytes = works.plan.move_bytes;
        let wanted = works.mover.moves.goes_on(&errand, &carrying);
        let here = self.partitions.contains_key(&errand.key);
        if !wanted || !here {
            carrying.abandon();
            let ended = if wanted { Ended::Later } else { Ended::Unwanted };
            return self.put_down(now_ms, hand, &errand, &ended, said);
        }
        match carrying.step(bytes, now_ms) {
            Step::Copied(carrying, _) => self.go_on(hand, Hand::Carrying(errand, carrying), said),
            Step::CaughtUp(copy) => {
                works.mover.hands[hand] = Hand::Waiting(errand.clone());
                let unique = self.unique();
                self.submit(errand.key, Input::Relocate { token: hand, copy, unique }, said);
            }
            Step::Over(ended) => self.put_down(now_ms, hand, &errand, &ended, said),
        }
    }

    /// The owner lives where the copy was, or does not.
    pub(super) fn relocated(
        &mut self,
        now_ms: i64,
        key: Key,
        hand: usize,
        outcome: Result<LeftBehind, NotMoved>,
        said: &mut Vec<Said>,
    ) {
        if outcome.is_ok() {
            self.partitions.get_mut(&key).into_iter().for_each(|partition| partition.moved());
            said.push(Said::Rearranged(key));
        }
        let Some(errand) = self.waited(hand, key) else { return };
        match Carrying::answered(outcome) {
            Answered::Moved(left) => self.go_on(hand, Hand::Done(errand, left), said),
            Answered::GoOn(carrying) => self.go_on(hand, Hand::Carrying(errand, carrying), said),
            Answered::Over(ended) => self.put_down(now_ms, hand, &errand, &ended, said),
        }
    }

    /// Whoever waits for the owner of that partition hears that it is closed.
    pub(super) fn cannot_move(&mut self, now_ms: i64, key: Key, said: &mut Vec<Said>) {
        for hand in 0..HANDS {
            let Some(errand) = self.waited(hand, key) else { continue };
            let closed = NotMoved::Failed(LogError::Offline { dir: errand.folder.clone() });
            if let Answered::Over(ended) = Carrying::answered(Err(closed)) {
                self.put_down(now_ms, hand, &errand, &ended, said);
            }
        }
    }

    // What that thread has waited for the owner of that partition with.
    fn waited(&mut self, hand: usize, key: Key) -> Option<Errand> {
        let hand = &mut self.works.as_mut()?.mover.hands[hand];
        match std::mem::take(hand) {
            Hand::Waiting(errand) if errand.key == key => Some(errand),
            other => {
                *hand = other;
                None
            }
        }
    }

    fn moved(&mut self, now_ms: i64, hand: usize, errand: &Errand, left: LeftBehind, said: &mut Vec<Said>) {
        match left {
            Ok(folder) => self.storage.remove_later(folder, now_ms + LEFT_MS),
            Err(error) => said.push(Said::Offline(format!("cannot rename what has moved: {error}"))),
        }
        if let Some(directory) = self.storage.directory_of(&errand.folder) {
            let (topic, partition) = errand.key;
            let assignments = vec![Assignment { directory, topic, partition }];
            let command = AssignReplicas { broker: self.me, epoch: self.epoch, assignments }.command();
            self.command(now_ms, Who::Nobody, command, said);
        }
        self.put_down(now_ms, hand, errand, &Ended::Moved, said);
    }

    fn go_on(&mut self, hand: usize, at: Hand, said: &mut Vec<Said>) {
        if let Some(works) = &mut self.works {
            works.mover.hands[hand] = at;
        }
        self.later(Task::Move(hand), PAUSE_MS, said);
    }

    fn put_down(&mut self, now_ms: i64, hand: usize, errand: &Errand, ended: &Ended, said: &mut Vec<Said>) {
        let Some(works) = &mut self.works else { return };
        let folder = works.mover.moves.ended(now_ms, errand, ended);
        if let Ended::Failed { why, .. } = ended {
            said.push(Said::Offline(format!("cannot move to {}: {why}", errand.to.display())));
        }
        match folder {
            Folder::Leave => {}
            Folder::Forget => ottla_log::moves::forget_copy(&*self.storage.disk, &errand.folder),
            // Where it cannot be made, a kill would find that there is no move.
            Folder::Keep => drop(self.storage.disk.create_dir_all(&errand.folder)),
        }
        self.go_on(hand, Hand::Idle, said);
    }
}

/// One for each log directory.
const HANDS: usize = 2;
/// Between two steps of a move.
const PAUSE_MS: i64 = 15;
/// Until what is left behind is removed.
const LEFT_MS: i64 = 500;
/// How long a thread rests that has nothing to carry.
const IDLE_MS: i64 = 60;
