//! A whole broker leads, and what a second one needs to follow it runs beside it: its storage, its publisher and its
//! fetchers, over a real connection.

use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ottla_client::Connection;
use ottla_core::controller::{CreateTopics, Heartbeat, NewTopic, Registration};
use ottla_core::partition::Acks;
use ottla_log::disk::MemoryDisk;
use ottla_log::log::{Isolation, Offsets};
use ottla_model::TopicId;
use ottla_model::config::{BrokerConfig, Sources, load};
use ottla_model::image::Endpoint;
use ottla_node::lane::{FromLeader, Input as LaneInput};
use ottla_node::replicas::Replicas;
use ottla_protocol::LeaderEpoch;
use ottla_protocol::api::ApiKey;
use ottla_protocol::batch::{BatchBuilder, Compression};
use ottla_protocol::fetch::{
    FetchPartition, FetchPartitionResponse, FetchRequest, FetchResponse, FetchTopic, TopicRef,
};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::*;
use crate::boot::{Options, Server, start};
use crate::broker::Broker;
use crate::run::owners::coordinator::Surroundings;
use crate::run::owners::groups::GroupCoordinator;
use crate::run::owners::partition::Outlets;
use crate::run::owners::partitions::Partitions;
use crate::run::owners::proposals::Proposals;
use crate::run::owners::publisher::{Notice, Publisher};
use crate::run::owners::storage::Storage;
use crate::run::serve::nearest::{Nearest, preferred};
use crate::run::serve::produce::{ProduceOptions, Share, produce, reject};
use crate::run::work::registrar::Registrar;
use crate::stop::Stopping;

const LEADER: NodeId = NodeId(1);
const FOLLOWER: NodeId = NodeId(2);
const LAG_MS: u64 = 400;

fn config(settings: &[(&str, String)]) -> BrokerConfig {
    let overrides: Vec<_> = settings.iter().map(|(key, value)| (key.to_string(), value.clone())).collect();
    load(Sources { file: None, env: [], overrides: &overrides }).expect("a configuration").0
}

