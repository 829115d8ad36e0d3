//! Who is the active controller, as this node knows it. Written by the thread that follows the metadata log.

use ottla_model::NodeId;
use ottla_model::config::HostPort;
use ottla_protocol::LeaderEpoch;

/// The leader of the metadata quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leading {
    pub epoch: LeaderEpoch,
    pub leader: Option<NodeId>,
    /// It is this node, and ready to decide.
    pub here: bool,
    /// Of its controller listener.
    pub address: Option<HostPort>,
    /// The level of `kraft.version`, which is in the quorum's own records.
    pub kraft_version: i16,
}

impl Leading {
    /// Nobody is known.
    pub fn nobody() -> Leading {
        Leading { epoch: LeaderEpoch(0), leader: None, here: false, address: None, kraft_version: 0 }
    }

    /// Whether it is known where to ask.
    pub fn can_be_asked(&self) -> bool {
        self.here || self.address.is_some()
    }

    /// Whether both mean the same leader of the same epoch.
    pub fn is_same_as(&self, other: &Leading) -> bool {
        (self.epoch, self.leader, self.here) == (other.epoch, other.leader, other.here)
    }
}
