"""The client matrix: errors that users meet arrive as what they are."""

import pytest
from harness.adapter import AdapterError
from harness.clients import admin, create_topic
from harness.matrix import scenario

UNKNOWN_TOPIC_OR_PARTITION, MESSAGE_TOO_LARGE, TOPIC_ALREADY_EXISTS = 3, 10, 36
INVALID_PARTITIONS, INVALID_CONFIG, INVALID_TOPIC_EXCEPTION, GROUP_ID_NOT_FOUND = 37, 40, 17, 69


def fails(code, client, *command, **options):
    with pytest.raises(AdapterError) as failure:
        client(*command, **options)
    assert failure.value.code in (code if isinstance(code, tuple) else (code,)), failure.value


@scenario("errors")
def test_row_19_producing_to_an_unknown_topic_fails_and_creates_nothing(client, broker, name):
    """How a client says so is its own affair (some time out): that it does not hang, and nothing is made."""
    with pytest.raises(AdapterError):
        client("produce", topic=name, records=[{"value": "v"}])
    assert name not in admin(broker).list_topics(timeout=10).topics


@scenario("errors")
def test_an_unknown_topic(client, name):
    client.needs("describe", "delete")
    fails(UNKNOWN_TOPIC_OR_PARTITION, client, "describe", topic=name)
    fails(UNKNOWN_TOPIC_OR_PARTITION, client, "delete", topic=name)


@scenario("errors")
def test_a_record_too_large(client, broker, name):
    create_topic(broker, name, max_message_bytes="2000")
    fails(MESSAGE_TOO_LARGE, client, "produce", topic=name, records=[{"value": "x" * 20_000}])
    assert client("produce", topic=name, records=[{"value": "small"}]) == [0]


@scenario("errors")
def test_a_topic_that_is_there(client, topic):
    client.needs("create")
    fails(TOPIC_ALREADY_EXISTS, client, "create", topic=topic)


@scenario("errors")
def test_a_wrong_topic(client, topic, name):
    client.needs("create")
    fails(INVALID_CONFIG, client, "create", topic=f"{name}-1", configs={"retention.ms": "soon"})
    fails(INVALID_CONFIG, client, "create", topic=f"{name}-2", configs={"no.such.config": "1"})
    fails((INVALID_TOPIC_EXCEPTION, None), client, "create", topic="no spaces")  # some clients know by themselves


@scenario("errors")
def test_a_wrong_change(client, topic):
    client.needs("configure")
    fails(INVALID_CONFIG, client, "configure", topic=topic, configs={"retention.ms": "soon"})


@scenario("errors")
def test_fewer_partitions(client, broker, name):
    client.needs("grow")
    create_topic(broker, name, partitions=2)
    fails(INVALID_PARTITIONS, client, "grow", topic=name, partitions=1)


@scenario("errors")
def test_an_unknown_group(client, name):
    client.needs("forget")
    fails(GROUP_ID_NOT_FOUND, client, "forget", group=name)
