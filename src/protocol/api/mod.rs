//! The one table of the APIs that we serve: dispatch, ApiVersions, request bounds and the reference page all
//! derive from it. It says what may be asked, never how it is answered.
//!
//! Versions, listeners and flexible versions are those of Apache Kafka 4.4's message schemas, rights those
//! that its request handlers check; forwarded is what its `KafkaApis` forwards. An API that is not here is neither
//! advertised nor decoded; [`UNSERVED`] has those, and why.

mod rights;
mod unserved;

use std::fmt::Write as _;
use std::ops::RangeInclusive;

use kafka_protocol::protocol::VersionRange;

use crate::shape::{self, Shapes};
pub use rights::{
    Access, CLUSTER_NAME, Names, OPERATIONS_NOT_ASKED, Operation, Resource, Right, Rule, operation_bits,
};
pub use unserved::{UNSERVED, Unserved};

/// One API.
#[derive(Debug)]
pub struct ApiRow {
    /// The number on the wire.
    pub key: i16,
    /// The same number as a value to match on.
    pub id: ApiKey,
    /// Kafka's name, without "Request".
    pub name: &'static str,
    /// The versions that are decoded and answered.
    pub served: VersionRange,
    /// The versions that ApiVersions tells. Differs from `served` for Produce alone.
    pub advertised: VersionRange,
    /// The first version with compact lengths and tagged fields in the request, or [`NEVER`].
    pub request_flexible_from: i16,
    /// The same for the response's body.
    pub response_flexible_from: i16,
    /// Where it is answered.
    pub listeners: Listeners,
    /// Whether a broker answers it itself.
    pub forwarding: Forwarding,
    /// What an authorizer is asked.
    pub access: Access,
    /// What it does, in one line.
    pub doc: &'static str,
    /// What its messages look like, or none where a codec of this crate reads them without.
    pub(crate) layout: Option<&'static Shapes>,
    /// The newest version that the messages crate knows; later ones that go by `layout` have the same body.
    pub(crate) typed_max: i16,
}

/// The kinds of listener that answer an API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listeners {
    pub broker: bool,
    pub controller: bool,
}

/// The kind of listener that a connection came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    Broker,
    Controller,
}

/// Whether a broker sends requests of an API on to the active controller (KIP-590).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarding {
    /// The broker answers them itself.
    Never,
    /// As they came: the controller decides everything that they ask for.
    Whole,
    /// What is left of them once the broker has decided what is for itself.
    Remainder,
}

/// The flexible version of an API that has none.
pub const NEVER: i16 = i16::MAX;

impl ApiRow {
    /// Whether requests of this version are decoded and answered.
    pub fn serves(&self, version: i16) -> bool {
        (self.served.min..=self.served.max).contains(&version)
    }

    /// Whether [`crate::codec`] reads its messages: it holds what they declare against their bytes. The others have a codec
    /// of their own.
    pub fn has_layout(&self) -> bool {
        self.layout.is_some()
    }

    /// Every version that is decoded and answered, oldest first.
    pub fn versions(&self) -> RangeInclusive<i16> {
        self.served.min..=self.served.max
    }

    /// The version of the header in front of a request.
    pub fn request_header_version(&self, version: i16) -> i16 {
        if version >= self.request_flexible_from { 2 } else { 1 }
    }

    /// The version of the header in front of a response. A client asks ApiVersions before it knows what the
    /// broker can do, so that one answer keeps the oldest header for ever (KIP-511).
    pub fn response_header_version(&self, version: i16) -> i16 {
        if self.id != ApiKey::ApiVersions && version >= self.response_flexible_from { 1 } else { 0 }
    }
}

impl Listeners {
    /// Whether an API with these listeners is answered on that one.
    pub fn include(self, listener: Listener) -> bool {
        match listener {
            Listener::Broker => self.broker,
            Listener::Controller => self.controller,
        }
    }
}

