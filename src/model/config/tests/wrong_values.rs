//! Every wrong value stops the start with one line: the key, its value, what is allowed.

use super::{COMBINED, with_file, with_lines};

/// The shipped settings with these lines over them fail with exactly this message.
fn check(lines: &str, expected: &str) {
    let error = with_lines(lines).expect_err(lines);
    assert_eq!(error.to_string(), expected, "{lines}");
    assert!(!error.to_string().contains('\n'), "more than one line: {error}");
}

#[test]
fn a_value_of_the_wrong_form() {
    let cases = [
        ("num.partitions=many", "many", "num.partitions", "a 32-bit whole number, 1 or more"),
        ("num.partitions=0", "0", "num.partitions", "a 32-bit whole number, 1 or more"),
        ("num.partitions=", "", "num.partitions", "a 32-bit whole number, 1 or more"),
        ("num.partitions=99999999999", "99999999999", "num.partitions", "a 32-bit whole number, 1 or more"),
        ("log.retention.ms=1d", "1d", "log.retention.ms", "a 64-bit whole number"),
        (
            "offsets.topic.replication.factor=40000",
            "40000",
            "offsets.topic.replication.factor",
            "a 16-bit whole number, 1 or more",
        ),
        ("auto.create.topics.enable=yes", "yes", "auto.create.topics.enable", "true or false"),
        (
            "log.cleaner.min.cleanable.ratio=1.5",
            "1.5",
            "log.cleaner.min.cleanable.ratio",
            "a number from 0 to 1",
        ),
        (
            "log.cleaner.min.cleanable.ratio=0.5g",
            "0.5g",
            "log.cleaner.min.cleanable.ratio",
            "a number from 0 to 1",
        ),
        (
            "compression.type=brotli",
            "brotli",
            "compression.type",
            "one of uncompressed, zstd, lz4, snappy, gzip, producer",
        ),
        (
            "compression.gzip.level=0",
            "0",
            "compression.gzip.level",
            "a 32-bit whole number from 1 to 9, or -1",
        ),
        (
            "compression.zstd.level=23",
            "23",
            "compression.zstd.level",
            "a 32-bit whole number from -131072 to 22",
        ),
        (
            "group.consumer.migration.policy=no",
            "no",
            "group.consumer.migration.policy",
            "one of DISABLED, DOWNGRADE, UPGRADE, BIDIRECTIONAL in any case",
        ),
        (
            "log.cleanup.policy=delete,shrink",
            "delete,shrink",
            "log.cleanup.policy",
            "a list of compact, delete without empty items",
        ),
        (
            "log.cleanup.policy=delete,,delete",
            "delete,,delete",
            "log.cleanup.policy",
            "a list of compact, delete without empty items",
        ),
        ("log.dirs=/a,,/b", "/a,,/b", "log.dirs", "a non-empty list without empty items"),
        ("log.dirs=", "", "log.dirs", "a non-empty list without empty items"),
        ("log.segment.bytes=1000", "1000", "log.segment.bytes", "a 32-bit whole number, 1048576 or more"),
        ("message.max.bytes=-1", "-1", "message.max.bytes", "a 32-bit whole number, 0 or more"),
        (
            "process.roles=broker,zookeeper",
            "broker,zookeeper",
            "process.roles",
            "a non-empty list of broker, controller without empty items",
        ),
        ("node.id=-1", "-1", "node.id", "a 32-bit whole number, 0 or more"),
        (
            "remote.log.metadata.manager.impl.prefix=",
            "",
            "remote.log.metadata.manager.impl.prefix",
            "a non-empty string",
        ),
        (
            "controller.quorum.voters=1@localhost",
            "1@localhost",
            "controller.quorum.voters",
            "a comma-separated list of id@host:port",
        ),
        (
            "controller.quorum.voters=one@localhost:9093",
            "one@localhost:9093",
            "controller.quorum.voters",
            "a comma-separated list of id@host:port",
        ),
        (
            "controller.quorum.bootstrap.servers=localhost",
            "localhost",
            "controller.quorum.bootstrap.servers",
            "a comma-separated list of host:port",
        ),
        (
            "listeners=PLAINTEXT:9092",
            "PLAINTEXT:9092",
            "listeners",
            "a comma-separated list of name://host:port",
        ),
        (
            "listeners=PLAINTEXT://:port",
            "PLAINTEXT://:port",
            "listeners",
            "a comma-separated list of name://host:port",
        ),
        (
            "listeners=PLAINTEXT://:65536",
            "PLAINTEXT://:65536",
            "listeners",
            "a comma-separated list of name://host:port",
        ),
        (
            "listeners=PLAINTEXT://a host:1",
            "PLAINTEXT://a host:1",
            "listeners",
            "a comma-separated list of name://host:port",
        ),
        (
            "listener.security.protocol.map=PLAINTEXT",
            "PLAINTEXT",
            "listener.security.protocol.map",
            "a comma-separated list of name:protocol",
        ),
        (
            "listener.security.protocol.map=PLAINTEXT:PLAIN",
            "PLAINTEXT:PLAIN",
            "listener.security.protocol.map",
            "name:protocol with PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL as protocol",
        ),
        (
            "max.connections.per.ip.overrides=host",
            "host",
            "max.connections.per.ip.overrides",
            "a comma-separated list of host:count",
        ),
        (
            "max.connections.per.ip.overrides=host:many",
            "host:many",
            "max.connections.per.ip.overrides",
            "a comma-separated list of host:count",
        ),
        ("ssl.client.auth=maybe", "maybe", "ssl.client.auth", "one of required, requested, none"),
        (
            "listener.name.plaintext.max.connections=-5",
            "-5",
            "max.connections",
            "a 32-bit whole number, 0 or more",
        ),
    ];
    for (lines, value, key, allowed) in cases {
        check(lines, &format!("Invalid value {value} for configuration {key}: must be {allowed}"));
    }
}

