//! Random histories of a cluster. After any of them, a snapshot contains the whole image, and a diff lists exactly the
//! differences.

use std::collections::BTreeSet;

use ottla_protocol::LeaderEpoch;
use uuid::Uuid;

use super::*;
use crate::dice::Dice;
use crate::ids::BrokerEpoch;
use crate::record::*;

/// A random record that could come next, mostly about things that exist.
fn next_record(image: &Image, dice: &mut Dice) -> MetadataRecord {
    let row = dice.pick(RECORD_TYPES);
    let version = dice.below(row.latest as usize + 1) as i16;
    let mut record = MetadataRecord::sample(row.key, version, dice).expect(row.name);
    let topic = image.topics().nth(dice.below(image.topics().len().max(1))).cloned();
    let broker = image.brokers().nth(dice.below(image.brokers().len().max(1))).cloned();
    let topic_id = topic.as_ref().map_or(Uuid::nil(), |topic| topic.id);
    let (id, epoch) = broker.map_or((NodeId(0), BrokerEpoch(0)), |broker| (broker.id, broker.epoch));
    match &mut record {
        MetadataRecord::Topic(r) => {
            r.name = format!("topic-{}", dice.below(9));
            r.topic_id = Uuid::from_u128(u128::from(dice.roll()));
        }
        MetadataRecord::RemoveTopic(r) => r.topic_id = topic_id,
        MetadataRecord::Partition(r) => {
            (r.topic_id, r.partition_id) = (topic_id, dice.below(4) as i32);
            r.leader_recovery_state = dice.below(2) as i8;
            r.directories.resize(r.replicas.len(), Uuid::from_u128(500));
        }
        MetadataRecord::PartitionChange(r) => {
            (r.topic_id, r.partition_id) = (topic_id, dice.below(4) as i32);
            r.leader_recovery_state = dice.below(3) as i8 - 1;
            let replicas = r.replicas.as_ref().map(Vec::len);
            r.directories = replicas.map(|n| vec![Uuid::from_u128(dice.pick(&[0, 1, 700])); n]);
        }
        MetadataRecord::ClearElr(r) => {
            r.topic_name =
                topic.filter(|_| dice.below(4) > 0).map_or(String::new(), |topic| topic.name.to_string());
        }
        MetadataRecord::RegisterBroker(r) => r.end_points.iter_mut().for_each(|e| e.name.push('L')),
        MetadataRecord::RegisterController(r) => r.end_points.iter_mut().for_each(|e| e.name.push('L')),
        MetadataRecord::FenceBroker(r) => (r.id, r.epoch) = (id, epoch),
        MetadataRecord::UnfenceBroker(r) => (r.id, r.epoch) = (id, epoch),
        MetadataRecord::UnregisterBroker(r) => (r.broker_id, r.broker_epoch) = (id, epoch),
        MetadataRecord::BrokerRegistrationChange(r) => (r.broker_id, r.broker_epoch) = (id, epoch),
        MetadataRecord::FeatureLevel(r) => r.feature_level = dice.below(31) as i16,
        _ => {}
    }
    record
}

/// Applies random records. Returns every image on the way, and the types of the applied records.
fn history(seed: u64, length: usize) -> (Vec<Image>, BTreeSet<&'static str>) {
    let mut dice = Dice(seed);
    let mut images = vec![Image::empty()];
    let mut taken = BTreeSet::new();
    while images.len() < length {
        let image = images.last().expect("the first one");
        let record = next_record(image, &mut dice);
        if let Ok(next) = image.apply(image.offset + 1, LeaderEpoch(1), &record) {
            taken.insert(record.record_type().name);
            images.push(next);
        }
    }
    (images, taken)
}

