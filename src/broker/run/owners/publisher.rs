//! The thread that does what the metadata image asks of this broker, then publishes the image, and only then releases the
//! answers that wait for it. So a client that is told that a topic exists finds it here.
//! It must never decide: `node::replicas` does.

#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use ottla_core::controller::{NotController, Reply};
use ottla_model::image::Image;
use ottla_model::{NodeId, TopicId};
use ottla_node::lane::{Host, Input as LaneInput, Lane, Role};
use ottla_node::replicas::{Action, Input, Key, LastOwner, NotOpened, Note, Opened, Opening, Replicas};
use tokio::sync::Notify;
use tracing::{error, info, warn};
use uuid::Uuid;

use super::controller::Token;
use super::groups::GroupCoordinator;
use super::metadata::Metadata;
use super::partition::{Outlets, Partition};
use super::partitions::Partitions;
use super::settings::Settings;
use super::storage::Storage;
use crate::clock::now_ms;
use crate::run::work::fetchers::Fetchers;
use crate::run::work::progress::Progress;
use crate::run::work::registrar::Registrar;
use crate::run::work::threads::{SYNCING_THREADS, on_each};

/// When room is looked for again on a full disk.
const ROOM_AFTER: Duration = Duration::from_secs(1);

/// A message to the thread.
pub(crate) enum Notice {
    /// The metadata has changed.
    Published(Arc<Image>),
    /// An answer that may be told once what was published before it is carried out.
    Reply(Token, Result<Reply, NotController>),
    /// A log directory has failed.
    VolumeFailed,
    /// A log directory has no room.
    VolumeFull,
    /// The owner of a partition has panicked.
    OwnerFailed(TopicId, i32),
    /// All of the metadata was read once: folders of partitions that this broker does not have are strays. Only this thread
    /// knows which they are, as it makes folders before it shows the image that asks for them.
    SetStraysAside,
    /// The controller's thread has ended, and nothing more is published.
    Ended,
}

/// What the thread works with.
pub(crate) struct Publisher {
    pub me: NodeId,
    pub replicas: Replicas,
    pub settings: Arc<Settings>,
    pub storage: Arc<Storage>,
    pub partitions: Arc<Partitions>,
    /// For partitions.
    pub outlets: Outlets,
    pub fetchers: Arc<Fetchers>,
    /// Hears that this broker leads partitions that it did not lead before.
    pub elected: Arc<Notify>,
    /// Partitions were elected for here, and the image that says so is not shown yet.
    pub newly_elected: bool,
    pub image: Arc<Metadata>,
    pub groups: Arc<GroupCoordinator>,
    pub registrar: Arc<Registrar>,
    /// Ends the process, with the reason, because it cannot go on.
    pub give_up: Box<dyn Fn(String) + Send + Sync>,
}

impl Publisher {
    /// Serves until the controller's thread has ended.
    pub fn serve(mut self, notices: &Receiver<Notice>) {
        // After a panic here, nobody would get an answer of the controller or see a new topic.
        if catch_unwind(AssertUnwindSafe(|| self.publish(notices))).is_err() {
            (self.give_up)("the thread that follows the metadata has panicked".into());
        }
    }

