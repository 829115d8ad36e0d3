"""Kafka's own command-line tools as people and scripts use them: what they print and how they exit."""

import re
from pathlib import Path

import pytest

from harness.clients import Record, consume, create_topic, kcat, produce, values
from harness.java_console import java_consume, java_produce
from harness.wait import wait_for


@pytest.fixture
def topics(tools, broker):
    """kafka-topics; with `fails` the tool must exit 1 and say that."""
    def run(*args, fails=None):
        result = tools("kafka-topics", *args, broker=broker, may_fail=fails is not None)
        if fails is not None:
            assert result.code == 1 and fails in result.all_text, result.all_text
        return result
    return run


# --- kafka-topics ------------------------------------------------------------------------------------------------

def test_the_life_of_a_topic(topics, tools, broker, name):
    name = name.replace("_", "-")
    made = topics("--create", "--topic", name, "--partitions", 3, "--replication-factor", 1,
                  "--config", "retention.ms=60000", "--config", "max.message.bytes=2000000")
    assert made.lines == [f"Created topic {name}."]
    wait_for(lambda: name in topics("--list").lines, f"{name} is listed")
    topics("--create", "--topic", name, fails=f"Topic '{name}' already exists.")
    assert topics("--create", "--if-not-exists", "--topic", name).lines == []

    head, *parts = topics("--describe", "--topic", name).lines
    assert re.match(rf"Topic: {name}\tTopicId: [\w-]{{22}}\tPartitionCount: 3\tReplicationFactor: 1\tConfigs: ", head)
    configs = head.split("Configs: ")[1].split(",")
    assert {"retention.ms=60000", "max.message.bytes=2000000"} <= set(configs)
    assert [re.sub("\tElr:.*", "", part) for part in parts] == \
        [f"\tTopic: {name}\tPartition: {number}\tLeader: 1\tReplicas: 1\tIsr: 1" for number in range(3)]
    assert topics("--describe", "--topic", name, "--topics-with-overrides").lines == [head]
    assert topics("--describe", "--topic", name, "--under-replicated-partitions").lines == []
    assert topics("--describe", "--topic", name, "--unavailable-partitions").lines == []

    assert topics("--delete", "--topic", name).lines == []
    wait_for(lambda: name not in topics("--list").lines, f"{name} is not listed")
    topics("--delete", "--topic", name, fails=f"Topic '{name}' does not exist as expected")
    topics("--describe", "--topic", name, fails=f"Topic '{name}' does not exist as expected")
    assert topics("--delete", "--if-exists", "--topic", name).lines == []


WRONG = [
    (["--config", "retention.ms=soon"], "Invalid value soon for configuration retention.ms"),
    (["--config", "no.such.config=1"], "no.such.config"),
    (["--replication-factor", "3"], "replication"),
    (["--replica-assignment", "7"], "7"),
]


@pytest.mark.parametrize("options, says", WRONG, ids=["value", "config", "replicas", "assignment"])
def test_a_wrong_topic_is_an_error_that_says_what_is_wrong(topics, name, options, says):
    topics("--create", "--topic", name, *options, fails=says)
    assert name not in topics("--list").lines


# --- kafka-configs -----------------------------------------------------------------------------------------------

def described(result):
    """name -> (value, {synonym: value}) of the lines that kafka-configs prints."""
    rows = {}
    for line in result.lines[1:]:
        found = re.fullmatch(r"  ([\w.-]+)=(.*) sensitive=(true|false) synonyms=\{(.*)\}", line)
        assert found, line
        rows[found[1]] = (found[2], set(filter(None, found[4].split(", "))))
    return rows


def test_row_20_every_topic_config_is_described_as_kafka_does(tools, broker, topic):
    """topic_configs.txt is what Apache Kafka prints, without the defaults that its storage tool sets dynamically."""
    shown = tools("kafka-configs", "--describe", "--entity-type", "topics", "--entity-name", topic, "--all",
                  broker=broker)
    assert shown.lines[0] == f"All configs for topic {topic} are:"
    golden = (Path(__file__).parent / "topic_configs.txt").read_text().splitlines()
    plain = [re.sub(r"DYNAMIC_DEFAULT_BROKER_CONFIG:[^,}]*(, )?", "", line.strip()) for line in shown.lines[1:]]
    assert sorted(plain) == sorted(golden)


