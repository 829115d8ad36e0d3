//! How what a leader sends gets to the lanes: at once, or on threads that may wait for the disk. It must never know what the
//! lanes make of it: they report that.

use std::sync::Arc;

use ottla_log::disk::worker;
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

/// Gives each lane what is for it, and asks in the same go where to fetch from next. Like a Produce, what the leader sent is
/// appended on the thread that has read it. Who finds that a lane may wait for the disk leaves it to another thread, and the
/// lane reports when it is done. Between two lanes the thread looks after its clients.
pub(super) async fn hand_over(work: Vec<ForLane>) -> Places {
    let (waiting, quick): (Vec<_>, Vec<_>) = work.into_iter().partition(ForLane::syncs);
    let waiting =
        (!waiting.is_empty()).then(|| tokio::task::spawn_blocking(move || hand_over_waiting(waiting)));
    let mut places = Places::with_capacity(quick.len());
    for ForLane { key, partition, input } in quick {
        if !places.is_empty() {
            tokio::task::yield_now().await;
        }
        worker::mark();
        partition.submit(input);
        places.push((key, partition.try_fetch_place().flatten()));
    }
    if let Some(waiting) = waiting {
        places.extend(waiting.await.unwrap_or_default());
    }
    places
}

// The first batch of a leader epoch waits for the disk, and so does a cut: once a broker is lost that is so in every partition that
// it led. Those lanes get several threads, because a file system makes many syncs of one.
fn hand_over_waiting(work: Vec<ForLane>) -> Places {
    on_each(work, SYNCING_THREADS, |ForLane { key, partition, input }| {
        partition.submit_from_thread(input);
        (key, partition.fetch_place())
    })
}

/// Where each begins its next fetch.
pub(super) async fn places(asked: Vec<(Key, Arc<Partition>)>) -> Places {
    let mut places = Places::with_capacity(asked.len());
    let mut busy = Vec::new();
    worker::mark();
    for (key, partition) in asked {
        match partition.try_fetch_place() {
            Some(place) => places.push((key, place)),
            None => busy.push((key, partition)),
        }
    }
    if !busy.is_empty() {
        let wait = move || busy.into_iter().map(|(key, partition)| (key, partition.fetch_place())).collect();
        places.extend(tokio::task::spawn_blocking(wait).await.unwrap_or_else(|_| Places::new()));
    }
    places
}

impl ForLane {
    fn syncs(&self) -> bool {
        let Input::Replicate { from_leader: FromLeader { fetched, records, .. }, .. } = &self.input else {
            return matches!(self.input, Input::Cut { .. });
        };
        let epoch = BatchHeader::parse(records).map(|header| header.partition_leader_epoch);
        epoch.is_ok_and(|epoch| fetched.last_epoch.is_none_or(|last| last.0 != epoch))
    }
}
