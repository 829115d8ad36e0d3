//! What the publisher does with a partition whose owner has panicked.

use std::path::Path;
use std::sync::OnceLock;
use std::sync::mpsc::channel;

use ottla_core::controller::NotController;
use ottla_core::partition::Acks;
use ottla_log::Disk;
use ottla_log::disk::{Fault, MemoryDisk, Operation};
use ottla_model::config::{Sources, load};
use ottla_model::record::{PartitionRecord, RegisterBrokerRecord, TopicRecord};
use ottla_protocol::batch::{BatchBuilder, Compression};
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset};
use parking_lot::Mutex;

use super::*;
use crate::run::owners::coordinator::Surroundings;
use crate::run::owners::partition::For;
use crate::run::owners::proposals::Proposals;
use crate::run::serve::produce::{ProduceOptions, Share, produce, reject};
use crate::stop::Stopping;

const TOPIC: TopicId = TopicId::from_u128(7);
const LIFE: Uuid = Uuid::from_u128(21);

static IDLE: OnceLock<tokio::runtime::Runtime> = OnceLock::new();

struct Stage {
    disk: MemoryDisk,
    publisher: Publisher,
    notices: Receiver<Notice>,
    /// Why the process would have ended.
    gave_up: Arc<Mutex<Option<String>>>,
}

fn stage() -> Stage {
    stage_in("/data")
}

fn stage_in(log_dirs: &str) -> Stage {
    stage_with(&[("log.dirs", log_dirs)])
}

fn stage_with(settings: &[(&str, &str)]) -> Stage {
    let disk = MemoryDisk::new(1);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let all = [("node.id", "1")].iter().chain(settings);
    let overrides: Vec<_> = all.map(|(key, value)| (key.to_string(), value.to_string())).collect();
    let (config, _) = load(Sources { file: None, env: [], overrides: &overrides }).expect("a configuration");
    let storage = Storage::open(shared, &config, None).expect("storage");
    let config = Arc::new(config);
    let (failures, notices) = channel();
    storage.report_to(&failures);
    let gave_up = Arc::new(Mutex::new(None));
    let reason = gave_up.clone();
    let image = Arc::new(Metadata::default());
    let registrar = Registrar::silent();
    let partitions: Arc<Partitions> = Arc::default();
    let surroundings =
        Surroundings { image: image.clone(), partitions: partitions.clone(), stopping: Stopping::new() };
    let settings = Arc::new(Settings::new(config.clone()));
    // Nothing is fetched in these tests.
    let new = || tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let runtime = IDLE.get_or_init(new);
    let fetchers = Fetchers::new(config.node_id, settings.clone(), image.clone(), runtime.handle().clone());
    let (proposals, _) = Proposals::channel();
    let mut publisher = Publisher {
        me: config.node_id,
        replicas: Replicas::new(config.clone(), LIFE),
        storage: Arc::new(storage),
        partitions,
        outlets: Outlets { flushers: Default::default(), failures, proposals },
        fetchers: Arc::new(fetchers),
        elected: Arc::default(),
        newly_elected: false,
        image,
        groups: Arc::new(GroupCoordinator::new(&config, surroundings)),
        registrar: Arc::new(registrar),
        settings,
        give_up: Box::new(move |why| *reason.lock() = Some(why)),
    };
    publisher.step(Input::Published(image_with(1)));
    // The thread that writes new leader epochs has finished.
    let here = publisher.partitions.get(TOPIC, 0).expect("it is led here");
    while here.with_log(|log| log.last_epoch()) != Some(Some(LeaderEpoch(3))) {
        std::thread::yield_now();
    }
    Stage { disk, publisher, notices, gave_up }
}

/// A topic with this many partitions, all led by broker 1.
fn image_with(partitions: i32) -> Arc<Image> {
    let topic = TopicRecord { name: "t".into(), topic_id: TOPIC };
    let broker_id = NodeId(1);
    let broker =
        RegisterBrokerRecord { broker_id, incarnation_id: LIFE, fenced: false, ..Default::default() };
    let mut image = Image::empty();
    image.apply_in_place(0, LeaderEpoch(1), &broker.into()).expect("it applies");
    image.apply_in_place(1, LeaderEpoch(1), &topic.into()).expect("it applies");
    for partition_id in 0..partitions {
        let partition = PartitionRecord {
            partition_id,
            topic_id: TOPIC,
            replicas: vec![NodeId(1)],
            isr: vec![NodeId(1)],
            leader: Some(NodeId(1)),
            leader_epoch: LeaderEpoch(3),
            ..PartitionRecord::default()
        };
        image
            .apply_in_place(i64::from(partition_id) + 2, LeaderEpoch(1), &partition.into())
            .expect("it applies");
    }
    Arc::new(image)
}

/// One record for a partition.
fn share(partition: Result<Arc<Partition>, ErrorCode>) -> Share {
    let mut batch = BatchBuilder::new(Compression::None);
    batch.append(1, None, Some(b"value"), &[]);
    Share {
        partition: partition.map_err(reject),
        records: Some(batch.build(0, LeaderEpoch(-1))),
        guard: None,
    }
}

