//! Who may do what. There are no access rules yet: [`Everyone`] may do everything, and what asks is ready for more.

use ottla_protocol::api::{Operation, Resource};

use crate::request::Caller;

/// Answers the questions of the API table's access column.
pub(crate) trait Authorizer: Send + Sync {
    /// Whether the caller may do this to the resource of that name.
    fn may(&self, caller: &Caller, operation: Operation, resource: Resource, name: &str) -> bool;

    /// Whether there is a name, of a resource that exists or not, to which the caller may do this.
    fn may_any(&self, caller: &Caller, operation: Operation, resource: Resource) -> bool;
}

/// Everyone may do everything, as in Kafka without an authorizer.
#[derive(Debug)]
pub(crate) struct Everyone;

impl Authorizer for Everyone {
    fn may(&self, _: &Caller, _: Operation, _: Resource, _: &str) -> bool {
        true
    }

    fn may_any(&self, _: &Caller, _: Operation, _: Resource) -> bool {
        true
    }
}
