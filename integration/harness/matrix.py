"""What the tests of the client matrix share: the scenarios' names, and groups as they are seen from outside."""

import pytest
from confluent_kafka import TopicPartition

from .broker import Broker
from .clients import consumer
from .cluster import Cluster

CODECS = ["gzip", "snappy", "lz4", "zstd"]
# The columns of the scorecard, in its order.
SCENARIOS = {
    "records": "keys, nulls, times",
    "headers": "headers",
    "codecs": "codecs",
    "groups": "groups grow and shrink",
    "kill": "kill -9 of a member",
    "commits": "commits survive restarts",
    "seeks": "seeks",
    "admin": "admin",
    "errors": "errors",
}


def scenario(name):
    assert name in SCENARIOS
    return pytest.mark.scenario(name)


def front(nodes, kind, name, tools, config):
    """What clients see as their broker: one, or several as a cluster whose topics are replicated to each."""
    if nodes == 1:
        return Broker(kind, name, tools, config=config)
    return Cluster(kind, name, tools, config=config, replicas=nodes)


def committed(broker, group, topic, partitions):
    """The judge's look: the committed offset of each partition, 0 where there is none."""
    client = consumer(broker, group_id=group)
    try:
        found = client.committed([TopicPartition(topic, number) for number in range(partitions)], timeout=30)
        return [max(one.offset, 0) for one in found]
    finally:
        client.close()