/// The row of an API, by the number on the wire.
pub fn api(key: i16) -> Option<&'static ApiRow> {
    API_TABLE.binary_search_by_key(&key, |row| row.key).ok().map(|at| &API_TABLE[at])
}

/// Keys from here on are of our own APIs, which nobody is told of.
const PRIVATE_FROM: i16 = 10_000;

/// What ApiVersions tells on this kind of listener, in the order of the keys.
pub fn advertised(listener: Listener) -> impl Iterator<Item = &'static ApiRow> {
    API_TABLE.iter().filter(move |row| row.key < PRIVATE_FROM && row.listeners.include(listener))
}

/// The reference page's tables, in Markdown: every API of Kafka's, served or not.
pub fn reference_markdown() -> String {
    let mut page = String::from("| key | API | versions | listeners | forwarded | rights | what it does |\n");
    page.push_str("|---:|---|---|---|---|---|---|\n");
    let mut line = |text: std::fmt::Arguments<'_>| {
        page.write_fmt(text).expect("a String takes every write");
    };
    for row in API_TABLE {
        let listeners = match row.listeners {
            Listeners { broker: true, controller: true } => "broker, controller",
            Listeners { controller: true, .. } => "controller",
            Listeners { .. } => "broker",
        };
        let forwarded = match row.forwarding {
            Forwarding::Never => "",
            Forwarding::Whole => "whole",
            Forwarding::Remainder => "what is left",
        };
        let rights = match row.access {
            Access::Free => "none".to_owned(),
            Access::Rules(rules) => rules.iter().map(Rule::to_string).collect::<Vec<_>>().join("; "),
        };
        let (key, name, versions, doc) = (row.key, row.name, range(row.served), row.doc);
        line(format_args!(
            "| {key} | {name} | {versions} | {listeners} | {forwarded} | {rights} | {doc} |\n"
        ));
    }
    line(format_args!("\nThe rest of Apache Kafka 4.4's APIs is neither told of nor answered:\n\n"));
    line(format_args!("| key | API | versions in Kafka | why not |\n|---:|---|---|---|\n"));
    for Unserved { key, name, versions, why } in UNSERVED {
        line(format_args!("| {key} | {name} | {} | {why} |\n", range(*versions)));
    }
    page
}

fn range(versions: VersionRange) -> String {
    match versions {
        VersionRange { min, max } if min == max => min.to_string(),
        VersionRange { min, max } => format!("{min}-{max}"),
    }
}

macro_rules! apis {
    ($(
        $name:ident = $key:literal, versions $served:tt
            $(advertised $advertised:tt)? $(typed $typed:tt)?, flexible $flexible:tt,
        on [$($listener:ident)+] $(forwarded $forwarded:ident)?, layout $layout:expr,
        rights $access:tt,
        $doc:literal;
    )+) => {
        /// The APIs of the table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ApiKey {
            $(#[doc = $doc] $name = $key,)+
        }

        impl ApiKey {
            /// The number on the wire.
            pub const fn code(self) -> i16 {
                self as i16
            }

            /// This API's row.
            pub fn row(self) -> &'static ApiRow {
                api(self.code()).expect("every ApiKey comes from a row")
            }
        }

        /// Every API that we serve, in the order of the keys.
        pub static API_TABLE: &[ApiRow] = &[$(ApiRow {
            key: $key,
            id: ApiKey::$name,
            name: stringify!($name),
            served: apis!(@range $served),
            advertised: apis!(@range $served $($advertised)?),
            request_flexible_from: $flexible,
            response_flexible_from: $flexible,
            listeners: apis!(@listeners $($listener)+),
            forwarding: apis!(@forwarding $($forwarded)?),
            access: apis!(@access $access),
            doc: $doc,
            layout: $layout,
            typed_max: apis!(@range $served $($typed)?).max,
        }),+];
    };
    (@access free) => { Access::Free };
    (@access [$(
        $operation:ident on $resource:ident $({$names:ident})?
            $(or $or_operation:ident on $or_resource:ident $({$or_names:ident})?)? $(($when:literal))?
    ),+]) => {
        Access::Rules(&[$(Rule {
            right: apis!(@right $operation $resource $($names)?),
            or: apis!(@or $(apis!(@right $or_operation $or_resource $($or_names)?))?),
            when: concat!($($when)?),
        }),+])
    };
    (@right $operation:ident Cluster) => { apis!(@right $operation Cluster Cluster) };
    (@right $operation:ident $resource:ident) => { apis!(@right $operation $resource Asked) };
    (@right $operation:ident $resource:ident $names:ident) => {
        Right { operation: Operation::$operation, resource: Resource::$resource, names: Names::$names }
    };
    (@or) => { None };
    (@or $right:expr) => { Some($right) };
    (@range ($min:literal - $max:literal)) => { VersionRange { min: $min, max: $max } };
    (@range $served:tt $advertised:tt) => { apis!(@range $advertised) };
    (@forwarding) => { Forwarding::Never };
    (@forwarding whole) => { Forwarding::Whole };
    (@forwarding remainder) => { Forwarding::Remainder };
    (@listeners broker) => { Listeners { broker: true, controller: false } };
    (@listeners controller) => { Listeners { broker: false, controller: true } };
    (@listeners broker controller) => { Listeners { broker: true, controller: true } };
}

