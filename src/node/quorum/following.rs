//! How a member keeps up to which no leader speaks: one that does not vote yet, or does not any more, and one that its leader
//! looks for in another place. It asks by Kafka's Fetch and FetchSnapshot, as observers do, and what the leader answers is to
//! raft-rs what the leader might have said by itself.
//! It must never answer the leader for that: nobody counts on what such a member has.

use bytes::Bytes;
use ottla_log::metadata::SnapshotId;
use ottla_model::NodeId;
use ottla_protocol::batch::batches;
use ottla_protocol::{LeaderEpoch, Offset};
use raft::StateRole;

use super::fetch::{Answer, Fetch, FetchSnapshot, Fetched, Piece, Portions, Question};
use super::message::{Body, LogEntry, Message, Offer, Position};
use super::voters::ReplicaKey;
use super::{Quorum, Refused, gate};

impl Quorum {
    /// Whether this member has to ask, because no leader speaks to it.
    pub fn is_unheard(&self) -> bool {
        self.raw.raft.state != StateRole::Leader && self.unheard.is_long(|| self.votes())
    }

    /// What to ask. A snapshot is asked of a leader alone. To be called when everything is settled.
    pub fn question(&self, of_leader: bool, portions: Portions) -> Question {
        let store = self.raw.store();
        let cluster_id = Some(store.voters().cluster_id.clone());
        let (replica, epoch) = (Some(store.voters().me), self.epoch());
        if let Some((id, written)) = self.unheard.partial().filter(|_| of_leader) {
            let (position, max_bytes) = (written as i64, portions.snapshot_bytes);
            return Question::FetchSnapshot(FetchSnapshot {
                cluster_id,
                replica,
                epoch,
                id,
                position,
                max_bytes,
            });
        }
        let from = self.fetched_from();
        Question::Fetch(Fetch {
            cluster_id,
            replica,
            epoch,
            offset: store.end_of(from).unwrap_or(0),
            last_epoch: LeaderEpoch(store.term_of(from).unwrap_or(0) as i32),
            high_watermark: Some(self.high_watermark()),
            max_bytes: portions.fetch_bytes,
        })
    }

    /// Whether the same would be asked now: an answer to anything else may fit nowhere.
    pub fn still_asks(&self, question: &Question) -> bool {
        let (store, from) = (self.raw.store(), self.fetched_from());
        match question {
            Question::Fetch(fetch) => {
                let (end, term) = (store.end_of(from).unwrap_or(0), store.term_of(from).unwrap_or(0));
                (fetch.offset, fetch.last_epoch) == (end, LeaderEpoch(term as i32))
            }
            Question::FetchSnapshot(fetch) => {
                self.unheard.partial() == Some((fetch.id, fetch.position.max(0) as u64))
            }
        }
    }

    fn fetched_from(&self) -> u64 {
        self.unheard.from.unwrap_or(self.raw.store().last())
    }

    /// Somebody who does not lead says who leads in which epoch. In an epoch that is known here this is no word of the leader's: two
    /// voters whose leader is gone would keep each other from voting for another one, for ever. To be followed by [`Quorum::settle`].
    pub fn hear_about_leader(&mut self, leader: NodeId, epoch: LeaderEpoch) -> Result<(), Refused> {
        match epoch > self.epoch() {
            true => self.hear_of_leader(leader, epoch),
            false => Ok(()),
        }
    }

    /// The leader of this epoch has answered. To be followed by [`Quorum::settle`].
    pub fn hear_of_leader(&mut self, leader: NodeId, epoch: LeaderEpoch) -> Result<(), Refused> {
        self.hear_quietly(leader, epoch, Body::Heartbeat { commit: 0 })
    }

    /// The leader of this epoch has answered, and not with an error. Whether that has brought anything new. To be followed by
    /// [`Quorum::settle`].
    pub fn hear_answer(
        &mut self,
        leader: NodeId,
        epoch: LeaderEpoch,
        answer: Answer,
    ) -> Result<bool, Refused> {
        match answer {
            Answer::Fetched(answer) => match answer.fetched {
                Ok(Fetched::Records(records)) => {
                    self.abandon_partial();
                    self.hear_records(leader, epoch, &records, answer.high_watermark.unwrap_or(0))
                }
                Ok(Fetched::Diverging { epoch: last, end }) => {
                    self.abandon_partial();
                    self.go_back(leader, last, end).map(|()| true)
                }
                Ok(Fetched::Snapshot(id)) => self.begin_snapshot(leader, id).map(|()| true),
                Err(_) => Ok(false),
            },
            Answer::Piece(answer) => match answer.piece {
                Ok(piece) => self.hear_piece(leader, epoch, &piece).map(|()| true),
                Err(_) => Ok(false),
            },
        }
    }

