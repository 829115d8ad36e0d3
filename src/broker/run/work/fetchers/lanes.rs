//! How what a leader sends gets to the lanes, on threads that may wait for the disk. It must never know what the lanes make
//! of it: they report that.

use std::sync::Arc;

use ottla_node::fetching::Place;
use ottla_node::lane::{FromLeader, Input};
use ottla_node::replicas::Key;
use ottla_protocol::batch::BatchHeader;

use crate::run::owners::partition::Partition;
use crate::run::owners::waiter::Waiting;
use crate::run::work::threads::{SYNCING_THREADS, on_each};

/// What one lane is given.
pub(super) struct ForLane {
    pub key: Key,
    pub partition: Arc<Partition>,
    pub input: Input<Waiting>,
}

/// Where the next fetch of a partition begins. `None`: it has no such place now.
pub(super) type Places = Vec<(Key, Option<Place>)>;

/// Gives each lane what is for it. The first batch of a leader epoch waits for the disk, and once a broker is lost that is so in
/// every partition that it led. Those lanes get several threads, because a file system makes many syncs of one; the others
/// only write, and follow one after the other.
pub(super) fn hand_over(work: Vec<ForLane>) -> Places {
    let (waiting, quick): (Vec<_>, Vec<_>) = work.into_iter().partition(ForLane::begins_an_epoch);
    let mut places = on_each(waiting, SYNCING_THREADS, ForLane::hand_over);
    places.extend(quick.into_iter().map(ForLane::hand_over));
    places
}

impl ForLane {
    fn hand_over(self) -> (Key, Option<Place>) {
        self.partition.submit_from_thread(self.input);
        (self.key, self.partition.fetch_place())
    }

    fn begins_an_epoch(&self) -> bool {
        let Input::Replicate { from_leader: FromLeader { fetched, records, .. }, .. } = &self.input else {
            return false;
        };
        let epoch = BatchHeader::parse(records).map(|header| header.partition_leader_epoch);
        epoch.is_ok_and(|epoch| fetched.last_epoch.is_none_or(|last| last.0 != epoch))
    }
}
