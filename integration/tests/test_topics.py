"""Topics come and go: creation with all its refusals, deletion, automatic creation, and asking without creating."""

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import ConfigResource, NewTopic, ResourceType

from harness.clients import (Record, admin, consume, consumer, create_topic, is_led, kcat, kcat_consume, produce, records,
                             try_produce, values)
from harness.java_console import java_produce
from harness.wait import wait_for


def error_of(future):
    failure = future.exception(30)
    return failure.args[0].code() if failure else None


def create(broker, new, **options):
    client = admin(broker)
    return error_of(client.create_topics([new], **options)[new.topic])


def delete(broker, name):
    client = admin(broker)
    return error_of(client.delete_topics([name])[name])


def exists(broker, name):
    return name in admin(broker).list_topics(timeout=10).topics


def leaders(broker, name):
    return [p.leader for _, p in sorted(admin(broker).list_topics(timeout=10).topics[name].partitions.items())]


# --- creation ----------------------------------------------------------------------------------------------------

def test_partitions_and_configs_are_as_asked(broker, name):
    create_topic(broker, name, partitions=5, retention_ms="1234567", cleanup_policy="compact,delete")
    assert leaders(broker, name) == [1] * 5
    got = topic_configs(broker, name)
    assert (got["retention.ms"].value, got["cleanup.policy"].value) == ("1234567", "compact,delete")


# name to send ({} is the test's own name), options of NewTopic, error
REFUSED = {
    "space": ("a b", {}, KafkaError.TOPIC_EXCEPTION),
    "slash": ("a/b", {}, KafkaError.TOPIC_EXCEPTION),
    "dot": (".", {}, KafkaError.TOPIC_EXCEPTION),
    "two-dots": ("..", {}, KafkaError.TOPIC_EXCEPTION),
    "too-long": ("l" * 250, {}, KafkaError.TOPIC_EXCEPTION),
    "no-partitions": ("{}", {"num_partitions": 0, "replication_factor": 1}, KafkaError.INVALID_PARTITIONS),
    "two-replicas": ("{}", {"num_partitions": 1, "replication_factor": 2}, KafkaError.INVALID_REPLICATION_FACTOR),
    "unknown-config": ("{}", {"config": {"no.such.config": "1"}}, KafkaError.INVALID_CONFIG),
    "wrong-number": ("{}", {"config": {"retention.ms": "soon"}}, KafkaError.INVALID_CONFIG),
    "wrong-word": ("{}", {"config": {"cleanup.policy": "shred"}}, KafkaError.INVALID_CONFIG),
    "out-of-range": ("{}", {"config": {"min.cleanable.dirty.ratio": "2"}}, KafkaError.INVALID_CONFIG),
    "unknown-broker": ("{}", {"num_partitions": 1, "replica_assignment": [[9]]}, KafkaError.INVALID_REPLICA_ASSIGNMENT),
    "broker-twice": ("{}", {"num_partitions": 1, "replica_assignment": [[1, 1]]}, KafkaError.INVALID_REPLICA_ASSIGNMENT),
}


@pytest.mark.parametrize("row", REFUSED)
@pytest.mark.parametrize("validate_only", [False, True], ids=["create", "validate"])
def test_a_wrong_topic_is_refused_and_not_made(broker, name, row, validate_only):
    asked, options, code = REFUSED[row]
    asked = asked.format(name)
    new = NewTopic(asked, **{"num_partitions": 1, **options})
    assert create(broker, new, validate_only=validate_only) == code
    assert not exists(broker, asked)


def test_a_topic_that_exists_is_refused(broker, topic):
    for validate_only in (False, True):
        assert create(broker, NewTopic(topic, 1), validate_only=validate_only) == KafkaError.TOPIC_ALREADY_EXISTS


def test_names_that_differ_in_dot_and_underscore_collide(broker, name):
    dotted, underscored = name.replace("_", "-") + ".x", name.replace("_", "-") + "_x"
    create_topic(broker, dotted)
    assert create(broker, NewTopic(underscored, 1)) == KafkaError.TOPIC_EXCEPTION


def test_validation_alone_makes_nothing(broker, name):
    assert create(broker, NewTopic(name, 3, config={"retention.ms": "1"}), validate_only=True) is None
    assert not exists(broker, name)
    assert create(broker, NewTopic(name, 3)) is None


def test_an_explicit_assignment_decides_the_partitions(broker, name):
    assert create(broker, NewTopic(name, 3, replica_assignment=[[1], [1], [1]])) is None
    wait_for(lambda: is_led(admin(broker), name, 3), f"{name} has leaders")
    assert leaders(broker, name) == [1, 1, 1]
    for partition in range(3):
        assert consume(broker, name, partition=partition) == []


def test_defaults_come_from_the_broker(broker, name):
    assert create(broker, NewTopic(name, -1, -1)) is None
    wait_for(lambda: is_led(admin(broker), name), f"{name} has a leader")


# --- deletion ----------------------------------------------------------------------------------------------------

