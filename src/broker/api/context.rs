//! What every handler is given besides the bytes of its request: the broker, who calls, and which version of which API
//! is spoken. It also makes the answer, so that a handler never has to say the version twice.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::api::ApiRow;
use ottla_protocol::codec::Malformed;
use ottla_protocol::{Decodable, Encodable, codec};

use super::answers::encoded;
use crate::broker::Broker;
use crate::request::{Body, Caller, Overtakers};

/// One request, without its body.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub broker: &'a Arc<Broker>,
    pub caller: &'a Caller,
    pub api: &'static ApiRow,
    pub version: i16,
}

/// What `begin` of each API returns. Bytes that are not a request of the API and version close the connection.
pub(super) type Begun = Result<Body, Malformed>;

impl Context<'_> {
    /// The request, where the messages crate has a type for it.
    pub fn read<R: Decodable>(&self, body: Bytes) -> Result<R, Malformed> {
        codec::decode(self.api.key, self.version, body)
    }

    /// A response that is known already.
    pub fn now<R: Encodable>(&self, response: &R) -> Body {
        Body::Now(encoded(response, self.version))
    }

    /// A response that somebody else has to be asked for; nothing may overtake it.
    pub fn later<R: Encodable + Send + 'static>(
        &self,
        response: impl Future<Output = R> + Send + 'static,
    ) -> Body {
        let version = self.version;
        Body::Later(Overtakers::None, Box::pin(async move { encoded(&response.await, version) }))
    }
}
