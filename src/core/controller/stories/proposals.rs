//! Leaders propose in-sync sets, told as partitions before and after, written as in `leadership.rs`.

use ottla_model::record::BrokerRegistrationChangeRecord;

use super::leadership::{GIVEN, Given, nodes};
use super::*;
use crate::partition::{InSyncMember, Proposal};

/// A proposal of broker 1 for the only partition, which is in its first epochs.
#[derive(Clone, Copy)]
struct Proposed {
    from: i32,
    leader_epoch: i32,
    partition_epoch: i32,
    isr: &'static str,
    /// Broker 2 fetched in another life than its present one.
    stale: bool,
    recovering: bool,
}

const PROPOSED: Proposed =
    Proposed { from: 1, leader_epoch: 0, partition_epoch: 0, isr: "", stale: false, recovering: false };

fn isr(isr: &'static str) -> Proposed {
    Proposed { isr, ..PROPOSED }
}

impl Proposed {
    fn of(self, cluster: &Cluster) -> IsrProposal {
        let member = |id: NodeId| {
            let epoch = cluster.image.broker(id).map(|broker| broker.epoch.0);
            let epoch = if self.stale && id == NodeId(2) { Some(77) } else { epoch };
            // A leader does not know its own epoch as a follower.
            InSyncMember { replica: id, broker_epoch: epoch.filter(|_| id != NodeId(1)) }
        };
        let proposal = Proposal {
            leader_epoch: LeaderEpoch(self.leader_epoch),
            partition_epoch: self.partition_epoch,
            isr: nodes(self.isr).into_iter().map(member).collect(),
        };
        let topic = cluster.image.topic("t").expect("it is there").id;
        IsrProposal { topic, partition: 0, proposal, recovering: self.recovering }
    }
}

fn ask(cluster: &mut Cluster, from: i32, proposals: Vec<IsrProposal>) -> Vec<Result<Altered, ErrorCode>> {
    let broker = NodeId(from);
    let epoch = cluster.image.broker(broker).expect("registered").epoch;
    cluster.ask(AlterPartition { broker, epoch, proposals }).expect("that is its epoch")
}

fn check(story: &str, given: &Given, proposed: Proposed, expected: Result<&str, ErrorCode>) {
    let mut cluster = given.cluster();
    let proposals = vec![proposed.of(&cluster)];
    let mut outcomes = ask(&mut cluster, proposed.from, proposals);
    let outcome = outcomes.remove(0);
    let told = outcome.as_ref().map(|_| cluster.printed()).map_err(|code| *code);
    assert_eq!(told.as_deref(), expected.as_ref().copied(), "{story}");
    if let Ok(altered) = outcome {
        let now = cluster.image.partition("t", 0).expect("it is there");
        assert_eq!((altered.leader, &altered.isr), (now.leader, &now.isr), "{story}");
        assert_eq!(altered.leader_epoch, now.leader_epoch, "{story}");
        assert_eq!(altered.partition_epoch, now.partition_epoch, "{story}");
        assert_eq!(altered.recovering, now.is_recovering(), "{story}");
    } else if outcome != Err(ErrorCode::NewLeaderElected) {
        assert_eq!(cluster.printed(), given.before, "{story}: nothing changes");
    }
}

#[test]
fn a_leader_changes_who_is_in_sync() {
    let all = Given { before: "123 isr 123 leader 1", ..GIVEN };
    check("it shrinks", &all, isr("12"), Ok("123 isr 12 leader 1"));
    check("below its minimum", &all, isr("1"), Ok("123 isr 1 elr 23 leader 1"));
    let eligible = Given { before: "123 isr 1 elr 23 leader 1", ..GIVEN };
    check("it grows to its minimum", &eligible, isr("12"), Ok("123 isr 12 leader 1"));
    check("nothing changes", &all, isr("123"), Ok("123 isr 123 leader 1"));
    let recovering = Given { before: "123 isr 1 leader 1 recovering", min_isr: "1", ..GIVEN };
    let alone = Proposed { recovering: true, ..isr("1") };
    check("it still recovers", &recovering, alone, Ok("123 isr 1 leader 1 recovering"));
    check("it has recovered", &recovering, isr("12"), Ok("123 isr 12 leader 1"));
}

