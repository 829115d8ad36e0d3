"""Commits that a coordinator gathers: they share a batch, and each is answered once its batch is written."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from confluent_kafka import Consumer, TopicPartition

from harness.clients import create_topic

LINGER_MS = 300
GROUPS = 12


def commit(broker, group):
    """How long a commit takes, in ms, and what is committed then."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": group})
    offsets = []
    try:
        # The first one finds the coordinator.
        for offset in (1, 2):
            began = time.monotonic()
            consumer.commit(offsets=[TopicPartition("lingering", 0, offset)], asynchronous=False)
            took_ms = (time.monotonic() - began) * 1_000
            offsets.append(consumer.committed([TopicPartition("lingering", 0)])[0].offset)
    finally:
        consumer.close()
    return took_ms, offsets


@pytest.mark.parametrize("linger_ms", [-1, LINGER_MS])
def test_commits_linger_as_long_as_they_are_told(brokers, linger_ms):
    """group.coordinator.append.linger.ms"""
    name = f"linger{linger_ms}"
    config = {"group.coordinator.append.linger.ms": linger_ms, "offsets.topic.num.partitions": 1}
    broker = brokers(name, config=config).start()
    create_topic(broker, "lingering")
    commit(broker, "warm")
    began = time.monotonic()
    with ThreadPoolExecutor(GROUPS) as pool:
        outcomes = list(pool.map(lambda n: commit(broker, f"group-{n}"), range(GROUPS)))
    took_ms = (time.monotonic() - began) * 1_000
    assert [offsets for _, offsets in outcomes] == [[1, 2]] * GROUPS
    if linger_ms > 0:
        # Nobody is answered much before its batch is written, and nobody waits for batches of others.
        assert max(took for took, _ in outcomes) > linger_ms / 2
        assert took_ms < GROUPS * linger_ms
    else:
        assert min(took for took, _ in outcomes) < LINGER_MS
    broker.restart()
    for n in range(GROUPS):
        consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": f"group-{n}"})
        assert consumer.committed([TopicPartition("lingering", 0)], timeout=30)[0].offset == 2
        consumer.close()