/// Marks messages that a codec of this crate reads and writes itself.
const BY_HAND: Option<&Shapes> = None;

apis! {
    // librdkafka turns compression off when it is not told of Produce 0 (KAFKA-18659), so versions 0 to 2 are
    // advertised though using one closes the connection.
    Produce = 0, versions (3-13) advertised (0-13), flexible 9,
        on [broker], layout BY_HAND,
        rights [Write on TransactionalId ("transactional records"), Write on Topic],
        "appends record batches to partitions";
    Fetch = 1, versions (4-18), flexible 12,
        on [broker controller], layout BY_HAND,
        rights [Read on Topic ("consumers"), ClusterAction on Cluster ("replicas")],
        "reads record batches from partitions, waiting for new ones";
    // Who says to be a replica reads up to the log end. Kafka believes it; here that takes the right of a replica, as it does
    // for Fetch (CVE-2018-1288).
    ListOffsets = 2, versions (1-11) typed (1-10), flexible 6,
        on [broker], layout Some(&shape::LIST_OFFSETS),
        rights [Describe on Topic, ClusterAction on Cluster ("replicas")],
        "finds offsets by timestamp, or a log's first, last or newest record";
    Metadata = 3, versions (0-13), flexible 9,
        on [broker], layout Some(&shape::METADATA),
        rights [
            Describe on Topic,
            Create on Cluster or Create on Topic ("auto-creation"),
            Describe on Cluster ("authorized operations")
        ],
        "tells brokers, topics, partitions and their leaders; may create topics";
    OffsetCommit = 8, versions (2-10) typed (2-9), flexible 8,
        on [broker], layout Some(&shape::OFFSET_COMMIT),
        rights [Read on Group, Read on Topic],
        "commits the offsets that a group has consumed up to";
    OffsetFetch = 9, versions (1-10) typed (1-9), flexible 6,
        on [broker], layout Some(&shape::OFFSET_FETCH),
        rights [Describe on Group, Describe on Topic],
        "tells committed offsets, of several groups at once from version 8 on";
    FindCoordinator = 10, versions (0-6), flexible 3,
        on [broker], layout Some(&shape::FIND_COORDINATOR),
        rights [Describe on Group ("groups"), Describe on TransactionalId ("transactions")],
        "finds the broker that coordinates a group or transaction";
    JoinGroup = 11, versions (0-9), flexible 6,
        on [broker], layout Some(&shape::JOIN_GROUP),
        rights [Read on Group],
        "joins a classic group, and waits for the others";
    Heartbeat = 12, versions (0-4), flexible 4,
        on [broker], layout Some(&shape::HEARTBEAT),
        rights [Read on Group],
        "shows a classic group that a member is alive, and the member that all is well";
    LeaveGroup = 13, versions (0-5), flexible 4,
        on [broker], layout Some(&shape::LEAVE_GROUP),
        rights [Read on Group],
        "takes members out of a classic group";
    SyncGroup = 14, versions (0-5), flexible 4,
        on [broker], layout Some(&shape::SYNC_GROUP),
        rights [Read on Group],
        "brings the leader's assignment to every member of a classic group";
    DescribeGroups = 15, versions (0-6), flexible 5,
        on [broker], layout Some(&shape::DESCRIBE_GROUPS),
        rights [Describe on Group],
        "tells the state and the members of classic groups";
    ListGroups = 16, versions (0-5), flexible 3,
        on [broker], layout Some(&shape::LIST_GROUPS),
        rights [Describe on Cluster or Describe on Group {Shown}],
        "lists the groups that this broker coordinates";
    SaslHandshake = 17, versions (0-1), flexible NEVER,
        on [broker controller], layout Some(&shape::SASL_HANDSHAKE),
        rights free,
        "begins SASL; refused on a listener without it (ILLEGAL_SASL_STATE)";
    ApiVersions = 18, versions (0-5), flexible 3,
        on [broker controller], layout BY_HAND,
        rights free,
        "tells the versions of every API and the cluster's features";
    CreateTopics = 19, versions (2-7), flexible 5,
        on [broker controller] forwarded whole, layout Some(&shape::CREATE_TOPICS),
        rights [Create on Cluster or Create on Topic, DescribeConfigs on Topic ("to see its configs")],
        "creates topics";
    DeleteTopics = 20, versions (1-6), flexible 4,
        on [broker controller] forwarded whole, layout Some(&shape::DELETE_TOPICS),
        rights [
            Delete on Cluster or Delete on Topic,
            Delete on Cluster or Describe on Topic ("to see its name or id")
        ],
        "deletes topics, by name or by id";
    DeleteRecords = 21, versions (0-2), flexible 2,
        on [broker], layout Some(&shape::DELETE_RECORDS),
        rights [Delete on Topic],
        "deletes records up to an offset";
    InitProducerId = 22, versions (0-5), flexible 2,
        on [broker], layout Some(&shape::INIT_PRODUCER_ID),
        rights [
            Write on TransactionalId ("transactional"),
            IdempotentWrite on Cluster or Write on Topic {Any} ("idempotent")
        ],
        "hands out a producer id, or fences the earlier holder of a transactional id";
    OffsetForLeaderEpoch = 23, versions (2-4), flexible 4,
        on [broker], layout Some(&shape::OFFSET_FOR_LEADER_EPOCH),
        rights [ClusterAction on Cluster or Describe on Topic],
        "tells where a leader epoch ends";
    AddPartitionsToTxn = 24, versions (0-5), flexible 3,
        on [broker], layout Some(&shape::ADD_PARTITIONS_TO_TXN),
        rights [
            Write on TransactionalId ("versions 0-3"),
            Write on Topic ("versions 0-3"),
            ClusterAction on Cluster ("versions 4-5")
        ],
        "adds partitions to a transaction; from version 4 on brokers ask, also whether it has them";
    AddOffsetsToTxn = 25, versions (0-4), flexible 3,
        on [broker], layout Some(&shape::ADD_OFFSETS_TO_TXN),
        rights [Write on TransactionalId, Read on Group],
        "adds the offsets of a group to a transaction";
    EndTxn = 26, versions (0-5), flexible 3,
        on [broker], layout Some(&shape::END_TXN),
        rights [Write on TransactionalId],
        "commits or aborts a transaction";
    WriteTxnMarkers = 27, versions (1-2) typed (1-1), flexible 1,
        on [broker], layout Some(&shape::WRITE_TXN_MARKERS),
        rights [Alter on Cluster or ClusterAction on Cluster],
        "ends transactions in partitions, for their coordinators";
    TxnOffsetCommit = 28, versions (0-6) typed (0-5), flexible 3,
        on [broker], layout Some(&shape::TXN_OFFSET_COMMIT),
        rights [Write on TransactionalId, Read on Group, Read on Topic],
        "commits offsets of a group, which count once the transaction is committed";
    DescribeAcls = 29, versions (1-3), flexible 2,
        on [broker controller], layout Some(&shape::DESCRIBE_ACLS),
        rights [Describe on Cluster],
        "lists access rules; refused without an authorizer (SECURITY_DISABLED)";
    CreateAcls = 30, versions (1-3), flexible 2,
        on [broker controller] forwarded whole, layout Some(&shape::CREATE_ACLS),
        rights [Alter on Cluster],
        "adds access rules; refused without an authorizer (SECURITY_DISABLED)";
    DeleteAcls = 31, versions (1-3), flexible 2,
        on [broker controller] forwarded whole, layout Some(&shape::DELETE_ACLS),
        rights [Alter on Cluster],
        "deletes the access rules that filters find; refused without an authorizer (SECURITY_DISABLED)";
    DescribeConfigs = 32, versions (1-4), flexible 4,
        on [broker controller], layout Some(&shape::DESCRIBE_CONFIGS),
        rights [DescribeConfigs on Cluster ("brokers"), DescribeConfigs on Topic ("topics"), DescribeConfigs on Group ("groups")],
        "lists the configs of topics, brokers and groups with where each value comes from";
    AlterConfigs = 33, versions (0-2), flexible 2,
        on [broker controller] forwarded remainder, layout Some(&shape::ALTER_CONFIGS),
        rights [AlterConfigs on Cluster ("brokers"), AlterConfigs on Topic ("topics"), AlterConfigs on Group ("groups")],
        "replaces everything that is set for topics, brokers and groups";
    AlterReplicaLogDirs = 34, versions (1-2), flexible 2,
        on [broker], layout Some(&shape::ALTER_REPLICA_LOG_DIRS),
        rights [Alter on Cluster],
        "moves replicas to other log directories of their broker";
    DescribeLogDirs = 35, versions (1-5) typed (1-4), flexible 2,
        on [broker], layout Some(&shape::DESCRIBE_LOG_DIRS),
        rights [Describe on Cluster],
        "tells log directories, their room, and the partitions in them";
    SaslAuthenticate = 36, versions (0-2), flexible 2,
        on [broker controller], layout Some(&shape::SASL_AUTHENTICATE),
        rights free,
        "carries SASL's messages; refused on a listener without it (ILLEGAL_SASL_STATE)";
    CreatePartitions = 37, versions (0-3), flexible 2,
        on [broker controller] forwarded whole, layout Some(&shape::CREATE_PARTITIONS),
        rights [Alter on Topic],
        "adds partitions to topics";
    CreateDelegationToken = 38, versions (1-3), flexible 2,
        on [broker controller] forwarded remainder, layout Some(&shape::CREATE_DELEGATION_TOKEN),
        rights [CreateTokens on User ("for somebody else")],
        "makes a token; refused to who is not authenticated (DELEGATION_TOKEN_REQUEST_NOT_ALLOWED)";
    RenewDelegationToken = 39, versions (1-2), flexible 2,
        on [broker controller] forwarded remainder, layout Some(&shape::RENEW_DELEGATION_TOKEN),
        rights free,
        "prolongs a token; refused to who is not authenticated (DELEGATION_TOKEN_REQUEST_NOT_ALLOWED)";
    ExpireDelegationToken = 40, versions (1-2), flexible 2,
        on [broker controller] forwarded remainder, layout Some(&shape::EXPIRE_DELEGATION_TOKEN),
        rights free,
        "ends a token; refused to who is not authenticated (DELEGATION_TOKEN_REQUEST_NOT_ALLOWED)";
    DescribeDelegationToken = 41, versions (1-3), flexible 2,
        on [broker controller], layout Some(&shape::DESCRIBE_DELEGATION_TOKEN),
        rights [Describe on DelegationToken {Shown} or DescribeTokens on User {Shown}],
        "lists tokens; refused to who is not authenticated (DELEGATION_TOKEN_REQUEST_NOT_ALLOWED)";
    DeleteGroups = 42, versions (0-3) typed (0-2), flexible 2,
        on [broker], layout Some(&shape::DELETE_GROUPS),
        rights [Delete on Group],
        "deletes groups without members, and what they have committed";
    ElectLeaders = 43, versions (0-2), flexible 2,
        on [broker controller] forwarded whole, layout Some(&shape::ELECT_LEADERS),
        rights [Alter on Cluster],
        "gives partitions their preferred leaders, or any";
    IncrementalAlterConfigs = 44, versions (0-1), flexible 1,
        on [broker controller] forwarded remainder, layout Some(&shape::INCREMENTAL_ALTER_CONFIGS),
        rights [AlterConfigs on Cluster ("brokers"), AlterConfigs on Topic ("topics"), AlterConfigs on Group ("groups")],
        "changes single settings of topics, brokers and groups";
    AlterPartitionReassignments = 45, versions (0-1), flexible 0,
        on [broker controller] forwarded whole, layout Some(&shape::ALTER_PARTITION_REASSIGNMENTS),
        rights [Alter on Cluster],
        "moves replicas to other brokers, or calls a move off";
    ListPartitionReassignments = 46, versions (0-0), flexible 0,
        on [broker controller] forwarded whole, layout Some(&shape::LIST_PARTITION_REASSIGNMENTS),
        rights [Describe on Cluster],
        "lists partitions that move between brokers";
    OffsetDelete = 47, versions (0-0), flexible 1,
        on [broker], layout Some(&shape::OFFSET_DELETE),
        rights [Delete on Group, Read on Topic],
        "deletes a group's committed offsets of topics that it does not consume";
    DescribeClientQuotas = 48, versions (0-1), flexible 1,
        on [broker], layout Some(&shape::DESCRIBE_CLIENT_QUOTAS),
        rights [DescribeConfigs on Cluster],
        "lists quotas of users, clients and addresses";
    DescribeUserScramCredentials = 50, versions (0-0), flexible 0,
        on [broker controller], layout Some(&shape::DESCRIBE_USER_SCRAM_CREDENTIALS),
        rights [Describe on Cluster],
        "lists who has SCRAM credentials";
    DescribeQuorum = 55, versions (0-2), flexible 0,
        on [broker controller] forwarded whole, layout Some(&shape::DESCRIBE_QUORUM),
        rights [Describe on Cluster],
        "tells the voters of the metadata quorum and how far they are";
    AlterPartition = 56, versions (2-3), flexible 0,
        on [controller], layout Some(&shape::ALTER_PARTITION),
        rights [ClusterAction on Cluster],
        "changes in-sync sets, as leaders of partitions see them";
    UpdateFeatures = 57, versions (0-2), flexible 0,
        on [broker controller] forwarded whole, layout Some(&shape::UPDATE_FEATURES),
        rights [Alter on Cluster],
        "raises and lowers the levels of features";
    Envelope = 58, versions (0-0), flexible 0,
        on [controller], layout Some(&shape::ENVELOPE),
        rights [ClusterAction on Cluster],
        "carries a client's request that a broker sends on";
    FetchSnapshot = 59, versions (0-1), flexible 0,
        on [controller], layout Some(&shape::FETCH_SNAPSHOT),
        rights [ClusterAction on Cluster],
        "reads a snapshot of the metadata, piece by piece";
    DescribeCluster = 60, versions (0-2), flexible 0,
        on [broker controller], layout Some(&shape::DESCRIBE_CLUSTER),
        rights [Describe on Cluster ("authorized operations"), Alter on Cluster ("at a controller")],
        "tells the cluster's id, controller and nodes";
    DescribeProducers = 61, versions (0-0), flexible 0,
        on [broker], layout Some(&shape::DESCRIBE_PRODUCERS),
        rights [Read on Topic],
        "lists the producers that partitions remember";
    BrokerRegistration = 62, versions (0-4), flexible 0,
        on [controller], layout Some(&shape::BROKER_REGISTRATION),
        rights [ClusterAction on Cluster],
        "makes a broker that has started known";
    BrokerHeartbeat = 63, versions (0-1), flexible 0,
        on [controller], layout Some(&shape::BROKER_HEARTBEAT),
        rights [ClusterAction on Cluster],
        "shows that a broker is alive, and what it wants";
    UnregisterBroker = 64, versions (0-0), flexible 0,
        on [broker controller] forwarded whole, layout Some(&shape::UNREGISTER_BROKER),
        rights [Alter on Cluster],
        "forgets a broker";
    DescribeTransactions = 65, versions (0-0), flexible 0,
        on [broker], layout Some(&shape::DESCRIBE_TRANSACTIONS),
        rights [Describe on TransactionalId, Describe on Topic {Shown}],
        "tells the state of transactional ids, and the partitions of their transactions";
    ListTransactions = 66, versions (0-2), flexible 0,
        on [broker], layout Some(&shape::LIST_TRANSACTIONS),
        rights [Describe on TransactionalId {Shown}],
        "lists transactional ids and their states";
    AllocateProducerIds = 67, versions (0-0), flexible 0,
        on [controller], layout Some(&shape::ALLOCATE_PRODUCER_IDS),
        rights [ClusterAction on Cluster],
        "gives a broker producer ids to hand out";
    ControllerRegistration = 70, versions (0-0), flexible 0,
        on [controller], layout Some(&shape::CONTROLLER_REGISTRATION),
        rights [ClusterAction on Cluster],
        "makes a controller that has started known";
    AssignReplicasToDirs = 73, versions (0-0), flexible 0,
        on [controller], layout Some(&shape::ASSIGN_REPLICAS_TO_DIRS),
        rights [ClusterAction on Cluster],
        "tells in which directories a broker's replicas are";
    ListConfigResources = 74, versions (0-1), flexible 0,
        on [broker], layout Some(&shape::LIST_CONFIG_RESOURCES),
        rights [DescribeConfigs on Cluster],
        "lists what has settings, or can have";
    DescribeTopicPartitions = 75, versions (0-0), flexible 0,
        on [broker], layout Some(&shape::DESCRIBE_TOPIC_PARTITIONS),
        rights [Describe on Topic],
        "tells the partitions of topics page by page, with their eligible leader replicas";
    AddRaftVoter = 80, versions (0-0), flexible 0,
        on [broker controller] forwarded whole, layout Some(&shape::ADD_RAFT_VOTER),
        rights [Alter on Cluster],
        "adds a voter to the metadata quorum";
    RemoveRaftVoter = 81, versions (0-0), flexible 0,
        on [broker controller] forwarded whole, layout Some(&shape::REMOVE_RAFT_VOTER),
        rights [Alter on Cluster],
        "removes a voter from the metadata quorum";
    UpdateRaftVoter = 82, versions (0-0), flexible 0,
        on [controller], layout Some(&shape::UPDATE_RAFT_VOTER),
        rights [ClusterAction on Cluster],
        "tells a voter's new addresses";
    UnregisterController = 94, versions (0-0), flexible 0,
        on [broker controller] forwarded whole, layout Some(&shape::UNREGISTER_CONTROLLER),
        rights [Alter on Cluster],
        "forgets a controller";
    // Ours alone, and of no client's concern.
    QuorumMessage = 10000, versions (0-0), flexible NEVER,
        on [controller], layout BY_HAND,
        rights [ClusterAction on Cluster],
        "carries a message of one voter of the metadata quorum to another";
}

#[cfg(test)]
mod tests;
