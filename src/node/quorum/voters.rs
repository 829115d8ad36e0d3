//! Who votes: a set of replicas (KIP-853), and how the log changed it. One set is in force at a time; the next one is
//! written only when the one before is agreed on.
//! It must never know how votes are counted: that is raft-rs's business.

use std::collections::BTreeMap;
use std::fmt;

use ottla_log::metadata::Membership;
use ottla_model::config::HostPort;
use ottla_model::{DirectoryId, NodeId};
use ottla_protocol::batch::control::{KRaftVoters, VoterNode};

/// A replica of the metadata log: the node, and the directory in which its copy is. A node whose disk was wiped comes back
/// with another directory, and is another replica: it has forgotten what it promised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReplicaKey {
    pub id: NodeId,
    /// Nil where it is not known: `controller.quorum.voters` lists voters by their ids alone.
    pub directory_id: DirectoryId,
}

impl ReplicaKey {
    /// A replica of which only the node is known.
    pub fn of(id: NodeId) -> ReplicaKey {
        ReplicaKey { id, directory_id: DirectoryId::nil() }
    }

    /// As the log names a voter.
    pub fn of_voter(voter: &VoterNode) -> ReplicaKey {
        ReplicaKey { id: NodeId(voter.id), directory_id: voter.directory_id }
    }

    /// Whether both may be the same replica, as far as their directories are known.
    pub fn matches(self, other: ReplicaKey) -> bool {
        let unknown = self.directory_id.is_nil() || other.directory_id.is_nil();
        self.id == other.id && (unknown || self.directory_id == other.directory_id)
    }

    /// Raft ids are node ids + 1, because 0 is not a Raft id.
    pub(super) fn raft_id(self) -> u64 {
        raft_id(self.id)
    }
}

impl fmt::Display for ReplicaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} with directory {}", self.id, self.directory_id)
    }
}

pub(super) fn raft_id(node: NodeId) -> u64 {
    node.0 as u64 + 1
}

/// None for what is no node's Raft id.
pub(super) fn node_of(raft_id: u64) -> Option<NodeId> {
    let id = i32::try_from(raft_id.checked_sub(1)?).ok()?;
    Some(NodeId(id))
}

/// Replicas that vote, each node once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VoterSet(BTreeMap<NodeId, DirectoryId>);

impl VoterSet {
    pub fn new(voters: impl IntoIterator<Item = ReplicaKey>) -> VoterSet {
        VoterSet(voters.into_iter().map(|key| (key.id, key.directory_id)).collect())
    }

    /// None if no quorum can be made of these.
    pub(super) fn of_record(record: &KRaftVoters) -> Option<VoterSet> {
        let sane = |voter: &ReplicaKey| (0..i32::MAX).contains(&voter.id.0);
        let keys: Vec<ReplicaKey> = record.voters.iter().map(ReplicaKey::of_voter).collect();
        let set = VoterSet::new(keys.iter().copied());
        let each_once = set.0.len() == keys.len();
        (each_once && !keys.is_empty() && keys.iter().all(sane)).then_some(set)
    }

    pub fn iter(&self) -> impl Iterator<Item = ReplicaKey> {
        self.0.iter().map(|(id, directory_id)| ReplicaKey { id: *id, directory_id: *directory_id })
    }

    pub fn contains(&self, key: ReplicaKey) -> bool {
        self.get(key.id).is_some_and(|voter| voter.matches(key))
    }

    pub fn get(&self, id: NodeId) -> Option<ReplicaKey> {
        self.0.get(&id).map(|directory_id| ReplicaKey { id, directory_id: *directory_id })
    }

    /// Whether this node is all that votes.
    pub fn is_only(&self, id: NodeId) -> bool {
        self.0.len() == 1 && self.0.contains_key(&id)
    }

    pub(super) fn raft_ids(&self) -> Vec<u64> {
        self.0.keys().map(|id| raft_id(*id)).collect()
    }
}

/// Who this replica is, and with whom it begins to vote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voters {
    pub cluster_id: String,
    pub me: ReplicaKey,
    /// As configured, or as the quorum was founded; what the log says of voters counts more.
    pub all: VoterSet,
    /// What a new log says of its quorum. Nothing where `controller.quorum.voters` says it to everybody.
    pub founders: Membership,
    /// Where the voters of `controller.quorum.voters` are.
    pub addresses: BTreeMap<NodeId, HostPort>,
    /// `controller.quorum.election.timeout.ms`
    pub election_timeout_ms: i64,
}

impl Voters {
    /// A quorum of one.
    pub fn only(me: NodeId) -> Voters {
        let me = ReplicaKey::of(me);
        Voters {
            cluster_id: String::new(),
            me,
            all: VoterSet::new([me]),
            founders: Membership::default(),
            addresses: BTreeMap::new(),
            election_timeout_ms: 1_000,
        }
    }
}

