//! A member of a classic group: what it told when it joined, what it was assigned, and who of it waits.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use ottla_model::group::{InstanceId, MemberMetadata};

use crate::group::command::{Join, Protocol};

#[derive(Debug)]
pub struct Member<T> {
    pub instance_id: Option<InstanceId>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub terms: JoinTerms,
    pub assignment: Bytes,
    /// Has not been answered yet since it came: a silent one goes even while it waits.
    pub is_new: bool,
    pub awaiting_join: Option<T>,
    pub awaiting_sync: Option<T>,
}

/// What a member may change when it joins again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinTerms {
    /// In order of preference.
    pub protocols: Vec<Protocol>,
    pub session_timeout_ms: i32,
    pub rebalance_timeout_ms: i32,
}

impl JoinTerms {
    pub fn of(join: &Join) -> JoinTerms {
        // Copied: a member outlives the frame that it came in.
        let copy = |protocol: &Protocol| Protocol {
            name: protocol.name.clone(),
            metadata: Bytes::copy_from_slice(&protocol.metadata),
        };
        let rebalance = join.rebalance_timeout_ms;
        JoinTerms {
            protocols: join.protocols.iter().map(copy).collect(),
            session_timeout_ms: join.session_timeout_ms,
            rebalance_timeout_ms: if rebalance < 0 { join.session_timeout_ms } else { rebalance },
        }
    }

    /// The names of its protocols, each once.
    pub fn names(&self) -> BTreeSet<&Arc<str>> {
        self.protocols.iter().map(|protocol| &protocol.name).collect()
    }
}

impl<T> Member<T> {
    pub fn joining(join: &Join) -> Member<T> {
        Member {
            instance_id: join.instance_id.clone(),
            client_id: join.client_id.clone(),
            client_host: join.client_host.clone(),
            terms: JoinTerms::of(join),
            assignment: Bytes::new(),
            is_new: true,
            awaiting_join: None,
            awaiting_sync: None,
        }
    }

    /// One that the log has. Of its protocols only the chosen one is known.
    pub fn loaded(protocol: &Arc<str>, metadata: &MemberMetadata) -> Member<T> {
        let protocol = Protocol { name: protocol.clone(), metadata: metadata.subscription.clone() };
        Member {
            instance_id: metadata.instance_id.clone(),
            client_id: metadata.client_id.clone(),
            client_host: metadata.client_host.clone(),
            terms: JoinTerms {
                protocols: vec![protocol],
                session_timeout_ms: metadata.session_timeout_ms,
                rebalance_timeout_ms: metadata.rebalance_timeout_ms.unwrap_or(metadata.session_timeout_ms),
            },
            assignment: metadata.assignment.clone(),
            is_new: false,
            awaiting_join: None,
            awaiting_sync: None,
        }
    }

    /// The same member under another id: nobody of it waits.
    pub fn successor(&self) -> Member<T> {
        Member {
            instance_id: self.instance_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            terms: self.terms.clone(),
            assignment: self.assignment.clone(),
            is_new: false,
            awaiting_join: None,
            awaiting_sync: None,
        }
    }

    pub fn is_static(&self) -> bool {
        self.instance_id.is_some()
    }

    /// Whether it need not be heard of at the moment: its connection is busy with a request that we hold.
    pub fn is_excused(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }

    /// What it told under that protocol.
    pub fn metadata(&self, protocol: &str) -> Bytes {
        let mut protocols = self.terms.protocols.iter();
        protocols.find(|own| &*own.name == protocol).map(|own| own.metadata.clone()).unwrap_or_default()
    }
}
