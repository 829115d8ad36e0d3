//! Offsets and output commit together: a loop that consumes, transforms and produces has put out each of its inputs once, in
//! order and without a gap, up to the offset that is committed.

use std::collections::BTreeMap;

use ottla_model::group::GroupId;
use ottla_node::coordinator::groups::offsets_topic;
use ottla_node::coordinator::shard_of;
use ottla_protocol::Offset;
use ottla_protocol::batch::control::TransactionResult;

use super::attempt::{Attempt, AttemptId, Inputs, LoopId};
use super::committed::CommittedPartition;
use super::fates::{Fate, Fates};
use super::groups::committed_in;
use crate::marks::mark_if;
use crate::node::Node;
use crate::verdict::{Verdict, Violation};

type Attempts = BTreeMap<AttemptId, Attempt>;

/// Loops, and up to where each of them was told that its offset is committed.
#[derive(Debug, Default)]
pub(crate) struct Loops {
    floors: BTreeMap<LoopId, Offset>,
}

/// The groups of loops have names of their own: what is committed outside transactions is not asked of them.
pub(crate) fn is_of_loop(group: &GroupId) -> bool {
    group.starts_with(LOOP)
}

/// The name of a loop's group.
pub(crate) fn group_of_loop(number: usize) -> GroupId {
    format!("{LOOP}{number}").into()
}

impl Loops {
    pub fn committed(&mut self, inputs: &Inputs) {
        let floor = self.floors.entry(inputs.of.clone()).or_default();
        *floor = (*floor).max(inputs.to);
    }

    /// What a fetch that is sent now must tell of at least.
    pub fn floor(&self, of: &LoopId) -> Offset {
        self.floors.get(of).copied().unwrap_or_default()
    }

    /// A process of the loop was told where it goes on: -1 is at the beginning.
    pub fn told(&self, of: &LoopId, floor: Offset, offset: Offset, attempts: &Attempts) -> Verdict {
        let wrong = |what: &str| {
            Err(Violation::new(NAME, format!("{}: told {offset}, {floor} is committed: {what}", of.group)))
        };
        let position = offset.max(0);
        if position < floor {
            return wrong("that was committed already");
        }
        let ends_there = |attempt: &&Attempt| {
            let inputs = attempt.inputs.as_ref();
            inputs.is_some_and(|inputs| inputs.of == *of && inputs.to == position)
        };
        let may_be =
            |attempt: &Attempt| attempt.asked_to_commit && attempt.answered != Some(TransactionResult::Abort);
        if position > 0 && !attempts.values().filter(ends_there).any(may_be) {
            return wrong("nobody has asked to commit that");
        }
        Ok(())
    }

    /// When nothing is open any more.
    pub fn finish(&self, node: &Node, attempts: &Attempts, fates: &Fates) -> Verdict {
        let mut next: BTreeMap<&LoopId, Offset> = BTreeMap::new();
        for attempt in attempts.values() {
            let Some(inputs) = &attempt.inputs else { continue };
            let next = next.entry(&inputs.of).or_default();
            let is_committed = |record| fates.of.get(record) == Some(&Fate::Committed);
            if !attempt.records.iter().any(is_committed) {
                continue;
            }
            if inputs.from != *next {
                let Inputs { of, from, to } = inputs;
                let what = format!("{}: the output of {from} to {to} comes where {next} is next", of.group);
                return Err(Violation::new(NAME, what));
            }
            *next = inputs.to;
        }
        mark_if(next.values().any(|next| *next > 0), "a loop has put out its input");
        next.into_iter().try_for_each(|(of, next)| committed_is(node, of, next))
    }
}

fn committed_is(node: &Node, of: &LoopId, next: Offset) -> Verdict {
    let Some(topic) = offsets_topic(&node.image) else { return Ok(()) };
    let shard = shard_of(&of.group, topic.partitions.len());
    let Some(partition) = node.partitions.get(&(topic.id, shard)) else { return Ok(()) };
    let (name, id) = of.input.clone();
    let place = CommittedPartition { group: of.group.clone(), topic: id, name, partition: 0 };
    let committed = committed_in(&partition.reader, &[&place])?.first().map_or(0, |offset| (*offset).max(0));
    if committed != next {
        let what = format!("{}: {committed} is committed, and the output goes up to {next}", of.group);
        return Err(Violation::new(NAME, what));
    }
    Ok(())
}

const LOOP: &str = "loop";
const NAME: &str = "offsets and output commit together";
