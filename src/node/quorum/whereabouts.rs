//! Where voters say that they are. The log says so too, but a voter may not have that part of it: because it takes a leader to
//! write it, and one of those who have moved to be the leader, or because it was down meanwhile, and its answers to the leader
//! go to where that was before. So voters tell those who are silent, who send their answers there until their log says
//! something newer.
//! It must never decide who votes.

use std::collections::BTreeMap;

use ottla_model::config::HostPort;

use super::voters::{ReplicaKey, VoterSet};

#[derive(Debug, Default)]
pub(super) struct Whereabouts {
    /// Each with the Raft index of the newest voters in the log when it was told.
    told: BTreeMap<ReplicaKey, (u64, HostPort)>,
}

impl Whereabouts {
    pub fn of(&self, key: ReplicaKey, voters_index: u64) -> Option<HostPort> {
        let (since, address) = self.told.get(&key)?;
        (*since == voters_index).then(|| address.clone())
    }

    /// This voter, one of these, says where it is.
    pub fn hear(&mut self, key: ReplicaKey, address: HostPort, voters_index: u64, voters: &VoterSet) {
        self.told.retain(|key, _| voters.get(key.id) == Some(*key));
        self.told.insert(key, (voters_index, address));
    }
}
