"""Compaction as clients see it: of each key the newest record stays, through restarts and kills, and offsets keep their
places. The same on Apache Kafka."""

import random

import pytest

from harness.clients import Record, consume, create_topic, produce
from harness.wait import wait_for

COMPACTED = {"cleanup_policy": "compact", "segment_bytes": "1048576", "min_cleanable_dirty_ratio": "0.01"}


@pytest.fixture(scope="module")
def cleaning(brokers):
    """Looks for something to clean ten times a second."""
    times = {"log.cleaner.backoff.ms": 100, "broker.session.timeout.ms": 2000, "broker.heartbeat.interval.ms": 500}
    return brokers("cleaning", config=times).start()


class Table:
    """What a compacted topic must amount to."""

    def __init__(self, broker, topic, seed):
        self.broker, self.topic, self.random = broker, topic, random.Random(seed)
        self.newest, self.offsets = {}, {}

    def write(self, count, keys=40, size=20_000):
        items = []
        for _ in range(count):
            key = b"key-%d" % self.random.randrange(keys)
            value = None if self.random.random() < 0.05 else self.random.randbytes(size)
            items.append(Record(value, key, partition=0))
        reports = produce(self.broker, self.topic, items, enable_idempotence=True)
        for item, report in zip(items, reports):
            self.newest[item.key], self.offsets[item.key] = item.value, report.offset()
        return self

    def read(self):
        """Nothing may be missing, twice, or in another place than it was written to."""
        got = consume(self.broker, self.topic)
        offsets = [message.offset() for message in got]
        assert offsets == sorted(set(offsets))
        state = {message.key(): message.value() for message in got}
        # A tombstone that was taken away means the same as one that is there.
        assert {k: v for k, v in state.items() if v is not None} == {k: v for k, v in self.newest.items() if v is not None}
        last = {message.key(): message.offset() for message in got}
        assert all(self.offsets[key] == offset for key, offset in last.items())
        return got

    def is_compacted(self, fewer_than):
        return len(self.read()) < fewer_than


def test_the_newest_record_of_each_key_stays(cleaning, name):
    create_topic(cleaning, name, **COMPACTED)
    table = Table(cleaning, name, 1).write(500)
    wait_for(lambda: table.is_compacted(250), "most old records are gone")
    table.write(200).read()


def test_restarts_and_kills_change_nothing(cleaning, name):
    create_topic(cleaning, name, **COMPACTED)
    table = Table(cleaning, name, 2)
    for end in (cleaning.kill9, cleaning.stop, cleaning.kill9):
        table.write(250)
        end()
        cleaning.start()
        wait_for(lambda: table.read() is not None, "it is served again")
    wait_for(lambda: table.is_compacted(300), "most old records are gone")


def test_tombstones_and_what_they_hide_go(cleaning, name):
    create_topic(cleaning, name, delete_retention_ms="100", **COMPACTED)
    table = Table(cleaning, name, 3).write(150)
    produce(cleaning, name, [Record(None, key, partition=0) for key in table.newest])
    table.newest = {key: None for key in table.newest}
    table.offsets = {message.key(): message.offset() for message in consume(cleaning, name)}
    # Others, so that what came before is not in the active segment any more.
    table.write(150, keys=2)

    def gone():
        keys = {message.key() for message in consume(cleaning, name)}
        return len(keys) <= 2 or table.write(60, keys=2) is None

    wait_for(gone, "the tombstones are gone too", 60)
    table.read()


@pytest.mark.ottla_only
def test_kafkas_tool_reads_what_was_cleaned(cleaning, name, tools):
    create_topic(cleaning, name, compression_type="zstd", **COMPACTED)
    table = Table(cleaning, name, 4).write(400)
    wait_for(lambda: table.is_compacted(250), "most old records are gone")
    logs = sorted((cleaning.data / f"{name}-0").glob("*.log"))
    read = tools("kafka-dump-log", "--deep-iteration", "--files", ",".join(map(str, logs))).text
    assert "isvalid: true" in read and "isvalid: false" not in read
    indexes = sorted((cleaning.data / f"{name}-0").glob("*.index"))
    tools("kafka-dump-log", "--index-sanity-check", "--files", ",".join(map(str, indexes)))