#[test]
fn listeners_that_do_not_fit_together() {
    let cases = [
        (
            "listeners=PLAINTEXT://:9092,PLAINTEXT://:9094,CONTROLLER://:9093",
            "Invalid value PLAINTEXT://:9092,PLAINTEXT://:9094,CONTROLLER://:9093 for configuration listeners: \
             PLAINTEXT is there twice",
        ),
        (
            "listeners=PLAINTEXT://:9092,CONTROLLER://:9092",
            "Invalid value PLAINTEXT://:9092,CONTROLLER://:9092 for configuration listeners: port 9092 is there \
             twice, which only an IPv4 and an IPv6 address may do",
        ),
        (
            "listeners=PLAINTEXT://:9092,INSIDE://:9094,CONTROLLER://:9093",
            "Invalid value INSIDE://:9094 for configuration listeners: must be a listener that \
             listener.security.protocol.map names: CONTROLLER, PLAINTEXT, SASL_PLAINTEXT, SASL_SSL, SSL",
        ),
        (
            "advertised.listeners=PLAINTEXT://0.0.0.0:9092",
            "Invalid value PLAINTEXT://0.0.0.0:9092 for configuration advertised.listeners: clients cannot \
             connect to 0.0.0.0, set advertised.listeners to an address they can reach",
        ),
        (
            "advertised.listeners=PLAINTEXT://a:1,PLAINTEXT://b:1",
            "Invalid value PLAINTEXT://a:1,PLAINTEXT://b:1 for configuration advertised.listeners: PLAINTEXT is \
             there twice",
        ),
        (
            "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,X:PLAINTEXT\n\
             advertised.listeners=PLAINTEXT://a:1,X://a:2",
            "Invalid value X://a:2 for configuration advertised.listeners: its name must be one of listeners: \
             PLAINTEXT, CONTROLLER",
        ),
        (
            "advertised.listeners=CONTROLLER://a:1",
            "Invalid value PLAINTEXT, CONTROLLER for configuration advertised.listeners: must have a listener \
             that is not in controller.listener.names, for clients to use",
        ),
        (
            "inter.broker.listener.name=INSIDE",
            "Invalid value INSIDE for configuration inter.broker.listener.name: must be a listener that \
             listener.security.protocol.map names: CONTROLLER, PLAINTEXT, SASL_PLAINTEXT, SASL_SSL, SSL",
        ),
        (
            "inter.broker.listener.name=CONTROLLER",
            "Invalid value CONTROLLER for configuration inter.broker.listener.name: must be an advertised \
             listener: PLAINTEXT",
        ),
        (
            "security.inter.broker.protocol=PLAINTEXT",
            "Invalid value PLAINTEXT for configuration inter.broker.listener.name: set either this or \
             security.inter.broker.protocol, not both",
        ),
        (
            "controller.listener.names=BOSS",
            "Invalid value BOSS for configuration controller.listener.names: BOSS must be in listeners, since \
             process.roles has controller",
        ),
        (
            "process.roles=broker",
            "Invalid value CONTROLLER for configuration controller.listener.names: CONTROLLER must not be in \
             listeners, since process.roles has no controller",
        ),
        (
            "process.roles=controller",
            "Invalid value PLAINTEXT://:9092 for configuration listeners: must only have names of \
             controller.listener.names, since process.roles=controller",
        ),
    ];
    for (lines, expected) in cases {
        check(lines, expected);
    }
    let wildcard = COMBINED.replace("PLAINTEXT://:9092", "PLAINTEXT://0.0.0.0:9092");
    let expected = "Invalid value PLAINTEXT://0.0.0.0:9092 for configuration listeners: clients cannot connect to \
                    0.0.0.0, set advertised.listeners to an address they can reach";
    assert_eq!(with_file(&wildcard).expect_err("nothing routable").to_string(), expected);
}

