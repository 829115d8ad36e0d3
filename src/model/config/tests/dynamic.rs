//! The checks of configuration changes while brokers run, and their effect on the configuration in force.

use super::{map, with_lines};
use crate::config::DynamicScope::{AllBrokers, OneBroker};
use crate::config::{
    Dynamic, check_broker_change, check_client_metrics, check_group, describe_group, describe_topic, list_key,
};
use crate::record::ResourceType;

#[test]
fn a_brokers_change_is_judged_as_a_whole() {
    let (running, _) = with_lines("num.io.threads=8").expect("a start");
    let none = map(&[]);
    let check = |scope, pairs: &[(&str, &str)], expected: Option<&str>| {
        let error = check_broker_change(&running, scope, &map(pairs), &none).err().map(|e| e.to_string());
        assert_eq!(error.as_deref(), expected, "{pairs:?}");
    };
    check(AllBrokers, &[("log.retention.ms", "1"), ("my.plugin", "x")], None);
    check(OneBroker, &[("max.connections", "5")], None);
    let twice =
        "Invalid value delete, delete for configuration log.cleanup.policy: must not name an item twice";
    check(OneBroker, &[("log.cleanup.policy", "delete, delete")], Some(twice));
    let fixed = "Cannot change configuration node.id: it only changes at a restart";
    check(OneBroker, &[("node.id", "5")], Some(fixed));
    let prefixed = "Cannot change configuration ssl.keystore.type: it is set for one listener, behind \
                    listener.name.<listener>.";
    check(OneBroker, &[("ssl.keystore.type", "JKS")], Some(prefixed));
    let conflict = "Invalid value 0 for configuration max.connections.per.ip: may only be 0 together with \
                    max.connections.per.ip.overrides";
    check(AllBrokers, &[("max.connections.per.ip", "0")], Some(conflict));
    check(
        AllBrokers,
        &[("max.connections.per.ip", "0"), ("max.connections.per.ip.overrides", "::1:5")],
        None,
    );
    let listeners =
        "Cannot change configuration listeners: listeners are opened and closed only at a restart yet";
    check(OneBroker, &[("listeners", "PLAINTEXT://:9999,CONTROLLER://:9093")], Some(listeners));
    check(OneBroker, &[("num.io.threads", "16")], None);
    check(OneBroker, &[("num.io.threads", "4")], None);
    let more = "Invalid value 17 for configuration num.io.threads: must be at most twice the present 8";
    check(OneBroker, &[("num.io.threads", "17")], Some(more));
    let fewer = "Invalid value 3 for configuration num.io.threads: must be at least half of the present 8";
    check(OneBroker, &[("num.io.threads", "3")], Some(fewer));
}

#[test]
fn a_groups_settings_keep_the_brokers_bounds() {
    let (broker, _) = with_lines("group.consumer.max.session.timeout.ms=70000").expect("a start");
    let check = |pairs: &[(&str, &str)], expected: Option<&str>| {
        let error = check_group(&broker, &map(pairs)).err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), expected, "{pairs:?}");
    };
    check(&[("consumer.session.timeout.ms", "70000"), ("share.auto.offset.reset", "by_duration:PT1H")], None);
    check(&[("no.such.key", "1")], Some("Unknown group config name: no.such.key"));
    let most = "Invalid value 70001 for configuration consumer.session.timeout.ms: must be at most \
                group.consumer.max.session.timeout.ms, which is 70000";
    check(&[("consumer.session.timeout.ms", "70001")], Some(most));
    let least = "Invalid value 1 for configuration share.heartbeat.interval.ms: must be at least \
                 group.share.min.heartbeat.interval.ms, which is 5000";
    check(&[("share.heartbeat.interval.ms", "1")], Some(least));
    let assignor =
        "Invalid value x for configuration streams.assignor.name: must be one of group.streams.assignors";
    check(&[("streams.assignor.name", "x")], Some(assignor));
    check(&[("streams.assignor.name", "sticky")], None);
    let internal = "Invalid value __x for configuration errors.deadletterqueue.topic.name: must not begin with __, as \
                    internal topics do";
    check(&[("errors.deadletterqueue.topic.name", "__x")], Some(internal));
    let twice = "Invalid value zone, zone for configuration streams.rack.aware.assignment.tags: must not name a tag \
                 twice";
    check(&[("streams.rack.aware.assignment.tags", "zone, zone")], Some(twice));
    check(&[("streams.rack.aware.assignment.tags", "zone,rack")], None);
}

#[test]
fn a_subscription_says_which_clients_push_how_often() {
    let check = |pairs: &[(&str, &str)], good: bool| {
        assert_eq!(check_client_metrics(&map(pairs)).is_ok(), good, "{pairs:?}");
    };
    check(&[("metrics", "a.,b."), ("interval.ms", "100"), ("match", "client_id=a.*")], true);
    check(&[("metrics", "")], true);
    check(&[("interval.ms", "99")], false);
    check(&[("interval.ms", "3600001")], false);
    check(&[("match", "client_id")], false);
    check(&[("match", "shoe_size=42")], false);
    check(&[("match", "client_id=a=b")], false);
    check(&[("push", "1")], false);
}

#[test]
fn values_come_from_the_strongest_that_sets_them() {
    let (started, _) = with_lines("log.retention.ms=1").expect("a start");
    let (one, all) = (map(&[("log.retention.ms", "3")]), map(&[("log.retention.ms", "2")]));
    let running = started.with_dynamic(Dynamic { per_broker: &one, cluster_default: &all }).expect("valid");
    assert_eq!(running.topic_defaults.retention_ms, 3);
    let told = describe_topic(&running, &map(&[("retention.ms", "4")]));
    let told = told.iter().find(|config| config.name == "retention.ms").expect("it is told");
    let synonyms: Vec<_> =
        told.synonyms.iter().map(|s| (s.value.as_deref().unwrap_or_default(), s.source)).collect();
    // The shipped file sets the hours, and they alone have a default.
    assert_eq!(synonyms, [("4", 1), ("3", 2), ("2", 3), ("1", 4), ("168", 4), ("168", 5)]);

    let told = describe_group(&running, &map(&[("consumer.session.timeout.ms", "50000")]));
    let find = |name: &str| {
        let found = told.iter().find(|config| config.name == name).expect("it is told");
        (found.value.as_deref(), found.source, found.synonyms.len())
    };
    assert_eq!(find("consumer.session.timeout.ms"), (Some("50000"), 8, 2));
    assert_eq!(find("consumer.heartbeat.interval.ms"), (Some("5000"), 5, 1));
    assert_eq!(find("share.isolation.level"), (Some("read_uncommitted"), 5, 1));
    assert_eq!(find("streams.assignor.name"), (None, 5, 0));
}

#[test]
fn only_lists_can_be_appended_to() {
    for (kind, name, expected) in [
        (ResourceType::Topic, "cleanup.policy", true),
        (ResourceType::Topic, "retention.ms", false),
        (ResourceType::Broker, "log.cleanup.policy", true),
        (ResourceType::Broker, "cleanup.policy", false),
        (ResourceType::Group, "streams.rack.aware.assignment.tags", false),
        (ResourceType::ClientMetrics, "match", false),
        (ResourceType::BrokerLogger, "root", false),
    ] {
        assert_eq!(list_key(kind, name).is_some(), expected, "{name}");
    }
}
