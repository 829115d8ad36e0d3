//! What must hold of the metadata that was agreed on: of each image, of each two of them, and between images and what somebody
//! was answered. Each image is looked at once, whoever shows it first; the others must be equal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_model::image::{Image, Partition};
use ottla_model::{BrokerEpoch, NodeId, TopicId, TopicName};
use ottla_node::replicas::Key;
use ottla_protocol::Offset;
use uuid::Uuid;

use crate::quorum::asks::{resource, topic};
use crate::verdict::{Verdict, Violation};

/// What somebody was answered. It stays true in every later image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    /// A setting of this number is there.
    Set(u64),
    /// A topic of this number is there.
    Topic(u64),
    /// The topic is gone.
    Gone(TopicId),
    /// The broker has this epoch, or a later one.
    Broker(NodeId, BrokerEpoch),
    /// The partition has this epoch or a later one, or is gone.
    Partition(Key, i32),
}

#[derive(Debug, Default)]
pub(super) struct Images {
    known: BTreeMap<Offset, Arc<Image>>,
    /// And from which image on they hold.
    promises: Vec<(Offset, Promise)>,
    /// Up to where each process of a broker has shown the metadata.
    shown: BTreeMap<Uuid, Offset>,
    /// Which process of a broker has fetched a partition.
    fetched: BTreeSet<(Key, NodeId, BrokerEpoch)>,
}

impl Images {
    pub fn promises(&self) -> usize {
        self.promises.len()
    }

    pub fn shows(&mut self, incarnation: Uuid, offset: Offset) {
        self.shown.insert(incarnation, offset);
    }

    pub fn fetched(&mut self, key: Key, by: NodeId, epoch: BrokerEpoch) {
        self.fetched.insert((key, by, epoch));
    }

    /// Somebody is told that this holds as of the image at that offset.
    pub fn promised(&mut self, since: Offset, promise: Promise) -> Verdict {
        if self.promises.iter().any(|(_, known)| *known == promise) {
            return Ok(());
        }
        self.known.range(since..).try_for_each(|(_, image)| keeps(image, &promise))?;
        self.promises.push((since, promise));
        Ok(())
    }

    /// Somebody has asked for the end of that topic, so that it may go at any time.
    pub fn withdrawn(&mut self, number: u64) {
        self.promises.retain(|(_, promise)| *promise != Promise::Topic(number));
    }

    pub fn published(&mut self, id: NodeId, image: &Arc<Image>) -> Verdict {
        if let Some(known) = self.known.get(&image.offset) {
            // One may come from records and the other from a snapshot.
            let same = Arc::ptr_eq(known, image) || known == image || mark(known) == mark(image);
            let what = || Violation::new(IMAGES, format!("that of {id} at {}", image.offset));
            return if same { Ok(()) } else { Err(what()) };
        }
        self.alone(image)?;
        if let Some((_, before)) = self.known.range(..image.offset).next_back() {
            self.follow(before, image)?;
        }
        if let Some((_, after)) = self.known.range(image.offset..).next() {
            self.follow(image, after)?;
        }
        let mut made = self.promises.iter().filter(|(since, _)| *since <= image.offset);
        made.try_for_each(|(_, promise)| keeps(image, promise))?;
        self.known.insert(image.offset, image.clone());
        Ok(())
    }

    // What holds of one image.
    fn alone(&self, image: &Image) -> Verdict {
        let active = |id: &NodeId| image.broker(*id).is_some_and(|broker| broker.is_active());
        for (name, index, partition) in partitions(image) {
            let Partition { leader, isr, .. } = partition;
            if !leader.iter().all(active) {
                return Err(Violation::new(LEADS, told(image, name, index, partition)));
            }
            if !isr.iter().all(active) || leader.is_some_and(|leader| !isr.contains(&leader)) {
                return Err(Violation::new(IN_SYNC, told(image, name, index, partition)));
            }
        }
        for broker in image.brokers().filter(|broker| !broker.fenced) {
            let shown = self.shown.get(&broker.incarnation).copied().unwrap_or(-1);
            if shown < broker.epoch.0 {
                let (id, epoch) = (broker.id, broker.epoch);
                let what = format!("broker {id} registered at {epoch} and has shown the image of {shown}");
                return Err(Violation::new(CAUGHT_UP, what));
            }
        }
        Ok(())
    }