impl Stage {
    fn produce(&self) -> Result<Offset, ErrorCode> {
        let partition = self.publisher.partitions.get(TOPIC, 0).ok_or(ErrorCode::NotLeaderOrFollower);
        let options = ProduceOptions { acks: Acks::All, timeout_ms: 1_000, version: 13 };
        let outcomes = produce(vec![share(partition)], &options).now().expect("answered at once");
        outcomes[0].result.clone().map(|stored| stored.base_offset).map_err(|rejected| rejected.code)
    }

    fn recover(&mut self) {
        let Ok(Notice::OwnerFailed(topic, index)) = self.notices.try_recv() else {
            panic!("no failure was told")
        };
        self.publisher.recover(topic, index);
    }
}

#[test]
fn a_partition_whose_owner_panicked_is_opened_anew_with_all_that_it_had() {
    let mut stage = stage();
    assert_eq!([stage.produce(), stage.produce()], [Ok(0), Ok(1)]);
    stage.disk.fail_next(Operation::Write, Fault::Panic);
    assert_eq!(stage.produce(), Err(ErrorCode::KafkaStorageError), "nobody is left waiting");
    assert_eq!(stage.produce(), Err(ErrorCode::NotLeaderOrFollower), "until it is recovered");
    stage.recover();
    assert_eq!(stage.produce(), Ok(2));
    assert!(stage.notices.try_recv().is_err(), "and it is well");
}

#[test]
fn a_partition_that_cannot_be_opened_again_says_so() {
    let mut stage = stage();
    assert_eq!(stage.produce(), Ok(0));
    stage.disk.fail_next(Operation::Write, Fault::Panic);
    assert_eq!(stage.produce(), Err(ErrorCode::KafkaStorageError));
    stage.disk.fail_always(Operation::Open, Fault::Broken);
    stage.recover();
    let led = stage.publisher.partitions.led(&stage.publisher.image.load(), TOPIC, 0);
    assert_eq!(led.err(), Some(ErrorCode::KafkaStorageError));
}

#[test]
fn a_partition_that_was_deleted_meanwhile_is_left_alone() {
    let mut stage = stage();
    stage.disk.fail_next(Operation::Write, Fault::Panic);
    assert_eq!(stage.produce(), Err(ErrorCode::KafkaStorageError));
    stage.publisher.step(Input::Published(Arc::new(Image::empty())));
    stage.recover();
    assert!(stage.publisher.partitions.get(TOPIC, 0).is_none());
}

#[test]
fn a_failed_write_takes_its_directory_and_not_the_process_if_there_is_another() {
    for (dirs, ends) in [("/data,/other", None), ("/data", Some("every log directory has failed"))] {
        let mut stage = stage_in(dirs);
        assert_eq!(stage.produce(), Ok(0));
        let here = stage.publisher.partitions.get(TOPIC, 0).expect("it is led here");
        // The metadata log is in the first directory, which must not be the one that fails.
        let metadata = here.place().folder.starts_with("/data") && dirs.contains(',');
        stage.disk.fail_next(Operation::Write, Fault::Broken);
        assert_eq!(stage.produce(), Err(ErrorCode::KafkaStorageError));
        let Ok(Notice::VolumeFailed) = stage.notices.try_recv() else { panic!("no failure was told") };
        stage.publisher.lose_failed();
        let led = stage.publisher.partitions.led(&stage.publisher.image.load(), TOPIC, 0);
        assert_eq!(led.err(), Some(ErrorCode::KafkaStorageError), "offline, not gone");
        assert!(stage.publisher.storage.has_failed(here.place().folder.parent().expect("a directory")));
        let ends = if metadata { Some("the directory of the metadata log has failed: /data") } else { ends };
        assert_eq!(stage.gave_up.lock().as_deref(), ends);
    }
}

// The folder of a new partition is there before its image is shown: whoever looks from elsewhere takes it for a stray.
#[test]
fn strays_are_looked_for_between_two_images() {
    let mut stage = stage_in("/data");
    stage.disk.create_dir_all(Path::new("/data/gone-0")).expect("a folder");
    let (tell, notices) = channel();
    for notice in [Notice::Published(image_with(2)), Notice::SetStraysAside, Notice::Ended] {
        tell.send(notice).expect("it is heard");
    }
    stage.publisher.publish(&notices);
    let names = stage.disk.list(Path::new("/data")).expect("a directory");
    let names: Vec<_> = names.into_iter().map(|entry| entry.name).collect();
    let is_there = |name: &str| names.iter().any(|known| known == name);
    assert_eq!([is_there("t-0"), is_there("t-1"), is_there("gone-0")], [true, true, false], "{names:?}");
    assert!(names.iter().any(|name| name.starts_with("gone-0.") && name.ends_with("-stray")));
}

