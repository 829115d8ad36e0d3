"""Clients that do not negotiate, and what clients expect of metadata: rows 5 and 18."""

import pytest

from harness.adapter import Adapter, AdapterError
from harness.clients import admin, consume, values
from harness.wait import wait_for

# What Sarama users set, from its own default (2.1) to the newest; below 2.0 it asks for what Kafka 4 has dropped.
SARAMA_VERSIONS = ["2.0.0", "2.1.0", "2.4.0", "2.8.0", "3.0.0", "3.6.0", "4.0.0"]


@pytest.mark.parametrize("version", SARAMA_VERSIONS)
def test_row_05_sarama_expects_the_apis_of_the_version_it_was_told(broker, name, version):
    client = Adapter("sarama", broker.bootstrap, {"SARAMA_VERSION": version})
    try:
        client("create", topic=name, partitions=1, configs={"retention.ms": "60000"})
        wait_for(lambda: name in client("topics"), "the topic is listed")
        client("produce", topic=name, records=[{"key": "k", "value": str(n)} for n in range(5)], compression="gzip")
        assert [one["value"] for one in client("consume", topic=name, count=5)] == list("01234")
        client("commit", group=f"{name}-group", topic=name, offset=2)
        assert client("committed", group=f"{name}-group", topic=name)[0] == 2
        client.join(f"{name}-group", [name])
        wait_for(lambda: len(client.look().processed) == 3, "the group goes on behind its commit")
        client.leave()
        assert client("group", group=f"{name}-group") == ["Empty", 0]
        client("delete", topic=name)
    finally:
        client.close()


AUTO_CREATORS = ["confluent-kafka", "kafka-python", "aiokafka", "java", "sarama", "kafkajs"]


@pytest.mark.parametrize("client_name", AUTO_CREATORS)
def test_row_18_the_first_record_creates_its_topic(broker, name, client_name):
    """And is not lost: the topic has a leader when the client comes with it."""
    client = Adapter(client_name, broker.bootstrap)
    try:
        assert client("produce", topic=name, records=[{"value": "first"}]) == [0]
    finally:
        client.close()
    assert values(consume(broker, name)) == [b"first"]


def test_row_19_looking_at_an_unknown_topic_creates_nothing(broker, name):
    """kcat's list and the admin clients ask without auto-creation, on a broker that would create."""
    client = Adapter("java", broker.bootstrap)
    try:
        with pytest.raises(AdapterError) as failure:
            client("describe", topic=name)
        assert failure.value.code == 3
    finally:
        client.close()
    assert name not in admin(broker).list_topics(timeout=10).topics