#[test]
fn a_snapshot_is_the_whole_image() {
    let mut taken = BTreeSet::new();
    for seed in 0..20 {
        let (images, types) = history(seed, 300);
        taken.extend(types);
        for image in images.iter().filter(|image| !image.in_transaction()).step_by(7) {
            let bytes: Vec<_> = image.records().iter().map(MetadataRecord::encode).collect();
            let records: Vec<_> = bytes.iter().map(|b| MetadataRecord::decode(b).expect("our own")).collect();
            let loaded = Image::from_records(image.offset, image.epoch, &records);
            assert_eq!(loaded.as_ref(), Ok(image), "seed {seed} offset {}", image.offset);
            assert_eq!(loaded.map(|image| image.records()), Ok(records));
        }
    }
    let all: BTreeSet<_> = RECORD_TYPES.iter().map(|row| row.name).collect();
    assert_eq!(taken, all, "the histories have every record");
}

#[test]
fn a_diff_says_exactly_what_differs() {
    for seed in 100..110 {
        let (mut images, _) = history(seed, 150);
        images.retain(|image| !image.in_transaction());
        let mut dice = Dice(seed);
        for _ in 0..60 {
            let (one, other) = (dice.below(images.len()), dice.below(images.len()));
            let (old, new) = (&images[one.min(other)], &images[one.max(other)]);
            let delta = Image::diff(old, new);
            let mut rebuilt = old.clone();
            for gone in &delta.topics_deleted {
                rebuilt.state.topics.remove(&gone.name);
                rebuilt.state.topic_names.remove(&gone.id);
            }
            let changed = delta.topics_changed.iter().map(|change| {
                let mut topic = Topic::clone(&change.old);
                let partitions = change.partitions.iter().map(|p| (p.partition, p.new.clone()));
                topic.partitions.extend(partitions);
                assert!(change.partitions.iter().all(|p| p.old.as_ref() != Some(&p.new)));
                Arc::new(topic)
            });
            for topic in delta.topics_created.iter().cloned().chain(changed) {
                rebuilt.state.topic_names.insert(topic.id, topic.name.clone());
                rebuilt.state.topics.insert(topic.name.clone(), topic);
            }
            for node in &delta.brokers {
                assert_ne!(node.old, node.new);
                match node.new.clone() {
                    Some(broker) => rebuilt.state.brokers.insert(node.id, broker),
                    None => rebuilt.state.brokers.remove(&node.id),
                };
            }
            assert_eq!(rebuilt.state.topics, new.state.topics, "seed {seed}");
            assert_eq!(rebuilt.state.topic_names, new.state.topic_names, "seed {seed}");
            assert_eq!(rebuilt.state.brokers, new.state.brokers, "seed {seed}");
            let configs = |image: &Image, r: &ConfigResource| image.configs(r.kind, &r.name).cloned();
            let resources =
                old.config_resources().chain(new.config_resources()).map(|(resource, _)| resource);
            let differing: BTreeSet<_> =
                resources.filter(|r| configs(old, r) != configs(new, r)).cloned().collect();
            assert_eq!(delta.configs, differing.into_iter().collect::<Vec<_>>(), "seed {seed}");
            assert_eq!(delta.is_empty(), old.state == new.state, "seed {seed}");
        }
    }
}

#[test]
fn images_share_what_they_have_in_common() {
    let topic_record =
        |at: u32| TopicRecord { name: format!("t{at}"), topic_id: Uuid::from_u128(at.into()) }.into();
    let records: Vec<MetadataRecord> = (0..5_000).map(topic_record).collect();
    let old = Image::from_records(0, LeaderEpoch(1), &records).expect("topics");
    let id = Uuid::from_u128(77);
    let partition = PartitionRecord { topic_id: id, partition_id: 0, ..Default::default() };
    let new = old.apply(1, LeaderEpoch(1), &partition.into()).expect("a partition");
    let shared = old.topics().zip(new.topics()).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
    assert_eq!(shared, 4_999, "all but the one that changed");
    let delta = Image::diff(&old, &new);
    assert_eq!(delta.topics_changed.len(), 1);
    assert_eq!(delta.topics_changed[0].new.id, id);
    assert!(delta.topics_created.is_empty() && delta.topics_deleted.is_empty());
}
