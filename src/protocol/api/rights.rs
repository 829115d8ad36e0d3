//! The access column: what an authorizer is asked for a request. It names rights and never decides who has them.

use std::fmt;

use crate::ErrorCode;

/// What is asked before an API answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing, as in Kafka: whoever can connect may ask.
    Free,
    /// All of these that apply to the request, in the order in which Kafka asks.
    Rules(&'static [Rule]),
}

/// One question: the first right is enough, and so is the other one where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    pub right: Right,
    pub or: Option<Right>,
    /// For which requests it is asked, in words. Empty: for all.
    pub when: &'static str,
}

/// An operation on the resources of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    pub operation: Operation,
    pub resource: Resource,
    pub names: Names,
}

/// Where the names of the resources come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// There is one cluster: [`CLUSTER_NAME`].
    Cluster,
    /// Each one that the request names. Those that are refused get an error of their own.
    Asked,
    /// Each one that the answer would tell of. Those that are refused are left out.
    Shown,
    /// Any one that there is or could be (KIP-679).
    Any,
}

/// The name of the only resource of its kind.
pub const CLUSTER_NAME: &str = "kafka-cluster";

impl Access {
    /// The rule that asks for an operation on a kind of resource.
    ///
    /// # Panics
    ///
    /// If there is none: nothing is asked that the table does not tell of.
    pub fn rule(self, operation: Operation, resource: Resource) -> &'static Rule {
        let rules = match self {
            Access::Free => &[],
            Access::Rules(rules) => rules,
        };
        let asks = |right: &Right| right.operation == operation && right.resource == resource;
        let rule = rules.iter().find(|rule| rule.rights().any(|right| asks(&right)));
        rule.unwrap_or_else(|| panic!("the API table has no {operation:?} on {resource:?} here"))
    }
}

impl Rule {
    /// The rights of which one is enough, in the order in which Kafka asks.
    pub fn rights(&self) -> impl Iterator<Item = Right> {
        [Some(self.right), self.or].into_iter().flatten()
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.right)?;
        if let Some(or) = self.or {
            write!(f, " or {or}")?;
        }
        if self.when.is_empty() { Ok(()) } else { write!(f, " ({})", self.when) }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let any = if self.names == Names::Any { "any " } else { "" };
        write!(f, "{:?} on {any}{:?}", self.operation, self.resource)
    }
}

/// What somebody wants to do: the codes of Kafka's `AclOperation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i8)]
pub enum Operation {
    Read = 3,
    Write = 4,
    Create = 5,
    Delete = 6,
    Alter = 7,
    Describe = 8,
    ClusterAction = 9,
    DescribeConfigs = 10,
    AlterConfigs = 11,
    IdempotentWrite = 12,
    CreateTokens = 13,
    DescribeTokens = 14,
    TwoPhaseCommit = 15,
}

/// What it is done to: the codes of Kafka's `ResourceType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i8)]
pub enum Resource {
    Topic = 2,
    Group = 3,
    Cluster = 4,
    TransactionalId = 5,
    DelegationToken = 6,
    User = 7,
}

impl Resource {
    /// What can be done to it at all (KIP-430).
    pub fn operations(self) -> &'static [Operation] {
        use Operation::*;
        match self {
            Resource::Topic => &[Read, Write, Create, Delete, Alter, Describe, DescribeConfigs, AlterConfigs],
            Resource::Group => &[Read, Delete, Describe, DescribeConfigs, AlterConfigs],
            Resource::Cluster => {
                &[Create, Alter, Describe, ClusterAction, DescribeConfigs, AlterConfigs, IdempotentWrite]
            }
            Resource::TransactionalId => &[Write, Describe, TwoPhaseCommit],
            Resource::DelegationToken => &[Describe],
            Resource::User => &[CreateTokens, DescribeTokens],
        }
    }

    /// What a client is told that may not do what it wants to a resource of this kind.
    pub fn refusal(self) -> ErrorCode {
        match self {
            Resource::Topic => ErrorCode::TopicAuthorizationFailed,
            Resource::Group => ErrorCode::GroupAuthorizationFailed,
            Resource::Cluster => ErrorCode::ClusterAuthorizationFailed,
            Resource::TransactionalId => ErrorCode::TransactionalIdAuthorizationFailed,
            Resource::DelegationToken | Resource::User => ErrorCode::DelegationTokenAuthorizationFailed,
        }
    }
}

/// A response's field of authorized operations: a bit for each, at the place of its code.
pub fn operation_bits(operations: &[Operation]) -> i32 {
    operations.iter().fold(0, |bits, operation| bits | 1 << (*operation as i8))
}

/// That field where nobody asked.
pub const OPERATIONS_NOT_ASKED: i32 = i32::MIN;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_operations_are_the_bits_that_kafka_sends_without_an_authorizer() {
        let rows = [
            (Resource::Topic, 3576),
            (Resource::Group, 3400),
            (Resource::Cluster, 8096),
            (Resource::TransactionalId, 33_040),
            (Resource::DelegationToken, 256),
            (Resource::User, 24_576),
        ];
        for (resource, bits) in rows {
            assert_eq!(operation_bits(resource.operations()), bits, "{resource:?}");
        }
    }
}
