//! What every handler is given besides the bytes of its request: the node, who calls, and which version of which API
//! is spoken. It also asks whether the caller may, and makes the answer, so that a handler never has to say the version twice.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use ottla_protocol::api::{ApiRow, CLUSTER_NAME, Forwarding, Operation, Resource};
use ottla_protocol::codec::Malformed;
use ottla_protocol::{Decodable, ErrorCode, codec};

use super::answers::encoded;
use super::responses::Response;
use super::rights::Rights;
use crate::authorizer::Authorizer;
use crate::broker::Broker;
use crate::node::Node;
use crate::request::{Answer, Caller, Queued, Staged};
use crate::run::owners::controller::Controller;

/// One request, without its body. An API that controllers answer too gets it without a broker ([`AtNode`]).
#[derive(Clone, Copy)]
pub(super) struct Context<'a, B = &'a Arc<Broker>> {
    pub node: &'a Arc<Node>,
    pub broker: B,
    pub caller: &'a Caller,
    pub authorizer: &'a Arc<dyn Authorizer>,
    pub api: &'static ApiRow,
    pub version: i16,
    /// Set where a question met no active controller; only who sent the request on wants to know.
    pub missed: Option<&'a Arc<AtomicBool>>,
}

/// A request that a broker or a controller answers.
pub(super) type AtNode<'a> = Context<'a, ()>;

/// What `begin` of each API returns. Bytes that are not a request of the API and version close the connection.
pub(super) type Begun = Result<Staged, Malformed>;

impl<'a> Context<'a> {
    /// The same request, for a handler that needs no broker.
    pub fn at_node(&self) -> AtNode<'a> {
        let Context { node, caller, authorizer, api, version, missed, .. } = *self;
        Context { node, broker: (), caller, authorizer, api, version, missed }
    }
}

impl<B> Context<'_, B> {
    /// The request, where the messages crate has a type for it.
    pub fn read<R: Decodable>(&self, body: Bytes) -> Result<R, Malformed> {
        codec::decode(self.api.key, self.version, body)
    }

    /// The way to the active controller, which only an API has that the table says is forwarded.
    pub fn controller(&self) -> Controller {
        let decided_there = self.api.forwarding != Forwarding::Never || !self.api.listeners.broker;
        assert!(decided_there, "{} is answered by the broker", self.api.name);
        Controller { missed: self.missed.cloned(), ..self.node.controller.clone() }
    }

    /// What the caller may do.
    pub fn rights(&self) -> Rights<'_> {
        Rights { authorizer: self.authorizer, caller: self.caller, api: self.api }
    }

    /// The error that the client gets if the caller may not do this to the resource of that name.
    pub fn check(&self, operation: Operation, resource: Resource, name: &str) -> Result<(), ErrorCode> {
        self.rights().check(operation, resource, name)
    }

    /// The same for the cluster.
    pub fn check_cluster(&self, operation: Operation) -> Result<(), ErrorCode> {
        self.check(operation, Resource::Cluster, CLUSTER_NAME)
    }

    /// A response that is known already.
    pub fn now<R: Response>(&self, response: R) -> Staged {
        Staged::Queued(Queued::Answered(encoded(response, self.version)))
    }

    /// A response that somebody else has to be asked for. Nothing may overtake it, because it is not known when all is
    /// queued.
    pub fn later<R: Response + Send + 'static>(
        &self,
        response: impl Future<Output = R> + Send + 'static,
    ) -> Staged {
        let version = self.version;
        Staged::Queueing(Box::pin(async move { Queued::Answered(encoded(response.await, version)) }))
    }

    /// A response that takes a thread which may stall. Nothing may overtake it, either.
    pub fn blocking<R: Response + Send + 'static>(
        &self,
        response: impl FnOnce() -> R + Send + 'static,
    ) -> Staged {
        let version = self.version;
        Staged::Queueing(Box::pin(async move {
            let answered = tokio::task::spawn_blocking(move || encoded(response(), version)).await;
            Queued::Answered(answered.unwrap_or_else(|error| Answer::Close(error.to_string())))
        }))
    }
}
