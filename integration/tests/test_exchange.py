"""A data directory goes from Apache Kafka to Ottla and back, and from Ottla to Apache Kafka: records, configs, committed
offsets and the metadata log with its snapshots, each as the other one left them."""

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import ConfigResource, ResourceType

from harness.broker import Broker
from harness.clients import Record, admin, consume, create_topic, produce, records
from harness.wait import wait_for

pytestmark = [pytest.mark.ottla_only, pytest.mark.timeout(300)]

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
# Snapshots of the metadata come soon, so that what is handed over has some.
SETTINGS = {"metadata.log.max.record.bytes.between.snapshots": 4000, "offsets.topic.num.partitions": 5}


class Shelf:
    """One directory, and what is known to be in it."""

    def __init__(self, broker):
        self.broker = broker
        self.expected = {}  # (topic, partition) -> [(key, value, headers, timestamp)]
        self.committed = {}  # group -> {(topic, partition): (offset, metadata)}
        self.configs = {}  # topic -> {name: value}

    def served_by(self, kind):
        """Stops who has the directory, and starts the other on it."""
        self.broker.stop()
        self.broker.kind = kind
        self.broker.start()
        for topic, _ in self.expected:
            wait_for(lambda: self.leaders(topic), f"{topic} has leaders under {kind}")
        return self

    def leaders(self, topic):
        partitions = admin(self.broker).list_topics(topic, timeout=10).topics[topic].partitions
        return partitions and all(partition.leader >= 0 for partition in partitions.values())

    def topic(self, name, partitions=1, **config):
        create_topic(self.broker, name, partitions, **config)
        self.configs[name] = {key.replace("_", "."): value for key, value in config.items()}
        for partition in range(partitions):
            self.expected[name, partition] = []

    def write(self, name, items, partition=0, **config):
        for item in items:
            item.partition = partition
        produce(self.broker, name, items, **config)
        self.expected[name, partition] += [(item.key, item.value, item.headers or None) for item in items]

    def commit(self, group, offsets):
        client = Consumer({"bootstrap.servers": self.broker.bootstrap, "group.id": group})
        asked = [TopicPartition(topic, partition, offset, metadata=note) for (topic, partition), (offset, note) in offsets.items()]
        done = client.commit(offsets=asked, asynchronous=False)
        client.close()
        assert all(one.error is None for one in done), done
        self.committed.setdefault(group, {}).update(offsets)

    def check(self):
        """All that was put here is here, and nothing else."""
        for (topic, partition), items in self.expected.items():
            got = consume(self.broker, topic, partition=partition)
            assert [(one.key(), one.value(), one.headers()) for one in got] == items, f"{topic}-{partition}"
            assert [one.offset() for one in got] == list(range(len(items)))
        for group, offsets in self.committed.items():
            client = Consumer({"bootstrap.servers": self.broker.bootstrap, "group.id": group})
            found = client.committed([TopicPartition(*key) for key in offsets], timeout=30)
            client.close()
            assert {(one.topic, one.partition): (one.offset, one.metadata) for one in found} == offsets, group
        client = admin(self.broker)
        for topic, configs in self.configs.items():
            resource = ConfigResource(ResourceType.TOPIC, topic)
            told = client.describe_configs([resource])[resource].result(30)
            assert {key: told[key].value for key in configs} == configs, topic
        return self


def fill(shelf, tag):
    """Something of each kind, under names of its own."""
    for codec in CODECS:
        name = f"{tag}-{codec}"
        shelf.topic(name, retention_ms="86400000")
        items = [Record(b"%s %d " % (tag.encode(), n) * 5, b"k%d" % n, [("h", b"1"), ("h", b"2"), ("null", None)]) for n in range(50)]
        shelf.write(name, [*items, Record(None, b"tombstone")], compression_type=codec)
    segments = f"{tag}-segments"
    shelf.topic(segments, 2, segment_bytes="1048576", max_message_bytes="2000000")
    for partition in range(2):
        shelf.write(segments, [Record(bytes([n]) * 100_000, b"%d" % n) for n in range(30)], partition, enable_idempotence=True)
    shelf.topic(f"{tag}-compacted", cleanup_policy="compact,delete", min_compaction_lag_ms="3600000")
    shelf.write(f"{tag}-compacted", [Record(b"%d" % n, b"key-%d" % (n % 7)) for n in range(100)])
    shelf.commit(f"{tag}-group", {(segments, 0): (7, "half way"), (segments, 1): (30, ""), (f"{tag}-gzip", 0): (51, "")})
    # Enough metadata for a snapshot.
    for n in range(20):
        shelf.topic(f"{tag}-small-{n}")


@pytest.fixture
def shelf(tools, name):
    broker = Broker("ottla", name, tools, config=SETTINGS)
    yield Shelf(broker)
    broker.close()


def segments_on_disk(shelf, topic):
    return sorted(path.name for path in (shelf.broker.data / f"{topic}-0").glob("*.log"))


def snapshots(shelf):
    return {path.name for path in (shelf.broker.data / "__cluster_metadata-0").glob("*.checkpoint")}


def test_a_directory_of_apache_kafka_is_taken_over_and_handed_back(shelf):
    shelf.broker.kind = "kafka"
    shelf.broker.start()
    fill(shelf, "kafka")
    shelf.check()
    assert len(segments_on_disk(shelf, "kafka-segments")) > 1 and len(snapshots(shelf)) > 1

    shelf.served_by("ottla").check()
    fill(shelf, "ottla")
    shelf.write("kafka-zstd", records(b"appended by the other one"))
    shelf.commit("kafka-group", {("kafka-segments", 0): (12, "and on")})
    shelf.check()

    shelf.served_by("kafka").check()
    shelf.write("ottla-lz4", records(b"appended by the first one"))
    shelf.served_by("ottla").check()


def test_a_directory_of_ottla_is_served_by_apache_kafka(shelf):
    shelf.broker.kind = "ottla"
    shelf.broker.start()
    fill(shelf, "ottla")
    shelf.check()
    assert len(segments_on_disk(shelf, "ottla-segments")) > 1 and snapshots(shelf)

    shelf.broker.formatted = True
    shelf.served_by("kafka").check()
    fill(shelf, "kafka")
    shelf.served_by("ottla").check()


def test_a_directory_whose_broker_was_killed_is_taken_over_too(shelf):
    shelf.broker.kind = "kafka"
    shelf.broker.start()
    fill(shelf, "kafka")
    shelf.broker.kill9()
    shelf.served_by("ottla").check()
    fill(shelf, "ottla")
    shelf.broker.kill9()
    shelf.served_by("kafka").check()
