//! What must hold of the coordinator, wherever it is. No committed offset is lost: whoever asks what is committed is told what
//! was acknowledged last, or a commit that came later. Generations of a group never go back, and each has one owner of a partition.
//! It must never influence what is judged.

use std::collections::BTreeMap;

use ottla_core::group::{Command, Reply};
use ottla_model::group::GroupId;
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset};

use super::committers::error_of;
use super::coordinating::Asker;
use super::judge::Judge;
use crate::invariants::committed::{CommittedPartition, fetched_places, number_of, places};
use crate::invariants::generations::Generations;
use crate::invariants::owners::Owners;
use crate::marks::mark_if;
use crate::verdict::{Verdict, Violation};

#[derive(Debug, Default)]
pub(super) struct Promises {
    /// By the epoch under which it was acknowledged: where in the log the last commit is.
    acknowledged: BTreeMap<CommittedPartition, BTreeMap<LeaderEpoch, Offset>>,
    /// The same for the generations in which members were told what they own.
    generations: BTreeMap<GroupId, BTreeMap<LeaderEpoch, i32>>,
    owners: Owners,
    asked: BTreeMap<u64, Asked>,
    /// What each commit is about.
    commits: BTreeMap<u32, Vec<CommittedPartition>>,
}

/// A question, and what a coordinator must know who was asked then.
#[derive(Clone, Debug)]
struct Asked {
    command: Command,
    floors: BTreeMap<CommittedPartition, Offset>,
    generation: Option<i32>,
}

impl Promises {
    /// The process that leads under that epoch, or did, hears a question.
    pub fn asked(&mut self, asker: Asker, command: &Command, epoch: LeaderEpoch) {
        let mut floors = BTreeMap::new();
        if let Command::CommitOffsets(commit) = command {
            for (place, offset) in places(commit) {
                let number = number_of(offset).unwrap_or_default();
                self.commits.entry(number).or_default().push(place);
            }
        }
        if let Command::FetchOffsets(fetch) = command {
            for place in fetched_places(fetch) {
                let known = self.acknowledged.get(&place);
                let floor = known.and_then(|known| last_known(known, epoch));
                let all = known.and_then(|known| last_known(known, LeaderEpoch(i32::MAX)));
                mark_if(all > floor, "a coordinator was asked that had been replaced");
                floors.extend(floor.map(|at| (place, at)));
            }
        }
        let generations = command.group().and_then(|group| self.generations.get(group));
        let generation = generations.and_then(|known| last_known(known, epoch));
        // It may be heard twice, and answered by whoever heard it first: who has been replaced, and knows less.
        let asked = Asked { command: command.clone(), floors, generation };
        let known = self.asked.entry(asker.request).or_insert_with(|| asked.clone());
        known.generation = known.generation.min(asked.generation);
        known.floors.retain(|place, _| asked.floors.contains_key(place));
        for (place, floor) in &mut known.floors {
            *floor = asked.floors[place].min(*floor);
        }
    }

    pub fn forget(&mut self) {
        *self = Promises::default();
    }
}

// One that has been replaced and has not heard of it knows what was before.
fn last_known<T: Copy + Ord>(known: &BTreeMap<LeaderEpoch, T>, epoch: LeaderEpoch) -> Option<T> {
    known.range(..=epoch).map(|(_, what)| *what).max()
}

