//! The APIs of Apache Kafka 4.4 that we do not serve, each with the reason. A client finds out from ApiVersions and
//! says so, or does without. None is advertised only to be refused where a client would choose its ways by it.

use kafka_protocol::protocol::VersionRange;

/// An API that is neither advertised nor decoded.
#[derive(Clone, Copy, Debug)]
pub struct Unserved {
    /// The number on the wire.
    pub key: i16,
    /// Kafka's name, without "Request".
    pub name: &'static str,
    /// The versions that Kafka serves, of those that are stable.
    pub versions: VersionRange,
    pub why: &'static str,
}

const QUOTAS: &str = "quotas are not enforced yet, and one that is set would promise it";
const SCRAM: &str = "SASL is not there yet, and credentials that are set would promise it";
const CONSUMER_GROUPS: &str = "groups of the new protocol (KIP-848) are not there yet; clients and tools that do not find it use the classic one";
const TELEMETRY: &str =
    "clients that find it send their metrics; Kafka tells of it only with a plugin that takes them";
const SHARE_GROUPS: &str = "share groups (KIP-932) are not there yet";
const STREAMS_GROUPS: &str = "streams groups (KIP-1071) are not there yet; Kafka Streams uses classic groups";
const CONTROLLERS: &str = "voters of our quorum speak otherwise with each other (QuorumMessage)";

const fn no(key: i16, name: &'static str, (min, max): (i16, i16), why: &'static str) -> Unserved {
    Unserved { key, name, versions: VersionRange { min, max }, why }
}

/// In the order of the keys.
pub static UNSERVED: &[Unserved] = &[
    no(49, "AlterClientQuotas", (0, 1), QUOTAS),
    no(51, "AlterUserScramCredentials", (0, 0), SCRAM),
    no(52, "Vote", (0, 2), CONTROLLERS),
    no(53, "BeginQuorumEpoch", (0, 1), CONTROLLERS),
    no(54, "EndQuorumEpoch", (0, 1), CONTROLLERS),
    no(68, "ConsumerGroupHeartbeat", (0, 1), CONSUMER_GROUPS),
    no(69, "ConsumerGroupDescribe", (0, 1), CONSUMER_GROUPS),
    no(71, "GetTelemetrySubscriptions", (0, 0), TELEMETRY),
    no(72, "PushTelemetry", (0, 0), TELEMETRY),
    no(76, "ShareGroupHeartbeat", (1, 1), SHARE_GROUPS),
    no(77, "ShareGroupDescribe", (1, 1), SHARE_GROUPS),
    no(78, "ShareFetch", (1, 2), SHARE_GROUPS),
    no(79, "ShareAcknowledge", (1, 2), SHARE_GROUPS),
    no(83, "InitializeShareGroupState", (0, 0), SHARE_GROUPS),
    no(84, "ReadShareGroupState", (0, 0), SHARE_GROUPS),
    no(85, "WriteShareGroupState", (0, 1), SHARE_GROUPS),
    no(86, "DeleteShareGroupState", (0, 0), SHARE_GROUPS),
    no(87, "ReadShareGroupStateSummary", (0, 1), SHARE_GROUPS),
    no(88, "StreamsGroupHeartbeat", (0, 1), STREAMS_GROUPS),
    no(89, "StreamsGroupDescribe", (0, 1), STREAMS_GROUPS),
    no(90, "DescribeShareGroupOffsets", (0, 1), SHARE_GROUPS),
    no(91, "AlterShareGroupOffsets", (0, 0), SHARE_GROUPS),
    no(92, "DeleteShareGroupOffsets", (0, 0), SHARE_GROUPS),
    no(93, "StreamsGroupTopologyDescriptionUpdate", (0, 0), STREAMS_GROUPS),
];
