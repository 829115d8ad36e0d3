//! What images and failures ask of broker 1.

use ottla_model::BrokerEpoch;
use ottla_model::config::{Sources, load};
use ottla_model::record::{
    ConfigRecord, LeaderChange, MetadataRecord, PartitionChangeRecord, PartitionRecord, RegisterBrokerRecord,
    RemoveTopicRecord, TopicRecord,
};
use ottla_protocol::LeaderEpoch;

use super::*;

const ME: NodeId = NodeId(1);
const OTHER: NodeId = NodeId(2);
const LIFE: Uuid = Uuid::from_u128(21);
const HERE: DirectoryId = DirectoryId::from_u128(11);
const THERE: DirectoryId = DirectoryId::from_u128(12);

fn id(number: u128) -> TopicId {
    TopicId::from_u128(number)
}

fn topic(number: u128) -> MetadataRecord {
    TopicRecord { name: format!("t{number}"), topic_id: id(number) }.into()
}

/// A partition of both brokers, led by one of them.
fn partition(number: u128, index: i32, leader: Option<NodeId>) -> MetadataRecord {
    PartitionRecord {
        partition_id: index,
        topic_id: id(number),
        replicas: vec![ME, OTHER],
        isr: vec![ME, OTHER],
        leader,
        leader_epoch: LeaderEpoch(1),
        directories: vec![HERE, THERE],
        ..PartitionRecord::default()
    }
    .into()
}

fn led_by(number: u128, index: i32, leader: Option<NodeId>) -> MetadataRecord {
    let change = PartitionChangeRecord { topic_id: id(number), partition_id: index, ..Default::default() };
    PartitionChangeRecord { leader: leader.map_or(LeaderChange::Nobody, LeaderChange::To), ..change }.into()
}

/// Broker 1 is this process only if it is registered with that incarnation.
fn broker(id: NodeId, incarnation_id: Uuid, fenced: bool) -> MetadataRecord {
    let broker_epoch = BrokerEpoch(7);
    RegisterBrokerRecord { broker_id: id, incarnation_id, broker_epoch, fenced, ..Default::default() }.into()
}

fn setting(kind: ResourceType, of: &str, key: &str, value: &str) -> MetadataRecord {
    ConfigRecord {
        resource_type: kind,
        resource_name: of.into(),
        name: key.into(),
        value: Some(value.into()),
    }
    .into()
}

/// A broker, the image that it is shown, and what its openings come to.
struct Stage {
    replicas: Replicas,
    image: Image,
    opens: fn(&Opening) -> Result<Option<DirectoryId>, NotOpened>,
}

/// Both brokers are registered.
fn stage() -> Stage {
    let mut stage = stage_before(LIFE);
    stage.apply(&[broker(ME, LIFE, false), broker(OTHER, Uuid::nil(), false)]);
    stage
}

fn stage_before(incarnation: Uuid) -> Stage {
    let overrides = [("node.id".to_owned(), "1".to_owned())];
    let (config, _) = load(Sources { file: None, env: [], overrides: &overrides }).expect("a configuration");
    let replicas = Replicas::new(Arc::new(config), incarnation);
    Stage { replicas, image: Image::empty(), opens: |_| Ok(Some(HERE)) }
}

impl Stage {
    /// What a newer image asks for, a word for each action.
    fn publish(&mut self, records: &[MetadataRecord]) -> Vec<String> {
        self.apply(records);
        self.step(Input::Published(Arc::new(self.image.clone())))
    }

    fn apply(&mut self, records: &[MetadataRecord]) {
        for record in records {
            let offset = self.image.offset + 1;
            self.image.apply_in_place(offset, LeaderEpoch(1), record).expect("it applies");
        }
    }

    fn step(&mut self, input: Input) -> Vec<String> {
        let mut words = Vec::new();
        for action in self.replicas.step(input) {
            words.extend(word(&action));
            if let Action::Open(openings) = action {
                let opened = openings.into_iter().map(|opening| {
                    let outcome = (self.opens)(&opening);
                    Opened { opening, outcome }
                });
                let opened = opened.collect();
                words.extend(self.step(Input::Opened(opened)));
            }
        }
        words
    }
}