def test_only_changed_topic_configs_without_all(tools, broker, name):
    create_topic(broker, name, retention_bytes="777", compression_type="lz4")
    shown = tools("kafka-configs", "--describe", "--entity-type", "topics", "--entity-name", name, broker=broker)
    assert shown.lines[0] == f"Dynamic configs for topic {name} are:"
    rows = described(shown)
    assert rows["retention.bytes"] == ("777", {"DYNAMIC_TOPIC_CONFIG:retention.bytes=777",
                                              "DEFAULT_CONFIG:log.retention.bytes=-1"})
    assert rows["compression.type"][0] == "lz4" and "retention.ms" not in rows


# What people set in public compose files, and what tools look at.
BROKER_CONFIGS = """
advertised.listeners auto.create.topics.enable broker.id broker.rack compression.type controller.listener.names
controller.quorum.voters default.replication.factor delete.topic.enable group.initial.rebalance.delay.ms
inter.broker.listener.name listener.security.protocol.map listeners log.cleanup.policy log.dirs
log.flush.interval.messages log.message.timestamp.type log.retention.bytes log.retention.hours log.retention.ms
log.segment.bytes message.max.bytes min.insync.replicas node.id num.io.threads num.network.threads num.partitions
offsets.retention.minutes offsets.topic.num.partitions offsets.topic.replication.factor process.roles
replica.lag.time.max.ms sasl.enabled.mechanisms socket.request.max.bytes ssl.keystore.location
transaction.max.timeout.ms transaction.state.log.min.isr transaction.state.log.replication.factor
unclean.leader.election.enable
""".split()


def test_row_20_a_brokers_configs_with_source_and_synonyms(tools, broker):
    shown = tools("kafka-configs", "--describe", "--entity-type", "brokers", "--entity-name", 1, "--all", broker=broker)
    assert shown.lines[0] == "All configs for broker 1 are:"
    rows = described(shown)
    assert not set(BROKER_CONFIGS) - set(rows)
    assert rows["node.id"][0] == "1" and "STATIC_BROKER_CONFIG:node.id=1" in rows["node.id"][1]
    assert rows["log.dirs"][0] == str(broker.data)
    assert rows["message.max.bytes"] == ("1048588", {"DEFAULT_CONFIG:message.max.bytes=1048588"})
    assert rows["offsets.topic.replication.factor"][1] == {
        "STATIC_BROKER_CONFIG:offsets.topic.replication.factor=1",
        "DEFAULT_CONFIG:offsets.topic.replication.factor=3"}


def test_configs_of_what_is_not_there(tools, broker, name):
    shown = tools("kafka-configs", "--describe", "--entity-type", "topics", "--entity-name", name, "--all",
                  broker=broker, may_fail=True)
    assert shown.code == 1, shown.all_text


# --- kafka-get-offsets -------------------------------------------------------------------------------------------

@pytest.fixture
def three(broker, name):
    """Partition p holds 10 * p records, the n-th of time 1000 * n."""
    create_topic(broker, name, partitions=3)
    produce(broker, name, [Record(b"v", timestamp=1000 * n, partition=p) for p in range(3) for n in range(1, 10 * p + 1)])
    return name


OFFSETS = {
    "latest": ([], ["0:0", "1:10", "2:20"]),
    "latest-by-name": (["--time", "latest"], ["0:0", "1:10", "2:20"]),
    "latest-by-number": (["--time", "-1"], ["0:0", "1:10", "2:20"]),
    "earliest": (["--time", "earliest"], ["0:0", "1:0", "2:0"]),
    "earliest-by-number": (["--time", "-2"], ["0:0", "1:0", "2:0"]),
    "max-timestamp": (["--time", "max-timestamp"], ["1:9", "2:19"]),
    "time": (["--time", "4500"], ["1:4", "2:4"]),
    "time-in-one": (["--time", "15000"], ["2:14"]),
    "time-in-none": (["--time", "20001"], []),
    "one-partition": (["--partitions", "2"], ["2:20"]),
}


def test_offsets_of_every_kind(tools, broker, three):
    for row, (options, expected) in OFFSETS.items():
        shown = tools("kafka-get-offsets", "--topic", three, *options, broker=broker).lines
        assert (row, shown) == (row, [f"{three}:{line}" for line in expected])
    by_pattern = tools("kafka-get-offsets", "--topic-partitions", f"{three}:0-2", broker=broker).lines
    assert by_pattern == [f"{three}:0:0", f"{three}:1:10"]


# --- kafka-broker-api-versions -----------------------------------------------------------------------------------

SERVED = ["Produce", "Fetch", "ListOffsets", "Metadata", "ApiVersions", "CreateTopics", "DeleteTopics",
          "InitProducerId", "DescribeConfigs"]