    /// What is here of a snapshot that the leader does not have any more is worth nothing.
    pub fn abandon_partial(&mut self) {
        let disk = self.raw.store().disk().clone();
        self.unheard.abandon(&*disk);
    }

    fn hear_records(
        &mut self,
        leader: NodeId,
        epoch: LeaderEpoch,
        records: &Bytes,
        high_watermark: Offset,
    ) -> Result<bool, Refused> {
        let (store, from) = (self.raw.store(), self.fetched_from());
        let previous = Position { index: from, term: store.term_of(from).unwrap_or(0) };
        let below = |end: Option<Offset>| end.is_some_and(|end| end <= high_watermark);
        let mut commit =
            if below(store.end_of(from)) { from } else { store.index_ending_at(high_watermark).unwrap_or(0) };
        let mut entries = Vec::new();
        for batch in batches(records) {
            // An answer may end in the middle of a batch.
            let Ok((header, batch)) = batch else { break };
            entries.push(LogEntry { term: header.partition_leader_epoch.max(0) as u64, batch });
            if below(Some(header.next_offset())) {
                commit = from + entries.len() as u64;
            }
        }
        let log = &self.raw.raft.raft_log;
        let (before, comes) = ((log.last_index(), log.committed), !entries.is_empty());
        self.hear_quietly(leader, epoch, Body::Append { previous, commit, entries })?;
        if comes {
            self.unheard.from = None;
        }
        let log = &self.raw.raft.raft_log;
        Ok(comes || (log.last_index(), log.committed) != before)
    }

    // The two logs part. The leader's next batches take the place of what is here behind the last place where they may be
    // the same.
    fn go_back(&mut self, leader: NodeId, last: LeaderEpoch, end: Offset) -> Result<(), Refused> {
        let (store, agreed) = (self.raw.store(), self.raw.raft.raft_log.committed);
        let may_be_same = |index: &u64| {
            let (term, ends) = (store.term_of(*index), store.end_of(*index));
            term.is_some_and(|term| term as i64 <= i64::from(last.0)) && ends.is_some_and(|ends| ends <= end)
        };
        let from = self.fetched_from();
        if from <= agreed {
            return Err(impossible(leader, "its log is another one than what was agreed on"));
        }
        let back = (agreed..from).rev().find(may_be_same);
        self.unheard.from = Some(back.unwrap_or(agreed));
        Ok(())
    }

    fn begin_snapshot(&mut self, leader: NodeId, id: SnapshotId) -> Result<(), Refused> {
        if id.end <= self.high_watermark() || !(LeaderEpoch(0)..=self.epoch()).contains(&id.epoch) {
            return Err(impossible(leader, "a snapshot in place of what was agreed on"));
        }
        let (disk, dir) = (self.raw.store().disk().clone(), self.raw.store().log().dir().to_owned());
        self.unheard.begin(&disk, dir, id).map_err(Refused::Snapshot)
    }

    fn hear_piece(&mut self, leader: NodeId, epoch: LeaderEpoch, piece: &Piece) -> Result<(), Refused> {
        let disk = self.raw.store().disk().clone();
        let Some((loaded, size)) = self.unheard.keep(&*disk, piece).map_err(Refused::Snapshot)? else {
            return Ok(());
        };
        let offer = Offer { id: loaded.id, index: loaded.raft_index.unwrap_or(0), size };
        let message = self.said_by(leader, epoch, Body::Snapshot(offer));
        gate::check(&self.raw, &message)?;
        let voters = self.raw.mut_store().receive(loaded);
        let voters = voters.ok_or_else(|| Refused::Snapshot("no quorum can be made of its voters".into()))?;
        let said = self.raw.raft.msgs.len();
        self.tell_raft(message.from, message.term, offer, &voters);
        self.raw.raft.msgs.truncate(said);
        self.unheard.from = None;
        Ok(())
    }

    // As if the leader had said it. What raft-rs would answer is not sent.
    fn hear_quietly(&mut self, leader: NodeId, epoch: LeaderEpoch, body: Body) -> Result<(), Refused> {
        let message = self.said_by(leader, epoch, body);
        gate::check(&self.raw, &message)?;
        let said = self.raw.raft.msgs.len();
        self.pass_on(message.from, message.term, message.body);
        self.raw.raft.msgs.truncate(said);
        Ok(())
    }

    // Whoever answers a fetch knows more voters than this member may.
    fn said_by(&self, leader: NodeId, epoch: LeaderEpoch, body: Body) -> Message {
        let voters = self.raw.store().voters();
        let (cluster_id, to, term) = (voters.cluster_id.clone(), voters.me, epoch.0.max(0) as u64);
        Message { cluster_id, from: ReplicaKey::of(leader), to, voters_index: u64::MAX, term, body }
    }
}

fn impossible(leader: NodeId, what: &'static str) -> Refused {
    Refused::Impossible { from: ReplicaKey::of(leader), what }
}
