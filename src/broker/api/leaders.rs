//! Who leads a partition that is not led here, and where that broker is reached: with it a client need not ask for
//! metadata first (KIP-951). It must never decide who leads.

use std::collections::BTreeMap;

use ottla_core::session::FetchTopic;
use ottla_model::image::Image;
use ottla_protocol::StrBytes;
use ottla_protocol::fetch::{CurrentLeader, NodeEndpoint};

use super::answers::text;

/// The leaders that one response names.
pub(super) struct Leaders<'a> {
    image: &'a Image,
    listener: &'a str,
    named: BTreeMap<i32, NodeEndpoint>,
}

impl<'a> Leaders<'a> {
    /// Addresses are those of this listener.
    pub fn new(image: &'a Image, listener: &'a str) -> Leaders<'a> {
        Leaders { image, listener, named: BTreeMap::new() }
    }

    /// `None`: nobody leads, or nobody knows.
    pub fn find(&mut self, topic: &FetchTopic, index: i32) -> Option<CurrentLeader> {
        let topic = match topic {
            FetchTopic::Id(id) => self.image.topic_by_id(*id),
            FetchTopic::Name(name) => self.image.topic(name),
        };
        let partition = topic?.partitions.get(&index)?;
        let id = partition.leader?;
        if let Some(broker) = self.image.broker(id).filter(|broker| !broker.fenced)
            && let Some(endpoint) = broker.endpoint(self.listener)
        {
            let rack: Option<StrBytes> = broker.rack.as_deref().map(text);
            let (host, port) = (text(&endpoint.host), i32::from(endpoint.port));
            self.named.insert(id.0, NodeEndpoint { node_id: id.0, host, port, rack });
        }
        Some(CurrentLeader { leader_id: id.0, leader_epoch: partition.leader_epoch })
    }

    /// The addresses of all leaders that were found.
    pub fn endpoints(self) -> Vec<NodeEndpoint> {
        self.named.into_values().collect()
    }
}
