//! Every error code of the protocol, in one table. It has the name of each code and whether a client may retry; it must
//! never decide when a broker answers with a code.
//!
//! Codes, names and retriability are Apache Kafka 4.4's; the messages are our own words.

use std::fmt;

macro_rules! error_codes {
    ($($code:literal $variant:ident $name:literal $kind:ident $message:literal,)+) => {
        /// An error code of the protocol.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i16)]
        pub enum ErrorCode {
            $(#[doc = concat!("`", $name, "`: ", $message, ".")] $variant = $code,)+
        }

        impl ErrorCode {
            /// Every code, in numeric order.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant),+];

            /// The number on the wire.
            pub const fn code(self) -> i16 {
                self as i16
            }

            /// The code with this number. An unknown number becomes `UnknownServerError`, as Kafka's clients treat the
            /// codes of newer brokers.
            pub const fn from_code(code: i16) -> ErrorCode {
                match code {
                    $($code => ErrorCode::$variant,)+
                    _ => ErrorCode::UnknownServerError,
                }
            }

            /// Kafka's name, as in `OFFSET_OUT_OF_RANGE`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(ErrorCode::$variant => $name,)+
                }
            }

            /// What the code means, for people.
            pub const fn message(self) -> &'static str {
                match self {
                    $(ErrorCode::$variant => $message,)+
                }
            }

            /// Whether Kafka's clients send the request again after this error.
            pub const fn is_retriable(self) -> bool {
                match self {
                    $(ErrorCode::$variant => error_codes!(@retriable $kind),)+
                }
            }
        }
    };
    (@retriable retriable) => { true };
    (@retriable final) => { false };
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