/// A cleaner looks at a log and panics. An input that a producer has queued in the meantime is processed all the same.
#[test]
fn what_came_during_a_look_that_failed_is_carried_out() {
    let stage = stage();
    let here = stage.publisher.partitions.get(TOPIC, 0).expect("it is led here");
    let share = share(Ok(here.clone()));
    let options = ProduceOptions { acks: Acks::All, timeout_ms: 1_000, version: 13 };
    let mut producing = None;
    let looked = catch_unwind(AssertUnwindSafe(|| {
        here.with_log(|_| {
            let begun = produce(vec![share], &options);
            assert!(begun.now().is_none(), "the lane is taken");
            producing = Some(begun);
            panic!("on purpose");
        })
    }));
    assert!(looked.is_err(), "whoever looked hears of it");
    let outcomes = producing.and_then(|producing| producing.now()).expect("it is answered");
    assert_eq!(outcomes[0].result.clone().map(|stored| stored.base_offset).ok(), Some(0));
}

#[test]
fn whoever_has_stopped_waiting_is_forgotten() {
    let stage = stage();
    let here = stage.publisher.partitions.get(TOPIC, 0).expect("it is led here");
    let gone = Arc::new(tokio::sync::Notify::new());
    drop(here.wait(For::HighWatermark, &gone));
    assert_eq!(Arc::strong_count(&gone), 1, "an idle partition does not collect them");
    let registered = here.wait(For::HighWatermark, &gone);
    assert_eq!(stage.produce(), Ok(0));
    drop(registered);
    assert_eq!(Arc::strong_count(&gone), 1);
}

/// A log that found no room is tried again each second, however many messages arrive.
#[test]
fn messages_that_keep_coming_do_not_put_off_what_waits_for_room() {
    let Stage { disk, mut publisher, .. } = stage();
    disk.set_capacity(Some(0));
    publisher.step(Input::Published(image_with(2)));
    assert!(publisher.replicas.wait_for_room());
    disk.set_capacity(None);
    let partitions = publisher.partitions.clone();
    let (said, hears) = channel();
    let serving = std::thread::spawn(move || publisher.serve(&hears));
    let began = Instant::now();
    while partitions.get(TOPIC, 1).is_none() {
        assert!(began.elapsed() < Duration::from_secs(60), "it is never tried again");
        // Each answer is awaited, so that the messages come as fast as they are processed.
        let (token, answer) = tokio::sync::oneshot::channel();
        said.send(Notice::Reply(Token::CarriedOut(token), Err(NotController))).expect("it hears");
        answer.blocking_recv().expect("it answers").expect_err("and that is what it was given");
    }
    said.send(Notice::Ended).expect("it hears");
    serving.join().expect("it ends");
}

/// Whether the Produce is answered at once or later.
async fn produce_later(here: Arc<Partition>) -> Result<Offset, ErrorCode> {
    let options = ProduceOptions { acks: Acks::All, timeout_ms: 1_000, version: 13 };
    let outcomes = produce(vec![share(Ok(here))], &options).await;
    outcomes[0].result.clone().map(|stored| stored.base_offset).map_err(|rejected| rejected.code)
}

#[tokio::test]
async fn a_flush_that_panics_has_an_outcome() {
    let stage = stage_with(&[("log.dirs", "/data"), ("log.flush.interval.messages", "1")]);
    let here = stage.publisher.partitions.get(TOPIC, 0).expect("it is led here");
    assert_eq!(produce_later(here.clone()).await, Ok(0));
    stage.disk.fail_next(Operation::Sync, Fault::Panic);
    assert_eq!(produce_later(here).await, Err(ErrorCode::KafkaStorageError), "nobody waits for it");
}

/// Several inputs arrive at one lane at once; some find it busy and are queued; somebody looks at its log, and sometimes
/// panics. In each round nothing comes later that would process what was left in the queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_who_finds_the_lane_taken_is_forgotten() {
    const PRODUCERS: usize = 3;
    const ROUNDS: usize = 2_000;
    let stage = stage();
    let here = stage.publisher.partitions.get(TOPIC, 0).expect("it is led here");
    for round in 0..ROUNDS {
        let mut tasks = tokio::task::JoinSet::new();
        let fails = round % 100 == 0;
        if round % 4 == 0 {
            let here = here.clone();
            tasks.spawn_blocking(move || {
                let look = || here.with_log(|log| assert!(!fails, "on purpose: {:?}", log.log_end_offset()));
                assert_eq!(catch_unwind(AssertUnwindSafe(look)).is_err(), fails);
            });
        }
        for _ in 0..PRODUCERS {
            let here = here.clone();
            tasks.spawn(async move { assert!(produce_later(here).await.is_ok(), "it is stored") });
        }
        let all = async { while tasks.join_next().await.transpose().expect("it ends well").is_some() {} };
        let answered = tokio::time::timeout(Duration::from_secs(60), all).await;
        assert!(answered.is_ok(), "round {round}: somebody waits for ever");
    }
    assert_eq!(stage.produce(), Ok((PRODUCERS * ROUNDS) as Offset));
}
