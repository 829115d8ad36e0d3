//! The current leader, which Produce and Fetch add to an error so that a client does not have to ask for metadata
//! (KIP-951). This is only its form on the wire; it must never decide who leads.

use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;

use crate::LeaderEpoch;
use crate::codec::{Malformed, nullable_text, text};
use crate::primitives::{Form, ReadError, Reader, Tags, Writer};

/// A partition's leader and its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CurrentLeader {
    /// -1: there is no leader.
    pub leader_id: i32,
    pub leader_epoch: LeaderEpoch,
}

/// The address of a node that is named as a leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEndpoint {
    pub node_id: i32,
    pub host: StrBytes,
    pub port: i32,
    pub rack: Option<StrBytes>,
}

impl CurrentLeader {
    /// A hint without a leader means the same as no hint, so it is never written.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Option<CurrentLeader>, ReadError> {
        let leader = CurrentLeader { leader_id: reader.i32()?, leader_epoch: LeaderEpoch(reader.i32()?) };
        reader.skip_tagged_fields(Form::Flexible)?;
        reader.finish()?;
        Ok(Some(leader).filter(|leader| *leader != UNKNOWN))
    }

    pub(crate) fn write(hint: Option<CurrentLeader>, tag: u32, tags: &mut Tags) {
        if let Some(leader) = hint.filter(|leader| *leader != UNKNOWN) {
            tags.field(tag, |writer| {
                writer.i32(leader.leader_id);
                writer.i32(leader.leader_epoch.0);
                writer.no_tagged_fields(Form::Flexible);
            });
        }
    }
}

const UNKNOWN: CurrentLeader = CurrentLeader { leader_id: -1, leader_epoch: LeaderEpoch::NONE };

impl NodeEndpoint {
    pub(crate) fn read_all(owner: &Bytes, reader: &mut Reader<'_>) -> Result<Vec<NodeEndpoint>, Malformed> {
        let form = Form::Flexible;
        let endpoints = reader.array_of(form, NodeEndpoint::BYTES_MIN, |reader| {
            let endpoint = NodeEndpoint {
                node_id: reader.i32()?,
                host: text(owner, reader, form)?,
                port: reader.i32()?,
                rack: nullable_text(owner, reader, form)?,
            };
            reader.skip_tagged_fields(form)?;
            Ok::<_, ReadError>(endpoint)
        })?;
        reader.finish()?;
        Ok(endpoints)
    }

    pub(crate) fn write_all(endpoints: &[NodeEndpoint], tag: u32, tags: &mut Tags) {
        let form = Form::Flexible;
        if endpoints.is_empty() {
            return;
        }
        tags.field(tag, |writer| {
            writer.array_of(form, endpoints.iter(), |writer: &mut Writer<'_>, endpoint: &NodeEndpoint| {
                writer.i32(endpoint.node_id);
                writer.string(form, &endpoint.host);
                writer.i32(endpoint.port);
                writer.nullable_string(form, endpoint.rack.as_deref());
                writer.no_tagged_fields(form);
            });
        });
    }

    /// The smallest node: two numbers, two lengths and the count of tagged fields.
    const BYTES_MIN: usize = 4 + 1 + 4 + 1 + 1;
}
