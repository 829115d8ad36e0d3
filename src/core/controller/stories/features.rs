//! Levels of features: which are set, and why not. The words are those of Kafka's `FeatureControlManager`.

use ottla_model::feature::{
    ELIGIBLE_LEADER_REPLICAS_VERSION, GROUP_VERSION, KRAFT_VERSION, METADATA_VERSION, SHARE_VERSION,
};
use ottla_model::record::ResourceType;

use super::*;

use FeatureChange::{SafeDowngrade, Unknown, UnsafeDowngrade, Upgrade};

fn cluster(brokers: i32) -> Cluster {
    let mut cluster = Cluster::new(brokers);
    let features = vec![(GROUP_VERSION.to_owned(), 1)];
    cluster.ask(Bootstrap { metadata_version: 25, features });
    cluster
}

fn change(name: &str, level: i16, change: FeatureChange) -> UpdateFeatures {
    let updates = vec![FeatureUpdate { name: name.to_owned(), level, change }];
    UpdateFeatures { updates, validate_only: false }
}

#[test]
fn a_level_is_set_or_it_is_said_why_not() {
    let rows = [
        ("higher", METADATA_VERSION, 30, Upgrade, Ok(30)),
        ("the same", METADATA_VERSION, 25, Upgrade, Ok(25)),
        ("lower, and nothing changes", METADATA_VERSION, 24, SafeDowngrade, Ok(24)),
        ("off", GROUP_VERSION, 0, SafeDowngrade, Ok(0)),
        ("off, whatever is lost", GROUP_VERSION, 0, UnsafeDowngrade, Ok(0)),
        ("the level of the quorum, as it is", KRAFT_VERSION, 0, Upgrade, Ok(0)),
        ("what the quorum cannot do", KRAFT_VERSION, 1, Upgrade, Err("Not all voters are known.")),
        (
            "lower by mistake",
            METADATA_VERSION,
            24,
            Upgrade,
            Err(
                "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade.",
            ),
        ),
        (
            "higher by mistake",
            METADATA_VERSION,
            30,
            SafeDowngrade,
            Err("Can't downgrade to a newer version."),
        ),
        (
            "something might be lost",
            METADATA_VERSION,
            22,
            SafeDowngrade,
            Err("Refusing to perform the requested downgrade because it might delete metadata information."),
        ),
        (
            "something would be lost",
            METADATA_VERSION,
            22,
            UnsafeDowngrade,
            Err("Unsafe metadata downgrade is not supported in this version."),
        ),
        (
            "nobody has it",
            METADATA_VERSION,
            99,
            Upgrade,
            Err("Local controller 1 only supports versions 7-33"),
        ),
        ("nobody knows it", "foo", 1, Upgrade, Err("Local controller 1 does not support this feature.")),
        ("below zero", GROUP_VERSION, -1, Upgrade, Err("A feature version cannot be less than 0.")),
        (
            "some other change",
            GROUP_VERSION,
            1,
            Unknown,
            Err("The controller does not support the given upgrade type."),
        ),
    ];
    for (story, name, level, kind, expected) in rows {
        let mut cluster = cluster(2);
        let outcome = cluster.ask(change(name, level, kind));
        let outcome = outcome.map(|()| cluster.image.feature(name)).map_err(|refusal| {
            assert_eq!(refusal.code, ErrorCode::InvalidUpdateVersion, "{story}");
            refusal.message
        });
        let expected =
            expected.map_err(|why: &str| format!("Invalid update version {level} for feature {name}. {why}"));
        assert_eq!(outcome, expected, "{story}");
    }
}

