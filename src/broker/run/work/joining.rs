//! The task in which a controller cares for its own place among the voters (KIP-853): it joins them where
//! `controller.quorum.auto.join.enable` says so, in place of what it was before its disk was wiped; it tells the leader where it
//! listens once that is another place than the log says; and it tells voters that are silent.
//! It must never decide who votes: the leader does.

use std::time::Duration;

use ottla_client::{ClientError, Connection, Options};
use ottla_model::{NodeId, uuid_to_base64};
use ottla_node::quorum::{QuorumState, ReplicaKey, VoterChange};
use ottla_protocol::batch::control::VoterNode;
use ottla_protocol::messages::add_raft_voter_request::Listener as Added;
use ottla_protocol::messages::update_raft_voter_request::{KRaftVersionFeature, Listener as Updated};
use ottla_protocol::messages::{AddRaftVoterRequest, RemoveRaftVoterRequest, UpdateRaftVoterRequest};
use ottla_protocol::{ErrorCode, StrBytes};
use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::clock::now_ms;
use crate::run::owners::controller::Commands;
use crate::run::owners::leading::Leading;

/// Heartbeats are answered several times a second.
const SILENT_MS: i64 = 2_000;

/// A controller that may want to be among the voters, or is.
pub(crate) struct Joining {
    pub cluster_id: String,
    /// This controller, as the log should name it.
    pub own: VoterNode,
    /// It joins without being asked to.
    pub joins: bool,
    /// Its configuration says where it is found: what an administrator has said of that may be out of date then.
    pub knows_where: bool,
    pub commands: Commands,
    pub leading: watch::Receiver<Leading>,
    /// For a connection, and for an answer.
    pub patience: Duration,
    /// Between two looks.
    pub period: Duration,
}

impl Joining {
    /// Ends with the controller.
    pub async fn care(self) {
        let mut told = None;
        loop {
            tokio::time::sleep(self.period).await;
            let Ok(state) = self.commands.describe().await else { return };
            let other = other_replica(&state, &self.own);
            if let Some(key) = other.filter(|_| other != told) {
                let own = uuid_to_base64(self.own.directory_id);
                warn!(
                    "this controller does not vote: the voters name node {} with directory {}, and this one has {own}; remove \
                     that voter and add this one, unless another process has this node.id",
                    key.id,
                    uuid_to_base64(key.directory_id)
                );
            }
            told = other;
            self.tell_where(&state).await;
            let Some(change) = self.wanted(&state) else { continue };
            match self.ask(&state, &change).await {
                Ok(ErrorCode::None) => info!(?change, "the voters of the metadata quorum have changed"),
                Ok(code) => debug!(?change, code = code.name(), "the voters do not change yet"),
                Err(error) => debug!(?change, %error, "the leader cannot be asked to change the voters"),
            }
        }
    }

    fn wanted(&self, state: &QuorumState) -> Option<VoterChange> {
        wanted(state, &self.own, self.joins, self.knows_where)
    }

    // Its answer may go to a place where this one was once, and it may never hear otherwise what the log says of that.
    async fn tell_where(&self, state: &QuorumState) {
        if !self.knows_where {
            return;
        }
        let here = VoterChange::Update(self.own.clone());
        for id in not_heard(state, &self.own, now_ms()) {
            let Some(address) = state.addresses.get(&id) else { continue };
            match self.put_at(&address.to_string(), state, &here).await {
                Ok(code) => debug!(voter = %id, code = code.name(), "a voter was told where this one is"),
                Err(error) => debug!(voter = %id, %error, "a voter cannot be told where this one is"),
            }
        }
    }

    async fn ask(&self, state: &QuorumState, change: &VoterChange) -> Result<ErrorCode, ClientError> {
        if state.leads {
            let outcome = self.commands.change_voters(change.clone()).await;
            return Ok(outcome.map_or_else(|refused| refused.code(), |()| ErrorCode::None));
        }
        let Some(address) = self.leading.borrow().address.clone() else {
            return Ok(ErrorCode::LeaderNotAvailable);
        };
        self.put_at(&address.to_string(), state, change).await
    }

