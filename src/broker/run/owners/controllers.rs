//! Where the controllers of the cluster are, for who asks them for the metadata log: as a leader says, as the log says, as configured.
//! It must never decide whom to ask.

use ottla_model::NodeId;
use ottla_model::config::{BrokerConfig, HostPort};
use ottla_node::observer::{Leader, To};
use ottla_node::quorum::Membership;

/// Where the controllers are, as configured.
pub(crate) struct Controllers {
    /// Whom to ask who leads.
    bootstrap: Vec<HostPort>,
    /// `controller.quorum.voters`
    voters: Vec<(NodeId, HostPort)>,
}

impl Controllers {
    pub fn of(config: &BrokerConfig) -> Controllers {
        let voters: Vec<(NodeId, HostPort)> =
            config.controller_quorum_voters.iter().map(|voter| (voter.id, voter.address.clone())).collect();
        let bootstrap = match config.controller_quorum_bootstrap_servers.as_slice() {
            [] => voters.iter().map(|(_, address)| address.clone()).collect(),
            servers => servers.to_vec(),
        };
        Controllers { bootstrap, voters }
    }

    pub fn address(&self, to: &To, membership: &Membership) -> Option<HostPort> {
        match to {
            To::Anybody(turn) => self.bootstrap.get(turn % self.bootstrap.len().max(1)).cloned(),
            To::Leader(leader) => self.of_leader(leader, membership),
        }
    }

    /// As the leader says, or else as the log does, or else as configured.
    pub fn of_leader(&self, leader: &Leader, membership: &Membership) -> Option<HostPort> {
        if let Some((host, port)) = &leader.endpoint {
            return Some(HostPort { host: host.clone(), port: *port });
        }
        let mut voters = membership.voters.iter().flat_map(|record| &record.voters);
        let logged = voters.find(|voter| voter.id == leader.id.0).and_then(|voter| voter.endpoints.first());
        let logged = logged.map(|found| HostPort { host: found.host.clone(), port: found.port });
        let configured = || self.voters.iter().find(|(id, _)| *id == leader.id);
        logged.or_else(|| configured().map(|(_, address)| address.clone()))
    }
}
