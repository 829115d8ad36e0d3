//! The small numbers in batches and requests, each with a type of its own. They know their value on the wire and nothing
//! of how they are assigned.

use std::fmt;

/// A position in a partition's log. An alias and not a type of its own: every line of the log adds and subtracts offsets,
/// and -1 means something different in each of Kafka's files.
pub type Offset = i64;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl $name {
            /// The value on the wire if there is none.
            pub const NONE: $name = $name(-1);

            /// Whether this is a real value and not `NONE`.
            pub fn is_some(self) -> bool {
                self.0 >= 0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// The term of a partition's leader, or of the metadata quorum's leader.
    LeaderEpoch(i32)
}
id! {
    /// The identity of an idempotent or transactional producer (KIP-98).
    ProducerId(i64)
}
id! {
    /// The incarnation of a producer id; a higher one fences the lower ones (KIP-98, KIP-360).
    ProducerEpoch(i16)
}
