//! Who commits offsets, and asks what was committed: one question at a time, to whoever leads then. They must never know more
//! than a client is told.

use ottla_protocol::ErrorCode;

use super::coordinating::{Asker, Question, Told};
use super::process::{Message, To};
use super::{COMMITTERS, Global, Replicas};
use crate::bus::Place;
use crate::marks::mark_if;

/// One client.
#[derive(Debug, Default)]
pub(super) struct Committer {
    group: usize,
    attempt: u64,
    /// What it asks now.
    asked: Option<Question>,
    /// Since nothing goes wrong any more, one of its commits was taken, and it was told what is committed.
    served: (bool, bool),
}

impl Committer {
    pub fn of(group: usize) -> Committer {
        Committer { group, ..Committer::default() }
    }

    pub fn is_done(&self) -> bool {
        self.served == (true, true)
    }
}

impl Replicas {
    pub(super) fn ask(&mut self, committer: usize, attempt: u64) {
        let this = &mut self.committers[committer];
        if this.attempt != attempt || (self.cluster.finishing && this.is_done()) {
            return;
        }
        this.attempt += 1;
        let commits = match self.cluster.finishing {
            true => !this.served.0,
            false => self.cluster.dice.percent(60),
        };
        self.commits += u32::from(commits);
        let question = if commits { Question::Commit(self.commits) } else { Question::Fetch };
        this.asked = Some(question);
        let asker = Asker { committer, attempt: this.attempt, group: this.group };
        let to = To::Broker(self.believed_leader());
        self.send(COMMITTERS + committer as Place, to, Message::Question { asker, question });
        self.cluster.global(PATIENCE_MS, Global::Ask { committer, attempt: asker.attempt });
    }

    pub(super) fn told(&mut self, asker: Asker, told: Told) {
        let Asker { committer, attempt, .. } = asker;
        self.cluster.note(|| format!("committer {committer} hears of try {attempt}: {told:?}"));
        let this = &mut self.committers[committer];
        if this.attempt != attempt {
            return;
        }
        mark_if(told == Err(ErrorCode::CoordinatorLoadInProgress), "a shard was asked while it was loaded");
        mark_if(told == Err(ErrorCode::NotCoordinator), "a shard was not served any more");
        if told.is_ok() && self.cluster.finishing {
            match this.asked {
                Some(Question::Commit(_)) => this.served.0 = true,
                _ => this.served.1 = true,
            }
        }
        let pause_ms = self.cluster.dice.between(0, self.plan.produce_ms_max);
        self.cluster.global(pause_ms, Global::Ask { committer, attempt });
    }
}

const PATIENCE_MS: i64 = 3_000;