def test_api_versions_of_the_broker(tools, broker):
    head, *rows, end = tools("kafka-broker-api-versions", broker=broker).lines
    assert head == f"{broker.bootstrap} (id: 1 rack: null isFenced: false) -> (" and end == ")"
    shown = {}
    for row in rows:
        found = re.fullmatch(r"\t(\w+)\((\d+)\): (?:(\d+)(?: to (\d+))? \[usable: (\d+)\]|UNSUPPORTED),?", row)
        assert found, f"a client cannot read or use this: {row!r}"
        if found[3]:
            shown[found[1]] = (int(found[3]), int(found[4] or found[3]), int(found[5]))
    assert not set(SERVED) - set(shown)
    assert shown["Produce"][0] == 0, "row 4: from 0, or librdkafka does not compress"
    # A broker may be a release ahead of the client that asks, never more.
    assert all(newest - usable in (0, 1) for _, newest, usable in shown.values()), shown


# --- kafka-acls --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("what", [["--list"], ["--add", "--allow-principal", "User:a", "--operation", "Read", "--topic", "t"],
                                  ["--remove", "--topic", "t", "--force"]], ids=lambda words: words[0][2:])
def test_access_rules_need_an_authorizer(tools, broker, what):
    shown = tools("kafka-acls", *what, broker=broker, may_fail=True, within=20)
    assert shown.code == 1 and "SecurityDisabledException: No Authorizer is configured" in shown.all_text, shown.all_text


# --- console clients, kcat ---------------------------------------------------------------------------------------

def test_the_console_consumer_shows_everything_of_a_record(tools, broker, topic):
    produce(broker, topic, [Record(b"v", b"k", [("h", b"1")], timestamp=1234), Record(None, None, timestamp=5678)])
    shown = java_consume(tools, broker, topic, 2, shows=["timestamp", "partition", "offset", "headers", "key"])
    assert shown == (b"CreateTime:1234\tPartition:0\tOffset:0\th:1\tk\tv\n"
                     b"CreateTime:5678\tPartition:0\tOffset:1\tNO_HEADERS\tnull\tnull\n")
    assert java_consume(tools, broker, topic, 1, offset=1, shows=["offset"]) == b"Offset:1\tnull\n"


def test_the_console_producer_waits_for_its_acks(tools, broker, topic):
    java_produce(tools, broker, topic, [b"%d" % n for n in range(50)], acks="all", linger_ms=0, max_in_flight_requests_per_connection=1)
    assert values(consume(broker, topic)) == [b"%d" % n for n in range(50)]


def test_row_03a_kcat_of_debian_reads_our_metadata(broker, topic):
    """librdkafka 2.0.2 fails with "Read underflow" when tagged fields are written that hold their default."""
    listed = kcat(broker, "-L", "-t", topic).decode()
    assert f"broker 1 at {broker.bootstrap} (controller)" in listed
    assert f'topic "{topic}" with 1 partitions:\n    partition 0, leader 1, replicas: 1, isrs: 1' in listed
    said = kcat(broker, "-L", "-d", "protocol,feature,broker", may_fail=True)
    assert said.returncode == 0 and b"underflow" not in said.stderr.lower()


# --- the levels of loggers ---------------------------------------------------------------------------------------

def test_a_loggers_level_changes_at_once(tools, brokers):
    broker = brokers("loggers").start()
    of_broker = ["--entity-type", "broker-loggers", "--entity-name", 1]
    configs = lambda *words, **options: tools("kafka-configs", *words, *of_broker, broker=broker, **options)

    def shown():
        head, *rows = configs("--describe").lines
        assert head == "Dynamic configs for broker-logger 1 are:"
        return dict(re.fullmatch(r"  (\S+)=([A-Z]+) sensitive=false synonyms=\{\}", row).groups() for row in rows)

    def is_logged():
        """Whether a request that is made now has a line in the log."""
        before = len(broker.log_text())
        shown()
        return bool(re.search("DescribeConfigs|DESCRIBE_CONFIGS", broker.log_text()[before:]))

    assert shown()["root"] == "INFO" and not is_logged()
    configs("--alter", "--add-config", "kafka.request.logger=DEBUG")
    assert shown()["kafka.request.logger"] == "DEBUG"
    wait_for(is_logged, "requests are logged")
    configs("--alter", "--delete-config", "kafka.request.logger")
    assert shown()["kafka.request.logger"] == "INFO"
    wait_for(lambda: not is_logged(), "requests are not logged any more")
    for change, why in (("no.such.logger=DEBUG", "Invalid broker logger(s): no.such.logger"),
                        ("root=LOUD", "InvalidConfigurationException")):
        refused = configs("--alter", "--add-config", change, may_fail=True)
        assert refused.code == 1 and why in refused.all_text, refused.all_text
