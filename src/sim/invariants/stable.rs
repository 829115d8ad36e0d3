//! The last stable offset never goes back while a process lives, and never sticks: once nothing goes wrong any more, it comes
//! to the end of every log.

use ottla_log::log::Offsets;
use ottla_model::TopicPartition;
use ottla_protocol::Offset;

use crate::node::Node;
use crate::verdict::{Verdict, Violation};

pub(crate) fn watch(before: &mut Offset, id: &TopicPartition, now: Offsets) -> Verdict {
    if now.last_stable < *before {
        return Err(Violation::new(NAME, format!("{id}: it was {before}, and now {now:?}")));
    }
    *before = now.last_stable;
    Ok(())
}

/// Nothing is open in any partition of this node.
pub(crate) fn is_stable(node: &Node) -> bool {
    open(node).next().is_none()
}

/// It took too long.
pub(crate) fn stuck(nodes: &[&Node]) -> Violation {
    let all = nodes.iter().flat_map(|node| open(node));
    let each: Vec<String> = all.map(|(id, offsets)| format!("{id}: {offsets:?}")).collect();
    Violation::new(NAME, format!("it does not come to the end: {}", each.join(", ")))
}

fn open(node: &Node) -> impl Iterator<Item = (&TopicPartition, Offsets)> {
    let all = node.partitions.values().map(|partition| (&partition.id, partition.reader.offsets()));
    all.filter(|(_, offsets)| offsets.last_stable < offsets.log_end)
}

const NAME: &str = "the last stable offset never sticks";