    // What holds of two images, however many lie between them.
    fn follow(&self, before: &Image, after: &Image) -> Verdict {
        for old in before.brokers() {
            let new = after.broker(old.id);
            let grows = new.is_some_and(|new| {
                new.epoch > old.epoch || (new.epoch == old.epoch && new.incarnation == old.incarnation)
            });
            if !grows {
                let (from, to) = (before.offset, after.offset);
                let what = format!("broker {} from {old:?} at {from} to {new:?} at {to}", old.id);
                return Err(Violation::new(BROKER_EPOCHS, what));
            }
        }
        for (name, index, new) in partitions(after) {
            let Some(topic) = after.topic(name) else { continue };
            let old = before.topic_by_id(topic.id).and_then(|topic| topic.partitions.get(&index));
            let Some(old) = old else { continue };
            let epochs = |p: &Partition| (p.partition_epoch, p.leader_epoch);
            let grows = new.partition_epoch > old.partition_epoch && new.leader_epoch >= old.leader_epoch;
            let leads_on = new.leader == old.leader || new.leader_epoch > old.leader_epoch;
            if **old != *new && !(grows && leads_on) {
                let what = format!("{name}-{index} changes from {:?} to {:?}", epochs(old), epochs(new));
                return Err(Violation::new(PARTITION_EPOCHS, what));
            }
            // Under one leader epoch nobody is elected: who comes into the in-sync set was proposed.
            let joined = new.isr.iter().filter(|id| !old.isr.contains(id));
            let proposed = joined.filter(|_| new.leader_epoch == old.leader_epoch);
            for id in proposed {
                let epoch = after.broker(*id).map_or(BrokerEpoch::NONE, |broker| broker.epoch);
                if !self.fetched.contains(&((topic.id, index), *id, epoch)) {
                    let what = format!("broker {id} of epoch {epoch}: {}", told(after, name, index, new));
                    return Err(Violation::new(JOINS, what));
                }
            }
        }
        Ok(())
    }
}

fn keeps(image: &Image, promise: &Promise) -> Verdict {
    let kept = match promise {
        Promise::Set(number) => {
            let resource = resource(*number);
            image.configs(resource.kind, &resource.name).is_some()
        }
        Promise::Topic(number) => image.topic(&topic(*number)).is_some(),
        Promise::Gone(id) => image.topic_by_id(*id).is_none(),
        Promise::Broker(id, epoch) => image.broker(*id).is_some_and(|broker| broker.epoch >= *epoch),
        Promise::Partition((topic, index), epoch) => {
            let partition = image.topic_by_id(*topic).and_then(|topic| topic.partitions.get(index));
            partition.is_none_or(|partition| partition.partition_epoch >= *epoch)
        }
    };
    let what = || format!("{promise:?} was answered, and does not hold in the image at {}", image.offset);
    if kept { Ok(()) } else { Err(Violation::new(ANSWERED, what())) }
}

fn partitions(image: &Image) -> impl Iterator<Item = (&TopicName, i32, &Partition)> {
    image.topics().flat_map(|topic| topic.partitions.iter().map(|(index, p)| (&topic.name, *index, &**p)))
}

fn told(image: &Image, name: &TopicName, index: i32, partition: &Partition) -> String {
    let brokers: Vec<_> =
        image.brokers().map(|b| (b.id, b.epoch, b.fenced, b.in_controlled_shutdown)).collect();
    format!("{name}-{index} at {}: {partition:?}, brokers {brokers:?}", image.offset)
}

