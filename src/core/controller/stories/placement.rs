//! Where new replicas go: round the racks and their brokers (KIP-36), and past those that cannot have them. Rows follow
//! Kafka's `StripedReplicaPlacerTest`.

use ottla_model::image::Partition;

use super::*;

/// Brokers 1, 2 and so on in these racks. "-": without a rack.
fn in_racks(racks: &[&str], fenced: &[i32], seed: u64) -> Cluster {
    let mut cluster = Cluster::new(0);
    cluster.dice = Dice(seed);
    for (id, rack) in (1..).zip(racks) {
        let rack = Some(*rack).filter(|rack| *rack != "-").map(str::to_owned);
        let new = Registration { rack, ..registration(id, 1) };
        let epoch = cluster.ask(new).expect("a new broker");
        if !fenced.contains(&id) {
            cluster.beat(id, epoch).expect("it is registered");
        }
    }
    cluster
}

fn partitions(cluster: &Cluster) -> Vec<&Partition> {
    cluster.image.topic("t").expect("created").partitions.values().map(|p| &**p).collect()
}

#[test]
fn replicas_are_in_as_many_racks_as_there_are() {
    let racks = ["a", "a", "b", "b", "c", "c"];
    for seed in 0..50 {
        let mut cluster = in_racks(&racks, &[], seed);
        cluster.create(topic("t", 12, 3)).expect("created");
        let mut led: BTreeMap<i32, usize> = BTreeMap::new();
        for partition in partitions(&cluster) {
            let of = |id: &NodeId| racks[id.0 as usize - 1];
            let mut names: Vec<&str> = partition.replicas.iter().map(of).collect();
            names.sort_unstable();
            assert_eq!(names, ["a", "b", "c"], "seed {seed}");
            *led.entry(partition.replicas[0].0).or_default() += 1;
        }
        assert_eq!(led.values().sum::<usize>(), 12);
        assert!(led.len() >= 5, "seed {seed}: nearly everybody leads something: {led:?}");
    }
}

#[test]
fn a_fenced_broker_comes_last_and_never_leads() {
    for seed in 0..50 {
        let mut cluster = in_racks(&["-"; 4], &[2], seed);
        cluster.create(topic("t", 8, 3)).expect("created");
        assert!(partitions(&cluster).iter().all(|p| !p.replicas.contains(&NodeId(2))), "seed {seed}");
        let mut cluster = in_racks(&["-"; 4], &[2], seed);
        cluster.create(topic("t", 8, 4)).expect("created");
        for partition in partitions(&cluster) {
            assert_eq!(partition.replicas.last(), Some(&NodeId(2)), "seed {seed}");
            assert!(!partition.isr.contains(&NodeId(2)), "seed {seed}");
        }
    }
}

#[test]
fn where_there_are_too_few_brokers_it_is_said() {
    let refused = |cluster: &mut Cluster, factor| {
        let mut outcomes =
            cluster.ask(CreateTopics { topics: vec![topic("t", 1, factor)], validate_only: false });
        let refusal = outcomes.remove(0).1.expect_err("it cannot be placed");
        assert_eq!(refusal.code, ErrorCode::InvalidReplicationFactor);
        refusal.message
    };
    let mut three = in_racks(&["-"; 3], &[], 0);
    let few = "The target replication factor of 4 cannot be reached because only 3 broker(s) are registered or some brokers have all their log directories cordoned.";
    assert!(refused(&mut three, 4).ends_with(few));
    let mut nobody = in_racks(&["-"; 3], &[1, 2, 3], 0);
    let fenced = "All brokers are currently fenced, or have all their log directories cordoned.";
    assert!(refused(&mut nobody, 1).ends_with(fenced));
    let mut leaving = in_racks(&["-"; 2], &[], 0);
    let (broker_id, broker_epoch) = (NodeId(1), leaving.epoch(1));
    let change = ottla_model::record::BrokerRegistrationChangeRecord {
        broker_id,
        broker_epoch,
        in_controlled_shutdown: true,
        ..Default::default()
    };
    leaving.apply(&[change.into()]);
    leaving.create(topic("t", 4, 1)).expect("created");
    assert!(partitions(&leaving).iter().all(|p| p.replicas == [NodeId(2)]), "who leaves takes nothing new");
}
