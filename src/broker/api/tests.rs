//! Every API of a broker, against the access column of the API table: what it asks, and what it says to who may do nothing.

mod samples;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use ottla_model::config::{BrokerConfig, Sources, load};
use ottla_protocol::api::{API_TABLE, Access, Listener, Names, Operation, Resource};
use parking_lot::Mutex;

use super::*;
use crate::boot::{Options, start};
use crate::request::{Answer, Part};
use samples::{Sample, samples};

/// Says the same to everybody, and remembers what it was asked.
struct Recorder {
    permits: bool,
    asked: Mutex<BTreeSet<(Operation, Resource)>>,
}

impl Recorder {
    fn new(permits: bool) -> Arc<Recorder> {
        Arc::new(Recorder { permits, asked: Mutex::default() })
    }

    // What has been asked since the last look.
    fn asked(&self) -> BTreeSet<(Operation, Resource)> {
        std::mem::take(&mut *self.asked.lock())
    }
}

impl Authorizer for Recorder {
    fn may(&self, _: &Caller, operation: Operation, resource: Resource, _: &str) -> bool {
        self.asked.lock().insert((operation, resource));
        self.permits
    }

    fn may_any(&self, caller: &Caller, operation: Operation, resource: Resource) -> bool {
        self.may(caller, operation, resource, "")
    }
}

/// Rights that nobody can be asked for yet: there is no token and no controller's listener.
const NOT_YET: &[(ApiKey, Operation, Resource)] = &[
    (ApiKey::CreateDelegationToken, Operation::CreateTokens, Resource::User),
    (ApiKey::DescribeDelegationToken, Operation::Describe, Resource::DelegationToken),
    (ApiKey::DescribeDelegationToken, Operation::DescribeTokens, Resource::User),
    (ApiKey::DescribeCluster, Operation::Alter, Resource::Cluster),
];

/// Asked for what merely adds to an answer; who lacks the right gets the answer without it.
const ADDS: &[(ApiKey, Operation, Resource)] = &[
    (ApiKey::Metadata, Operation::Describe, Resource::Cluster),
    (ApiKey::DescribeCluster, Operation::Describe, Resource::Cluster),
];

fn config(dir: &tempfile::TempDir) -> BrokerConfig {
    let overrides = [
        ("log.dirs", dir.path().join("data").display().to_string()),
        ("listeners", "PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:0".to_owned()),
        ("advertised.listeners", "PLAINTEXT://127.0.0.1:9092".to_owned()),
        ("offsets.topic.replication.factor", "1".to_owned()),
        ("offsets.topic.num.partitions", "1".to_owned()),
        ("transaction.state.log.replication.factor", "1".to_owned()),
        ("transaction.state.log.min.isr", "1".to_owned()),
        ("transaction.state.log.num.partitions", "1".to_owned()),
    ];
    let overrides: Vec<_> = overrides.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    load(Sources { file: None, env: [], overrides: &overrides }).expect("a configuration").0
}

/// Both listeners of a node that is broker and controller.
struct Listeners {
    broker: BrokerApis,
    controller: ControllerApis,
}

// The bytes of an answer.
async fn ask(apis: &Listeners, sample: &Sample) -> Vec<u8> {
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000));
    let row = sample.api.row();
    let (kind, dispatcher): (_, &dyn Dispatcher) = match row.listeners.broker {
        true => (Listener::Broker, &apis.broker),
        false => (Listener::Controller, &apis.controller),
    };
    let caller = Caller { listener: Arc::from("PLAINTEXT"), kind, peer, client_id: None };
    let answer = dispatcher.dispatch(&caller, row, sample.version, sample.body.clone()).answer().await;
    let Answer::Parts(parts) = answer else { panic!("{}: no answer", row.name) };
    let bytes = parts.into_iter().flat_map(|part| match part {
        Part::Bytes(bytes) => bytes.to_vec(),
        Part::File(range) => range.read().expect("records of a sample"),
    });
    bytes.collect()
}

// All rights of an API that can be asked for, and where the names come from.
fn rights(api: ApiKey) -> Vec<(Operation, Resource, Names)> {
    let Access::Rules(rules) = api.row().access else { return Vec::new() };
    let all = rules.iter().flat_map(|rule| rule.rights());
    all.map(|right| (right.operation, right.resource, right.names))
        .filter(|(operation, resource, _)| !NOT_YET.contains(&(api, *operation, *resource)))
        .collect()
}

// The errors of which one is in the answer to who may do nothing.
fn refusals(api: ApiKey) -> Vec<i16> {
    let hides = rights(api).iter().any(|(.., names)| *names == Names::Shown);
    let adds = |operation: &Operation, resource: &Resource| ADDS.contains(&(api, *operation, *resource));
    let named =
        rights(api).into_iter().filter(|(operation, resource, _)| !hides && !adds(operation, resource));
    named.map(|(_, resource, _)| resource.refusal().code()).collect()
}

/// First everything is permitted, which makes the topic and the group that later requests name; then nothing is.
#[tokio::test(flavor = "multi_thread")]
async fn every_api_asks_for_its_rights_and_refuses_who_has_none() {
    let dir = tempfile::tempdir().expect("a folder");
    let (server, _failure) = start(config(&dir), Options::default()).await.expect("it starts");
    let (permits, refuses) = (Recorder::new(true), Recorder::new(false));
    let broker = &server.running.as_ref().expect("it has a broker").broker;
    let apis = |authorizer: &Arc<Recorder>| Listeners {
        broker: BrokerApis { broker: broker.clone(), authorizer: authorizer.clone() },
        controller: ControllerApis::asking(broker.node.clone(), authorizer.clone()),
    };
    let mut asked: BTreeSet<(ApiKey, Operation, Resource)> = BTreeSet::new();
    let samples = samples();
    for sample in &samples {
        ask(&apis(&permits), sample).await;
        asked.extend(
            permits.asked().into_iter().map(|(operation, resource)| (sample.api, operation, resource)),
        );
    }
    for sample in &samples {
        let answer = ask(&apis(&refuses), sample).await;
        let questions = refuses.asked();
        asked.extend(questions.into_iter().map(|(operation, resource)| (sample.api, operation, resource)));
        let codes = refusals(sample.api);
        let says = |code: &i16| answer.windows(2).any(|two| two == code.to_be_bytes());
        let name = sample.api.row().name;
        assert!(
            codes.is_empty() || codes.iter().any(says),
            "{name} refuses, if with one of {codes:?}: {answer:?}"
        );
    }
    for row in API_TABLE {
        assert!(samples.iter().any(|sample| sample.api == row.id), "{} has a sample", row.name);
        let wanted: BTreeSet<_> =
            rights(row.id).into_iter().map(|(operation, resource, _)| (operation, resource)).collect();
        let asked = asked.iter().filter(|(api, ..)| *api == row.id);
        let asked: BTreeSet<_> = asked.map(|(_, operation, resource)| (*operation, *resource)).collect();
        // What a caller may do to something is told right by right (KIP-430).
        let told = |right: &&(Operation, Resource)| wanted.contains(*right) || !tells_operations(row.id);
        let asked: BTreeSet<_> = asked.iter().filter(told).copied().collect();
        assert_eq!(asked, wanted, "{}", row.name);
    }
    server.stop().await;
}

fn tells_operations(api: ApiKey) -> bool {
    use ApiKey::{DescribeCluster, DescribeGroups, DescribeTopicPartitions, Metadata};
    matches!(api, DescribeCluster | DescribeGroups | DescribeTopicPartitions | Metadata)
}
