//! The replica fetchers of this broker: for each leader that it follows, `num.replica.fetchers` tasks with a connection each,
//! and which of them fetches which partition. Only the publisher changes that, once for each image. It must never look at
//! an answer: `task` does, and what follows from it is decided in `node::fetching`.

mod lanes;
mod task;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_core::partition::Followership;
use ottla_log::log::Refused;
use ottla_model::NodeId;
use ottla_node::replicas::Key;
use ottla_protocol::{ErrorCode, Offset};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::run::owners::metadata::Metadata;
use crate::run::owners::partition::Partition;
use crate::run::owners::settings::Settings;
use crate::run::owners::throttling::Throttled;
use task::{Change, Station, Task};

/// Every fetcher of this broker.
pub(crate) struct Fetchers {
    me: NodeId,
    settings: Arc<Settings>,
    image: Arc<Metadata>,
    runtime: Handle,
    /// What replicas that are filled have taken.
    taken: Arc<Throttled>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What the image that is being carried out has changed.
    pending: BTreeMap<Key, (Arc<Partition>, Followership)>,
    followed: BTreeMap<Key, Followed>,
    running: BTreeMap<Place, Running>,
    /// `num.replica.fetchers` when the partitions were last dealt out.
    fetchers: usize,
    stopped: bool,
}

/// A leader, and the number of a fetcher for it.
type Place = (NodeId, usize);

struct Followed {
    partition: Arc<Partition>,
    followership: Followership,
    place: Place,
}

struct Running {
    changes: mpsc::UnboundedSender<Change>,
    partitions: usize,
}

impl Fetchers {
    /// None so far. They run on `runtime`.
    pub fn new(me: NodeId, settings: Arc<Settings>, image: Arc<Metadata>, runtime: Handle) -> Fetchers {
        Fetchers { me, settings, image, runtime, taken: Arc::default(), state: Mutex::default() }
    }

    /// The partition follows from now on, as soon as the image is shown: [`Fetchers::settle`].
    pub fn follow(&self, partition: &Arc<Partition>, followership: Followership) {
        let key = (partition.topic_id, partition.id.partition);
        self.state.lock().pending.insert(key, (partition.clone(), followership));
    }

    /// The partition is not fetched any more.
    pub fn leave(&self, key: Key) {
        let mut state = self.state.lock();
        state.pending.remove(&key);
        state.leave(key);
    }

    /// Begins to fetch what the image, which everybody can see by now, asks for.
    pub fn settle(&self) {
        let mut state = self.state.lock();
        if state.stopped {
            return;
        }
        let fetchers = self.settings.now().num_replica_fetchers.max(1) as usize;
        if std::mem::replace(&mut state.fetchers, fetchers) != fetchers {
            let all = std::mem::take(&mut state.followed);
            state.running.clear();
            for (key, Followed { partition, followership, .. }) in all {
                state.pending.entry(key).or_insert((partition, followership));
            }
        }
        for (key, (partition, followership)) in std::mem::take(&mut state.pending) {
            match followership.leader.filter(|leader| *leader != self.me) {
                None => state.leave(key),
                Some(leader) => {
                    let place = (leader, fetcher_of(key, fetchers));
                    self.assign(&mut state, key, Followed { partition, followership, place });
                }
            }
        }
        // A fetcher without partitions ends, and its connection with it.
        state.running.retain(|_, running| running.partitions > 0);
    }

    /// Ends every fetcher.
    pub fn stop(&self) {
        let mut state = self.state.lock();
        *state = State { stopped: true, ..State::default() };
    }

    fn assign(&self, state: &mut State, key: Key, new: Followed) {
        if let Some(known) = state.followed.get(&key) {
            let same = Arc::ptr_eq(&known.partition, &new.partition) && known.place == new.place;
            if same && known.followership.epoch == new.followership.epoch {
                return;
            }
            if known.place != new.place {
                state.leave(key);
            }
        }
        let running = state.running.entry(new.place).or_insert_with(|| self.start(new.place));
        running.partitions += usize::from(!state.followed.contains_key(&key));
        // This fails if the task has panicked: another one takes its place.
        if running.changes.send(Change::Follow(new.partition.clone())).is_err() {
            let partitions = running.partitions;
            let again = Running { partitions, ..self.start(new.place) };
            let others =
                state.followed.iter().filter(|(other, known)| **other != key && known.place == new.place);
            for (_, Followed { partition, .. }) in others {
                let _ = again.changes.send(Change::Follow(partition.clone()));
            }
            let _ = again.changes.send(Change::Follow(new.partition.clone()));
            state.running.insert(new.place, again);
        }
        state.followed.insert(key, new);
    }

    fn start(&self, (leader, _): Place) -> Running {
        let (changes, inbox) = mpsc::unbounded_channel();
        let (settings, image) = (self.settings.clone(), self.image.clone());
        let taken = self.taken.clone();
        let task = Task::new(Station { me: self.me, leader, settings, image, taken }, inbox);
        self.runtime.spawn(task.run());
        Running { changes, partitions: 0 }
    }
}

impl State {
    fn leave(&mut self, key: Key) {
        let Some(known) = self.followed.remove(&key) else { return };
        if let Some(running) = self.running.get_mut(&known.place) {
            running.partitions -= 1;
            // A task that has ended fetches nothing any more.
            let _ = running.changes.send(Change::Leave(key));
        }
    }
}

// The partitions of a topic are spread, and so are the first partitions of many topics.
fn fetcher_of((topic, partition): Key, fetchers: usize) -> usize {
    let (high, low) = topic.as_u64_pair();
    ((high ^ low).wrapping_add(partition as u64) % fetchers as u64) as usize
}

/// The waiter of what a fetcher has handed to a lane. If it is dropped unanswered, the partition is not here any more.
#[derive(Debug)]
pub(crate) struct Report {
    key: Key,
    to: mpsc::UnboundedSender<(Key, Result<(), ErrorCode>)>,
    answered: bool,
}

impl Report {
    fn new(key: Key, to: mpsc::UnboundedSender<(Key, Result<(), ErrorCode>)>) -> Report {
        Report { key, to, answered: false }
    }

    pub fn followed(mut self, outcome: Result<Offset, Refused>) {
        self.answer(outcome.map(drop).map_err(|refused| refused.code));
    }

    fn answer(&mut self, outcome: Result<(), ErrorCode>) {
        self.answered = true;
        // This fails if the fetcher has ended.
        let _ = self.to.send((self.key, outcome));
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if !self.answered {
            self.answer(Err(ErrorCode::NotLeaderOrFollower));
        }
    }
}
