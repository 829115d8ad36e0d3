//! What the voters of a metadata quorum of ours send each other: a private API of the controller listener, which no client
//! is told of. A request carries one message, whose bytes `ottla-node` reads; the response has an error code.

use bytes::Bytes;
use kafka_protocol::protocol::buf::{ByteBuf, ByteBufMut};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Message, Request, VersionRange};

use crate::api::ApiKey;

/// One message of a voter, as bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuorumMessageRequest {
    pub message: Bytes,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuorumMessageResponse {
    pub error_code: i16,
}

const VERSIONS: VersionRange = VersionRange { min: 0, max: 0 };

type Outcome<T> = anyhow::Result<T>;

impl Message for QuorumMessageRequest {
    const VERSIONS: VersionRange = VERSIONS;
    const DEPRECATED_VERSIONS: Option<VersionRange> = None;
}

impl Message for QuorumMessageResponse {
    const VERSIONS: VersionRange = VERSIONS;
    const DEPRECATED_VERSIONS: Option<VersionRange> = None;
}

impl HeaderVersion for QuorumMessageRequest {
    fn header_version(_version: i16) -> i16 {
        1
    }
}

impl HeaderVersion for QuorumMessageResponse {
    fn header_version(_version: i16) -> i16 {
        0
    }
}

impl Encodable for QuorumMessageRequest {
    fn encode<B: ByteBufMut>(&self, buf: &mut B, _version: i16) -> Outcome<()> {
        buf.put_slice(&self.message);
        Ok(())
    }

    fn compute_size(&self, _version: i16) -> Outcome<usize> {
        Ok(self.message.len())
    }
}

impl Decodable for QuorumMessageRequest {
    fn decode<B: ByteBuf>(buf: &mut B, _version: i16) -> Outcome<Self> {
        let length = buf.remaining();
        Ok(QuorumMessageRequest { message: buf.get_bytes(length) })
    }
}

impl Encodable for QuorumMessageResponse {
    fn encode<B: ByteBufMut>(&self, buf: &mut B, _version: i16) -> Outcome<()> {
        buf.put_i16(self.error_code);
        Ok(())
    }

    fn compute_size(&self, _version: i16) -> Outcome<usize> {
        Ok(2)
    }
}

impl Decodable for QuorumMessageResponse {
    fn decode<B: ByteBuf>(buf: &mut B, _version: i16) -> Outcome<Self> {
        anyhow::ensure!(buf.remaining() >= 2, "an answer without an error code");
        Ok(QuorumMessageResponse { error_code: buf.get_i16() })
    }
}

impl Request for QuorumMessageRequest {
    const KEY: i16 = ApiKey::QuorumMessage.code();
    type Response = QuorumMessageResponse;
}
