//! Leader epochs never go back: not in a log, not in the image, and whoever leads after a restart begins a new one (KIP-101, KIP-320).

use std::collections::BTreeMap;

use ottla_model::image::Image;
use ottla_model::{BrokerEpoch, NodeId};
use ottla_protocol::LeaderEpoch;

use super::copy::LogCopy;
use crate::node::Key;
use crate::verdict::{Verdict, Violation};

/// The epochs that were in force at one node.
#[derive(Debug, Default)]
pub(crate) struct Epochs {
    leaders: BTreeMap<Key, LeaderEpoch>,
    broker: Option<BrokerEpoch>,
    before_restart: Option<(BTreeMap<Key, LeaderEpoch>, Option<BrokerEpoch>)>,
}

impl Epochs {
    pub fn published(&mut self, node: NodeId, image: &Image) -> Verdict {
        for topic in image.topics() {
            for (index, partition) in &topic.partitions {
                let known = self.leaders.insert((topic.id, *index), partition.leader_epoch);
                if known.is_some_and(|known| partition.leader_epoch < known) {
                    let what =
                        format!("{}-{index} goes from {known:?} to {}", topic.name, partition.leader_epoch);
                    return Err(Violation::new(NAME, what));
                }
            }
        }
        self.broker = image.broker(node).map(|broker| broker.epoch).or(self.broker);
        Ok(())
    }

    pub fn ended(&mut self) {
        if self.before_restart.is_none() {
            self.before_restart = Some((self.leaders.clone(), self.broker));
        }
    }

    /// The node serves again.
    pub fn restarted(&mut self, node: NodeId, image: &Image) -> Verdict {
        let Some((leaders, broker)) = self.before_restart.take() else { return Ok(()) };
        if self.broker <= broker {
            let what = format!("broker {node} came back under {:?} after {broker:?}", self.broker);
            return Err(Violation::new(NAME, what));
        }
        for topic in image.topics() {
            for (index, partition) in &topic.partitions {
                let before = leaders.get(&(topic.id, *index));
                let leads = partition.leader == Some(node);
                if leads && before.is_some_and(|before| partition.leader_epoch <= *before) {
                    let what = format!("{}-{index} is led under {before:?} after a restart", topic.name);
                    return Err(Violation::new(NAME, what));
                }
            }
        }
        Ok(())
    }
}

/// The epochs of a log's batches.
pub(crate) fn check(copy: &LogCopy) -> Verdict {
    let mut last = (0, -1);
    for batch in &copy.batches {
        let (offset, epoch) = (batch.header.base_offset, batch.header.partition_leader_epoch);
        if epoch < last.1 {
            let what = format!("epoch {epoch} at offset {offset}, behind epoch {} at {}", last.1, last.0);
            return Err(Violation::new(NAME, what));
        }
        last = (offset, epoch);
    }
    Ok(())
}

const NAME: &str = "leader epochs never go back";