#[test]
fn listeners_that_do() {
    let check = |lines: &str| with_lines(lines).unwrap_or_else(|e| panic!("{lines}: {e}"));
    check("listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://[::1]:9092");
    check("listeners=PLAINTEXT://:0,CONTROLLER://:0");
    check("listeners=plaintext://:9092,controller://0.0.0.0:9093\ninter.broker.listener.name=plaintext");
    check("advertised.listeners=PLAINTEXT://a:9092,CONTROLLER://a:9092");
    let (config, _) = check("listeners=PLAINTEXT://[fe80::1%eth0]:9092,CONTROLLER://:9093");
    assert_eq!(config.listeners[0].to_string(), "PLAINTEXT://[fe80::1%eth0]:9092");
    // A node without a map of its own may give its controller listeners any name.
    let (config, _) = with_file(&COMBINED.replace("CONTROLLER", "BOSS")).expect("any name for controllers");
    assert_eq!(config.controller_listener_names, ["BOSS"]);
}

#[test]
fn keys_that_contradict_each_other() {
    let cases = [
        ("log.roll.ms=0", "0", "log.roll.ms", "must be 1 or more"),
        ("log.roll.jitter.ms=-1", "-1", "log.roll.jitter.ms", "must be 0 or more"),
        (
            "log.retention.hours=0",
            "0",
            "log.retention.hours",
            "must be 1 or more, or -1 to keep records for ever",
        ),
        (
            "log.retention.minutes=0",
            "0",
            "log.retention.minutes",
            "must be 1 or more, or -1 to keep records for ever",
        ),
        (
            "log.cleaner.min.compaction.lag.ms=10\nlog.cleaner.max.compaction.lag.ms=9",
            "10",
            "min.compaction.lag.ms",
            "must not exceed max.compaction.lag.ms, which is 9",
        ),
        (
            "log.cleaner.threads=128",
            "134217728",
            "log.cleaner.dedupe.buffer.size",
            "must be more than 1 MiB for each of 128 log.cleaner.threads",
        ),
        ("cordoned.log.dirs=/other", "/other", "cordoned.log.dirs", "must be one of log.dirs, or * alone"),
        ("cordoned.log.dirs=*,./ottla-data", "*", "cordoned.log.dirs", "must be one of log.dirs, or * alone"),
        (
            "queued.max.request.bytes=1",
            "1",
            "queued.max.request.bytes",
            "must be at least socket.request.max.bytes, which is 104857600",
        ),
        (
            "max.connections.per.ip=0",
            "0",
            "max.connections.per.ip",
            "may only be 0 together with max.connections.per.ip.overrides",
        ),
        (
            "connections.max.idle.ms=100",
            "100",
            "connection.failed.authentication.delay.ms",
            "must be below connections.max.idle.ms, which is 100",
        ),
        ("early.start.listeners=X", "X", "early.start.listeners", "must be a name in listeners"),
        (
            "replica.fetch.wait.max.ms=40000",
            "40000",
            "replica.fetch.wait.max.ms",
            "must not exceed replica.socket.timeout.ms, which is 30000",
        ),
        (
            "group.coordinator.rebalance.protocols=consumer",
            "consumer",
            "group.coordinator.rebalance.protocols",
            "must have classic",
        ),
        (
            "group.consumer.session.timeout.ms=70000",
            "70000",
            "group.consumer.session.timeout.ms",
            "must not exceed group.consumer.max.session.timeout.ms, which is 60000",
        ),
        (
            "group.share.heartbeat.interval.ms=15000\ngroup.share.session.timeout.ms=15000\n\
             group.share.min.session.timeout.ms=15000",
            "15000",
            "group.share.heartbeat.interval.ms",
            "must be below group.share.session.timeout.ms, which is 15000",
        ),
        (
            "controller.quorum.voters=2@localhost:9093",
            "2@localhost:9093",
            "controller.quorum.voters",
            "must have node.id 1, since process.roles has controller",
        ),
    ];
    for (lines, value, key, rule) in cases {
        check(lines, &format!("Invalid value {value} for configuration {key}: {rule}"));
    }
}

