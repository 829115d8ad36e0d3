//! A member of a classic group: what it sent when it joined, its assignment, and which of its requests are parked.

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
    /// The member has had no answer yet. Its session can expire even while its join is parked.
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
        // Copied, because a member lives longer than the frame of its request.
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

    /// The distinct names of its protocols.
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

    /// A member from the log. Only the chosen one of its protocols is known.
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

    /// The same member under another id, without parked requests.
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

    /// Whether the member does not have to send heartbeats at the moment, because one of its requests is parked here.
    pub fn is_excused(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }

    /// Its metadata for that protocol.
    pub fn metadata(&self, protocol: &str) -> Bytes {
        let mut protocols = self.terms.protocols.iter();
        protocols.find(|own| &*own.name == protocol).map(|own| own.metadata.clone()).unwrap_or_default()
    }
}