// The quorum writes the level; what is decided here is that it may.
#[test]
fn the_level_of_the_quorum_goes_up_and_never_down() {
    let mut cluster = cluster(2);
    let mut ask = |from: i16, to: i16, kind: FeatureChange| {
        let update = change(KRAFT_VERSION, to, kind);
        let Decision { records, answer } = cluster.with_view(|view| {
            let view = &mut View {
                kraft_version: from,
                may_voters_change: &|| Ok(()),
                chance: &mut *view.chance,
                ..*view
            };
            decide(view, update.command())
        });
        assert!(records.is_empty(), "{records:?}");
        let Reply::FeaturesUpdated(outcome) = answer else { panic!("{answer:?}") };
        outcome.map_err(|refusal| refusal.message)
    };
    assert_eq!(ask(0, 1, Upgrade), Ok(()));
    assert_eq!(ask(1, 1, Upgrade), Ok(()), "it stands there already");
    for kind in [SafeDowngrade, UnsafeDowngrade] {
        let why = ask(1, 0, kind).expect_err("never");
        assert_eq!(
            why,
            "Invalid update version 0 for feature kraft.version. Can't downgrade the version of this feature."
        );
    }
    assert!(
        ask(0, 2, Upgrade)
            .expect_err("nobody has it")
            .contains("Local controller 1 only supports versions 0-1")
    );
}

#[test]
fn every_broker_has_to_support_it() {
    let mut cluster = cluster(1);
    let old = FeatureRange { name: METADATA_VERSION.into(), min: 7, max: 29 };
    let old = Registration {
        features: vec![old, FeatureRange { name: GROUP_VERSION.into(), min: 0, max: 1 }],
        ..registration(2, 2)
    };
    cluster.ask(old).expect("it supports what is in force");
    let why = |outcome: Result<(), Refusal>| outcome.expect_err("not yet").message;
    assert!(
        why(cluster.ask(change(METADATA_VERSION, 30, Upgrade)))
            .ends_with("Broker 2 only supports versions 7-29")
    );
    assert!(
        why(cluster.ask(change(SHARE_VERSION, 1, Upgrade)))
            .ends_with("Broker 2 does not support this feature.")
    );
    assert_eq!(cluster.ask(change(METADATA_VERSION, 29, Upgrade)), Ok(()));
}

#[test]
fn every_controller_has_to_support_it() {
    let mut cluster = cluster(1);
    let upgrade = |cluster: &mut Cluster| {
        let update = change(METADATA_VERSION, 30, Upgrade);
        let Decision { records, answer } = cluster.with_view(|view| {
            let voters = [NodeId(1), NodeId(3)];
            decide(&mut View { voters: &voters, chance: &mut *view.chance, ..*view }, update.command())
        });
        cluster.apply(&records);
        let Reply::FeaturesUpdated(outcome) = answer else { panic!("{answer:?}") };
        outcome.map_err(|refusal| refusal.message)
    };
    let missing = upgrade(&mut cluster).expect_err("nothing is known of controller 3");
    assert!(
        missing.ends_with("controller 3 has not registered, and may not support this feature"),
        "{missing}"
    );
    let register = |max| {
        let features = vec![FeatureRange { name: METADATA_VERSION.into(), min: 7, max }];
        let (incarnation, endpoints) = (Uuid::from_u128(3), Vec::new());
        ControllerRegistration { id: NodeId(3), incarnation, endpoints, features }
    };
    cluster.ask(register(29)).expect("it is registered");
    let old = upgrade(&mut cluster).expect_err("it is too old");
    assert!(old.ends_with("Controller 3 only supports versions 7-29"), "{old}");
    cluster.ask(register(33)).expect("it is registered");
    let before = cluster.image.offset;
    cluster.ask(register(33)).expect("it is registered");
    assert_eq!(cluster.image.offset, before, "what is known is not written again");
    assert_eq!(upgrade(&mut cluster), Ok(()));
}

