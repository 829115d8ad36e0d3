//! Fail closed: a setting that cannot be honoured and must not be ignored stops the start.

use super::{COMBINED, with_file, with_lines};
use crate::config::{BROKER_KEYS, ConfigKey, DynamicScope, Kind, Role, Support, check_dynamic_config};

// A value other than the default.
fn other(key: &ConfigKey) -> &'static str {
    match (key.kind, key.name) {
        (Kind::Boolean, _) => "true",
        (Kind::Long | Kind::Int | Kind::Short, _) => "123",
        (Kind::Double, _) => "0.25",
        (_, "security.inter.broker.protocol") => "SASL_SSL",
        (_, "ssl.client.auth") => "required",
        (_, "sasl.oauthbearer.assertion.algorithm") => "ES256",
        _ => "something",
    }
}

#[test]
fn every_refused_row_stops_the_start_and_its_default_does_not() {
    let mut refused = 0;
    for key in BROKER_KEYS {
        let Support::Refused(why) = key.support else { continue };
        refused += 1;
        let other = other(key);
        for name in [key.name.to_owned(), format!("listener.name.plaintext.{}", key.name)] {
            let error = with_lines(&format!("{name}={other}")).expect_err(&name);
            let shown = if key.sensitive { "[hidden]" } else { other };
            assert_eq!(error.to_string(), format!("Refused {name}={shown}: {why}"));
        }
        if key.name == "security.inter.broker.protocol" {
            continue; // its default contradicts the shipped inter.broker.listener.name
        }
        let default = key.default.unwrap_or_default();
        with_lines(&format!("{}={default}", key.name)).unwrap_or_else(|e| panic!("{}: {e}", key.name));
    }
    assert!(refused >= 8, "{refused} refused rows");
}

// Kafka gives no warning and starts.
#[test]
fn what_only_secured_listeners_need_is_noted_where_there_is_none() {
    let mut needed = 0;
    for key in BROKER_KEYS {
        let Support::NeededBy(by) = key.support else { continue };
        needed += 1;
        let other = other(key);
        for name in [
            key.name.to_owned(),
            format!("listener.name.plaintext.{}", key.name),
            format!("listener.name.absent.{}", key.name),
        ] {
            let (_, warnings) =
                with_lines(&format!("{name}={other}")).unwrap_or_else(|e| panic!("{name}: {e}"));
            let shown = if key.sensitive { "[hidden]" } else { other };
            let said: Vec<String> = warnings.iter().map(ToString::to_string).collect();
            assert_eq!(
                said,
                [format!("Configuration {name}={shown} has no effect: no listener speaks {by}")]
            );
        }
        if let Some(default) = key.default {
            let (_, warnings) = with_lines(&format!("{}={default}", key.name)).expect("the default");
            assert!(warnings.is_empty(), "{}: {warnings:?}", key.name);
        }
        for protocol in ["SSL", "SASL_PLAINTEXT", "SASL_SSL"] {
            let listeners = "listeners=PLAINTEXT://:9092,CONTROLLER://:9093,OUT://:9094";
            let map = format!(
                "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,OUT:{protocol}"
            );
            let lines = format!("{listeners}\n{map}\n{}={other}", key.name);
            let error = with_lines(&lines).expect_err(&lines).to_string();
            assert!(
                error.starts_with(&format!("Refused listeners=OUT://:9094: it speaks {protocol}")),
                "{error}"
            );
        }
    }
    assert!(needed >= 80, "{needed} rows for secured listeners");
    let wrong = with_lines("ssl.client.auth=perhaps").expect_err("a wrong value is wrong in any case");
    assert!(wrong.to_string().starts_with("Invalid value perhaps"), "{wrong}");
}

#[test]
fn a_way_to_other_nodes_that_promises_protection_is_not_taken() {
    let check = |lines: &str, expected: &str| {
        let error = with_file(&format!("node.id=1\n{lines}")).expect_err(lines);
        assert_eq!(error.to_string(), expected, "{lines}");
    };
    // Its own listeners have no TLS, but the controller's listener does.
    let broker = "process.roles=broker\ncontroller.listener.names=BOSS\nlisteners=PLAINTEXT://:9092\n\
                  controller.quorum.bootstrap.servers=boss:9093\n\
                  listener.security.protocol.map=BOSS:SSL,PLAINTEXT:PLAINTEXT\nssl.keystore.location=/k";
    check(broker, "Refused controller.listener.names=BOSS: it speaks SSL, and TLS is not built in yet");
    // These names are also used to reach other brokers, so they are refused; or they contradict the listeners.
    let combined = "process.roles=broker,controller\ncontroller.listener.names=CONTROLLER\n\
                    listeners=PLAINTEXT://:9092,CONTROLLER://:9093\n";
    check(
        &format!("{combined}security.inter.broker.protocol=SSL"),
        "Refused security.inter.broker.protocol=SSL: only PLAINTEXT is built in yet",
    );
    check(
        &format!("{combined}inter.broker.listener.name=SASL_SSL"),
        "Invalid value SASL_SSL for configuration inter.broker.listener.name: must be an advertised listener: \
         PLAINTEXT",
    );
}

