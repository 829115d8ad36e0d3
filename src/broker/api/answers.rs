//! How handlers write answers. It must never know which API an answer belongs to.

use bytes::BytesMut;
use ottla_protocol::{Encodable, StrBytes, codec};

use crate::request::{Answer, Body, Overtakers, Part};

/// An answer that takes a thread which may stall; nothing may overtake it.
pub(super) fn blocking(answer: impl FnOnce() -> Answer + Send + 'static) -> Body {
    let answered = async { tokio::task::spawn_blocking(answer).await };
    Body::Later(
        Overtakers::None,
        Box::pin(async { answered.await.unwrap_or_else(|error| Answer::Close(error.to_string())) }),
    )
}

/// A response of a type that the messages crate has.
pub(super) fn encoded<R: Encodable>(response: &R, version: i16) -> Answer {
    let mut buf = BytesMut::new();
    match codec::encode(response, version, &mut buf) {
        Ok(()) => bytes(buf),
        // Our own mistake; the client gets no half of an answer.
        Err(error) => Answer::Close(format!("a response that cannot be encoded: {error}")),
    }
}

/// A response that is bytes already.
pub(super) fn bytes(buf: BytesMut) -> Answer {
    Answer::Parts(vec![Part::Bytes(buf.freeze())])
}

/// A copy, as the messages crate wants it.
pub(super) fn text(from: &str) -> StrBytes {
    StrBytes::from_string(from.to_owned())
}