// None for `Show`, which ends every image and is seen to do so once.
fn word(action: &Action) -> Option<String> {
    let of = |key: &Key| format!("t{}-{}", key.0.as_u128(), key.1);
    let all = |keys: &[Key]| keys.iter().map(of).collect::<Vec<_>>().join(" ");
    Some(match action {
        Action::ApplySettings(_) => "settings".into(),
        Action::ExpireProducersAfter(ms) => format!("expire producers after {ms}"),
        Action::Delete { key, delay_ms } => format!("delete {} after {delay_ms}", of(key)),
        Action::ForgetTopics(topics) => format!("forget {}", topics[0].0),
        Action::Lead(key, leadership) => format!("lead {} epoch {}", of(key), leadership.epoch.0),
        Action::Follow(key, Followership { leader: Some(leader), .. }) => {
            format!("{} follows {leader}", of(key))
        }
        Action::Follow(key, _) => format!("{} follows nobody", of(key)),
        Action::Open(openings) => {
            let each = openings.iter().map(|opening| {
                let behind = match &opening.role {
                    Role::Leader(_) => String::new(),
                    Role::Follower(Followership { leader: Some(leader), .. }) => format!(" behind {leader}"),
                    Role::Follower(_) => " behind nobody".into(),
                };
                format!("{} {:?}{behind}", opening.id, opening.last_owner)
            });
            format!("open {}", each.collect::<Vec<_>>().join(", "))
        }
        Action::Stands(key, broker, Standing { broker_epoch: Some(epoch), shutting_down }) => {
            let stands = if *shutting_down { "stops" } else { "lives" };
            format!("{}: {broker} {stands} in epoch {epoch}", of(key))
        }
        Action::Stands(key, broker, _) => format!("{}: {broker} is not alive", of(key)),
        Action::Assign(assignments) => format!("assign {}", assignments[0].directory.as_u128()),
        Action::Settle(keys) => format!("settle {}", all(keys)),
        Action::TakeOffline(key) => format!("offline {}", of(key)),
        Action::Configure(key, config) => format!("configure {} {}", of(key), config.retention_ms),
        Action::Note(note) => format!("note: {note}"),
        Action::Show(_) => return None,
    })
}

#[test]
fn the_logs_of_a_start_were_left_by_a_process_and_later_ones_are_new() {
    let mut stage = stage();
    let before = stage.publish(&[topic(1), partition(1, 0, Some(ME)), partition(1, 1, None)]);
    let opened = "open t1-0 Process, t1-1 Process behind nobody";
    assert_eq!(before, [opened, "t1-0: 2 lives in epoch 7", "settle t1-0"]);
    // As after a clean stop, which leaves partitions without a leader.
    let led = ["lead t1-1 epoch 2", "t1-1: 2 lives in epoch 7", "settle t1-1"];
    assert_eq!(stage.publish(&[led_by(1, 1, Some(ME))]), led);
    let new = [topic(2), partition(2, 0, Some(ME)), partition(1, 2, Some(ME))];
    let opened = ["open t2-0 Nobody, t1-2 Nobody", "t2-0: 2 lives in epoch 7", "t1-2: 2 lives in epoch 7"];
    assert_eq!(stage.publish(&new), opened);
}

#[test]
fn an_image_is_shown_when_all_of_it_is_asked_for() {
    let mut stage = stage();
    stage.publish(&[topic(1), partition(1, 0, Some(ME))]);
    let record = setting(ResourceType::Topic, "t1", "retention.ms", "5");
    stage.apply(&[record]);
    let image = Arc::new(stage.image.clone());
    let actions = stage.replicas.step(Input::Published(image.clone()));
    assert!(
        matches!(&actions[..], [Action::Configure(..), Action::Show(shown)] if Arc::ptr_eq(shown, &image))
    );
}

