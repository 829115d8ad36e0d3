//! Who votes in the quorum, as administrators change it (KIP-853): single voters, and whether they can change at all
//! (`kraft.version`).
//! It must never count votes: that is `quorum`'s business.

use ottla_core::controller::Command;
use ottla_model::config::BrokerConfig;
use ottla_model::feature::KRAFT_VERSION;
use ottla_model::image::Image;
use ottla_protocol::batch::control::{VoterEndpoint, VoterNode};

use super::{Answer, Controller, NotOffered, Output, Promise};
use crate::quorum::{Quorum, VoterChange};

impl<T> Controller<T> {
    pub(super) fn change_voters(
        &mut self,
        now_ms: i64,
        token: T,
        change: &VoterChange,
        out: &mut Vec<Output<T>>,
    ) {
        // Whether or not it can be written down now: there may be no leader before this voter is found where it is.
        if let VoterChange::Update(voter) = change {
            self.quorum.hear_where(voter);
        }
        let checked = self.quorum.check_voters(change, now_ms);
        // It was agreed on before. What is only proposed so far is refused above.
        if checked.is_ok() && matches!(change, VoterChange::Update(voter) if self.quorum.names(voter)) {
            return out.push(Output::VotersChanged { token, outcome: Ok(()) });
        }
        match checked.and_then(|()| self.quorum.change_voters(change, now_ms)) {
            Ok(offset) => {
                // The image has no voters, and its next record comes behind theirs.
                self.decided.offset = offset;
                self.promises.push_back(Promise { token, answer: Answer::VotersChanged, offset });
            }
            Err(refused) => out.push(Output::VotersChanged { token, outcome: Err(refused) }),
        }
    }

    /// Has the quorum raise `kraft.version` from 0 to 1, unless it stands there already.
    pub(super) fn let_voters_change(&mut self, now_ms: i64) -> Result<(), NotOffered> {
        if self.quorum.membership().kraft_version() > 0 {
            return Ok(());
        }
        // Whoever decided has seen that all of them are known.
        let voters = nodes(&self.quorum, &self.decided, &self.settings.config).unwrap_or_default();
        let offered = self.quorum.let_voters_change(voters, now_ms);
        self.decided.offset = offered.map_err(|_| NotOffered::NotLeading)?;
        Ok(())
    }
}

/// Whether a command asks for more than metadata records: for a level that the quorum keeps.
pub(super) fn raises(command: &Command) -> bool {
    match command {
        Command::UpdateFeatures(update) if !update.validate_only => {
            update.updates.iter().any(|one| one.name == KRAFT_VERSION && one.level > 0)
        }
        _ => false,
    }
}

/// The voters of `controller.quorum.voters` as the log is to name them, once each has been heard of: its directory is in its
/// messages, and its further listeners are in its registration.
pub(super) fn nodes(quorum: &Quorum, image: &Image, config: &BrokerConfig) -> Result<Vec<VoterNode>, String> {
    let default = config.controller_listener_names.first().cloned().unwrap_or_default();
    let node = |key: crate::quorum::ReplicaKey| {
        if key.directory_id.is_nil() {
            return Err(format!("The leader has not heard yet which directory controller {} has.", key.id));
        }
        let address = quorum.address(key.id);
        let known = address.ok_or_else(|| format!("Nobody knows where controller {} is.", key.id))?;
        let first = VoterEndpoint { name: default.clone(), host: known.host, port: known.port };
        let registered = image.controller(key.id).into_iter().flat_map(|known| &known.endpoints);
        let others = registered.filter(|endpoint| endpoint.name != default).map(|endpoint| VoterEndpoint {
            name: endpoint.name.clone(),
            host: endpoint.host.clone(),
            port: endpoint.port,
        });
        let (id, directory_id) = (key.id.0, key.directory_id);
        let endpoints = std::iter::once(first).chain(others).collect();
        Ok(VoterNode { id, directory_id, endpoints, kraft_version_min: 0, kraft_version_max: 1 })
    };
    quorum.known_voters().map(node).collect()
}
