//! What a member of the quorum does with the passing of time and with what others say.

use bytes::Bytes;
use ottla_log::metadata::SnapshotId;
use ottla_model::NodeId;
use raft::{ProgressState, SnapshotStatus, StateRole};

use super::download::{self, Download, Waiting};
use super::message::{Body, Message, Offer};
use super::voters::{ReplicaKey, VoterSet};
use super::{APART_TICKS, MISSING_TICKS, Quorum, Refused, convert, gate};

impl Quorum {
    /// To be called every [`super::TICK_MS`], and to be followed by [`Quorum::settle`].
    pub fn tick(&mut self) {
        match self.votes() || self.raw.raft.state == StateRole::Leader {
            true => drop(self.raw.tick()),
            // It waits as long as the others, so that it gives its vote when they do, and never wants to lead.
            false => self.raw.raft.election_elapsed += 1,
        }
        match self.raw.raft.state {
            StateRole::Leader => self.unheard.spoken_to(),
            _ => self.unheard.tick(),
        }
        self.tick_download();
        let followers = self.raw.raft.prs().iter();
        let waiting = followers.filter(|(_, progress)| progress.state == ProgressState::Snapshot);
        let waiting: Vec<u64> = waiting.map(|(raft_id, _)| *raft_id).collect();
        for raft_id in self.offered.tick(&waiting) {
            self.raw.report_snapshot(raft_id, SnapshotStatus::Failure);
        }
    }

    /// The leader that this voter follows, if its heartbeat is late since this tick.
    pub fn missing_leader(&self) -> Option<NodeId> {
        let raft = &self.raw.raft;
        let is_late = raft.state == StateRole::Follower && raft.election_elapsed == MISSING_TICKS;
        self.leader().filter(|_| is_late && self.votes())
    }

    /// The process of the leader has ended. If it was not heard of in the meantime, this voter is ready at once to vote for
    /// another one, or to lead, as it would be after an election timeout. Should it be wrong, the others, who hear the leader, do
    /// not vote for it.
    pub fn leader_is_gone(&mut self, leader: NodeId) {
        let raft = &self.raw.raft;
        let follows = raft.state == StateRole::Follower && self.leader() == Some(leader) && self.votes();
        if !follows || raft.election_elapsed < MISSING_TICKS {
            return;
        }
        let least = raft.election_timeout();
        self.election_ticks = least + 1 + ((self.chance)() % APART_TICKS as u64) as usize;
        let raft = &mut self.raw.raft;
        raft.election_elapsed = raft.election_elapsed.max(least);
        raft.set_randomized_election_timeout(self.election_ticks);
    }

    fn tick_download(&mut self) {
        let Some(download) = &mut self.download else { return };
        match download.tick() {
            Waiting::Goes => {}
            Waiting::AskAgain => self.unsent.push((download.from, download.next_request())),
            Waiting::GivenUp => self.abandon_download(),
        }
    }

    fn abandon_download(&mut self) {
        if let Some(download) = self.download.take() {
            download.abandon(&**self.raw.store().disk());
        }
    }

    /// Takes what another replica says, whatever it is. What is refused has changed nothing. To be followed by
    /// [`Quorum::settle`].
    pub fn step(&mut self, message: Message) -> Result<(), Refused> {
        gate::check(&self.raw, &message)?;
        let Message { from, term, body, .. } = message;
        if matches!(body, Body::Append { .. } | Body::Heartbeat { .. } | Body::Snapshot(_)) {
            self.leader_spoke = Some(from);
            if term >= self.raw.raft.term {
                self.unheard.spoken_to();
            }
        }
        match body {
            Body::Snapshot(offer) => return self.hear_offer(from, term, offer),
            Body::FetchSnapshot { id, position } => {
                self.offered.heard(from.raft_id());
                let chunk = download::chunk(self.raw.store(), id, position);
                self.unsent.extend(chunk.map(|chunk| (from, chunk)));
                return Ok(());
            }
            Body::SnapshotChunk { id, position, bytes } => {
                return self.hear_chunk(from, id, position, &bytes);
            }
            Body::TimeoutNow if !self.votes() => return Ok(()),
            Body::VoteAnswer(ballot) => self.note_ballot(from, term, ballot.granted),
            _ => {}
        }
        self.pass_on(from, term, body);
        self.note_heard(from);
        Ok(())
    }

