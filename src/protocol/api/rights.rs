//! The words of the access column: which operation on which kind of resource. It names rights and never
//! decides who has them.

use std::fmt;

/// What an authorizer may be asked for one request, in the order in which Kafka asks.
pub type Access = &'static [Right];

/// One question to the authorizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    pub operation: Operation,
    pub resource: Resource,
    /// For which requests it is asked; empty means all. A trailing "or" makes the next right do as well.
    pub when: &'static str,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} on {:?}", self.operation, self.resource)?;
        if self.when.is_empty() { Ok(()) } else { write!(f, " ({})", self.when) }
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
