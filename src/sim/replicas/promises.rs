//! What must hold of the coordinator, wherever it is: no committed offset is lost. Whoever asks what is committed is told what
//! was acknowledged last, or a commit that came later. It must never influence what is judged.

use std::collections::BTreeMap;

use ottla_protocol::{LeaderEpoch, Offset};

use super::coordinating::{Asker, Question, Told};
use super::judge::Judge;
use crate::marks::mark_if;
use crate::verdict::{Verdict, Violation};

#[derive(Debug, Default)]
pub(super) struct Promises {
    /// By group and the epoch under which it was acknowledged: where in the log the last commit is.
    acknowledged: BTreeMap<(usize, LeaderEpoch), Offset>,
    /// What was asked, and where the commit is that a coordinator must have who was asked then.
    asked: BTreeMap<(usize, u64), (Question, Option<Offset>)>,
    /// Whose each commit is.
    groups: BTreeMap<u32, usize>,
}

impl Promises {
    /// The process that leads under that epoch, or did, hears a question.
    pub fn asked(&mut self, asker: Asker, question: Question, epoch: LeaderEpoch) {
        let Asker { committer, attempt, group } = asker;
        if let Question::Commit(number) = question {
            self.groups.insert(number, group);
        }
        // One that has been replaced and has not heard of it may tell what was committed before.
        let known = self.acknowledged.range((group, LeaderEpoch(i32::MIN))..=(group, epoch));
        let floor = known.map(|(_, at)| *at).max();
        let all = self.acknowledged.range((group, LeaderEpoch(i32::MIN))..=(group, LeaderEpoch(i32::MAX)));
        mark_if(all.map(|(_, at)| *at).max() > floor, "a coordinator was asked that had been replaced");
        // It may be heard twice.
        let entry = self.asked.entry((committer, attempt)).or_insert((question, floor));
        entry.1 = entry.1.min(floor);
    }

    pub fn forget(&mut self) {
        *self = Promises::default();
    }
}

impl Judge {
    /// What the process that leads under that epoch answers.
    pub fn told(&mut self, asker: Asker, told: Told, epoch: LeaderEpoch) -> Verdict {
        let Ok(found) = told else { return Ok(()) };
        let Some((question, floor)) = self.promises.asked.get(&(asker.committer, asker.attempt)).copied()
        else {
            return Ok(());
        };
        let wrong = |invariant: &'static str, what: &str| {
            let what = format!("{asker:?} {question:?}: {what}, told {found:?}, floor {floor:?}");
            Err(Violation::new(invariant, what))
        };
        match (question, found) {
            _ if self.lossy => Ok(()),
            (Question::Commit(number), _) => {
                self.acknowledged += 1;
                let Some(at) = self.places_of(number).min() else {
                    return wrong(ACKNOWLEDGED, "it is safe nowhere");
                };
                let last = self.promises.acknowledged.entry((asker.group, epoch)).or_insert(at);
                *last = at.max(*last);
                Ok(())
            }
            (Question::Fetch, None) if floor.is_some() => wrong(LOST, "an acknowledged commit is gone"),
            (Question::Fetch, None) => Ok(()),
            (Question::Fetch, Some(number)) => {
                if self.promises.groups.get(&number) != Some(&asker.group) {
                    return wrong(LOST, "nobody has committed that");
                }
                match self.places_of(number).max() {
                    None => wrong(SEEN, "it is safe nowhere"),
                    at if at < floor => wrong(LOST, "a commit came back that was replaced"),
                    _ => Ok(()),
                }
            }
        }
    }

    // Where that commit is safe. It is there twice if it was heard twice.
    fn places_of(&self, number: u32) -> impl DoubleEndedIterator<Item = Offset> + '_ {
        self.safe.iter().filter(move |(_, (record, _))| record.number == number).map(|(at, _)| *at)
    }
}

const ACKNOWLEDGED: &str = "an acknowledged commit is safe";
const LOST: &str = "no committed offset is lost";
const SEEN: &str = "what is told as committed is safe";
