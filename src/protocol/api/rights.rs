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