async fn lead(dir: &tempfile::TempDir) -> Server {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("an address").port();
    drop(free);
    let config = config(&[
        ("node.id", LEADER.to_string()),
        ("controller.quorum.voters", format!("{LEADER}@127.0.0.1:1")),
        ("log.dirs", dir.path().display().to_string()),
        ("listeners", format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:0")),
        ("advertised.listeners", format!("PLAINTEXT://127.0.0.1:{port}")),
        ("broker.heartbeat.interval.ms", "100".into()),
        ("broker.session.timeout.ms", "1000".into()),
        ("replica.lag.time.max.ms", LAG_MS.to_string()),
        ("broker.rack", "a".into()),
        ("replica.selector.class", "org.apache.kafka.common.replica.RackAwareReplicaSelector".into()),
        ("replica.fetch.wait.max.ms", "50".into()),
    ]);
    start(config, Options::default()).await.expect("it starts").0
}

fn broker(server: &Server) -> &Arc<Broker> {
    &server.running.as_ref().expect("it is a broker").broker
}

/// The second broker, in one of its lives.
struct Follower {
    partitions: Arc<Partitions>,
    fetchers: Arc<Fetchers>,
    notices: Sender<Notice>,
    publisher: JoinHandle<()>,
    /// Dropped to stop the news.
    _news: oneshot::Sender<()>,
}

/// Registers with the leader's controller, as a broker that starts does.
async fn follow(server: &Server, disk: &MemoryDisk) -> Follower {
    let config = Arc::new(config(&[
        ("node.id", FOLLOWER.to_string()),
        ("controller.quorum.voters", format!("{FOLLOWER}@127.0.0.1:1")),
        ("log.dirs", "/data".into()),
        ("replica.fetch.wait.max.ms", "50".into()),
    ]));
    let storage = Storage::open(Arc::new(disk.clone()), &config, Some(&broker(server).cluster_id));
    let storage = Arc::new(storage.expect("storage"));
    let incarnation = Uuid::new_v4();
    let controller = broker(server).controller.clone();
    let registration = Registration {
        id: FOLLOWER,
        incarnation,
        // Nobody listens there.
        endpoints: vec![Endpoint {
            name: "PLAINTEXT".into(),
            host: "127.0.0.1".into(),
            port: 1,
            security_protocol: 0,
        }],
        rack: Some("b".into()),
        log_dirs: storage.directory_ids(),
        features: broker(server).image.load().broker(LEADER).expect("it is registered").features.clone(),
        previous_epoch: storage.previous_epoch(),
    };
    // Its life before has not said good-bye, and counts as alive for a moment.
    let epoch = loop {
        match controller.ask(registration.clone()).await.expect("a controller") {
            Ok(epoch) => break epoch,
            Err(refusal) => assert_eq!(refusal.code, ErrorCode::DuplicateBrokerRegistration),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let (me, leaders_image) = (FOLLOWER, broker(server).image.clone());
    let beat = move |metadata_offset| Heartbeat::of(me, epoch, metadata_offset);
    let known = leaders_image.load().offset;
    controller.ask(beat(known)).await.expect("a controller").expect("it is unfenced");
    let (notices, inbox) = channel();
    let image = Arc::new(Metadata::default());
    let settings = Arc::new(Settings::new(config.clone()));
    let fetchers = Fetchers::new(me, settings.clone(), image.clone(), Handle::current());
    let (proposals, _) = Proposals::channel();
    let registrar = Registrar::silent();
    let partitions: Arc<Partitions> = Arc::default();
    let surroundings =
        Surroundings { image: image.clone(), partitions: partitions.clone(), stopping: Stopping::new() };
    let publisher = Publisher {
        me,
        replicas: Replicas::new(config.clone(), incarnation),
        settings,
        storage,
        partitions,
        outlets: Outlets { flushers: Default::default(), failures: notices.clone(), proposals },
        fetchers: Arc::new(fetchers),
        elected: Arc::default(),
        newly_elected: false,
        image,
        groups: Arc::new(GroupCoordinator::new(&config, surroundings)),
        registrar: Arc::new(registrar),
        give_up: Box::new(|why| panic!("{why}")),
    };
    let (partitions, fetchers) = (publisher.partitions.clone(), publisher.fetchers.clone());
    let publisher = std::thread::spawn(move || publisher.serve(&inbox));
    let (_news, mut stops) = oneshot::channel();
    let tell = notices.clone();
    tokio::spawn(async move {
        let mut shown = None;
        let mut beats = tokio::time::interval(Duration::from_millis(100));
        while let Err(oneshot::error::TryRecvError::Empty) = stops.try_recv() {
            let image = leaders_image.load_full();
            if shown.replace(image.offset) != Some(image.offset) {
                let _ = tell.send(Notice::Published(image));
            }
            tokio::select! {
                _ = beats.tick() => {
                    let _ = controller.ask(beat(shown.unwrap_or(-1))).await;
                }
                () = tokio::time::sleep(Duration::from_millis(2)) => {}
            }
        }
    });
    Follower { partitions, fetchers, notices, publisher, _news }
}

impl Follower {
    /// Kills it.
    fn end(self, disk: &MemoryDisk) {
        self.fetchers.stop();
        let _ = self.notices.send(Notice::Ended);
        self.publisher.join().expect("it has not panicked");
        disk.kill();
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(30), async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("never: {what}"));
}

async fn create(server: &Server, name: &str, partitions: i32, configs: &[(&str, &str)]) -> TopicId {
    create_on(server, name, partitions, &[LEADER, FOLLOWER], configs).await
}

async fn create_on(
    server: &Server,
    name: &str,
    partitions: i32,
    replicas: &[NodeId],
    configs: &[(&str, &str)],
) -> TopicId {
    let topic = NewTopic {
        name: name.into(),
        partitions: -1,
        replication_factor: -1,
        assignments: (0..partitions).map(|index| (index, replicas.to_vec())).collect(),
        configs: configs.iter().map(|(key, value)| (key.to_string(), Some(value.to_string()))).collect(),
    };
    let create = CreateTopics { topics: vec![topic], validate_only: false };
    let mut created = broker(server).controller.ask(create).await.expect("a controller");
    created.remove(0).1.expect("it is created").id
}

/// One record, with acks=all.
async fn send(server: &Server, topic: TopicId, index: i32) -> Result<Offset, ErrorCode> {
    let mut batch = BatchBuilder::new(Compression::None);
    batch.append(1, None, Some(b"value"), &[]);
    let records = Some(batch.build(0, LeaderEpoch(-1)));
    let partition = broker(server).partitions.led(&broker(server).image.load(), topic, index);
    let options = ProduceOptions { acks: Acks::All, timeout_ms: 20_000, version: 13 };
    let share = Share { partition: partition.map_err(reject), records, guard: None };
    let outcomes = produce(vec![share], &options).await;
    outcomes[0].result.clone().map(|stored| stored.base_offset).map_err(|rejected| rejected.code)
}

fn in_sync(server: &Server, topic: TopicId) -> Vec<NodeId> {
    let image = broker(server).image.load();
    image.topic_by_id(topic).map_or(Vec::new(), |topic| topic.partitions[&0].isr.clone())
}

fn offsets(partitions: &Partitions, topic: TopicId, index: i32) -> Option<Offsets> {
    partitions.get(topic, index).map(|partition| partition.place().reader.offsets())
}

fn bytes(partitions: &Partitions, topic: TopicId, index: i32) -> Vec<u8> {
    let partition = partitions.get(topic, index).expect("it is there");
    let read = partition.place().reader.read(0, 1 << 20, Isolation::LogEnd, true);
    read.expect("it reads").range.expect("records").read().expect("it reads")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_has_what_its_leader_has_and_is_in_sync_while_it_fetches() {
    let (dir, disk) = (tempfile::tempdir().expect("a folder"), MemoryDisk::new(1));
    let server = lead(&dir).await;
    let leads = broker(&server).partitions.clone();
    let follower = follow(&server, &disk).await;
    let topic = create(&server, "t", 3, &[("min.insync.replicas", "1")]).await;
    assert_eq!(in_sync(&server, topic), [LEADER, FOLLOWER]);
    for index in 0..3 {
        assert_eq!(send(&server, topic, index).await, Ok(0), "once both have it");
        assert_eq!(send(&server, topic, index).await, Ok(1));
    }
    let here = follower.partitions.clone();
    let has = |end| move |offsets: Offsets| (offsets.log_end, offsets.high_watermark) == (end, end);
    for index in 0..3 {
        until("the follower knows what is replicated", || offsets(&here, topic, index).is_some_and(has(2)))
            .await;
        assert_eq!(bytes(&here, topic, index), bytes(&leads, topic, index));
    }
    follower.end(&disk);
    assert_eq!(send(&server, topic, 0).await, Ok(2), "once the follower has left the in-sync set");
    until("the image shows that", || in_sync(&server, topic) == [LEADER]).await;
    let follower = follow(&server, &disk).await;
    until("it is back in sync", || in_sync(&server, topic) == [LEADER, FOLLOWER]).await;
    assert_eq!(send(&server, topic, 0).await, Ok(3));
    let here = follower.partitions.clone();
    until("the follower has it all", || offsets(&here, topic, 0).is_some_and(has(4))).await;
    assert_eq!(bytes(&here, topic, 0), bytes(&leads, topic, 0));
    follower.end(&disk);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_has_lost_its_disk_fills_it_again_from_where_the_log_starts() {
    let (dir, disk) = (tempfile::tempdir().expect("a folder"), MemoryDisk::new(1));
    let server = lead(&dir).await;
    let leads = broker(&server).partitions.clone();
    let follower = follow(&server, &disk).await;
    let topic = create(&server, "t", 1, &[("flush.messages", "1")]).await;
    for offset in 0..4 {
        assert_eq!(send(&server, topic, 0).await, Ok(offset), "flushed by both");
    }
    follower.end(&disk);
    assert_eq!(send(&server, topic, 0).await, Ok(4), "without it");
    let (token, deleted) = oneshot::channel();
    let partition = leads.get(topic, 0).expect("it leads");
    let input = LaneInput::DeleteRecords { token, before: Some(2), deadline_ms: i64::MAX };
    partition.submit_from_thread(input);
    let disk = MemoryDisk::new(1);
    let follower = follow(&server, &disk).await;
    assert_eq!(deleted.await, Ok(Ok(2)), "every replica has deleted it");
    until("it is back in sync", || in_sync(&server, topic) == [LEADER, FOLLOWER]).await;
    let here = offsets(&follower.partitions, topic, 0).expect("it is there");
    assert_eq!((here.log_start, here.log_end), (2, 5));
    follower.end(&disk);
    server.stop().await;
}

// A place from before would be where the leader believes the follower to be, so it would not be named again.
#[tokio::test(flavor = "multi_thread")]
async fn a_busy_lane_never_says_that_its_log_ends_where_it_ended_before() {
    let (dir, disk) = (tempfile::tempdir().expect("a folder"), MemoryDisk::new(1));
    let server = lead(&dir).await;
    let follower = follow(&server, &disk).await;
    let topic = create(&server, "t", 1, &[]).await;
    let place = || follower.partitions.get(topic, 0).and_then(|partition| partition.fetch_place());
    until("it follows", || place().is_some()).await;
    follower.fetchers.stop();
    let partition = follower.partitions.get(topic, 0).expect("it is there");
    let busy = Arc::new(());
    let (looked_at, keeps_on) = (partition.clone(), Arc::downgrade(&busy));
    let looks = std::thread::spawn(move || {
        while keeps_on.upgrade().is_some() {
            looked_at.with_log(|_| std::thread::yield_now());
        }
    });
    let (reporter, _reports) = mpsc::unbounded_channel();
    for log_end in 0..2_000 {
        let mut taken = None;
        until("the lane has taken everything", || {
            taken = place();
            taken.is_some()
        })
        .await;
        let fetched = taken.expect("it was waited for").position;
        assert_eq!(fetched.log_end, log_end);
        let mut batch = BatchBuilder::new(Compression::None);
        batch.append(1, None, Some(b"value"), &[]);
        let records = batch.build(log_end, fetched.under);
        let from_leader = FromLeader { fetched, records, high_watermark: 0, log_start: 0 };
        let token = Report::new((topic, 0), reporter.clone());
        partition.submit_from_thread(LaneInput::Replicate { token, from_leader });
        if let Some(place) = partition.fetch_place() {
            assert_eq!(place.position.log_end, log_end + 1);
        }
    }
    drop(busy);
    looks.join().expect("it has not panicked");
    follower.end(&disk);
    server.stop().await;
}

/// What a consumer in this rack is told that asks the leading broker.
async fn consume(server: &Server, topic: TopicId, rack: &str) -> FetchResponse<Bytes> {
    let image = broker(server).image.load_full();
    let endpoint = image.broker(LEADER).and_then(|leader| leader.endpoint("PLAINTEXT")).expect("an address");
    let connection =
        Connection::connect(&format!("127.0.0.1:{}", endpoint.port)).await.expect("a connection");
    let topics =
        vec![FetchTopic { topic: TopicRef::Id(topic), partitions: vec![FetchPartition::new(0, 0, 1 << 20)] }];
    let rack_id = rack.to_owned().into();
    let request =
        FetchRequest { session_epoch: -1, max_bytes: 1 << 20, rack_id, topics, ..FetchRequest::default() };
    let mut body = BytesMut::new();
    request.write(17, &mut body);
    let answer = connection.exchange(ApiKey::Fetch, 17, &body).await.expect("an answer");
    FetchResponse::read(17, answer).expect("a response")
}

fn of_one(response: &FetchResponse<Bytes>) -> &FetchPartitionResponse<Bytes> {
    &response.topics[0].partitions[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_reads_from_a_replica_in_its_rack_that_is_in_sync_and_has_what_it_wants() {
    let (dir, disk) = (tempfile::tempdir().expect("a folder"), MemoryDisk::new(1));
    let server = lead(&dir).await;
    let follower = follow(&server, &disk).await;
    let topic = create(&server, "t", 1, &[]).await;
    assert_eq!(send(&server, topic, 0).await, Ok(0), "once both have it");
    let prefers = |rack: &str, listener: &str, offset| {
        let image = broker(&server).image.load();
        let partition = broker(&server).partitions.led(&image, topic, 0).expect("it leads");
        let nearest = Nearest { rack: rack.into(), listener: listener.into() };
        preferred(broker(&server), &image, &partition, &nearest, offset)
    };
    let rows = [
        ("b", "PLAINTEXT", 0, Some(FOLLOWER)),
        ("b", "PLAINTEXT", 1, Some(FOLLOWER)),
        ("b", "PLAINTEXT", 2, None),
        ("b", "CONTROLLER", 0, None),
        ("a", "PLAINTEXT", 0, None),
        ("c", "PLAINTEXT", 0, None),
        ("", "PLAINTEXT", 0, None),
    ];
    for (rack, listener, offset, expected) in rows {
        // While its lane is at work, the leader sends nobody away.
        until(&format!("{rack} {listener} {offset}"), || prefers(rack, listener, offset) == expected).await;
    }
    let told = loop {
        let told = consume(&server, topic, "b").await;
        if of_one(&told).preferred_read_replica == FOLLOWER.0 {
            break told;
        }
    };
    assert!(of_one(&told).records.clone().unwrap_or_default().is_empty(), "it is sent away at once");
    let told = consume(&server, topic, "c").await;
    let (away, records) = (of_one(&told).preferred_read_replica, of_one(&told).records.clone());
    assert!(away == -1 && !records.unwrap_or_default().is_empty(), "it reads from the leader");
    follower.end(&disk);
    until("the follower is out of sync", || in_sync(&server, topic) == [LEADER]).await;
    assert_eq!(prefers("b", "PLAINTEXT", 0), None);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_the_wrong_broker_is_told_the_leader_and_its_address() {
    let (dir, disk) = (tempfile::tempdir().expect("a folder"), MemoryDisk::new(1));
    let server = lead(&dir).await;
    let follower = follow(&server, &disk).await;
    let topic = create_on(&server, "t", 1, &[FOLLOWER], &[]).await;
    let told = consume(&server, topic, "").await;
    assert_eq!(of_one(&told).error, ErrorCode::NotLeaderOrFollower);
    let leader = of_one(&told).current_leader.as_ref().expect("a leader");
    assert_eq!((leader.leader_id, leader.leader_epoch), (FOLLOWER.0, LeaderEpoch(0)));
    let [address] = &told.node_endpoints[..] else { panic!("one address: {:?}", told.node_endpoints) };
    assert_eq!((address.node_id, address.host.as_str(), address.port), (FOLLOWER.0, "127.0.0.1", 1));
    assert_eq!(address.rack.as_deref(), Some("b"));
    follower.end(&disk);
    server.stop().await;
}
