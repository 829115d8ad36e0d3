//! UnregisterController v0 (KIP-1312), which the `kafka-protocol` crate does not know. Both messages have the bytes of
//! UnregisterBroker's: the id of a node, and an outcome. It must never know which controllers may be forgotten.

use kafka_protocol::messages::{UnregisterBrokerRequest, UnregisterBrokerResponse};
use kafka_protocol::protocol::buf::{ByteBuf, ByteBufMut};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Message, Request, VersionRange};

use crate::api::ApiKey;

/// The controller to forget, in the place of the broker.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UnregisterControllerRequest(UnregisterBrokerRequest);

pub type UnregisterControllerResponse = UnregisterBrokerResponse;

type Outcome<T> = anyhow::Result<T>;

impl UnregisterControllerRequest {
    pub fn of(controller_id: i32) -> UnregisterControllerRequest {
        UnregisterControllerRequest(UnregisterBrokerRequest::default().with_broker_id(controller_id.into()))
    }

    pub fn controller_id(&self) -> i32 {
        self.0.broker_id.0
    }
}

impl Message for UnregisterControllerRequest {
    const VERSIONS: VersionRange = UnregisterBrokerRequest::VERSIONS;
    const DEPRECATED_VERSIONS: Option<VersionRange> = UnregisterBrokerRequest::DEPRECATED_VERSIONS;
}

impl HeaderVersion for UnregisterControllerRequest {
    fn header_version(version: i16) -> i16 {
        UnregisterBrokerRequest::header_version(version)
    }
}

impl Encodable for UnregisterControllerRequest {
    fn encode<B: ByteBufMut>(&self, buf: &mut B, version: i16) -> Outcome<()> {
        self.0.encode(buf, version)
    }

    fn compute_size(&self, version: i16) -> Outcome<usize> {
        self.0.compute_size(version)
    }
}

impl Decodable for UnregisterControllerRequest {
    fn decode<B: ByteBuf>(buf: &mut B, version: i16) -> Outcome<Self> {
        UnregisterBrokerRequest::decode(buf, version).map(UnregisterControllerRequest)
    }
}

impl Request for UnregisterControllerRequest {
    const KEY: i16 = ApiKey::UnregisterController.code();
    type Response = UnregisterControllerResponse;
}
