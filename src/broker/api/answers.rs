//! The one place where answers are made. It must never know which API an answer belongs to.

use bytes::BytesMut;
use ottla_protocol::StrBytes;

use super::responses::Response;
use crate::request::{Answer, Part};

/// For how long a client is held back. There are no quotas yet.
pub(super) const THROTTLE_MS: i32 = 0;

/// The bytes of a response.
pub(super) fn encoded<R: Response>(mut response: R, version: i16) -> Answer {
    response.set_throttle(THROTTLE_MS);
    let mut buf = BytesMut::new();
    match response.write(version, &mut buf) {
        Ok(()) => Answer::Parts(vec![Part::Bytes(buf.freeze())]),
        // Our own mistake; the client gets no half of an answer.
        Err(error) => Answer::Close(format!("a response that cannot be encoded: {error}")),
    }
}

/// A copy, as the messages crate wants it.
pub(super) fn text(from: &str) -> StrBytes {
    StrBytes::from_string(from.to_owned())
}