/// What the log says of the quorum, entry by entry from where the log begins.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    base: Membership,
    /// Raft index of each entry that changed it, and what it was from there on.
    changes: Vec<(u64, Membership)>,
}

impl History {
    pub fn beginning_with(base: Membership) -> History {
        History { base, changes: Vec::new() }
    }

    pub fn latest(&self) -> &Membership {
        self.changes.last().map_or(&self.base, |(_, membership)| membership)
    }

    /// What is said up to this index.
    pub fn at(&self, index: u64) -> &Membership {
        let upto = self.changes.partition_point(|(changed, _)| *changed <= index);
        self.changes[..upto].last().map_or(&self.base, |(_, membership)| membership)
    }

    pub fn changes_at(&self, index: u64) -> bool {
        self.changes.binary_search_by_key(&index, |(changed, _)| *changed).is_ok()
    }

    pub fn push(&mut self, index: u64, membership: Membership) {
        self.changes.push((index, membership));
    }

    /// The entry of `index` and those behind it are gone.
    pub fn truncate(&mut self, index: u64) {
        self.changes.retain(|(changed, _)| *changed < index);
    }

    /// A snapshot holds everything up to here.
    pub fn compact(&mut self, index: u64) {
        self.base = self.at(index).clone();
        self.changes.retain(|(changed, _)| *changed > index);
    }

    /// The index of the last change, 0 if the log has none.
    pub fn changed(&self) -> u64 {
        self.changes.last().map_or(0, |(index, _)| *index)
    }

    /// The last change that is known to be agreed on without having heard of it: a leader writes one only when the one
    /// before is agreed on. A voter that starts again must count votes by that one at least. By an older set it could
    /// win an election, or agree with itself alone, beside a majority of the present one.
    pub fn agreed(&self) -> u64 {
        self.changes.iter().rev().nth(1).map_or(0, |(index, _)| *index)
    }
}

#[cfg(test)]
mod tests {
    use ottla_protocol::batch::control::{KRaftVersion, VoterNode};
    use uuid::Uuid;

    use super::*;

    fn key(id: i32, directory: u128) -> ReplicaKey {
        ReplicaKey { id: NodeId(id), directory_id: Uuid::from_u128(directory) }
    }

    #[test]
    fn a_replica_is_a_node_and_its_directory() {
        let rows = [
            (key(1, 7), key(1, 7), true),
            (key(1, 7), key(1, 8), false),
            (key(1, 7), key(2, 7), false),
            (key(1, 7), key(1, 0), true),
            (key(1, 0), key(1, 0), true),
        ];
        for (one, other, same) in rows {
            assert_eq!((one.matches(other), other.matches(one)), (same, same), "{one} {other}");
        }
        let set = VoterSet::new([key(1, 7), key(2, 0)]);
        assert!(set.contains(key(1, 7)) && set.contains(key(2, 9)));
        assert!(!set.contains(key(1, 8)) && !set.contains(key(3, 7)));
    }

    #[test]
    fn only_a_record_of_which_a_quorum_can_be_made_is_one() {
        let node = |id| VoterNode {
            id,
            directory_id: Uuid::nil(),
            endpoints: Vec::new(),
            kraft_version_min: 0,
            kraft_version_max: 1,
        };
        let rows: [(&[i32], bool); 5] =
            [(&[], false), (&[1], true), (&[1, 2, 1], false), (&[-1, 2], false), (&[i32::MAX], false)];
        for (ids, sane) in rows {
            let record = KRaftVoters { version: 0, voters: ids.iter().map(|id| node(*id)).collect() };
            assert_eq!(VoterSet::of_record(&record).is_some(), sane, "{ids:?}");
        }
    }

    #[test]
    fn a_history_knows_what_was_in_force_when() {
        let level = |kraft_version| Membership {
            version: Some(KRaftVersion { version: 0, kraft_version }),
            voters: None,
        };
        let mut history = History::beginning_with(level(0));
        assert_eq!((history.changed(), history.agreed()), (0, 0));
        history.push(3, level(1));
        history.push(7, level(2));
        let seen = |history: &History, index| history.at(index).version.map(|v| v.kraft_version);
        let rows = [(0, 0), (2, 0), (3, 1), (6, 1), (7, 2), (99, 2)];
        rows.iter().for_each(|(index, level)| assert_eq!(seen(&history, *index), Some(*level), "{index}"));
        assert_eq!((history.changed(), history.agreed()), (7, 3), "the one before the last is agreed on");
        assert!(history.changes_at(7) && !history.changes_at(6));
        let mut cut = history.clone();
        cut.truncate(7);
        assert_eq!((cut.changed(), cut.agreed(), seen(&cut, 99)), (3, 0, Some(1)));
        history.compact(5);
        assert_eq!((history.changed(), seen(&history, 5), seen(&history, 9)), (7, Some(1), Some(2)));
    }
}