    pub(super) fn pass_on(&mut self, from: ReplicaKey, term: u64, body: Body) {
        let me = self.raw.raft.id;
        if let Some(message) = convert::to_raft(from.raft_id(), me, term, body) {
            // An answer of somebody who is no voter any more: raft-rs leaves it aside.
            let _ = self.raw.step(message);
        }
    }

    fn note_ballot(&mut self, from: ReplicaKey, term: u64, granted: bool) {
        let raft = &self.raw.raft;
        if raft.state == StateRole::Candidate && term == raft.term && granted {
            self.granted.insert(from.id);
        }
    }

    /// What raft-rs wants a follower to have, with the size that the follower needs to know.
    pub(super) fn offer(&self, snapshot: &raft::eraftpb::Snapshot) -> Option<Body> {
        let id = convert::snapshot_id(snapshot)?;
        let size = download::size(self.raw.store(), id)?;
        Some(Body::Snapshot(Offer { id, index: snapshot.get_metadata().index, size }))
    }

    fn hear_offer(&mut self, from: ReplicaKey, term: u64, offer: Offer) -> Result<(), Refused> {
        let raft = &self.raw.raft;
        if term < raft.term {
            return Ok(());
        }
        // What is here already needs no download, and Raft says so to the leader.
        let has = raft.raft_log.committed >= offer.index
            || self.raw.store().term_of(offer.index) == Some(offer.id.epoch.0 as u64);
        if has {
            let voters = self.raw.store().voters_at(offer.index).unwrap_or_default();
            self.tell_raft(from, term, offer, &voters);
            return Ok(());
        }
        if let Some(voters) = self.raw.store().has_received(offer.id) {
            self.tell_raft(from, term, offer, &voters);
            return Ok(());
        }
        // The leader is heard, even if what it offers takes a while.
        self.pass_on(from, term, Body::Heartbeat { commit: 0 });
        if self.download.as_ref().is_some_and(|download| download.offer == offer && download.from == from) {
            return Ok(());
        }
        self.abandon_download();
        let begun = Download::begin(self.raw.store(), from, offer);
        let download = begun.map_err(|e| Refused::Snapshot(e.to_string()))?;
        self.unsent.push((from, download.next_request()));
        self.download = Some(download);
        Ok(())
    }

    fn hear_chunk(
        &mut self,
        from: ReplicaKey,
        id: SnapshotId,
        position: u64,
        bytes: &Bytes,
    ) -> Result<(), Refused> {
        let Some(download) = &mut self.download else { return Ok(()) };
        match download.take(from, id, position, bytes) {
            Ok(false) => return Ok(()),
            Ok(true) if !download.is_whole() => {
                self.unsent.push((from, download.next_request()));
                return Ok(());
            }
            Ok(true) => {}
            Err(error) => {
                self.abandon_download();
                return Err(Refused::Snapshot(error.to_string()));
            }
        }
        self.receive()
    }

    // The snapshot is whole: it is checked, kept, and Raft hears of it as if it had come at once. Should somebody else lead
    // by now, that leader will offer it again, and it is here.
    fn receive(&mut self) -> Result<(), Refused> {
        let Some(download) = self.download.take() else { return Ok(()) };
        let (from, offer) = (download.from, download.offer);
        let finished = download.finish(&**self.raw.store().disk());
        let loaded = finished.map_err(|e| Refused::Snapshot(e.to_string()))?;
        let voters = self.raw.mut_store().receive(loaded);
        let voters = voters.ok_or_else(|| Refused::Snapshot("no quorum can be made of its voters".into()))?;
        let raft = &self.raw.raft;
        if raft.leader_id == from.raft_id() {
            let term = raft.term;
            self.tell_raft(from, term, offer, &voters);
        }
        Ok(())
    }

    // raft-rs takes only a snapshot that names this node as a voter. One that became a voter behind the snapshot is named
    // here, and wants to lead only when its log says that it votes.
    pub(super) fn tell_raft(&mut self, from: ReplicaKey, term: u64, offer: Offer, voters: &VoterSet) {
        let mut voters = voters.raft_ids();
        if !voters.contains(&self.raw.raft.id) {
            voters.push(self.raw.raft.id);
        }
        let mut message = raft::eraftpb::Message::default();
        message.set_msg_type(raft::eraftpb::MessageType::MsgSnapshot);
        (message.from, message.to, message.term) = (from.raft_id(), self.raw.raft.id, term);
        message.set_snapshot(convert::snapshot(offer.id, offer.index, voters));
        // A message of a known kind from a peer is always taken.
        let _ = self.raw.step(message);
    }
}