#[test]
fn a_file_that_lacks_what_must_be_there() {
    let check = |missing: &str, expected: &str| {
        let file: String =
            COMBINED.lines().filter(|line| !line.starts_with(missing)).map(|l| format!("{l}\n")).collect();
        assert_eq!(with_file(&file).expect_err(missing).to_string(), expected);
    };
    check(
        "process.roles",
        "Missing configuration process.roles: must be a non-empty list of broker, controller without empty items",
    );
    check("node.id", "Missing configuration node.id: must be a 32-bit whole number, 0 or more");
    check(
        "controller.listener.names",
        "Missing configuration controller.listener.names: must be a non-empty list without empty items",
    );
    check(
        "listeners",
        "Invalid value CONTROLLER for configuration controller.listener.names: CONTROLLER must be in listeners, \
         since process.roles has controller",
    );
    let broker = "process.roles=broker\nnode.id=1\ncontroller.listener.names=CONTROLLER\n";
    let expected = "Missing configuration controller.quorum.bootstrap.servers: must be a comma-separated list of \
                    host:port, unless controller.quorum.voters is set";
    assert_eq!(with_file(broker).expect_err("no controllers").to_string(), expected);
    // A combined node is its own controller, whether the file says so or not.
    let alone: String =
        COMBINED.lines().filter(|l| !l.contains("voters")).map(|l| format!("{l}\n")).collect();
    assert!(with_file(&alone).is_ok());
}

#[test]
fn a_file_that_cannot_be_read() {
    let error = with_file("a=1\nb=\\u12\n").expect_err("a broken escape");
    let expected = "server.properties:2: \\u is not followed by four hexadecimal digits";
    assert_eq!(error.to_string(), expected);
}