    fn publish(&mut self, notices: &Receiver<Notice>) {
        // When room is looked for again. A steady stream of messages must not delay this.
        let mut again: Option<Instant> = None;
        loop {
            let notice = if self.replicas.wait_for_room() || !self.storage.full().is_empty() {
                let at = *again.get_or_insert_with(|| Instant::now() + ROOM_AFTER);
                match at.checked_duration_since(Instant::now()) {
                    Some(left) if !left.is_zero() => notices.recv_timeout(left),
                    _ => Err(RecvTimeoutError::Timeout),
                }
            } else {
                again = None;
                notices.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            match notice {
                Ok(Notice::Published(image)) => self.step(Input::Published(image)),
                Ok(Notice::Reply(token, reply)) => token.answer(reply),
                Ok(Notice::VolumeFailed) => self.lose_failed(),
                Ok(Notice::VolumeFull) => self.registrar.full(self.storage.full()),
                Ok(Notice::OwnerFailed(topic, index)) => self.recover(topic, index),
                Ok(Notice::SetStraysAside) => self.storage.set_strays_aside(self.me, &self.image.load()),
                Err(RecvTimeoutError::Timeout) => {
                    again = None;
                    if self.storage.look_for_room() {
                        self.registrar.full(self.storage.full());
                    }
                    self.step(Input::TryAgain);
                }
                Ok(Notice::Ended) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    // Opens the log of a panicked owner again, unless it has been removed or replaced since.
    fn recover(&mut self, topic: TopicId, index: i32) {
        let Some(failed) = self.partitions.get(topic, index).filter(|p| p.has_failed()) else { return };
        // Its waiters check again, and find the new partition or none.
        failed.close();
        self.step(Input::OwnerFailed((topic, index)));
        if let Some(here) = self.partitions.get(topic, index).filter(|p| !p.has_failed()) {
            warn!(partition = %here.id, log_end_offset = here.place().reader.offsets().log_end, "recovered");
        }
        failed.wake_all();
    }

    // Takes the partitions of failed directories offline, and flushes them no more. The other directories go on
    // (KIP-112).
    fn lose_failed(&mut self) {
        let all = self.partitions.all();
        let lost = all.iter().filter(|partition| partition.place().volume.has_failed());
        self.step(Input::DirectoryFailed(lost.map(|p| (p.topic_id, p.id.partition)).collect()));
        match self.storage.cannot_go_on() {
            Some(why) => (self.give_up)(why),
            None => self.registrar.lost(self.storage.lost()),
        }
    }

    fn step(&mut self, input: Input) {
        for action in self.replicas.step(input) {
            self.carry_out(action);
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::ApplySettings(config) => {
                info!("the dynamic configuration has changed");
                self.registrar.cordoned(self.storage.cordon(&config.cordoned_log_dirs));
                self.settings.put(config);
            }
            Action::ExpireProducersAfter(ms) => {
                self.storage.set_producer_id_expiration_ms(ms);
                let all = self.partitions.all();
                all.iter().for_each(|here| here.submit_from_thread(LaneInput::ExpireProducersAfter(ms)));
            }
            Action::Delete { key, delay_ms } => self.delete(key, delay_ms),
            Action::ForgetTopics(topics) => {
                topics.iter().for_each(|(topic, _)| info!(%topic, "deleting the topic"));
                self.groups.topics_deleted(&topics);
            }
            Action::Follow(key, followership) => {
                let Some(here) = self.partitions.get(key.0, key.1) else { return };
                let resigns = !here.has_resigned();
                here.submit_from_thread(LaneInput::Follow(followership));
                self.fetchers.follow(&here, followership);
                if resigns {
                    // Readers that wait there are told to ask another broker.
                    here.wake_all();
                }
            }
            Action::Lead(key, leadership) => {
                self.fetchers.leave(key);
                self.submit(key, LaneInput::Lead(leadership));
                self.newly_elected = true;
            }
            Action::Stands(key, replica, standing) => {
                self.submit(key, LaneInput::Stands { replica, standing });
            }
            Action::Open(openings) => {
                self.newly_elected |= openings.iter().any(|one| matches!(one.role, Role::Leader(_)));
                let opened = self.open_all(openings);
                self.step(Input::Opened(opened));
            }
            Action::Assign(assignments) => self.registrar.assign(assignments),
            Action::Settle(keys) => self.settle(&keys),
            Action::TakeOffline(key) => {
                self.fetchers.leave(key);
                if let Some(here) = self.partitions.set_offline(key.0, key.1) {
                    drop(here.close());
                }
            }
            Action::Configure(key, config) => self.submit(key, LaneInput::Configure(config)),
            Action::Note(note) => tell(&note),
            Action::Show(image) => {
                self.image.store(image);
                // Not before: a fetcher looks there for its leader's address.
                self.fetchers.settle();
                if std::mem::take(&mut self.newly_elected) {
                    self.elected.notify_one();
                }
            }
        }
    }

    fn submit(&self, key: Key, input: LaneInput<super::waiter::Waiting>) {
        if let Some(here) = self.partitions.get(key.0, key.1) {
            here.submit_from_thread(input);
        }
    }

    // After a crash, opening a log reads everything that was not flushed, and `num.recovery.threads.per.data.dir` limits
    // how many threads do so at once. New logs, and logs that were closed cleanly, have next to nothing to read: opening
    // them waits for the disk, which is faster for many at once.
    fn open_all(&self, openings: Vec<Opening>) -> Vec<Opened> {
        let clean = self.storage.was_clean();
        let is_quick = |owner: LastOwner| owner == LastOwner::Nobody || owner.left_it_clean(clean);
        let quick = openings.iter().all(|opening| is_quick(opening.last_owner));
        let asked = self.settings.now().num_recovery_threads_per_data_dir.max(1) as usize;
        let threads = if quick { asked.max(SYNCING_THREADS) } else { asked }.min(openings.len());
        if threads <= 1 {
            return openings.into_iter().map(|opening| self.open(opening)).collect();
        }
        let progress = Progress::of(openings.len());
        let opened = on_each(openings, threads, |opening| {
            let opened = self.open(opening);
            progress.one_more();
            opened
        });
        progress.end();
        opened
    }

    fn open(&self, opening: Opening) -> Opened {
        let (id, config) = (opening.id.clone(), opening.config.clone());
        let outcome = match self.storage.open_log(&opening) {
            Ok((log, volume)) => {
                let directory = log.dir().parent().and_then(|dir| self.storage.directory_id(dir));
                let lag_ms = self.settings.now().replica_lag_time_max_ms;
                let host = Host { id: self.me, replica_lag_time_max_ms: lag_ms };
                let lane = Lane::new(host, log, opening.role.clone(), config, now_ms());
                let partition = Partition::new(id, opening.topic, lane, volume, self.outlets.clone());
                let partition = Arc::new(partition);
                match opening.role {
                    Role::Leader(_) => self.elected.notify_one(),
                    Role::Follower(followership) => self.fetchers.follow(&partition, followership),
                }
                self.partitions.insert(partition);
                Ok(directory)
            }
            Err(error) => Err(NotOpened { why: error.to_string(), full: error.is_full() }),
        };
        Opened { opening, outcome }
    }

    // The start of a new leadership has to be durable before its first batch. After a start that is the case for all
    // partitions at once, and no producer should have to wait for all of them.
    fn settle(&self, keys: &[Key]) {
        let opened: Vec<_> = keys.iter().filter_map(|key| self.partitions.get(key.0, key.1)).collect();
        // Not on the flushers' threads, where the flushes of producers would wait behind all of these.
        let settle = move || {
            on_each(opened, SYNCING_THREADS, |here| here.submit_from_thread(LaneInput::Settle));
        };
        if let Err(error) = std::thread::Builder::new().name("settling".into()).spawn(settle) {
            warn!(%error, "first records wait for their leader epochs");
        }
    }

    fn delete(&self, (topic, index): Key, delay_ms: i64) {
        self.fetchers.leave((topic, index));
        let Some(gone) = self.partitions.remove(topic, index) else { return };
        let Some(log) = gone.close() else { return };
        match log.delete(Uuid::new_v4()) {
            Ok(folder) => self.storage.remove_later(folder, delay_ms),
            Err(error) => error!(partition = %gone.id, %error, "cannot rename the deleted log"),
        }
    }
}

fn tell(note: &Note) {
    match note {
        Note::RoomAgain(_) => info!("{note}"),
        Note::TopicSettingIgnored(..) | Note::BrokerSettingIgnored(_) => warn!("{note}"),
        Note::TopicSettingsIgnored(..) | Note::BrokerSettingsIgnored(_) | Note::NotOpened(..) => {
            error!("{note}");
        }
    }
}
