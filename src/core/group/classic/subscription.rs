//! The only part of the members' metadata that the coordinator reads: the topics of a consumer's subscription. The rest
//! is between the members.

use bytes::Bytes;
use ottla_model::TopicName;
use ottla_protocol::primitives::{Form, Reader};

/// The protocol type whose metadata has this form.
pub const PROTOCOL_TYPE: &str = "consumer";

/// The topics of a `ConsumerProtocolSubscription`. Each version begins as version 0 does. `None`: the metadata has
/// another form.
pub fn topics(metadata: &Bytes) -> Option<Vec<TopicName>> {
    let mut from = Reader::new(metadata);
    from.i16().ok()?;
    let count = from.array_len(Form::Classic, 2).ok()?;
    let topics =
        (0..count).map(|_| from.string(Form::Classic).ok().map(TopicName::from)).collect::<Option<_>>()?;
    // The user data belongs to version 0, so it has to be there.
    from.nullable_bytes(Form::Classic).ok()?;
    Some(topics)
}
