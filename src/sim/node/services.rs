//! What works on the node's partitions besides clients, on threads of its own in a broker: the cleaner and the movers. Here
//! each turn of theirs is an event. They draw from dice of their own.

use std::path::PathBuf;

use ottla_model::TopicPartition;

use super::cleaner::Cleaner;
use super::mover::Mover;
use super::said::Task;
use super::{Key, Node, Said};
use crate::dice::Dice;
use crate::plan::Services;

/// All that works on partitions.
pub(super) struct Works {
    pub plan: Services,
    pub dice: Dice,
    pub cleaner: Cleaner,
    pub mover: Mover,
}

impl Node {
    /// Begins to work on partitions, and takes up the moves that the process before this one had not finished.
    pub fn begin_services(&mut self, plan: &Services, now_ms: i64, said: &mut Vec<Said>) {
        let (dice, cleaner, mover) = (self.dice.split(), Cleaner::default(), Mover::default());
        self.works = Some(Works { plan: plan.clone(), dice, cleaner, mover });
        if plan.compacts {
            self.later(Task::Clean, plan.clean_every_ms, said);
        }
        if plan.moves {
            self.resume_moves(now_ms, said);
            self.later(Task::Send, plan.move_every_ms, said);
        }
    }

    /// A turn.
    pub fn work(&mut self, now_ms: i64, task: Task, said: &mut Vec<Said>) {
        match task {
            Task::Clean => self.clean(now_ms, said),
            Task::Move(hand) => self.carry(now_ms, hand, said),
            Task::Send => self.send_somewhere(said),
        }
    }

    /// The folders of partitions in all log directories.
    pub fn live_folders(&self) -> Vec<(TopicPartition, PathBuf)> {
        self.storage.live()
    }

    /// The folders of copies.
    pub fn copies(&self) -> Vec<PathBuf> {
        self.storage.copies()
    }

    /// Nothing is moved, and nothing is to be.
    pub fn rests(&self) -> bool {
        self.works.as_ref().is_none_or(|works| works.mover.rests())
    }

    /// Its log is closed: whoever waits for its owner waits for nobody.
    pub(super) fn closed(&mut self, now_ms: i64, key: Key, said: &mut Vec<Said>) {
        let closed = "the partition does not live here";
        self.swapped(key, Err(closed.to_owned()), said);
        self.cannot_move(now_ms, key, said);
    }

    /// The next turn, after so long at most.
    pub(super) fn later(&mut self, task: Task, delay_ms_max: i64, said: &mut Vec<Said>) {
        if let Some(works) = &mut self.works {
            said.push(Said::Later { task, delay_ms: works.dice.between(0, delay_ms_max) });
        }
    }
}