#[test]
fn before_it_is_registered_a_process_leads_and_follows_nobody() {
    let mut stage = stage_before(LIFE);
    let of_the_one_before = [broker(ME, Uuid::nil(), false), broker(OTHER, Uuid::nil(), false)];
    stage.apply(&of_the_one_before);
    let read = [topic(1), partition(1, 0, Some(ME)), partition(1, 1, Some(OTHER))];
    assert_eq!(
        stage.publish(&read),
        ["open t1-0 Process behind nobody, t1-1 Process behind nobody"],
        "the process before this one led"
    );
    assert_eq!(stage.publish(&[partition(1, 2, Some(ME))]), ["open t1-2 Process behind nobody"]);
    assert_eq!(stage.publish(&[broker(ME, LIFE, true)]), [""; 0], "it is fenced");
    let lives = stage.publish(&[led_by(1, 0, Some(ME)), broker(ME, LIFE, false)]);
    assert_eq!(
        lives,
        [
            "lead t1-0 epoch 2",
            "t1-0: 2 lives in epoch 7",
            "t1-1 follows 2",
            "lead t1-2 epoch 1",
            "t1-2: 2 lives in epoch 7",
            "settle t1-0"
        ],
        "all of them, also those that have not changed"
    );
    assert_eq!(
        stage.publish(&[broker(ME, LIFE, true)]),
        [""; 0],
        "whoever is fenced later acts as it is told"
    );
    let led = ["lead t1-1 epoch 2", "t1-1: 2 lives in epoch 7", "settle t1-1"];
    assert_eq!(stage.publish(&[led_by(1, 1, Some(ME))]), led);
}

#[test]
fn a_leader_hears_how_the_brokers_of_its_followers_stand() {
    let mut stage = stage();
    stage.publish(&[topic(1), partition(1, 0, Some(ME)), partition(1, 1, Some(OTHER))]);
    let fenced = stage.publish(&[broker(OTHER, Uuid::nil(), true)]);
    assert_eq!(fenced, ["t1-0: 2 is not alive"]);
    let taken_over = stage.publish(&[led_by(1, 1, Some(ME))]);
    assert_eq!(taken_over, ["lead t1-1 epoch 2", "t1-1: 2 is not alive", "settle t1-1"]);
    let new = stage.publish(&[partition(1, 2, Some(ME))]);
    assert_eq!(new, ["open t1-2 Nobody", "t1-2: 2 is not alive"]);
    let back = stage.publish(&[broker(OTHER, Uuid::nil(), false)]);
    assert_eq!(back, ["t1-0: 2 lives in epoch 7", "t1-1: 2 lives in epoch 7", "t1-2: 2 lives in epoch 7"]);
    let shrink =
        PartitionChangeRecord { partition_id: 0, topic_id: id(1), isr: Some(vec![ME]), ..Default::default() };
    let lost = stage.publish(&[shrink.into(), broker(OTHER, Uuid::nil(), true)]);
    let leads = lost.iter().position(|word| word.starts_with("lead t1-0"));
    let is_gone = lost.iter().position(|word| word == "t1-0: 2 is not alive");
    assert!(is_gone.is_some());
    assert!(is_gone < leads, "it would propose to take the broker back: {lost:?}");
}

#[test]
fn whoever_begins_to_lead_hears_of_brokers_that_live_again_in_the_same_image() {
    let mut stage = stage();
    stage.publish(&[topic(1), partition(1, 0, Some(OTHER)), broker(OTHER, Uuid::nil(), true)]);
    let both = stage.publish(&[led_by(1, 0, Some(ME)), broker(OTHER, Uuid::nil(), false)]);
    let leads = both.iter().position(|word| word.starts_with("lead t1-0"));
    let lives = both.iter().rposition(|word| word == "t1-0: 2 lives in epoch 7");
    assert!(leads < lives, "what a lane heard before it led is forgotten: {both:?}");
}

#[test]
fn a_replica_that_is_added_begins_with_a_log_of_its_own() {
    let mut stage = stage();
    let elsewhere = PartitionRecord {
        partition_id: 0,
        topic_id: id(1),
        replicas: vec![OTHER],
        isr: vec![OTHER],
        leader: Some(OTHER),
        leader_epoch: LeaderEpoch(1),
        directories: vec![THERE],
        ..PartitionRecord::default()
    };
    assert_eq!(stage.publish(&[topic(1), elsewhere.into()]), [""; 0]);
    let added = PartitionChangeRecord {
        partition_id: 0,
        topic_id: id(1),
        replicas: Some(vec![OTHER, ME]),
        directories: Some(vec![THERE, DirectoryId::nil()]),
        ..Default::default()
    };
    assert_eq!(stage.publish(&[added.into()]), ["open t1-0 Nobody behind 2", "assign 11"]);
}

