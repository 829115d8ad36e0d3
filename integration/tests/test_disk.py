"""Disks that fill up and disks that fail, on file systems of the test's own: what was acknowledged stays, the rest of
the broker goes on, and room is all that a full disk needs."""

import os
import subprocess

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType
from harness.clients import admin, consume, create_topic, producer, records, try_produce, values
from harness.wait import wait_for

MIB = 1 << 20
PIECE = 100_000  # bytes of a record
pytestmark = pytest.mark.ottla_only  # Apache Kafka gives up the directory at the first failed write


@pytest.fixture
def volume(tmp_path):
    """Makes small file systems."""
    made = []

    def make(name, size):
        if os.geteuid() != 0:
            pytest.skip("only root may mount a file system of a limited size")
        path = tmp_path / name
        path.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)],
                                 capture_output=True, text=True)
        if mounted.returncode != 0:
            pytest.skip(f"cannot mount a file system of a limited size: {mounted.stderr.strip()}")
        made.append(path)
        return path

    yield make
    for path in made:
        subprocess.run(["umount", "-l", str(path)], check=True)


def numbered(first, count):
    return records(*[b"%08d" % n + bytes(PIECE - 8) for n in range(first, first + count)])


def fill(broker, topic):
    """Produces until it is refused; the acknowledged values by offset."""
    client = producer(broker, retries=0, acks="all", linger_ms=0, log_level=0)
    acked = {}
    for n in range(1000):
        [report] = try_produce(broker, topic, numbered(n, 1), client=client)
        if report.error():
            assert report.error().code() == KafkaError.KAFKA_STORAGE_ERROR, report.error()
            assert report.error().retriable() or report.error().code() == 56
            return acked
        acked[report.offset()] = report.value()
    raise AssertionError("the disk never filled")


def takes(broker, topic, acked):
    [report] = try_produce(broker, topic, numbered(len(acked) + 1000, 1), retries=0, acks="all", log_level=0)
    if report.error():
        return False
    acked[report.offset()] = report.value()
    return True


def got(broker, topic):
    return {message.offset(): message.value() for message in consume(broker, topic)}


def test_a_full_disk_refuses_producers_and_nothing_else(brokers, volume, name):
    data = volume("data", "24m")
    times = {"log.retention.check.interval.ms": 500, "broker.session.timeout.ms": 2000,
             "broker.heartbeat.interval.ms": 500, "offsets.topic.num.partitions": 1}
    broker = brokers("full", config={"log.dirs": data, **times}).start()
    client = admin(broker)
    small, short = {"segment_bytes": str(MIB)}, {"file_delete_delay_ms": "0"}
    # What is deleted goes within a second, not a minute.
    kept = create_topic(broker, f"{name}-kept", **small, **short)
    gone = create_topic(broker, f"{name}-gone", **small, **short)
    first = [report.offset() for report in try_produce(broker, gone, numbered(0, 60))]
    assert first == list(range(60))

    acked = fill(broker, kept)
    assert len(acked) > 50, "most of the disk was the topic's"
    assert got(broker, kept) == acked, "reads go on"
    assert not takes(broker, kept, acked), "still full"
    wait_for(lambda: "no space left in the log directory" in broker.log_text(), "the log says what is full")
    with pytest.raises(KafkaException) as refused:
        client.create_topics([NewTopic(f"{name}-new", 1, 1)])[f"{name}-new"].result(30)
    assert refused.value.args[0].code() == KafkaError.KAFKA_STORAGE_ERROR, "no room for metadata either"

    # Deleting a topic makes room.
    client.delete_topics([gone], operation_timeout=30)[gone].result(30)
    wait_for(lambda: takes(broker, kept, acked), "producing goes on")
    wait_for(lambda: "the log directory has room again" in broker.log_text(), "the log says so")
    create_topic(broker, f"{name}-new")

    # So does retention.
    again = fill(broker, kept)
    acked.update(again)
    assert got(broker, kept) == acked
    lower = ConfigResource(ResourceType.TOPIC, kept, incremental_configs=[
        ConfigEntry("retention.bytes", str(8 * MIB), incremental_operation=AlterConfigOpType.SET)])
    client.incremental_alter_configs([lower])[lower].result(30)
    wait_for(lambda: takes(broker, kept, acked), "producing goes on")
    left = got(broker, kept)
    assert 0 < len(left) < len(acked)

    for stop in (broker.stop, broker.kill9):
        stop()
        broker.start()
        there = got(broker, kept)
        assert there == {offset: acked[offset] for offset in there}, "nothing is another's, nothing twice"
        assert max(there) == max(acked), "what was acknowledged last is there"
        assert sorted(there) == list(range(min(there), max(there) + 1))
        assert len(there) >= len(left) - 11, "but what retention took meanwhile, a segment"
        assert takes(broker, kept, acked)