    async fn put_at(
        &self,
        address: &str,
        state: &QuorumState,
        change: &VoterChange,
    ) -> Result<ErrorCode, ClientError> {
        let options =
            Options { connect_timeout: self.patience, request_timeout: self.patience, ..Options::default() };
        let connection = Connection::connect_with(address, options).await?;
        let code = self.put(&connection, state, change).await;
        connection.close();
        code.map(ErrorCode::from_code)
    }

    async fn put(
        &self,
        connection: &Connection,
        state: &QuorumState,
        change: &VoterChange,
    ) -> Result<i16, ClientError> {
        let cluster_id = Some(text(&self.cluster_id));
        match change {
            VoterChange::Add(voter) => {
                let listeners = voter.endpoints.iter().map(|endpoint| {
                    let (name, host) = (text(&endpoint.name), text(&endpoint.host));
                    Added::default().with_name(name).with_host(host).with_port(endpoint.port)
                });
                let request = AddRaftVoterRequest::default()
                    .with_cluster_id(cluster_id)
                    .with_timeout_ms(i32::try_from(self.patience.as_millis()).unwrap_or(i32::MAX))
                    .with_voter_id(voter.id)
                    .with_voter_directory_id(voter.directory_id)
                    .with_listeners(listeners.collect());
                Ok(connection.call(&request).await?.error_code)
            }
            VoterChange::Remove(key) => {
                let request = RemoveRaftVoterRequest::default()
                    .with_cluster_id(cluster_id)
                    .with_voter_id(key.id.0)
                    .with_voter_directory_id(key.directory_id);
                Ok(connection.call(&request).await?.error_code)
            }
            VoterChange::Update(voter) => {
                let listeners = voter.endpoints.iter().map(|endpoint| {
                    let (name, host) = (text(&endpoint.name), text(&endpoint.host));
                    Updated::default().with_name(name).with_host(host).with_port(endpoint.port)
                });
                let versions = KRaftVersionFeature::default()
                    .with_min_supported_version(voter.kraft_version_min)
                    .with_max_supported_version(voter.kraft_version_max);
                let request = UpdateRaftVoterRequest::default()
                    .with_cluster_id(cluster_id)
                    .with_current_leader_epoch(state.epoch.0)
                    .with_voter_id(voter.id)
                    .with_voter_directory_id(voter.directory_id)
                    .with_listeners(listeners.collect())
                    .with_k_raft_version_feature(versions);
                Ok(connection.call(&request).await?.error_code)
            }
        }
    }
}