#[test]
fn a_listener_that_promises_protection_is_not_opened() {
    let check = |listener: &str, map: &str, why: &str| {
        let lines = format!("listeners=PLAINTEXT://:9092,CONTROLLER://:9093,{listener}\n{map}");
        let error = with_lines(&lines).expect_err(&lines);
        assert_eq!(error.to_string(), format!("Refused listeners={listener}: {why}"));
    };
    check("SSL://:9094", "", "it speaks SSL, and TLS is not built in yet");
    check("SASL_PLAINTEXT://:9094", "", "it speaks SASL_PLAINTEXT, and SASL is not built in yet");
    check("SASL_SSL://:9094", "", "it speaks SASL_SSL, and neither TLS nor SASL is built in yet");
    let map = "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,OUTSIDE:SSL";
    check("OUTSIDE://:9094", map, "it speaks SSL, and TLS is not built in yet");
    // A name in the map that no listener uses does no harm.
    with_lines(map).expect("the map alone is fine");
    let controllers =
        COMBINED.to_owned() + "listener.security.protocol.map=CONTROLLER:SSL,PLAINTEXT:PLAINTEXT\n";
    let error = with_file(&controllers).expect_err("controllers over TLS");
    let expected = "Refused listeners=CONTROLLER://:9093: it speaks SSL, and TLS is not built in yet";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn an_authorizer_is_refused_and_its_settings_alone_are_not() {
    let authorizer = "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer";
    let users = "super.users=User:admin\nallow.everyone.if.no.acl.found=true";
    let error = with_lines(&format!("{authorizer}\n{users}")).expect_err("nobody would check anything");
    let expected = "Refused authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer: no \
                    authorizer is built in yet and every client would be let in";
    assert_eq!(error.to_string(), expected);
    with_lines(users).expect("without an authorizer they mean nothing, in Kafka too");
    with_lines("authorizer.class.name=").expect("empty is off");
}

#[test]
fn settings_of_one_mechanism_are_found_behind_their_prefix() {
    let jaas = "listener.name.outside.scram-sha-512.sasl.jaas.config";
    let (_, warnings) =
        with_lines(&format!("{jaas}=x.Module required password=s3cret;")).expect("no listener needs it");
    let said = warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert_eq!(said, format!("Configuration {jaas}=[hidden] has no effect: no listener speaks SASL"));
}

#[test]
fn a_secret_is_never_shown() {
    let (config, warnings) =
        with_lines("sasl.oauthbearer.client.credentials.client.secret=s3cret").expect("accepted");
    for text in [format!("{config:?}"), format!("{warnings:?}")] {
        assert!(!text.contains("s3cret"), "{text}");
    }
}

#[test]
fn a_value_from_a_provider_is_refused() {
    let check = |line: &str, value: &str| {
        let error = with_lines(line).expect_err(line);
        let rest = "configuration providers (${provider:...}) are not supported, write the value itself";
        assert_eq!(error.to_string(), format!("Refused {value}: {rest}"));
    };
    check("broker.rack=${file:/etc/rack:name}", "broker.rack=${file:/etc/rack:name}");
    check("broker.rack=a-${env:ZONE}", "broker.rack=a-${env:ZONE}");
    with_lines("broker.rack=${ZONE}").expect("no provider, no variable");
    with_lines("my.plugin=${env:ZONE}").expect("nothing reads it");
    with_lines("ssl.keystore.password=${file:/secrets:keystore}").expect("nothing needs it");
    let error = with_lines("config.providers=env").expect_err("no providers");
    assert_eq!(error.to_string(), "Refused config.providers=env: this broker cannot load Java classes");
}

#[test]
fn several_controllers_may_be_named_and_a_broker_may_be_none() {
    let voters = COMBINED.replace("3@localhost:9093", "3@localhost:9093,4@b:9093,5@c:9093");
    let (config, _) = with_file(&voters).expect("three voters");
    let ids: Vec<i32> = config.controller_quorum_voters.iter().map(|voter| voter.id.0).collect();
    assert_eq!(ids, [3, 4, 5]);
    let (servers, _) = with_lines("controller.quorum.bootstrap.servers=a:9093,b:9093").expect("two servers");
    assert_eq!(servers.controller_quorum_bootstrap_servers.len(), 2);
    let broker = "process.roles=broker\nnode.id=1\ncontroller.listener.names=CONTROLLER\n\
                  controller.quorum.bootstrap.servers=boss:9093\n";
    let (broker, _) = with_file(broker).expect("a controller elsewhere");
    assert!(broker.has_role(Role::Broker) && !broker.has_role(Role::Controller));
}

#[test]
fn a_dynamic_change_is_checked_before_it_is_made() {
    use DynamicScope::{AllBrokers, OneBroker};
    let check = |key: &str, value: &str, scope: DynamicScope, expected: Option<&str>| {
        let result = check_dynamic_config(key, value, scope).err().map(|error| error.to_string());
        assert_eq!(result.as_deref(), expected, "{key}={value}");
    };
    check("log.retention.ms", "1000", AllBrokers, None);
    check("log.retention.ms", "1000", OneBroker, None);
    check("leader.replication.throttled.rate", "1000", OneBroker, None);
    check("listener.name.plaintext.max.connections", "10", AllBrokers, None);
    check("my.plugin", "10", AllBrokers, None);
    let wrong = "Invalid value x for configuration log.retention.ms: must be a 64-bit whole number";
    check("log.retention.ms", "x", AllBrokers, Some(wrong));
    let fixed = "Cannot change configuration num.partitions: it only changes at a restart";
    check("num.partitions", "3", OneBroker, Some(fixed));
    let one = "Cannot change configuration cordoned.log.dirs: it is set for one broker";
    check("cordoned.log.dirs", "*", AllBrokers, Some(one));
    check("cordoned.log.dirs", "*", OneBroker, None);
    check("listener.name.plaintext.ssl.keystore.location", "/k", OneBroker, None);
    let refused =
        "Refused listener.name.plaintext.principal.builder.class=x.Y: this broker cannot load Java classes";
    check("listener.name.plaintext.principal.builder.class", "x.Y", OneBroker, Some(refused));
}