#[test]
fn a_proposal_that_does_not_fit_is_refused_as_kafka_does() {
    use ErrorCode::{
        FencedLeaderEpoch, IneligibleReplica, InvalidRequest, InvalidUpdateVersion, NotController,
    };
    let given = Given { before: "123 isr 13 leader 1", alive: "1235", ..GIVEN };
    let at = |leader_epoch, partition_epoch| Proposed { leader_epoch, partition_epoch, ..isr("123") };
    let rows = [
        ("a later leader epoch than is known here", at(1, 0), NotController),
        ("a later partition epoch than is known here", at(0, 1), NotController),
        ("an earlier leader epoch", at(-1, 0), FencedLeaderEpoch),
        ("an earlier partition epoch", at(0, -1), InvalidUpdateVersion),
        ("another one leads", Proposed { from: 2, ..at(0, 0) }, InvalidRequest),
        ("a broker without a replica", isr("125"), InvalidRequest),
        ("a broker twice", isr("122"), InvalidRequest),
        ("without the leader", isr("23"), InvalidRequest),
        ("with nobody", isr(""), InvalidRequest),
        ("it recovers beside others", Proposed { recovering: true, ..isr("12") }, InvalidRequest),
        ("it recovers once more", Proposed { recovering: true, ..isr("1") }, InvalidRequest),
        (
            "a member has restarted since it fetched",
            Proposed { stale: true, ..isr("123") },
            IneligibleReplica,
        ),
    ];
    for (story, proposed, code) in rows {
        check(story, &given, proposed, Err(code));
    }
    let fenced = Given { alive: "13", ..given };
    check("a member is fenced", &fenced, isr("123"), Err(IneligibleReplica));
    let mut cluster = given.cluster();
    let shutting_down = cluster.image.broker(NodeId(2)).expect("registered").epoch;
    cluster.apply(&[MetadataRecord::BrokerRegistrationChange(BrokerRegistrationChangeRecord {
        broker_id: NodeId(2),
        broker_epoch: shutting_down,
        in_controlled_shutdown: true,
        ..Default::default()
    })]);
    let proposals = vec![isr("123").of(&cluster)];
    assert_eq!(ask(&mut cluster, 1, proposals), [Err(IneligibleReplica)], "a member shuts down");
}

#[test]
fn a_refused_proposal_that_comes_again_is_late() {
    let mut cluster = Given { before: "123 isr 13 leader 1", alive: "13", ..GIVEN }.cluster();
    let proposal = isr("123").of(&cluster);
    let twice = vec![proposal.clone(), proposal.clone()];
    let refused = [Err(ErrorCode::IneligibleReplica), Err(ErrorCode::InvalidUpdateVersion)];
    assert_eq!(ask(&mut cluster, 1, twice), refused);
    assert_eq!(cluster.printed(), "123 isr 13 leader 1");
    assert_eq!(cluster.image.partition("t", 0).map(|partition| partition.partition_epoch), Some(1));
    assert_eq!(ask(&mut cluster, 1, vec![proposal]), [Err(ErrorCode::InvalidUpdateVersion)]);
}

#[test]
fn what_is_not_known_is_told_apart_and_the_rest_goes_on() {
    let mut cluster = Given { before: "123 isr 123 leader 1", ..GIVEN }.cluster();
    let good = isr("12").of(&cluster);
    let no_topic = IsrProposal { topic: Uuid::from_u128(77), ..good.clone() };
    let no_partition = IsrProposal { partition: 7, ..good.clone() };
    let outcomes = ask(&mut cluster, 1, vec![no_topic, no_partition, good.clone(), good.clone()]);
    let codes: Vec<_> = outcomes.into_iter().map(|outcome| outcome.map(drop)).collect();
    let expected = [
        Err(ErrorCode::UnknownTopicId),
        Err(ErrorCode::UnknownTopicOrPartition),
        Ok(()),
        Err(ErrorCode::InvalidUpdateVersion),
    ];
    assert_eq!(codes, expected);
    let stale = AlterPartition { broker: NodeId(1), epoch: BrokerEpoch(99), proposals: vec![good] };
    assert_eq!(cluster.ask(stale).map_err(|refusal| refusal.code), Err(ErrorCode::StaleBrokerEpoch));
}

#[test]
fn a_set_with_all_that_is_added_ends_the_move() {
    let given = Given { before: "1234 isr 12 adding 34 removing 2 leader 1", min_isr: "1", ..GIVEN };
    check("one is missing", &given, isr("123"), Ok("1234 isr 123 adding 34 removing 2 leader 1"));
    check("all are there", &given, isr("1234"), Ok("134 isr 134 leader 1 rises"));
    let leader_goes = Given { before: "123 isr 12 adding 3 removing 1 leader 1", ..given };
    check("the leader goes", &leader_goes, isr("123"), Err(ErrorCode::NewLeaderElected));
    let mut cluster = leader_goes.cluster();
    let proposals = vec![isr("123").of(&cluster)];
    ask(&mut cluster, 1, proposals);
    assert_eq!(cluster.printed(), "23 isr 23 leader 2 rises", "the move has ended all the same");
}
