//! Client metrics subscriptions (KIP-714): their keys.
//! It must never hold anything but rows.

use super::super::key::Support::Accepted;
use super::super::key::{ConfigKey, Importance, Kind, Scope, UpdateMode};
use super::row::{ANY, LIST, resource_keys};

resource_keys! {
    ClientMetrics;
    "metrics": List = "", LIST, [], Accepted,
        "Prefixes of the metrics that clients push; * is all of them.";
    "interval.ms": Int = "300000", ANY, [], Accepted,
        "How often clients push.";
    "match": List = "", LIST, [], Accepted,
        "Which clients push, as name=pattern.";
}
