"""Producers that never stop while their broker is killed again and again, and the check that nothing was lost, doubled
or moved. `soak/kills.py` makes a hundred cycles of it, tests/test_kill.py a few; `soak/cluster.py` and
tests/test_replication.py do the same to the nodes of a cluster."""

import threading
import time
from array import array
from collections import defaultdict

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from .clients import consumer, create_topic, producer
from .wait import wait_for

MIB = 1 << 20
RETENTION = 3 * MIB
# The smallest segments that Kafka allows, so that they roll, go and are compacted between kills and during them.
TINY = {"segment_bytes": str(MIB)}
TOPICS = {
    "plain": (6, TINY),
    "compressed": (3, {**TINY, "compression_type": "zstd"}),  # the broker compresses what comes otherwise
    "retained": (3, {**TINY, "retention_bytes": str(RETENTION), "file_delete_delay_ms": "1000"}),
    "compacted": (3, {**TINY, "cleanup_policy": "compact", "min_cleanable_dirty_ratio": "0.01"}),
}
# Cleaning, retention and checkpoints many times in each life. Sessions end early: Kafka's controller lets a killed
# broker back in only after its session.
BUSY = {
    "log.cleaner.backoff.ms": 100, "log.retention.check.interval.ms": 200,
    "log.flush.offset.checkpoint.interval.ms": 300, "log.flush.start.offset.checkpoint.interval.ms": 300,
    "broker.session.timeout.ms": 2000, "broker.heartbeat.interval.ms": 500,
}
CODECS = ["none", "lz4", "zstd", "snappy"]  # of the producers, in turn
KEYS = 50  # of each producer in the compacted topic
BURST = 20
RATE = 2000  # records a second of each producer, or disks fill before the kills are over
AHEAD = 400  # records that a producer has under way


class Kills:
    """One broker or cluster, its producers, and what they were told. `random` decides about sizes and moments."""

    def __init__(self, broker, prefix, random, producers=len(CODECS), replicas=1):
        self.broker, self.random = broker, random
        self.topics = {f"{prefix}-{kind}": kind for kind in TOPICS}
        for topic, kind in self.topics.items():
            partitions, config = TOPICS[kind]
            create_topic(broker, topic, partitions, replicas, min_insync_replicas=str(min(replicas, 2)), **config)
        self.filler = random.randbytes(8000) + bytes(8000)
        self.streams = [Stream(self, number, random.getrandbits(32)) for number in range(producers)]

    def acked(self):
        return sum(len(offsets) for stream in self.streams for offsets in stream.offsets.values())

    def run(self):
        for stream in self.streams:
            stream.start()

    def progress(self, records):
        """Waits until so many more were acknowledged."""
        enough = self.acked() + records
        wait_for(lambda: self.acked() >= enough or self.failures(), f"{records} acknowledged records", within=120)
        assert not self.failures(), self.failures()

    def failures(self):
        return [failure for stream in self.streams for failure in stream.failed][:3]

    def settled(self):
        """Everything sent so far is acknowledged, and nothing is sent, while the caller looks."""
        return Settled(self.streams)

    def check(self):
        """Raises an AssertionError that says what is lost, doubled, moved or changed."""
        for topic, kind in self.topics.items():
            check_topic(self, topic, kind)

    def value(self, stream, number):
        """Follows from producer and number, so what is read can be compared whole."""
        size = 100 + number * 7919 % 2000
        at = (number * 31 + stream) % (len(self.filler) - 2100)
        return b"%d:%d:%s" % (stream, number, self.filler[at:at + size])

    def key(self, stream, number):
        return b"%d-%d" % (stream, number * 17 % KEYS)

    def finish(self):
        for stream in self.streams:
            stream.stopping.set()
            stream.open_again()
        for stream in self.streams:
            stream.join(120)