error_codes! {
    -1 UnknownServerError "UNKNOWN_SERVER_ERROR" final "the broker failed in a way it did not expect",
    0 None "NONE" final "no error",
    1 OffsetOutOfRange "OFFSET_OUT_OF_RANGE" final "the offset lies outside what the partition's log holds",
    2 CorruptMessage "CORRUPT_MESSAGE" retriable "the batch fails its checksum or is otherwise damaged",
    3 UnknownTopicOrPartition "UNKNOWN_TOPIC_OR_PARTITION" retriable "no such topic or partition on this broker",
    4 InvalidFetchSize "INVALID_FETCH_SIZE" final "the fetch size makes no sense",
    5 LeaderNotAvailable "LEADER_NOT_AVAILABLE" retriable "the partition has no leader for now, an election is under way",
    6 NotLeaderOrFollower "NOT_LEADER_OR_FOLLOWER" retriable "this broker does not lead the partition, or holds no replica of it",
    7 RequestTimedOut "REQUEST_TIMED_OUT" retriable "the request took longer than its time limit",
    8 BrokerNotAvailable "BROKER_NOT_AVAILABLE" final "the broker is not available",
    9 ReplicaNotAvailable "REPLICA_NOT_AVAILABLE" retriable "the replica asked for is not available",
    10 MessageTooLarge "MESSAGE_TOO_LARGE" final "the batch is larger than max.message.bytes allows",
    11 StaleControllerEpoch "STALE_CONTROLLER_EPOCH" final "the request comes from a controller that has been replaced",
    12 OffsetMetadataTooLarge "OFFSET_METADATA_TOO_LARGE" final "the metadata string committed with an offset is too long",
    13 NetworkException "NETWORK_EXCEPTION" retriable "the connection broke before the answer came",
    14 CoordinatorLoadInProgress "COORDINATOR_LOAD_IN_PROGRESS" retriable "the coordinator is still loading its state",
    15 CoordinatorNotAvailable "COORDINATOR_NOT_AVAILABLE" retriable "no coordinator is available for this key yet",
    16 NotCoordinator "NOT_COORDINATOR" retriable "another broker coordinates this key",
    17 InvalidTopicException "INVALID_TOPIC_EXCEPTION" final "the topic name is not allowed, or the operation is not allowed on this topic",
    18 RecordListTooLarge "RECORD_LIST_TOO_LARGE" final "the batch is larger than a log segment",
    19 NotEnoughReplicas "NOT_ENOUGH_REPLICAS" retriable "fewer replicas are in sync than min.insync.replicas asks for, nothing was written",
    20 NotEnoughReplicasAfterAppend "NOT_ENOUGH_REPLICAS_AFTER_APPEND" retriable "written, but by now fewer replicas are in sync than min.insync.replicas asks for",
    21 InvalidRequiredAcks "INVALID_REQUIRED_ACKS" final "acks must be -1, 0 or 1",
    22 IllegalGeneration "ILLEGAL_GENERATION" final "the generation id is not the group's current one",
    23 InconsistentGroupProtocol "INCONSISTENT_GROUP_PROTOCOL" final "the member shares no protocol type or assignor with the group",
    24 InvalidGroupId "INVALID_GROUP_ID" final "the group id is not valid",
    25 UnknownMemberId "UNKNOWN_MEMBER_ID" final "the coordinator does not know this member",
    26 InvalidSessionTimeout "INVALID_SESSION_TIMEOUT" final "the session timeout is outside group.min.session.timeout.ms and group.max.session.timeout.ms",
    27 RebalanceInProgress "REBALANCE_IN_PROGRESS" final "the group is rebalancing and the member has to join again",
    28 InvalidCommitOffsetSize "INVALID_COMMIT_OFFSET_SIZE" final "the offset commit is too large to store",
    29 TopicAuthorizationFailed "TOPIC_AUTHORIZATION_FAILED" final "not authorized for this topic",
    30 GroupAuthorizationFailed "GROUP_AUTHORIZATION_FAILED" final "not authorized for this group",
    31 ClusterAuthorizationFailed "CLUSTER_AUTHORIZATION_FAILED" final "not authorized for this operation on the cluster",
    32 InvalidTimestamp "INVALID_TIMESTAMP" final "a record's timestamp is outside the range that the topic accepts",
    33 UnsupportedSaslMechanism "UNSUPPORTED_SASL_MECHANISM" final "this SASL mechanism is not enabled",
    34 IllegalSaslState "ILLEGAL_SASL_STATE" final "the request is not allowed at this point of the SASL exchange",
    35 UnsupportedVersion "UNSUPPORTED_VERSION" final "the broker does not serve this version of the API",
    36 TopicAlreadyExists "TOPIC_ALREADY_EXISTS" final "a topic with this name exists already",
    37 InvalidPartitions "INVALID_PARTITIONS" final "the number of partitions is not allowed",
    38 InvalidReplicationFactor "INVALID_REPLICATION_FACTOR" final "the replication factor is below one or exceeds the number of brokers",
    39 InvalidReplicaAssignment "INVALID_REPLICA_ASSIGNMENT" final "the replica assignment is not valid",
    40 InvalidConfig "INVALID_CONFIG" final "the configuration is not valid",
    41 NotController "NOT_CONTROLLER" retriable "this node is not the active controller",
    42 InvalidRequest "INVALID_REQUEST" final "the request contradicts itself or the protocol",
    43 UnsupportedForMessageFormat "UNSUPPORTED_FOR_MESSAGE_FORMAT" final "the message format on the broker cannot do this",
    44 PolicyViolation "POLICY_VIOLATION" final "the request breaks a policy set by the operator",
    45 OutOfOrderSequenceNumber "OUT_OF_ORDER_SEQUENCE_NUMBER" final "the producer's sequence number leaves a gap",
    46 DuplicateSequenceNumber "DUPLICATE_SEQUENCE_NUMBER" final "the producer has sent this sequence number before",
    47 InvalidProducerEpoch "INVALID_PRODUCER_EPOCH" final "the producer's epoch is older than the current one",
    48 InvalidTxnState "INVALID_TXN_STATE" final "the transaction's state does not allow this operation",
    49 InvalidProducerIdMapping "INVALID_PRODUCER_ID_MAPPING" final "the producer id does not belong to this transactional id",
    50 InvalidTransactionTimeout "INVALID_TRANSACTION_TIMEOUT" final "the transaction timeout exceeds transaction.max.timeout.ms",
    51 ConcurrentTransactions "CONCURRENT_TRANSACTIONS" retriable "another operation on the same transaction has not finished yet",
    52 TransactionCoordinatorFenced "TRANSACTION_COORDINATOR_FENCED" final "the coordinator that sent the marker has been replaced",
    53 TransactionalIdAuthorizationFailed "TRANSACTIONAL_ID_AUTHORIZATION_FAILED" final "not authorized for this transactional id",
    54 SecurityDisabled "SECURITY_DISABLED" final "no authorizer is configured",
    55 OperationNotAttempted "OPERATION_NOT_ATTEMPTED" final "not tried, because another part of the request failed",
    56 KafkaStorageError "KAFKA_STORAGE_ERROR" retriable "the disk that holds the partition failed",
    57 LogDirNotFound "LOG_DIR_NOT_FOUND" final "the broker has no such log directory",
    58 SaslAuthenticationFailed "SASL_AUTHENTICATION_FAILED" final "the SASL credentials were not accepted",
    59 UnknownProducerId "UNKNOWN_PRODUCER_ID" final "nothing is known about this producer id, its records may have expired",
    60 ReassignmentInProgress "REASSIGNMENT_IN_PROGRESS" final "the partition is being reassigned",
    61 DelegationTokenAuthDisabled "DELEGATION_TOKEN_AUTH_DISABLED" final "delegation tokens are not enabled",
    62 DelegationTokenNotFound "DELEGATION_TOKEN_NOT_FOUND" final "no such delegation token",
    63 DelegationTokenOwnerMismatch "DELEGATION_TOKEN_OWNER_MISMATCH" final "the principal neither owns the delegation token nor may renew it",
    64 DelegationTokenRequestNotAllowed "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED" final "delegation tokens cannot be managed over this kind of connection",
    65 DelegationTokenAuthorizationFailed "DELEGATION_TOKEN_AUTHORIZATION_FAILED" final "not authorized for this delegation token",
    66 DelegationTokenExpired "DELEGATION_TOKEN_EXPIRED" final "the delegation token has expired",
    67 InvalidPrincipalType "INVALID_PRINCIPAL_TYPE" final "this principal type is not supported",
    68 NonEmptyGroup "NON_EMPTY_GROUP" final "the group still has members",
    69 GroupIdNotFound "GROUP_ID_NOT_FOUND" final "no such group",
    70 FetchSessionIdNotFound "FETCH_SESSION_ID_NOT_FOUND" retriable "the broker no longer has this fetch session",
    71 InvalidFetchSessionEpoch "INVALID_FETCH_SESSION_EPOCH" retriable "the fetch session's epoch is not the expected one",
    72 ListenerNotFound "LISTENER_NOT_FOUND" retriable "the leader has no listener with the name of the one that was asked",
    73 TopicDeletionDisabled "TOPIC_DELETION_DISABLED" final "deleting topics is disabled",
    74 FencedLeaderEpoch "FENCED_LEADER_EPOCH" retriable "the leader epoch in the request is older than the broker's",
    75 UnknownLeaderEpoch "UNKNOWN_LEADER_EPOCH" retriable "the leader epoch in the request is newer than the broker's",
    76 UnsupportedCompressionType "UNSUPPORTED_COMPRESSION_TYPE" final "the client's version cannot read this compression type",
    77 StaleBrokerEpoch "STALE_BROKER_EPOCH" final "the broker's epoch has changed since",
    78 OffsetNotAvailable "OFFSET_NOT_AVAILABLE" retriable "a new leader cannot promise this offset until its high watermark has caught up",
    79 MemberIdRequired "MEMBER_ID_REQUIRED" final "join again with the member id given here",
    80 PreferredLeaderNotAvailable "PREFERRED_LEADER_NOT_AVAILABLE" retriable "the preferred leader is not available",
    81 GroupMaxSizeReached "GROUP_MAX_SIZE_REACHED" final "the group is full",
    82 FencedInstanceId "FENCED_INSTANCE_ID" final "another member has taken over this group.instance.id",
    83 EligibleLeadersNotAvailable "ELIGIBLE_LEADERS_NOT_AVAILABLE" retriable "no replica that may lead is available",
    84 ElectionNotNeeded "ELECTION_NOT_NEEDED" retriable "the partition already has the leader it should have",
    85 NoReassignmentInProgress "NO_REASSIGNMENT_IN_PROGRESS" final "the partition is not being reassigned",
    86 GroupSubscribedToTopic "GROUP_SUBSCRIBED_TO_TOPIC" final "the group is subscribed to the topic, so its offsets stay",
    87 InvalidRecord "INVALID_RECORD" final "a record breaks the rules of its topic",
    88 UnstableOffsetCommit "UNSTABLE_OFFSET_COMMIT" retriable "offsets of an open transaction are pending",
    89 ThrottlingQuotaExceeded "THROTTLING_QUOTA_EXCEEDED" retriable "the quota is used up for now",
    90 ProducerFenced "PRODUCER_FENCED" final "a newer producer with the same transactional id has taken over",
    91 ResourceNotFound "RESOURCE_NOT_FOUND" final "no such resource",
    92 DuplicateResource "DUPLICATE_RESOURCE" final "the request names the same resource twice",
    93 UnacceptableCredential "UNACCEPTABLE_CREDENTIAL" final "the credential does not meet the requirements",
    94 InconsistentVoterSet "INCONSISTENT_VOTER_SET" final "sender or receiver is not one of the expected voters",
    95 InvalidUpdateVersion "INVALID_UPDATE_VERSION" final "the version asked for is not allowed",
    96 FeatureUpdateFailed "FEATURE_UPDATE_FAILED" final "the feature could not be updated",
    97 PrincipalDeserializationFailure "PRINCIPAL_DESERIALIZATION_FAILURE" final "the principal of a forwarded request cannot be read",
    98 SnapshotNotFound "SNAPSHOT_NOT_FOUND" final "no such snapshot",
    99 PositionOutOfRange "POSITION_OUT_OF_RANGE" final "the position lies outside the snapshot",
    100 UnknownTopicId "UNKNOWN_TOPIC_ID" retriable "no topic with this id on this broker",
    101 DuplicateBrokerRegistration "DUPLICATE_BROKER_REGISTRATION" final "another live broker has registered this id",
    102 BrokerIdNotRegistered "BROKER_ID_NOT_REGISTERED" final "no broker with this id is registered",
    103 InconsistentTopicId "INCONSISTENT_TOPIC_ID" retriable "the log belongs to a topic with another id",
    104 InconsistentClusterId "INCONSISTENT_CLUSTER_ID" final "the request is meant for another cluster",
    105 TransactionalIdNotFound "TRANSACTIONAL_ID_NOT_FOUND" final "no such transactional id",
    106 FetchSessionTopicIdError "FETCH_SESSION_TOPIC_ID_ERROR" retriable "the fetch session mixes topic names and topic ids",
    107 IneligibleReplica "INELIGIBLE_REPLICA" final "the new in-sync set has a replica that may not join it",
    108 NewLeaderElected "NEW_LEADER_ELECTED" final "the change was made and moved the leadership elsewhere",
    109 OffsetMovedToTieredStorage "OFFSET_MOVED_TO_TIERED_STORAGE" final "the offset is only in tiered storage",
    110 FencedMemberEpoch "FENCED_MEMBER_EPOCH" final "the member's epoch was fenced, it has to give up its partitions and join again",
    111 UnreleasedInstanceId "UNRELEASED_INSTANCE_ID" final "another member still holds this instance id",
    112 UnsupportedAssignor "UNSUPPORTED_ASSIGNOR" final "the group does not support this assignor",
    113 StaleMemberEpoch "STALE_MEMBER_EPOCH" final "the member's epoch is old, a heartbeat will tell the new one",
    114 MismatchedEndpointType "MISMATCHED_ENDPOINT_TYPE" final "this kind of endpoint does not answer the request",
    115 UnsupportedEndpointType "UNSUPPORTED_ENDPOINT_TYPE" final "no such endpoint type",
    116 UnknownControllerId "UNKNOWN_CONTROLLER_ID" final "no controller with this id",
    117 UnknownSubscriptionId "UNKNOWN_SUBSCRIPTION_ID" final "the telemetry subscription is not the current one",
    118 TelemetryTooLarge "TELEMETRY_TOO_LARGE" final "the telemetry exceeds what the broker accepts",
    119 InvalidRegistration "INVALID_REGISTRATION" final "the controller rejects the registration",
    120 TransactionAbortable "TRANSACTION_ABORTABLE" final "the transaction cannot go on but can be aborted",
    121 InvalidRecordState "INVALID_RECORD_STATE" final "the record is not in a state that can be acknowledged",
    122 ShareSessionNotFound "SHARE_SESSION_NOT_FOUND" retriable "the broker no longer has this share session",
    123 InvalidShareSessionEpoch "INVALID_SHARE_SESSION_EPOCH" retriable "the share session's epoch is not the expected one",
    124 FencedStateEpoch "FENCED_STATE_EPOCH" final "the state epoch is not the coordinator's",
    125 InvalidVoterKey "INVALID_VOTER_KEY" final "the voter's directory id is not this replica's",
    126 DuplicateVoter "DUPLICATE_VOTER" final "this voter is in the set already",
    127 VoterNotFound "VOTER_NOT_FOUND" final "this voter is not in the set",
    128 InvalidRegularExpression "INVALID_REGULAR_EXPRESSION" final "the regular expression is not valid",
    129 RebootstrapRequired "REBOOTSTRAP_REQUIRED" final "the client's metadata is too old, it has to bootstrap again",
    130 StreamsInvalidTopology "STREAMS_INVALID_TOPOLOGY" final "the streams topology is not valid",
    131 StreamsInvalidTopologyEpoch "STREAMS_INVALID_TOPOLOGY_EPOCH" final "the streams topology's epoch is not valid",
    132 StreamsTopologyFenced "STREAMS_TOPOLOGY_FENCED" final "the streams topology's epoch is old",
    133 ShareSessionLimitReached "SHARE_SESSION_LIMIT_REACHED" retriable "the broker holds as many share sessions as it may",
    134 GroupDeletionFailed "GROUP_DELETION_FAILED" final "the group could not be deleted, its message says why",
    135 StreamsTopologyDescriptionUpdateFailed "STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED" final "the topology description could not be stored, the message says why",
    136 ControllerIdNotRegistered "CONTROLLER_ID_NOT_REGISTERED" final "no controller with this id is registered",
}