// Whom the log names in the place of this controller: what it was before it lost its disk, or another process with its id.
fn other_replica(state: &QuorumState, own: &VoterNode) -> Option<ReplicaKey> {
    let known = state.voters.iter().map(|voter| voter.key).find(|key| key.id.0 == own.id)?;
    let named = !known.directory_id.is_nil() && !own.directory_id.is_nil();
    (named && known.directory_id != own.directory_id).then_some(known)
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

// Voters whose answers do not come: all others while nobody leads, and where this one leads those that are silent.
fn not_heard(state: &QuorumState, own: &VoterNode, now_ms: i64) -> Vec<NodeId> {
    let votes = state.voters.iter().any(|voter| voter.key.id.0 == own.id && voter.key == state.me);
    if state.kraft_version < 1 || !votes || (state.leader.is_some() && !state.leads) {
        return Vec::new();
    }
    let others = state.voters.iter().filter(|voter| voter.key.id.0 != own.id);
    let silent = others.filter(|voter| !state.leads || voter.heard_ms + SILENT_MS < now_ms);
    silent.map(|voter| voter.key.id).collect()
}

// What has to change so that this controller votes, under its own name and where it is.
fn wanted(state: &QuorumState, own: &VoterNode, joins: bool, knows_where: bool) -> Option<VoterChange> {
    if state.kraft_version < 1 || state.leader.is_none() || own.directory_id.is_nil() {
        return None;
    }
    // What it was before it lost its disk.
    if let Some(key) = other_replica(state, own) {
        return joins.then_some(VoterChange::Remove(key));
    }
    let known = state.voters.iter().map(|voter| voter.key).find(|key| key.id.0 == own.id);
    match known {
        Some(key) => {
            let moved = knows_where && state.nodes.get(&key.id) != Some(&own.endpoints);
            moved.then(|| VoterChange::Update(own.clone()))
        }
        None => joins.then(|| VoterChange::Add(own.clone())),
    }
}

#[cfg(test)]
mod tests {
    use ottla_node::quorum::VoterState;
    use ottla_protocol::LeaderEpoch;
    use ottla_protocol::batch::control::VoterEndpoint;
    use uuid::Uuid;

    use super::*;

    fn node(id: i32, directory: u128, port: u16) -> VoterNode {
        let endpoint = VoterEndpoint { name: "CONTROLLER".into(), host: "localhost".into(), port };
        let directory_id = Uuid::from_u128(directory);
        VoterNode { id, directory_id, endpoints: vec![endpoint], kraft_version_min: 0, kraft_version_max: 1 }
    }

    fn state(kraft_version: i16, leader: Option<i32>, voters: &[VoterNode]) -> QuorumState {
        let of = |voter: &VoterNode| VoterState {
            key: ReplicaKey::of_voter(voter),
            log_end: -1,
            heard_ms: -1,
            caught_up_ms: -1,
        };
        QuorumState {
            me: ReplicaKey::of(NodeId(2)),
            kraft_version,
            epoch: LeaderEpoch(3),
            leader: leader.map(NodeId),
            leads: false,
            high_watermark: 9,
            voters: voters.iter().map(of).collect(),
            observers: Vec::new(),
            nodes: voters.iter().map(|voter| (NodeId(voter.id), voter.endpoints.clone())).collect(),
            addresses: Default::default(),
        }
    }

    #[test]
    fn a_controller_wants_to_vote_under_its_own_name_and_where_it_is() {
        let (one, own) = (node(1, 1, 9093), node(2, 20, 9094));
        let (before, moved) = (node(2, 10, 9094), node(2, 20, 9099));
        let with = |voter: &VoterNode| vec![one.clone(), voter.clone()];
        let add = Some(VoterChange::Add(own.clone()));
        let remove = Some(VoterChange::Remove(ReplicaKey::of_voter(&before)));
        let update = Some(VoterChange::Update(own.clone()));
        let rows = [
            // kraft.version, leader, voters, it joins, it knows where it is
            ("it is none", 1, Some(1), vec![one.clone()], true, true, add.clone()),
            ("it shall not", 1, Some(1), vec![one.clone()], false, true, None),
            ("voters cannot change", 0, Some(1), vec![one.clone()], true, true, None),
            ("nobody can be asked", 1, None, vec![one.clone()], true, true, None),
            ("it lost its disk", 1, Some(1), with(&before), true, true, remove),
            ("and an administrator decides", 1, Some(1), with(&before), false, true, None),
            ("it is one", 1, Some(1), with(&own), true, true, None),
            ("it has moved", 1, Some(1), with(&moved), false, true, update),
            ("it was told where it is", 1, Some(1), with(&moved), false, false, None),
        ];
        for (story, version, leader, voters, joins, knows_where, expected) in rows {
            let found = wanted(&state(version, leader, &voters), &own, joins, knows_where);
            assert_eq!(found, expected, "{story}");
        }
    }

    #[test]
    fn who_does_not_answer_is_told_where_this_one_is() {
        let (one, own, three) = (node(1, 1, 9093), node(2, 20, 9094), node(3, 3, 9095));
        let of = |kraft_version, leader, leads| {
            let mut state = state(kraft_version, leader, &[one.clone(), own.clone(), three.clone()]);
            (state.me, state.leads) = (ReplicaKey::of_voter(&own), leads);
            (state.voters[0].heard_ms, state.voters[2].heard_ms) = (9_000, 7_000);
            not_heard(&state, &own, 10_000).into_iter().map(|id| id.0).collect::<Vec<_>>()
        };
        assert_eq!(of(1, None, false), [1, 3], "nobody leads");
        assert_eq!(of(1, Some(2), true), [3], "one is silent");
        assert!(of(1, Some(1), false).is_empty(), "it follows");
        assert!(of(0, None, false).is_empty(), "the configuration says where voters are");
    }
}