class Stream(threading.Thread):
    """An idempotent producer with acks=all. Numbers its records for each partition, from 0 on without a gap."""

    def __init__(self, kills, number, seed):
        super().__init__(daemon=True)
        self.kills, self.number = kills, number
        self.state = seed
        self.offsets = defaultdict(lambda: array("q"))  # (topic, partition) -> offset of each number
        self.sent = defaultdict(int)
        self.failed = []
        self.stopping, self.resumed, self.empty = threading.Event(), threading.Event(), threading.Event()
        self.resumed.set()
        self.places = [(topic, partition) for topic, kind in kills.topics.items() for partition in range(TOPICS[kind][0])]
        self.client = producer(kills.broker, enable_idempotence=True, acks="all", linger_ms=2, log_level=0,
                               batch_num_messages=15, message_timeout_ms=120_000, reconnect_backoff_max_ms=200,
                               compression_type=CODECS[number % len(CODECS)])

    def run(self):
        while not self.stopping.is_set() and not self.failed:
            if not self.resumed.is_set():
                if self.client.flush(1) == 0:
                    self.empty.set()
                    self.resumed.wait()
                continue
            if len(self.client) < AHEAD:
                for _ in range(BURST):
                    self._send()
            self.client.poll(0)
            self.stopping.wait(BURST / RATE)
        self.client.flush(60)

    def _send(self):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        place = self.places[(self.state >> 33) % len(self.places)]
        topic, partition = place
        number = self.sent[place]
        self.sent[place] += 1
        key = self.kills.key(self.number, number) if self.kills.topics[topic] == "compacted" else None
        self.client.produce(topic, self.kills.value(self.number, number), key, partition,
                            on_delivery=lambda error, message: self._told(place, number, error, message))

    def _told(self, place, number, error, message):
        if error is not None:
            self.failed.append(f"producer {self.number}, record {number} of {place}: {error}")
        elif number != len(self.offsets[place]):
            self.failed.append(f"producer {self.number}: record {number} of {place} acknowledged out of turn")
        else:
            self.offsets[place].append(message.offset())

    def pause(self):
        self.empty.clear()
        self.resumed.clear()

    def open_again(self):
        self.resumed.set()


class Settled:
    def __init__(self, streams):
        self.streams = streams

    def __enter__(self):
        for stream in self.streams:
            stream.pause()
        for stream in self.streams:
            wait_for(lambda: stream.empty.is_set() or stream.failed, "every record is acknowledged", within=150)
        failed = [failure for stream in self.streams for failure in stream.failed]
        assert not failed, failed[:3]

    def __exit__(self, *_):
        for stream in self.streams:
            stream.open_again()


def check_topic(kills, topic, kind):
    found = defaultdict(list)  # (partition, producer) -> numbers, in the order of their offsets
    kept = defaultdict(int)
    newest = {}
    wrong = []
    last = {}
    for message in everything(kills.broker, topic, TOPICS[kind][0]):
        partition, offset, value = message.partition(), message.offset(), message.value()
        stream, number = (int(word) for word in value.split(b":", 2)[:2])
        place = f"{topic}-{partition} offset {offset}: record {number} of producer {stream}"
        known = kills.streams[stream].offsets[topic, partition]
        if offset <= last.get(partition, -1):
            wrong.append(f"{place} comes after offset {last[partition]}")
        if number >= len(known) or known[number] != offset:
            told = known[number] if number < len(known) else "never"
            wrong.append(f"{place} is there, it was acknowledged at {told}")
        if value != kills.value(stream, number):
            wrong.append(f"{place} is not what was sent")
        last[partition] = offset
        kept[partition] += len(value)
        found[partition, stream].append(number)
        if kind == "compacted":
            newest[partition, message.key()] = (stream, number)
    for stream in kills.streams:
        for partition in range(TOPICS[kind][0]):
            numbers = found[partition, stream.number]
            sent = len(stream.offsets[topic, partition])
            of = f"{topic}-{partition}, producer {stream.number}"
            if kind == "compacted":
                keys = {kills.key(stream.number, number): number for number in range(sent)}
                lost = [n for key, n in keys.items() if newest.get((partition, key)) != (stream.number, n)]
                twice = len(numbers) - len(set(numbers))
            else:
                # Retention takes the oldest, up to any number, and nothing in between.
                first = sent - len(numbers) if kind == "retained" else 0
                lost = sorted(set(range(first, sent)) - set(numbers))
                twice = len(numbers) - len(set(numbers))
            if lost or twice or numbers != sorted(numbers):
                wrong.append(f"{of}: {sent} acknowledged, {len(lost)} lost (first {lost[:5]}), {twice} twice")
    for partition, size in kept.items():
        begun = any(stream.offsets[topic, partition][:1] == array("q", [0]) for stream in kills.streams)
        first_is_gone = all(0 not in found[partition, stream.number] for stream in kills.streams)
        # Batches are a little larger than their values, or smaller where a codec helps: filler is half random.
        if kind == "retained" and begun and first_is_gone and size < RETENTION / 2:
            wrong.append(f"{topic}-{partition}: retention left {size} bytes of {RETENTION}")
    assert not wrong, "\n".join([f"{len(wrong)} things are wrong in {topic}:", *wrong[:20]])


def everything(broker, topic, partitions):
    client = consumer(broker, queued_min_messages=20_000)
    try:
        client.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in range(partitions)])
        at_end, heard = set(), time.monotonic()
        while len(at_end) < partitions:
            messages = client.consume(1000, 0.1)  # returns early only when it has all of the thousand
            heard = time.monotonic() if messages else heard
            assert time.monotonic() - heard < 30, f"{topic}: nothing for 30 s, at the end of {sorted(at_end)}"
            for message in messages:
                if message.error() is None:
                    yield message
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    at_end.add(message.partition())
                else:
                    raise KafkaException(message.error())
    finally:
        client.close()
