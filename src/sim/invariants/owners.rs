//! In one generation of a group each partition has one owner: what SyncGroup tells the members does not overlap.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use ottla_model::TopicId;
use ottla_model::group::GroupId;

use crate::node::Key;
use crate::verdict::{Verdict, Violation};

/// Who was told to own what.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    of: BTreeMap<(GroupId, i32), BTreeMap<Key, Arc<str>>>,
}

impl Owners {
    /// A member of that generation was told its assignment. A static member is the same one under each of its ids.
    pub fn told(
        &mut self,
        group: &GroupId,
        generation: i32,
        member: &Arc<str>,
        assignment: &Bytes,
    ) -> Verdict {
        let owners = self.of.entry((group.clone(), generation)).or_default();
        for key in read_assignment(assignment) {
            let owner = owners.entry(key).or_insert_with(|| member.clone());
            if owner != member {
                let what = format!(
                    "group {group}, generation {generation}: {}-{} belongs to {owner} and to {member}",
                    key.0, key.1
                );
                return Err(Violation::new(NAME, what));
            }
        }
        Ok(())
    }

    /// The group begins again.
    pub fn forget(&mut self, group: &GroupId) {
        self.of.retain(|(known, _), _| known != group);
    }

    pub fn forget_all(&mut self) {
        self.of.clear();
    }
}

/// What a leader assigns to a member: bytes that only members read.
pub(crate) fn write_assignment(partitions: &[Key]) -> Bytes {
    let mut bytes = BytesMut::new();
    for (topic, index) in partitions {
        bytes.put_u128(topic.as_u128());
        bytes.put_i32(*index);
    }
    bytes.freeze()
}

pub(crate) fn read_assignment(bytes: &Bytes) -> Vec<Key> {
    let each = bytes.chunks_exact(PARTITION_BYTES);
    each.map(|mut bytes| (TopicId::from_u128(bytes.get_u128()), bytes.get_i32())).collect()
}

const PARTITION_BYTES: usize = 20;
const NAME: &str = "a partition has one owner in each generation";
