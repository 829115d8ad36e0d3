//! Generations of a group never go back, and what a member says of an old one has no effect.

use std::collections::BTreeMap;

use crate::verdict::{Verdict, Violation};
use ottla_model::group::GroupId;

/// The last generation of each group that is in its log: members were told what they own in it.
#[derive(Debug, Default)]
pub(crate) struct Generations {
    logged: BTreeMap<GroupId, i32>,
}

impl Generations {
    /// A member was let in.
    pub fn joined(&mut self, group: &GroupId, generation: i32) -> Verdict {
        match self.logged.get(group) {
            Some(logged) if generation < *logged => {
                let what = format!("group {group} goes from generation {logged} to {generation}");
                Err(Violation::new(NAME, what))
            }
            _ => Ok(()),
        }
    }

    /// A member was told what it owns. Before that, a generation may be lost with the process.
    pub fn synced(&mut self, group: &GroupId, generation: i32) -> Verdict {
        self.joined(group, generation)?;
        self.logged.insert(group.clone(), generation);
        Ok(())
    }

    pub fn logged(&self, group: &GroupId) -> Option<i32> {
        self.logged.get(group).copied()
    }

    /// Something that a member of that generation said was taken for good. `logged` was there when it came.
    pub fn accepted(group: &GroupId, generation: i32, logged: Option<i32>, what: &str) -> Verdict {
        match logged {
            Some(logged) if (0..logged).contains(&generation) => {
                let what = format!("group {group}: {what} of generation {generation} was taken in {logged}");
                Err(Violation::new(NAME, what))
            }
            _ => Ok(()),
        }
    }

    /// The group begins again.
    pub fn forget(&mut self, group: &GroupId) {
        self.logged.remove(group);
    }

    pub fn forget_all(&mut self) {
        self.logged.clear();
    }
}

const NAME: &str = "generations of a group never go back";
