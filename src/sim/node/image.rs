//! Carries out what the metadata image asks of this node, as the broker's publisher thread does. It must never decide:
//! `node::replicas` does.

use ottla_core::controller::AssignReplicas;
use ottla_core::partition::Leadership;
use ottla_core::question::Question;
use ottla_log::dirs::DirError;
use ottla_log::log::{Log, LogError};
use ottla_model::fresh_id;
use ottla_node::lane::{Host, Input as LaneInput, Lane, Role};
use ottla_node::lifecycle::is_assigned;
use ottla_node::replicas::{Action, Input, NotOpened, Note, Opened, Opening};
use ottla_protocol::LeaderEpoch;
use uuid::Uuid;

use super::{Key, Node, Partition, Said, Who};
use crate::marks::mark;
use crate::mutation::Mutation;

impl Node {
    pub(super) fn step(&mut self, now_ms: i64, input: Input, said: &mut Vec<Said>) {
        for action in self.replicas.step(input) {
            self.carry_out(now_ms, action, said);
        }
    }

    fn carry_out(&mut self, now_ms: i64, action: Action, said: &mut Vec<Said>) {
        match action {
            Action::ApplySettings(config) => self.config = config,
            Action::ExpireProducersAfter(ms) => {
                self.storage.expire_producers_after(ms);
                let keys: Vec<Key> = self.partitions.keys().copied().collect();
                keys.into_iter().for_each(|key| self.submit(key, LaneInput::ExpireProducersAfter(ms), said));
            }
            Action::Delete { key, delay_ms } => self.delete(now_ms, key, delay_ms, said),
            Action::Follow(key, followership) => self.submit(key, LaneInput::Follow(followership), said),
            Action::Lead(key, leadership) => {
                let leadership = self.believed(leadership);
                self.submit(key, LaneInput::Lead(leadership), said);
            }
            Action::Stands(key, replica, standing) => {
                self.submit(key, LaneInput::Stands { replica, standing }, said);
            }
            Action::Open(openings) => {
                let opened = openings.into_iter().map(|opening| self.open(now_ms, opening)).collect();
                self.step(now_ms, Input::Opened(opened), said);
            }
            Action::Assign(assignments) => {
                let (broker, epoch) = (self.me, self.epoch);
                let assign = AssignReplicas { broker, epoch, assignments };
                self.command(now_ms, Who::Nobody, assign.command(), said);
            }
            Action::Settle(keys) => {
                keys.into_iter().for_each(|key| self.submit(key, LaneInput::Settle, said));
            }
            Action::TakeOffline(key) => drop(self.close(now_ms, key, said)),
            Action::Configure(key, config) => self.submit(key, LaneInput::Configure(config), said),
            Action::Note(Note::NotOpened(id, why)) => {
                mark("a log could not be opened");
                self.storage.could_not_open(&id);
                said.push(Said::Offline(format!("cannot open the log of {id}: {why}")));
            }
            // There are no operators.
            Action::Note(_) => {}
            Action::ForgetTopics(topics) => self.forget_topics(&topics, said),
            Action::Show(image) => self.image = image,
        }
    }

    fn open(&mut self, now_ms: i64, opening: Opening) -> Opened {
        let role = match opening.role.clone() {
            Role::Leader(leadership) => Role::Leader(self.believed(leadership)),
            follower => follower,
        };
        let outcome = match self.open_log(now_ms, &opening) {
            Ok(log) => {
                let lag_ms = self.config.replica_lag_time_max_ms;
                let host = Host { id: self.me, replica_lag_time_max_ms: lag_ms };
                let lane = Lane::new(host, log, role, opening.config.clone(), now_ms);
                let directory = self.storage.directory_of(lane.log().dir());
                self.partitions.insert(opening.key(), Partition::new(opening.id.clone(), lane));
                Ok(directory)
            }
            Err(error) => Err(NotOpened { why: error.to_string(), full: error.is_full() }),
        };
        Opened { opening, outcome }
    }

    fn open_log(&mut self, now_ms: i64, opening: &Opening) -> Result<Log, LogError> {
        let jitter_seed = self.dice.number();
        let opened = self.storage.open_log(opening, now_ms, jitter_seed);
        let Err(LogError::TopicId { .. }) = opened else { return opened };
        mark("the log of an earlier topic was set aside");
        let unique = self.unique();
        self.storage
            .set_aside(&opening.id, unique)
            .map_err(|source| LogError::Io { doing: "setting a deleted topic's folder aside", source })?;
        self.storage.open_log(opening, now_ms, jitter_seed)
    }

    /// The folders of partitions that the metadata does not give to this node, once it is read whole.
    pub(super) fn set_strays_aside(&mut self) -> Result<(), DirError> {
        let (me, image, dice) = (self.me, &self.image, &mut self.dice);
        let unique = || fresh_id(|| (u128::from(dice.number()) << 64) | u128::from(dice.number()));
        self.storage.set_strays_aside(|id| is_assigned(me, image, id), unique)
    }

    pub(super) fn unique(&mut self) -> Uuid {
        let dice = &mut self.dice;
        fresh_id(|| (u128::from(dice.number()) << 64) | u128::from(dice.number()))
    }

    fn delete(&mut self, now_ms: i64, key: Key, delay_ms: i64, said: &mut Vec<Said>) {
        let Some(log) = self.close(now_ms, key, said) else { return };
        let (id, unique) = (log.partition().clone(), self.unique());
        match log.delete(unique) {
            Ok(folder) => self.storage.remove_later(folder, now_ms + delay_ms),
            Err(error) => {
                said.push(Said::Offline(format!("cannot rename the deleted log of {id}: {error}")));
            }
        }
    }

    fn close(&mut self, now_ms: i64, key: Key, said: &mut Vec<Said>) -> Option<Log> {
        let (log, refused) = self.partitions.remove(&key)?.close();
        for (token, code) in refused {
            self.appended(key, token, Err(code), said);
        }
        self.partition_closed(key, said);
        self.closed(now_ms, key, said);
        log
    }

    fn believed(&mut self, leadership: Leadership) -> Leadership {
        let invented = match self.mutation {
            Some(Mutation::InventEpochs) => self.dice.below(20) as i32,
            _ => 0,
        };
        Leadership { epoch: LeaderEpoch(leadership.epoch.0 + invented), ..leadership }
    }
}