#[test]
fn a_leadership_is_taken_over_given_back_and_taken_over_again() {
    let mut stage = stage();
    stage.publish(&[topic(1), partition(1, 0, Some(ME))]);
    assert_eq!(stage.publish(&[led_by(1, 0, Some(OTHER))]), ["t1-0 follows 2"]);
    assert_eq!(stage.publish(&[led_by(1, 0, None)]), ["t1-0 follows nobody"]);
    let led = ["lead t1-0 epoch 4", "t1-0: 2 lives in epoch 7", "settle t1-0"];
    assert_eq!(stage.publish(&[led_by(1, 0, Some(ME))]), led);
    assert_eq!(stage.publish(&[led_by(1, 0, None)]), ["t1-0 follows nobody"]);
    assert_eq!(stage.publish(&[topic(2), partition(2, 0, Some(OTHER))]), ["open t2-0 Nobody behind 2"]);
}

#[test]
fn a_replica_goes_with_its_topic_or_when_it_moves_to_another_broker() {
    let mut stage = stage();
    let delay = setting(ResourceType::Topic, "t1", "file.delete.delay.ms", "7");
    stage.publish(&[delay, topic(1), partition(1, 0, Some(ME)), partition(1, 1, Some(OTHER))]);
    stage.publish(&[topic(2), partition(2, 0, Some(ME))]);
    let gone = stage.publish(&[RemoveTopicRecord { topic_id: id(1) }.into()]);
    assert_eq!(gone, ["delete t1-0 after 7", "delete t1-1 after 7", "forget t1"]);
    let moved = PartitionChangeRecord {
        partition_id: 0,
        topic_id: id(2),
        replicas: Some(vec![OTHER]),
        isr: Some(vec![OTHER]),
        directories: Some(vec![THERE]),
        leader: LeaderChange::To(OTHER),
        ..Default::default()
    };
    assert_eq!(stage.publish(&[moved.into()]), ["delete t2-0 after 60000"]);
}

#[test]
fn what_cannot_be_opened_is_offline_and_tried_again_only_if_there_was_no_room() {
    let mut stage = stage();
    stage.opens = |opening| Err(NotOpened { why: "why".into(), full: opening.id.partition == 1 });
    let both = [topic(1), partition(1, 0, Some(ME)), partition(1, 1, Some(ME))];
    let note = |index| format!("note: cannot open the log of t1-{index}; the partition is offline: why");
    let offline = stage.publish(&both);
    assert_eq!(offline[1..], [note(0), "offline t1-0".into(), note(1), "offline t1-1".into()]);
    assert!(stage.replicas.wait_for_room());
    assert_eq!(stage.step(Input::TryAgain), ["open t1-1 Failed"], "nobody is told each time");
    let led = [led_by(1, 0, Some(ME)), led_by(1, 1, Some(ME))];
    assert_eq!(stage.publish(&led), [""; 0], "neither is opened by a newer leadership");
    stage.opens = |_| Ok(Some(THERE));
    let again = [
        "open t1-1 Failed",
        "t1-1: 2 lives in epoch 7",
        "note: opened t1-1: there is room again",
        "assign 12",
    ];
    assert_eq!(stage.step(Input::TryAgain), again);
    assert!(!stage.replicas.wait_for_room());
}

#[test]
fn what_waits_for_room_follows_when_there_is_some_and_another_broker_leads() {
    let mut stage = stage();
    stage.opens = |_| Err(NotOpened { why: "why".into(), full: true });
    stage.publish(&[topic(1), partition(1, 0, Some(ME))]);
    assert_eq!(stage.publish(&[led_by(1, 0, Some(OTHER))]), [""; 0]);
    stage.opens = |_| Ok(Some(HERE));
    let again = ["open t1-0 Failed behind 2", "note: opened t1-0: there is room again"];
    assert_eq!(stage.step(Input::TryAgain), again);
    assert!(!stage.replicas.wait_for_room());
}