def test_a_deleted_topic_is_gone_and_comes_back_empty(broker, name):
    for generation in (b"first", b"second", b"third"):
        create_topic(broker, name, partitions=2)
        assert [report.offset() for report in produce(broker, name, records(generation))] == [0]
        both = [value for partition in (0, 1) for value in values(consume(broker, name, partition=partition))]
        assert both == [generation]
        assert delete(broker, name) is None
        wait_for(lambda: not exists(broker, name), f"{name} is gone")
        wait_for(lambda: not list(broker.data.glob(f"{name}-[01]")), f"the folders of {name} are gone or renamed")
    assert delete(broker, name) == KafkaError.UNKNOWN_TOPIC_OR_PART


# --- what is not there -------------------------------------------------------------------------------------------

def probe(broker, name, **config):
    """Asks for one topic's metadata as consumers do; the error it gets."""
    client = consumer(broker, **config)
    try:
        return client.list_topics(name, timeout=10).topics[name].error
    finally:
        client.close()


def test_row_07_every_client_understands_that_a_topic_is_unknown(tools, broker, name):
    """An error response has the version of its request: old and new clients can read it."""
    assert probe(broker, name).code() == KafkaError.UNKNOWN_TOPIC_OR_PART
    assert delete(broker, name) == KafkaError.UNKNOWN_TOPIC_OR_PART
    said = kcat(broker, "-C", "-e", "-t", name, "-p", 0, "-X", "topic.metadata.propagation.max.ms=100", may_fail=True).stderr.decode()
    assert "Unknown topic or partition" in said
    described = tools("kafka-topics", "--describe", "--topic", name, broker=broker, may_fail=True)
    assert described.code == 1 and "does not exist as expected" in described.all_text
    assert not exists(broker, name)


def test_a_partition_beyond_the_last_is_unknown(broker, topic):
    report = try_produce(broker, topic, [Record(b"v", partition=7)])[0]
    assert report.error().code() == KafkaError._UNKNOWN_PARTITION
    said = kcat(broker, "-P", "-t", topic, "-p", 7, stdin=b"v", may_fail=True)
    assert said.returncode != 0 and "Unknown partition" in said.stderr.decode()


# --- automatic creation ------------------------------------------------------------------------------------------

def confluent_makes(tools, broker, name):
    assert produce(broker, name, records(b"first"), message_timeout_ms=10_000)[0].offset() == 0


def kcat_makes(tools, broker, name):
    kcat(broker, "-P", "-t", name, "-X", "message.timeout.ms=10000", stdin=b"first")


def java_makes(tools, broker, name):
    said = java_produce(tools, broker, name, [b"first"], max_block_ms=10_000).all_text
    assert "Exception" not in said, said


@pytest.mark.parametrize("makes", [confluent_makes, kcat_makes, java_makes])
def test_row_18_an_automatic_topic_has_a_leader_when_the_first_record_comes(tools, broker, name, makes):
    makes(tools, broker, name)
    assert leaders(broker, name) == [1]
    assert values(consume(broker, name)) == [b"first"]


def test_row_19_asking_for_a_topic_without_leave_to_create_creates_nothing(broker, name):
    assert probe(broker, name).code() == KafkaError.UNKNOWN_TOPIC_OR_PART
    assert not exists(broker, name)


@pytest.fixture(scope="module")
def strict(brokers):
    return brokers("strict", config={"auto.create.topics.enable": "false", "num.partitions": 3}).start()


def test_row_19_a_broker_without_automatic_creation_makes_nothing(tools, strict, name):
    assert probe(strict, name, allow_auto_create_topics=True).code() == KafkaError.UNKNOWN_TOPIC_OR_PART
    report = try_produce(strict, name, records(b"lost"), message_timeout_ms=3000,
                         topic_metadata_propagation_max_ms=500)[0]
    assert report.error().code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC)
    assert kcat(strict, "-P", "-t", name, "-X", "message.timeout.ms=3000", "-X",
                "topic.metadata.propagation.max.ms=500", stdin=b"lost", may_fail=True).returncode != 0
    said = java_produce(tools, strict, name, [b"lost"], max_block_ms=1500).all_text
    assert f"Topic {name} not present in metadata" in said
    assert not exists(strict, name)
    assert create(strict, NewTopic(name, -1, -1)) is None
    wait_for(lambda: is_led(admin(strict), name, 3), "num.partitions partitions are led")
    produce(strict, name, records(b"kept"))
    assert kcat_consume(strict, name, partition=0) in (b"", b"kept\n")


# --- configs -----------------------------------------------------------------------------------------------------

def topic_configs(broker, name):
    client, resource = admin(broker), ConfigResource(ResourceType.TOPIC, name)
    return client.describe_configs([resource])[resource].result(10)


def test_row_20_a_topics_configs_come_with_source_and_synonyms(broker, name):
    create_topic(broker, name, segment_bytes="2000000")
    got = topic_configs(broker, name)
    changed, default = got["segment.bytes"], got["max.message.bytes"]
    assert (changed.value, changed.is_default, default.value, default.is_default) == \
        ("2000000", False, "1048588", True)
    assert [(s.name, s.value) for s in changed.synonyms.values()][0] == ("segment.bytes", "2000000")
    assert default.synonyms["message.max.bytes"].value == "1048588"
    assert not any(entry.is_read_only or entry.is_sensitive for entry in got.values())
    assert len(got) >= 30


def test_configs_of_an_unknown_topic_are_an_error(broker, name):
    with pytest.raises(KafkaException) as failure:
        topic_configs(broker, name)
    assert failure.value.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART
