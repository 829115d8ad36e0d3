//! The thread that follows the metadata image: it opens, changes and deletes the partitions that live here as the
//! image says, then shows the image to everybody, then lets the answers pass that were waiting for it. So whoever
//! hears that a topic is there finds it there.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use ottla_core::controller::Assignment;
use ottla_core::partition::Leadership;
use ottla_log::log::Log;
use ottla_model::config::{TopicConfig, check_topic_config};
use ottla_model::image::{Image, Partition as Assigned, Topic};
use ottla_model::record::ResourceType;
use ottla_model::{NodeId, TopicId, TopicPartition};
use ottla_node::controller::Output;
use ottla_node::lane::{Host, Input, Lane, Role};
use parking_lot::Mutex;
use tracing::{error, info, warn};
use uuid::Uuid;

use super::controller::Token;
use super::flusher::Flushers;
use super::groups::GroupCoordinator;
use super::partition::Partition;
use super::partitions::Partitions;
use super::progress::Progress;
use super::registrar::Registrar;
use super::settings::Settings;
use super::storage::{Left, Storage};
use super::volume::Volume;
use crate::clock::now_ms;

/// New logs are opened by so many threads at least.
const SYNCING_THREADS: usize = 16;
/// When a full disk is tried again.
const ROOM_AFTER: Duration = Duration::from_secs(1);

/// What the thread is told.
pub(crate) enum Heard {
    /// By the controller.
    Said(Output<Token>),
    /// By a log directory that has failed.
    VolumeFailed,
    /// By a partition whose owner has panicked.
    Failed(TopicId, i32),
    /// The controller's thread has ended, and nothing more is followed.
    Ended,
}

/// What the thread works on.
pub(crate) struct Follower {
    pub me: NodeId,
    pub settings: Arc<Settings>,
    pub storage: Arc<Storage>,
    pub partitions: Arc<Partitions>,
    pub flushers: Flushers,
    pub image: Arc<ArcSwap<Image>>,
    pub groups: Arc<GroupCoordinator>,
    pub registrar: Arc<Registrar>,
    /// For partitions to tell of their failure.
    pub failures: Sender<Heard>,
    /// What could not be opened because a disk was full.
    pub no_room: Mutex<Vec<(TopicId, i32)>>,
    /// Ends the process, which can do nothing more; says why.
    pub give_up: Box<dyn Fn(String) + Send + Sync>,
}

/// Work that one partition needs.
struct ToOpen {
    topic: Arc<Topic>,
    index: i32,
    assigned: Arc<Assigned>,
    config: Arc<TopicConfig>,
    left: Left,
}

impl Follower {
    /// Follows until the controller's thread has ended.
    pub fn serve(self, heard: &Receiver<Heard>) {
        // Nobody would hear an answer of the controller's any more, or see a new topic.
        if catch_unwind(AssertUnwindSafe(|| self.follow(heard))).is_err() {
            (self.give_up)("the thread that follows the metadata has panicked".into());
        }
    }

    fn follow(&self, heard: &Receiver<Heard>) {
        // When logs that found no room are tried again: messages that keep coming must not put it off.
        let mut again: Option<Instant> = None;
        loop {
            let heard = if self.no_room.lock().is_empty() {
                again = None;
                heard.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                let at = *again.get_or_insert_with(|| Instant::now() + ROOM_AFTER);
                match at.checked_duration_since(Instant::now()) {
                    Some(left) if !left.is_zero() => heard.recv_timeout(left),
                    _ => Err(RecvTimeoutError::Timeout),
                }
            };
            let heard = match heard {
                Ok(heard) => heard,
                Err(RecvTimeoutError::Timeout) => {
                    again = None;
                    self.open_again();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            match heard {
                Heard::Said(Output::Published(image)) => self.apply(image),
                Heard::Said(Output::Reply { token, reply }) => {
                    // Whoever asked may have stopped waiting.
                    let _ = token.send(reply);
                }
                // The controller's thread sees to these.
                Heard::Said(Output::Snapshot(_) | Output::Full(_)) => {}
                Heard::VolumeFailed => self.lose_failed(),
                Heard::Failed(topic, index) => self.recover(topic, index),
                Heard::Ended => return,
            }
        }
    }

    // Opens a log anew whose owner has panicked, unless it has gone or been replaced meanwhile.
    fn recover(&self, topic: TopicId, index: i32) {
        let image = self.image.load();
        let failed = self.partitions.get(topic, index).filter(|p| p.has_failed());
        let Some((topic, failed)) = image.topic_by_id(topic).cloned().zip(failed) else { return };
        let Some(assigned) = topic.partitions.get(&index).filter(|p| p.leader == Some(self.me)).cloned()
        else {
            return;
        };
        // Whoever waits for it looks again, and finds the new one or none.
        failed.close();
        let config = failed.config.load_full();
        self.open(&ToOpen { topic, index, assigned, config, left: Left::ByFailure });
        if let Some(here) = self.partitions.get(failed.topic_id, index).filter(|p| !p.has_failed()) {
            warn!(partition = %here.id, log_end_offset = here.place().reader.offsets().log_end, "recovered");
        }
        failed.wake();
    }

    // What is in a failed directory is offline, and nothing of it is flushed any more; the rest goes on (KIP-112).
    fn lose_failed(&self) {
        for partition in self.partitions.all() {
            if partition.place().volume.has_failed() {
                self.partitions.set_offline(partition.topic_id, partition.id.partition);
                drop(partition.close());
            }
        }
        match self.storage.cannot_go_on() {
            Some(why) => (self.give_up)(why),
            None => self.registrar.lost(self.storage.lost()),
        }
    }

    fn apply(&self, image: Arc<Image>) {
        let delta = Image::diff(&self.image.load(), &image);
        // First of all, so that logs are opened with what counts now.
        let brokers = delta.configs.iter().any(|resource| resource.kind == ResourceType::Broker);
        let expired_after_ms = self.settings.now().producer_id_expiration_ms;
        let settings_changed = brokers && self.settings.follow(self.me, &image);
        if self.settings.now().producer_id_expiration_ms != expired_after_ms {
            self.expire_producers(self.settings.now().producer_id_expiration_ms.into());
        }
        for topic in &delta.topics_deleted {
            self.delete(topic);
        }
        if !delta.topics_deleted.is_empty() {
            let gone = delta.topics_deleted.iter().map(|topic| (topic.name.clone(), topic.id));
            self.groups.topics_deleted(&gone.collect::<Vec<_>>());
        }
        let mut to_open = Vec::new();
        for topic in &delta.topics_created {
            let config = self.topic_config(&image, &topic.name);
            for (index, assigned) in &topic.partitions {
                self.led_here(topic, *index, assigned, &config, &mut to_open);
            }
        }
        for change in &delta.topics_changed {
            let config = self.topic_config(&image, &change.new.name);
            for partition in &change.partitions {
                self.led_here(&change.new, partition.partition, &partition.new, &config, &mut to_open);
            }
        }
        self.open_all(&to_open);
        self.tell_places(&to_open);
        self.settle(&to_open);
        if settings_changed {
            // Topics without settings of their own run with the broker's.
            image.topics().for_each(|topic| self.configure(topic, self.topic_config(&image, &topic.name)));
        }
        for resource in delta.configs.iter().filter(|r| r.kind == ResourceType::Topic) {
            if let Some(topic) = image.topic(&resource.name) {
                self.configure(topic, self.topic_config(&image, &topic.name));
            }
        }
        self.image.store(image);
    }

    fn led_here(
        &self,
        topic: &Arc<Topic>,
        index: i32,
        assigned: &Arc<Assigned>,
        config: &Arc<TopicConfig>,
        to_open: &mut Vec<ToOpen>,
    ) {
        // What a failed sync was to bring down reads back, and is not there: a second look would believe it.
        if assigned.leader != Some(self.me) || self.partitions.is_offline(topic.id, index) {
            return;
        }
        if let Some(here) = self.partitions.get(topic.id, index) {
            here.submit_from_thread(Input::Lead(leadership(assigned)));
        } else {
            let (topic, assigned, config) = (topic.clone(), assigned.clone(), config.clone());
            // While nothing was known yet, nothing is new.
            let left = if self.image.load().offset < 0 { Left::ByProcess } else { Left::Nothing };
            to_open.push(ToOpen { topic, index, assigned, config, left });
        }
    }

    // Opening waits for the disk and, after a crash, reads what was not flushed: many at a time. New logs have nothing to
    // read, only syncs to wait for, which go faster many at a time.
    fn open_all(&self, to_open: &[ToOpen]) {
        let count = to_open.len();
        let new = to_open.iter().all(|work| work.left == Left::Nothing);
        let asked = self.settings.now().num_recovery_threads_per_data_dir.max(1) as usize;
        let threads = if new { asked.max(SYNCING_THREADS) } else { asked }.min(count);
        if threads <= 1 {
            to_open.iter().for_each(|work| self.open(work));
            return;
        }
        let progress = Progress::of(count);
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(work) = to_open.get(next.fetch_add(1, Ordering::Relaxed)) {
                        self.open(work);
                        progress.one_more();
                    }
                });
            }
        });
        progress.end();
    }

    // A new leadership is on disk before its first batch. After a start that is so for all partitions at once, and no
    // producer should wait for all of them.
    fn settle(&self, opened: &[ToOpen]) {
        let old = opened.iter().filter(|work| work.left == Left::ByProcess);
        let old: Vec<_> = old.filter_map(|work| self.partitions.get(work.topic.id, work.index)).collect();
        if old.is_empty() {
            return;
        }
        // Not by the flushers, where producers' flushes would wait behind all of it.
        let next = AtomicUsize::new(0);
        let settle = move || {
            std::thread::scope(|scope| {
                for _ in 0..SYNCING_THREADS.min(old.len()) {
                    scope.spawn(|| {
                        while let Some(here) = old.get(next.fetch_add(1, Ordering::Relaxed)) {
                            here.submit_from_thread(Input::Settle);
                        }
                    });
                }
            });
        };
        if let Err(error) = std::thread::Builder::new().name("settling".into()).spawn(settle) {
            warn!(%error, "first records wait for their leader epochs");
        }
    }

    // Where the controller has left it to this broker, or thinks of another directory.
    fn tell_places(&self, opened: &[ToOpen]) {
        let news = opened.iter().filter_map(|work| {
            let here = self.partitions.get(work.topic.id, work.index)?;
            let directory = self.storage.directory_id(here.place().folder.parent()?)?;
            let known = work.assigned.directory(self.me) == Some(directory);
            (!known).then_some(Assignment { directory, topic: work.topic.id, partition: work.index })
        });
        self.registrar.assign(news.collect());
    }

    fn open(&self, work: &ToOpen) {
        let id = TopicPartition { topic: work.topic.name.clone(), partition: work.index };
        match self.storage.open_log(&id, work.topic.id, work.config.clone(), work.left) {
            Ok((log, volume)) => self.serve_from(id, work, log, volume),
            Err(error) => {
                error!(partition = %id, %error, "cannot open the log; the partition is offline");
                self.partitions.set_offline(work.topic.id, work.index);
                if error.is_full() {
                    self.no_room.lock().push((work.topic.id, work.index));
                }
            }
        }
    }

    fn serve_from(&self, id: TopicPartition, work: &ToOpen, log: Log, volume: Arc<Volume>) {
        let lag_ms = self.settings.now().replica_lag_time_max_ms;
        let host = Host { id: self.me, replica_lag_time_max_ms: lag_ms };
        let role = Role::Leader(leadership(&work.assigned));
        let lane = Lane::new(host, log, role, work.config.clone(), now_ms());
        let (flushers, failures) = (self.flushers.clone(), self.failures.clone());
        let partition = Partition::new(id, work.topic.id, lane, volume, flushers, failures);
        self.partitions.insert(Arc::new(partition));
    }

    // Opens what found no room to be opened in, if it is still wanted and there is room now.
    fn open_again(&self) {
        let image = self.image.load();
        for (topic, index) in std::mem::take(&mut *self.no_room.lock()) {
            let Some(topic) = image.topic_by_id(topic).cloned() else { continue };
            let Some(assigned) = topic.partitions.get(&index).filter(|p| p.leader == Some(self.me)).cloned()
            else {
                continue;
            };
            let id = TopicPartition { topic: topic.name.clone(), partition: index };
            let config = self.topic_config(&image, &topic.name);
            let work = ToOpen { topic, index, assigned, config, left: Left::ByFailure };
            match self.storage.open_log(&id, work.topic.id, work.config.clone(), work.left) {
                Ok((log, volume)) => {
                    info!(partition = %id, "opened: there is room again");
                    self.serve_from(id, &work, log, volume);
                    self.partitions.set_online(work.topic.id, index);
                }
                Err(error) if error.is_full() => self.no_room.lock().push((work.topic.id, index)),
                Err(error) => {
                    error!(partition = %id, %error, "cannot open the log; the partition is offline")
                }
            }
        }
    }

    fn expire_producers(&self, after_ms: i64) {
        self.storage.set_producer_id_expiration_ms(after_ms);
        let all = self.partitions.all();
        all.iter().for_each(|here| here.submit_from_thread(Input::ExpireProducersAfter(after_ms)));
    }

    fn configure(&self, topic: &Topic, config: Arc<TopicConfig>) {
        for index in topic.partitions.keys() {
            if let Some(here) = self.partitions.get(topic.id, *index)
                && **here.config.load() != *config
            {
                here.submit_from_thread(Input::Configure(config.clone()));
            }
        }
    }

    fn delete(&self, topic: &Topic) {
        info!(topic = %topic.name, "deleting the topic");
        for index in topic.partitions.keys() {
            let Some(gone) = self.partitions.remove(topic.id, *index) else { continue };
            let delay_ms = gone.config.load().file_delete_delay_ms;
            let Some(log) = gone.close() else { continue };
            match log.delete(Uuid::new_v4()) {
                Ok(folder) => self.storage.remove_later(folder, delay_ms),
                Err(error) => error!(partition = %gone.id, %error, "cannot rename the deleted log"),
            }
        }
    }

    // What nobody knows (any more), and what is no longer valid, must not keep a topic offline: the rest still counts.
    fn topic_config(&self, image: &Image, name: &str) -> Arc<TopicConfig> {
        let config = self.settings.now();
        let mut overrides = image.configs(ResourceType::Topic, name).cloned().unwrap_or_default();
        overrides.retain(|key, value| {
            let checked = check_topic_config(key, value);
            if let Err(error) = &checked {
                warn!(topic = name, %error, "ignoring a setting of the topic");
            }
            checked.is_ok()
        });
        let resolved = TopicConfig::resolve(&config, &overrides).or_else(|error| {
            error!(topic = name, %error, "ignoring the topic's settings");
            TopicConfig::resolve(&config, &BTreeMap::new())
        });
        Arc::new(resolved.unwrap_or_else(|_| config.topic_defaults.clone()))
    }
}

fn leadership(assigned: &Assigned) -> Leadership {
    Leadership {
        epoch: assigned.leader_epoch,
        partition_epoch: assigned.partition_epoch,
        replicas: assigned.replicas.clone(),
        isr: assigned.isr.clone(),
    }
}