/// Two images with the same records in the same order have the same mark.
pub(super) fn mark(image: &Image) -> u64 {
    let mut mark: u64 = image.epoch.0 as u64;
    for byte in image.records().iter().flat_map(|record| record.encode()) {
        mark = (mark ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    mark
}

pub(super) const IMAGES: &str = "images of one offset are equal";
const ANSWERED: &str = "what was answered is in every later image";
const LEADS: &str = "a fenced broker leads nothing";
const IN_SYNC: &str = "who leads and who is in sync is alive";
const CAUGHT_UP: &str = "a broker serves when it has seen its own registration";
const BROKER_EPOCHS: &str = "broker epochs only grow";
const PARTITION_EPOCHS: &str = "epochs of partitions only grow";
const JOINS: &str = "who joins the in-sync set has fetched in this life";

#[cfg(test)]
mod tests {
    use ottla_model::record::{
        BrokerRegistrationChangeRecord, FencingChange, MetadataRecord, PartitionChangeRecord,
        PartitionRecord, RegisterBrokerRecord, TopicRecord,
    };
    use ottla_protocol::LeaderEpoch;

    use super::*;

    const TOPIC: TopicId = TopicId::from_u128(1);

    fn registered(id: i32, epoch: i64) -> MetadataRecord {
        MetadataRecord::RegisterBroker(RegisterBrokerRecord {
            broker_id: NodeId(id),
            incarnation_id: Uuid::from_u128(epoch as u128),
            broker_epoch: BrokerEpoch(epoch),
            fenced: false,
            ..RegisterBrokerRecord::default()
        })
    }

    fn fenced(id: i32, epoch: i64) -> MetadataRecord {
        let (broker_id, broker_epoch, fenced) = (NodeId(id), BrokerEpoch(epoch), FencingChange::Fence);
        BrokerRegistrationChangeRecord { broker_id, broker_epoch, fenced, ..Default::default() }.into()
    }

    fn in_sync(isr: &[i32]) -> MetadataRecord {
        let isr = Some(isr.iter().map(|id| NodeId(*id)).collect());
        let change = PartitionChangeRecord {
            partition_id: 0,
            topic_id: TOPIC,
            isr,
            ..PartitionChangeRecord::default()
        };
        MetadataRecord::PartitionChange(change)
    }

    /// Brokers 1 and 2, of which the first leads a partition and is alone in sync.
    fn two_brokers() -> Image {
        let partition = PartitionRecord {
            partition_id: 0,
            topic_id: TOPIC,
            replicas: vec![NodeId(1), NodeId(2)],
            isr: vec![NodeId(1)],
            leader: Some(NodeId(1)),
            directories: vec![ottla_model::DIRECTORY_UNASSIGNED; 2],
            ..PartitionRecord::default()
        };
        let topic = TopicRecord { name: "t1".into(), topic_id: TOPIC };
        let records = [registered(1, 0), registered(2, 1), topic.into(), partition.into()];
        records.iter().fold(Image::empty(), with)
    }

    fn with(mut image: Image, record: &MetadataRecord) -> Image {
        image.apply_in_place(image.offset + 1, LeaderEpoch(1), record).expect("it applies");
        image
    }

    /// After that image, this change is found by that invariant; "" by none.
    fn check(change: &[MetadataRecord], expected: &str) {
        let mut images = Images::default();
        for (process, offset) in [(0, 10), (1, 10), (9, 3)] {
            images.shows(Uuid::from_u128(process), offset);
        }
        images.promised(0, Promise::Broker(NodeId(2), BrokerEpoch(1))).expect("nothing is known");
        let first = two_brokers();
        images.published(NodeId(1), &Arc::new(first.clone())).expect("all is well");
        let next = change.iter().fold(first, with);
        let found = images.published(NodeId(1), &Arc::new(next)).err();
        assert_eq!(found.map_or("", |violation| violation.invariant), expected, "{change:?}");
    }

    #[test]
    fn mistakes_of_a_controller_are_seen_in_its_images() {
        check(&[fenced(2, 1)], "");
        check(&[fenced(1, 0)], LEADS);
        check(&[fenced(2, 1), in_sync(&[1, 2])], IN_SYNC);
        check(&[in_sync(&[1, 2])], JOINS);
        check(&[registered(2, 9)], CAUGHT_UP);
    }

    #[test]
    fn an_image_that_is_another_one_or_goes_back_is_seen() {
        let mut images = Images::default();
        [0, 1, 7].iter().for_each(|process| images.shows(Uuid::from_u128(*process), 10));
        let first = two_brokers();
        images.published(NodeId(1), &Arc::new(first.clone())).expect("all is well");
        images.published(NodeId(2), &Arc::new(first)).expect("and it is the same");
        let other = Arc::new([registered(1, 0)].iter().fold(Image::empty(), with));
        images.published(NodeId(1), &other).expect("it may be older");
        let older = [registered(2, 1), registered(1, 7)].iter().fold(Image::empty(), with);
        let found = images.published(NodeId(2), &Arc::new(older)).err().map(|v| v.invariant);
        assert_eq!(found, Some(BROKER_EPOCHS), "the epoch of broker 1 is less later on");
        let other = Arc::new([registered(2, 1)].iter().fold(Image::empty(), with));
        let found = images.published(NodeId(2), &other).err().map(|v| v.invariant);
        assert_eq!(found, Some(IMAGES));
        let found = images.promised(0, Promise::Topic(2)).err().map(|v| v.invariant);
        assert_eq!(found, Some(ANSWERED));
    }
}