impl Judge {
    /// What the process that leads under that epoch answers.
    pub fn told(&mut self, asker: Asker, reply: &Reply, epoch: LeaderEpoch) -> Verdict {
        let Some(asked) = self.promises.asked.get(&asker.request).filter(|_| !self.lossy).cloned() else {
            return Ok(());
        };
        let floor = asked.generation;
        match (&asked.command, reply) {
            (Command::CommitOffsets(commit), Reply::OffsetsCommitted(_))
                if error_of(reply) == ErrorCode::None =>
            {
                self.acknowledged += 1;
                Generations::accepted(&commit.group, commit.generation, floor, "a commit")?;
                places(commit).try_for_each(|(place, offset)| self.committed(place, offset, epoch))
            }
            (Command::FetchOffsets(_), Reply::OffsetsFetched(fetched))
                if fetched.error == ErrorCode::None =>
            {
                let found = fetched.topics.iter().flat_map(|t| t.partitions.iter().map(move |p| (t, p)));
                let found: BTreeMap<i32, Offset> = found.map(|(_, p)| (p.partition, p.offset)).collect();
                let Command::FetchOffsets(fetch) = &asked.command else { return Ok(()) };
                fetched_places(fetch).try_for_each(|place| {
                    let offset = found.get(&place.partition).copied().unwrap_or(-1);
                    self.found(&place, offset, asked.floors.get(&place).copied())
                })
            }
            (Command::Heartbeat(heartbeat), Reply::Heartbeat(ErrorCode::None)) => {
                Generations::accepted(&heartbeat.group, heartbeat.generation, floor, "a heartbeat")
            }
            (Command::Join(join), Reply::Joined(joined)) if joined.error == ErrorCode::None => {
                goes_on(&join.group, joined.generation, floor)
            }
            (Command::Sync(sync), Reply::Synced(synced)) if synced.error == ErrorCode::None => {
                goes_on(&sync.group, sync.generation, floor)?;
                let generations = self.promises.generations.entry(sync.group.clone()).or_default();
                let known = generations.entry(epoch).or_insert(sync.generation);
                *known = sync.generation.max(*known);
                let member = sync.instance_id.as_ref().unwrap_or(&sync.member_id);
                self.promises.owners.told(&sync.group, sync.generation, member, &synced.assignment)
            }
            _ => Ok(()),
        }
    }

    fn committed(&mut self, place: CommittedPartition, offset: Offset, epoch: LeaderEpoch) -> Verdict {
        let Some(at) = self.places_of(offset).min() else {
            return Err(Violation::new(ACKNOWLEDGED, format!("{offset} of {place:?}")));
        };
        let last = self.promises.acknowledged.entry(place).or_default().entry(epoch).or_insert(at);
        *last = at.max(*last);
        Ok(())
    }

    fn found(&self, place: &CommittedPartition, offset: Offset, floor: Option<Offset>) -> Verdict {
        let wrong = |invariant: &'static str, what: &str| {
            let what = format!("{place:?}: {what}, told {offset}, known at {floor:?}");
            Err(Violation::new(invariant, what))
        };
        if offset < 0 {
            return floor.map_or(Ok(()), |_| wrong(LOST, "an acknowledged commit is gone"));
        }
        let about = number_of(offset).and_then(|number| self.promises.commits.get(&number));
        if !about.is_some_and(|about| about.contains(place)) {
            return wrong(LOST, "nobody has committed that");
        }
        match self.places_of(offset).max() {
            None => wrong(SEEN, "it is safe nowhere"),
            at if at < floor => wrong(LOST, "a commit came back that was replaced"),
            _ => Ok(()),
        }
    }

    // Where that commit is safe. It is there twice if it was heard twice, and once for each partition that it is about.
    fn places_of(&self, offset: Offset) -> impl Iterator<Item = Offset> + '_ {
        let number = number_of(offset);
        self.safe.iter().filter(move |(_, (record, _))| Some(record.number) == number).map(|(at, _)| *at)
    }
}

fn goes_on(group: &GroupId, generation: i32, floor: Option<i32>) -> Verdict {
    match floor {
        Some(known) if generation < known => {
            let what = format!("group {group} goes from generation {known} to {generation}");
            Err(Violation::new(FORWARD, what))
        }
        _ => Ok(()),
    }
}

const ACKNOWLEDGED: &str = "an acknowledged commit is safe";
const LOST: &str = "no committed offset is lost";
const SEEN: &str = "what is told as committed is safe";
const FORWARD: &str = "generations of a group never go back";
