//! The table against the messages crate and against what clients rely on.

use super::*;

#[test]
fn rows_are_sorted_and_found_by_key() {
    assert!(API_TABLE.is_sorted_by(|a, b| a.key < b.key), "api() searches by halves");
    for row in API_TABLE {
        assert_eq!(api(row.key).map(|found| found.name), Some(row.name));
        assert_eq!(row.id.row().key, row.key);
    }
    assert!(api(-1).is_none());
    assert!(api(4).is_none(), "LeaderAndIsr is gone since Kafka 4.0");
}

#[test]
fn headers_and_names_agree_with_the_messages_crate() {
    let unknown = [ApiKey::UnregisterController];
    for row in API_TABLE.iter().filter(|row| row.key < PRIVATE_FROM && !unknown.contains(&row.id)) {
        let theirs = kafka_protocol::messages::ApiKey::try_from(row.key).expect("a key that the crate knows");
        assert_eq!(format!("{theirs:?}"), row.name);
        for version in row.served.min..=row.served.max.min(theirs.valid_versions().max) {
            assert_eq!(row.request_header_version(version), theirs.request_header_version(version));
            assert_eq!(row.response_header_version(version), theirs.response_header_version(version));
        }
    }
}

#[test]
fn only_produce_is_advertised_beyond_what_is_served() {
    for row in API_TABLE {
        if row.id == ApiKey::Produce {
            assert_eq!(row.advertised, VersionRange { min: 0, max: 13 });
            assert!(!row.serves(2) && row.serves(3));
        } else {
            assert_eq!(row.advertised, row.served);
        }
    }
}

#[test]
fn a_controller_listener_tells_its_own_apis() {
    let names = |listener| advertised(listener).map(|row| row.name).collect::<Vec<_>>();
    let (broker, controller) = (names(Listener::Broker), names(Listener::Controller));
    assert!(controller.contains(&"CreateTopics") && controller.contains(&"Fetch"));
    assert!(!controller.contains(&"Produce") && !controller.contains(&"Metadata"));
    assert!(controller.contains(&"BrokerHeartbeat") && !broker.contains(&"BrokerHeartbeat"));
    let told = API_TABLE.iter().filter(|row| broker.contains(&row.name) || controller.contains(&row.name));
    let hidden = API_TABLE.len() - told.count();
    assert_eq!(hidden, 1, "QuorumMessage is of no client's concern");
}

/// Kafka marks the same APIs as forwardable, and `KafkaApis` looks at some of them first.
#[test]
fn brokers_forward_what_kafkas_brokers_forward() {
    let names = |forwarding| {
        let rows = API_TABLE.iter().filter(|row| row.forwarding == forwarding);
        rows.map(|row| row.name).collect::<Vec<_>>()
    };
    let whole = [
        "CreateTopics",
        "DeleteTopics",
        "CreateAcls",
        "DeleteAcls",
        "CreatePartitions",
        "ElectLeaders",
        "AlterPartitionReassignments",
        "ListPartitionReassignments",
        "DescribeQuorum",
        "UpdateFeatures",
        "UnregisterBroker",
        "AddRaftVoter",
        "RemoveRaftVoter",
        "UnregisterController",
    ];
    let remainder = [
        "AlterConfigs",
        "CreateDelegationToken",
        "RenewDelegationToken",
        "ExpireDelegationToken",
        "IncrementalAlterConfigs",
    ];
    assert_eq!(names(Forwarding::Whole), whole);
    assert_eq!(names(Forwarding::Remainder), remainder);
    let forwarded = API_TABLE.iter().filter(|row| row.forwarding != Forwarding::Never);
    assert!(forwarded.into_iter().all(|row| row.listeners.controller), "a controller answers it");
}

#[test]
fn every_api_of_kafkas_is_served_or_has_a_reason() {
    let served = API_TABLE.iter().filter(|row| row.key < PRIVATE_FROM).map(|row| (row.key, row.name));
    let unserved = UNSERVED.iter().map(|row| (row.key, row.name));
    let mut all: Vec<(i16, &str)> = served.chain(unserved).collect();
    all.sort();
    // LeaderAndIsr, StopReplica, UpdateMetadata and ControlledShutdown are gone since Kafka 4.0.
    let keys: Vec<i16> = (0..=94).filter(|key| !(4..=7).contains(key)).collect();
    assert_eq!(all.iter().map(|(key, _)| *key).collect::<Vec<_>>(), keys);
    assert_eq!(all.len(), 91, "the request schemas of Kafka 4.4");
    for (key, name) in all {
        if let Ok(theirs) = kafka_protocol::messages::ApiKey::try_from(key) {
            assert_eq!(format!("{theirs:?}"), name);
        }
    }
    assert!(UNSERVED.is_sorted_by(|a, b| a.key < b.key));
    assert!(UNSERVED.iter().all(|row| !row.why.is_empty()));
}

#[test]
fn the_reference_has_a_line_for_every_row() {
    let page = reference_markdown();
    let rows = |cells: usize| page.lines().filter(|line| line.matches('|').count() == cells).count();
    assert_eq!(rows(8), 2 + API_TABLE.len(), "{page}");
    assert_eq!(rows(5), 2 + UNSERVED.len(), "{page}");
    assert!(
        page.contains("| 2 | ListOffsets | 1-11 | broker |  | Describe on Topic; ClusterAction on Cluster (replicas) | finds offsets")
    );
    assert!(page.contains(
        "| 0 | Produce | 3-13 | broker |  | Write on TransactionalId (transactional records); Write on Topic |"
    ));
}
