//! The one place that asks the authorizer. What is asked is a rule of the API table's access column: a handler says which
//! operation and which name, the table says whether another right does as well.

use std::sync::Arc;

use ottla_model::record::ResourceType;
use ottla_protocol::ErrorCode;
use ottla_protocol::api::{ApiRow, CLUSTER_NAME, Names, Operation, Resource, Right, operation_bits};

use crate::authorizer::Authorizer;
use crate::request::Caller;

/// What the caller of one request may do.
#[derive(Clone, Copy)]
pub(super) struct Rights<'a> {
    pub authorizer: &'a Arc<dyn Authorizer>,
    pub caller: &'a Caller,
    pub api: &'static ApiRow,
}

/// The same, for a handler that has to know what it shows before it can ask.
pub(super) struct KeptRights {
    authorizer: Arc<dyn Authorizer>,
    caller: Caller,
    api: &'static ApiRow,
}

impl KeptRights {
    pub fn rights(&self) -> Rights<'_> {
        Rights { authorizer: &self.authorizer, caller: &self.caller, api: self.api }
    }
}

impl Rights<'_> {
    /// What lasts longer than the handler's first stage.
    pub fn keep(self) -> KeptRights {
        KeptRights { authorizer: self.authorizer.clone(), caller: self.caller.clone(), api: self.api }
    }

    /// Whether the caller may do this to the resource of that name, by the rule of the API.
    pub fn may(self, operation: Operation, resource: Resource, name: &str) -> bool {
        self.api.access.rule(operation, resource).rights().any(|right| self.has(right, name))
    }

    /// The error that a client gets for a resource to which it may not do this.
    pub fn check(self, operation: Operation, resource: Resource, name: &str) -> Result<(), ErrorCode> {
        if self.may(operation, resource, name) { Ok(()) } else { Err(resource.refusal()) }
    }

    fn has(self, right: Right, name: &str) -> bool {
        let Right { operation, resource, names } = right;
        match names {
            Names::Cluster => self.authorizer.may(self.caller, operation, resource, CLUSTER_NAME),
            Names::Asked | Names::Shown => self.authorizer.may(self.caller, operation, resource, name),
            Names::Any => self.authorizer.may_any(self.caller, operation, resource),
        }
    }

    /// What is asked for the configs of a resource, by its type on the wire: those of brokers, loggers and client metrics are
    /// the cluster's. There is nothing to ask for a type that nobody knows.
    pub fn check_configs(self, operation: Operation, kind: i8, name: &str) -> Result<(), ErrorCode> {
        match ResourceType::from_code(kind) {
            Some(ResourceType::Topic) => self.check(operation, Resource::Topic, name),
            Some(ResourceType::Group) => self.check(operation, Resource::Group, name),
            Some(ResourceType::Broker | ResourceType::BrokerLogger | ResourceType::ClientMetrics) => {
                self.check(operation, Resource::Cluster, CLUSTER_NAME)
            }
            None => Ok(()),
        }
    }

    /// All that the caller may do to a resource, as responses tell it (KIP-430).
    pub fn operations(self, resource: Resource, name: &str) -> i32 {
        let may = |operation: &&Operation| self.authorizer.may(self.caller, **operation, resource, name);
        let operations: Vec<Operation> = resource.operations().iter().filter(may).copied().collect();
        operation_bits(&operations)
    }

    /// The same for the cluster: nothing for who may not even describe it.
    pub fn cluster_operations(self) -> i32 {
        let described = self.may(Operation::Describe, Resource::Cluster, CLUSTER_NAME);
        if described { self.operations(Resource::Cluster, CLUSTER_NAME) } else { 0 }
    }
}
