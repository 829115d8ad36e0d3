//! How a request or response names a topic: by name, or from some version on by id (KIP-516). It must never know which
//! topics exist.

use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::codec::text;
use crate::primitives::{Form, ReadError, Reader, Writer};

/// A topic as a peer names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TopicRef {
    Name(StrBytes),
    Id(Uuid),
}

impl TopicRef {
    /// The name. `None`: the topic is named by id.
    pub fn name(&self) -> Option<&StrBytes> {
        match self {
            TopicRef::Name(name) => Some(name),
            TopicRef::Id(_) => None,
        }
    }

    /// The id. `None`: the topic is named by name.
    pub fn id(&self) -> Option<Uuid> {
        match self {
            TopicRef::Name(_) => None,
            TopicRef::Id(id) => Some(*id),
        }
    }
}

/// How a version of a message names topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    Names(Form),
    Ids,
}

impl Naming {
    pub(crate) fn of(version: i16, ids_from: i16, form: Form) -> Naming {
        if version >= ids_from { Naming::Ids } else { Naming::Names(form) }
    }

    pub(crate) fn read(self, owner: &Bytes, reader: &mut Reader<'_>) -> Result<TopicRef, ReadError> {
        match self {
            Naming::Names(form) => text(owner, reader, form).map(TopicRef::Name),
            Naming::Ids => reader.uuid().map(TopicRef::Id),
        }
    }

    /// Panics if the topic is named in the other way, which is a bug of ours.
    pub(crate) fn write(self, topic: &TopicRef, writer: &mut Writer<'_>) {
        match (self, topic) {
            (Naming::Names(form), TopicRef::Name(name)) => writer.string(form, name),
            (Naming::Ids, TopicRef::Id(id)) => writer.uuid(*id),
            _ => panic!("{topic:?} has no spelling in a message with {self:?}"),
        }
    }

    /// The fewest bytes that a topic takes.
    pub(crate) fn bytes_min(self) -> usize {
        match self {
            Naming::Names(Form::Classic) => 2,
            Naming::Names(Form::Flexible) => 1,
            Naming::Ids => 16,
        }
    }
}