#[cfg(test)]
mod tests {
    use super::ErrorCode;

    #[test]
    fn codes_are_kafkas_and_come_back() {
        assert_eq!(ErrorCode::ALL.len(), 138, "Kafka 4.4 has -1 to 136");
        for (at, error) in ErrorCode::ALL.iter().enumerate() {
            assert_eq!(error.code() as isize, at as isize - 1, "{error} is out of order");
            assert_eq!(ErrorCode::from_code(error.code()), *error);
            assert!(!error.message().is_empty());
        }
        assert_eq!(ErrorCode::from_code(137), ErrorCode::UnknownServerError);
        assert_eq!(ErrorCode::from_code(i16::MIN), ErrorCode::UnknownServerError);
    }

    #[test]
    fn names_agree_with_the_messages_crate() {
        for error in ErrorCode::ALL.iter().filter(|error| **error != ErrorCode::None) {
            let Some(theirs) = kafka_protocol::ResponseError::try_from_code(error.code()) else { continue };
            if matches!(theirs, kafka_protocol::ResponseError::Unknown(_)) {
                continue;
            }
            let ours = error.name().replace('_', "").to_lowercase();
            assert_eq!(ours, format!("{theirs:?}").to_lowercase());
        }
    }

    #[test]
    fn a_client_repeats_what_time_can_mend() {
        for error in [ErrorCode::NotLeaderOrFollower, ErrorCode::KafkaStorageError, ErrorCode::UnknownTopicId]
        {
            assert!(error.is_retriable(), "{error}");
        }
        for error in [ErrorCode::None, ErrorCode::OffsetOutOfRange, ErrorCode::ProducerFenced] {
            assert!(!error.is_retriable(), "{error}");
        }
    }
}