#[test]
fn a_controller_that_is_gone_is_forgotten_once_the_level_has_a_record_for_that() {
    let mut cluster = cluster(1);
    let register = |id| ControllerRegistration {
        id: NodeId(id),
        incarnation: Uuid::from_u128(3),
        endpoints: Vec::new(),
        features: vec![FeatureRange { name: METADATA_VERSION.into(), min: 7, max: 33 }],
    };
    for id in [1, 3] {
        cluster.ask(register(id)).expect("it is registered");
    }
    let forget = |cluster: &mut Cluster, id| {
        let outcome = cluster.ask(UnregisterController { controller: NodeId(id) });
        outcome.map_err(|refusal| (refusal.code, refusal.message))
    };
    let refused = |code, why: &str| Err((code, why.to_owned()));
    let old = "The current MetadataVersion is too old to support controller unregistration.";
    assert_eq!(forget(&mut cluster, 3), refused(ErrorCode::UnsupportedVersion, old));
    let level = MetadataVersion::CONTROLLER_UNREGISTRATION.level();
    cluster.ask(change(METADATA_VERSION, level, Upgrade)).expect("everybody supports it");
    let active = "Controller cannot unregister itself while it is active.";
    assert_eq!(forget(&mut cluster, 1), refused(ErrorCode::InvalidRequest, active));
    assert_eq!(forget(&mut cluster, 3), Ok(()));
    assert!(cluster.image.controller(NodeId(3)).is_none() && cluster.image.controller(NodeId(1)).is_some());
    let unknown = "Controller ID 3 is not currently registered.";
    assert_eq!(forget(&mut cluster, 3), refused(ErrorCode::ControllerIdNotRegistered, unknown));
    cluster.ask(register(3)).expect("it is back");
    assert!(cluster.image.controller(NodeId(3)).is_some());
}

#[test]
fn all_of_it_or_nothing() {
    let mut cluster = cluster(1);
    let one = |name: &str, level| FeatureUpdate { name: name.to_owned(), level, change: Upgrade };
    let updates = vec![one(METADATA_VERSION, 30), one("foo", 1)];
    assert!(cluster.ask(UpdateFeatures { updates, validate_only: false }).is_err());
    assert_eq!(cluster.image.feature(METADATA_VERSION), 25);
    let updates = vec![one(METADATA_VERSION, 30)];
    assert_eq!(cluster.ask(UpdateFeatures { updates, validate_only: true }), Ok(()));
    assert_eq!(cluster.image.feature(METADATA_VERSION), 25, "it was only tried out");
}

#[test]
fn eligible_leader_replicas_need_one_minimum_and_a_level_of_the_metadata() {
    let mut cluster = cluster(2);
    cluster.ask(Bootstrap { metadata_version: 22, features: Vec::new() });
    cluster.apply(&[MetadataRecord::FeatureLevel(FeatureLevelRecord {
        name: METADATA_VERSION.into(),
        feature_level: 22,
    })]);
    let refused =
        cluster.ask(change(ELIGIBLE_LEADER_REPLICAS_VERSION, 1, Upgrade)).expect_err("too old").message;
    let why = "eligible.leader.replicas.version could not be set to 1 because it depends on metadata.version level 23";
    assert!(refused.ends_with(why), "{refused}");
    let own = ottla_model::record::ConfigRecord {
        resource_type: ResourceType::Broker,
        resource_name: "2".into(),
        name: "min.insync.replicas".into(),
        value: Some("7".into()),
    };
    cluster.apply(&[own.into()]);
    let one = |name: &str, level| FeatureUpdate { name: name.to_owned(), level, change: Upgrade };
    let updates = vec![one(ELIGIBLE_LEADER_REPLICAS_VERSION, 1), one(METADATA_VERSION, 23)];
    assert_eq!(cluster.ask(UpdateFeatures { updates, validate_only: false }), Ok(()), "both at once");
    let minimum =
        |name| cluster.image.configs(ResourceType::Broker, name).and_then(|c| c.get("min.insync.replicas"));
    assert_eq!(minimum(""), Some(&"1".to_owned()));
    assert_eq!(minimum("2"), None);
}