#[test]
fn a_partition_is_opened_anew_when_its_owner_has_failed_unless_it_is_gone_or_offline() {
    let mut stage = stage();
    stage.publish(&[topic(1), partition(1, 0, Some(ME))]);
    let key = (id(1), 0);
    assert_eq!(stage.step(Input::OwnerFailed(key)), ["open t1-0 Failed", "t1-0: 2 lives in epoch 7"]);
    assert_eq!(stage.step(Input::DirectoryFailed(vec![key])), ["offline t1-0"]);
    assert_eq!(stage.step(Input::OwnerFailed(key)), [""; 0]);
    stage.publish(&[RemoveTopicRecord { topic_id: id(1) }.into()]);
    assert_eq!(stage.step(Input::OwnerFailed(key)), [""; 0]);
}

#[test]
fn what_this_process_had_is_not_believed_clean_when_it_is_led_again() {
    let mut stage = stage();
    stage.publish(&[topic(1), partition(1, 0, Some(ME))]);
    stage.publish(&[led_by(1, 0, Some(OTHER))]);
    assert_eq!(stage.step(Input::OwnerFailed((id(1), 0))), ["open t1-0 Failed behind 2"]);
    let led = ["lead t1-0 epoch 3", "t1-0: 2 lives in epoch 7", "settle t1-0"];
    assert_eq!(stage.publish(&[led_by(1, 0, Some(ME))]), led);
    let rows = [(LastOwner::Process, true), (LastOwner::Failed, false), (LastOwner::Nobody, false)];
    for (last_owner, believed) in rows {
        assert_eq!(last_owner.left_it_clean(true), believed, "{last_owner:?}");
        assert!(!last_owner.left_it_clean(false), "{last_owner:?}");
    }
}

#[test]
fn the_controller_hears_of_another_directory_than_it_knows() {
    let mut stage = stage();
    stage.opens = |opening| Ok((opening.id.partition > 0).then_some(THERE));
    let both = [topic(1), partition(1, 0, Some(ME)), partition(1, 1, Some(ME))];
    let opened = ["t1-0: 2 lives in epoch 7", "t1-1: 2 lives in epoch 7", "assign 12", "settle t1-0 t1-1"];
    assert_eq!(stage.publish(&both)[1..], opened);
}

#[test]
fn settings_that_are_not_valid_are_ignored_with_a_note() {
    let of_topic = |key, value| setting(ResourceType::Topic, "t1", key, value);
    let mut stage = stage();
    stage.publish(&[topic(1), partition(1, 0, Some(ME))]);
    let news = [of_topic("retention.ms", "5"), of_topic("no.such.key", "1"), of_topic("segment.ms", "x")];
    let words = stage.publish(&news);
    assert_eq!(words.len(), 3, "{words:?}");
    assert!(words[..2].iter().all(|word| word.starts_with("note: ignoring a setting of the topic t1: ")));
    assert_eq!(words[2], "configure t1-0 5");
    // Each is valid by itself.
    let news = [of_topic("min.compaction.lag.ms", "9"), of_topic("max.compaction.lag.ms", "8")];
    let words = stage.publish(&news);
    assert!(words[2].starts_with("note: ignoring the settings of the topic t1: "), "{words:?}");
    assert_eq!(words[3], "configure t1-0 604800000");
}

#[test]
fn settings_of_the_broker_count_for_topics_without_their_own() {
    let of_broker = |of, key, value| setting(ResourceType::Broker, of, key, value);
    let mut stage = stage();
    stage.publish(&[topic(1), partition(1, 0, Some(ME)), topic(2), partition(2, 0, Some(ME))]);
    stage.publish(&[setting(ResourceType::Topic, "t2", "retention.ms", "5")]);
    let words = stage.publish(&[of_broker("", "log.retention.ms", "6")]);
    assert_eq!(words, ["settings", "configure t1-0 6"]);
    let words = stage.publish(&[of_broker("1", "producer.id.expiration.ms", "1000")]);
    assert_eq!(words, ["settings", "expire producers after 1000"]);
    let words =
        stage.publish(&[of_broker("1", "log.retention.ms", "x"), of_broker("", "log.roll.ms", "1000")]);
    assert!(words[0].starts_with("note: ignoring a dynamic setting: "), "{words:?}");
    assert_eq!(words[1], "settings", "the rest counts");
    assert_eq!(
        stage.publish(&[of_broker("2", "log.retention.ms", "7")]),
        words[..1],
        "nothing new for this one"
    );
}
