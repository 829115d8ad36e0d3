"""What was acknowledged is there after the process is killed, once, and the broker comes back without help."""

import random
import threading
import time

import pytest
from harness.clients import admin, consume, create_topic, produce, producer, records, values
from harness.kills import BUSY, Kills
from harness.wait import wait_for


@pytest.fixture(scope="module")
def mortal(brokers):
    return brokers("mortal", config=BUSY).start()


class Stream(threading.Thread):
    """An idempotent producer with acks=all that numbers its records and goes on until told to stop."""

    def __init__(self, broker, topic, **config):
        super().__init__(daemon=True)
        self.topic, self.stopping = topic, threading.Event()
        self.acked, self.failed = {}, []  # number -> offset
        self.client = producer(broker, enable_idempotence=True, acks="all", linger_ms=1, batch_num_messages=20,
                               message_timeout_ms=90_000, reconnect_backoff_max_ms=200, log_level=0, **config)

    def run(self):
        number = 0
        while not self.stopping.is_set() and not self.failed:
            if len(self.client) > 500:  # a steady stream, a few hundred records ahead of the broker
                self.client.poll(0.01)
                continue
            self.client.produce(self.topic, b"%d" % number, on_delivery=self._report(number))
            number += 1
            self.client.poll(0)
        self.sent, self.left = number, self.client.flush(90)

    def _report(self, number):
        def store(error, message):
            if error is None:
                self.acked[number] = message.offset()
            else:
                self.failed.append((number, error))
        return store

    def finish(self):
        self.stopping.set()
        self.join(100)
        assert not self.is_alive() and self.left == 0, "the producer never came to its end"


def check(broker, stream):
    """Every acknowledged record is at its offset, and none is there twice."""
    assert not stream.failed, stream.failed[:3]
    got = consume(broker, stream.topic)
    assert [message.offset() for message in got] == list(range(len(got)))
    by_offset = {message.offset(): message.value() for message in got}
    wrong = {n: at for n, at in stream.acked.items() if by_offset.get(at) != b"%d" % n}
    assert not wrong, f"{len(wrong)} acknowledged records lost, as number: offset {list(wrong.items())[:5]}"
    numbers = values(got)
    assert len(numbers) == len(set(numbers)), "a record is there twice"


def test_kill_9_while_producing_loses_and_doubles_nothing(mortal, name):
    """Twice in one stream, each time in the middle of it; the producer only ever sees a slow broker."""
    create_topic(mortal, name)
    stream = Stream(mortal, name)
    stream.start()
    for round in range(2):
        enough = len(stream.acked) + 1000
        wait_for(lambda: len(stream.acked) > enough, "a thousand acknowledged records", within=60)
        mortal.kill9()
        mortal.start()
    enough = len(stream.acked) + 100
    wait_for(lambda: len(stream.acked) > enough, "the stream goes on after the restart", within=60)
    stream.finish()
    check(mortal, stream)
    assert len(stream.acked) == stream.sent, "every record was acknowledged in the end"


def test_kills_between_rolls_retention_and_compaction(mortal, name):
    """The start of `soak/kills`: plain, compressed, retained and compacted topics, kills at any moment."""
    dice = random.Random(4)
    kills = Kills(mortal, name, dice, producers=2)
    kills.run()
    for _ in range(4):
        kills.progress(200)
        time.sleep(dice.uniform(0, 1))  # no wait for something: the moment is left to chance
        mortal.kill9()
        mortal.start()
    with kills.settled():
        kills.check()
    kills.finish()


def test_what_was_there_before_the_kill_is_there_with_its_topic(mortal, tools, name):
    """Topics, configs and records, in every compression; the last create and the last record right before the kill."""
    expected = {}
    for compression in ("none", "gzip", "snappy", "lz4", "zstd"):
        topic = f"{name}-{compression}"
        create_topic(mortal, topic, partitions=2, retention_ms="987654321")
        expected[topic] = [b"%s-%d" % (compression.encode(), n) for n in range(200)]
        produce(mortal, topic, records(*expected[topic]), compression_type=compression, acks="all",
                partitioner="random", sticky_partitioning_linger_ms=0)
    mortal.kill9()
    mortal.start()
    for topic, sent in expected.items():
        got = [v for partition in range(2) for v in values(consume(mortal, topic, partition=partition))]
        assert sorted(got) == sorted(sent), topic
    shown = tools("kafka-configs", "--describe", "--entity-type", "topics", "--entity-name", topic, broker=mortal).text
    assert "retention.ms=987654321" in shown


def test_a_clean_restart_keeps_everything_and_goes_on(mortal, tools, name):
    create_topic(mortal, name)
    client = producer(mortal, enable_idempotence=True, reconnect_backoff_max_ms=200, log_level=0)
    for round in range(2):
        sent = [b"%d-%d" % (round, n) for n in range(100)]
        reports = produce(mortal, name, records(*sent), client=client)
        assert [report.offset() for report in reports] == list(range(100 * round, 100 * round + 100))
        mortal.restart()
    assert len(consume(mortal, name)) == 200
    assert tools("kafka-get-offsets", "--topic", name, broker=mortal).lines == [f"{name}:0:200"]
    deleted = f"{name}-deleted"
    create_topic(mortal, deleted)
    said = tools("kafka-topics", "--delete", "--topic", deleted, broker=mortal)
    assert said.code == 0
    mortal.restart()
    assert deleted not in tools("kafka-topics", "--list", broker=mortal).lines
    assert len(consume(mortal, name)) == 200


def test_a_topic_made_anew_has_nothing_of_its_namesake(mortal, name):
    """Checkpoints name partitions, not topic ids: what they say of the old one is not the new one's."""
    create_topic(mortal, name)
    produce(mortal, name, records(*[b"old-%d" % n for n in range(50)]))
    mortal.restart()
    client = admin(mortal)
    client.delete_topics([name], operation_timeout=30)[name].result(30)
    wait_for(lambda: name not in client.list_topics(timeout=10).topics, "the old one is gone")
    create_topic(mortal, name)
    produce(mortal, name, records(b"new"))
    mortal.kill9()
    mortal.start()
    got = consume(mortal, name)
    assert [(message.offset(), message.value()) for message in got] == [(0, b"new")]
