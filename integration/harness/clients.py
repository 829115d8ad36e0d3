"""librdkafka in its two editions: confluent-kafka (current) and Debian's kcat (2.0.2). Consumers assign, no groups."""

import subprocess
import time
from dataclasses import dataclass, field

from confluent_kafka import (OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer,
                             TopicPartition)
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from .wait import wait_for


# For records with times of the tests' own: older than a week, retention may take them at any moment.
HOUR_AGO_MS = (int(time.time()) - 3600) * 1000


@dataclass
class Record:
    value: bytes | None = None
    key: bytes | None = None
    headers: list = field(default_factory=list)
    timestamp: int = 0  # 0: now
    partition: int = -1  # -1: the client chooses


def records(*values):
    return [Record(value) for value in values]


# --- confluent-kafka ---------------------------------------------------------------------------------------------

def admin(broker, listener=None, **config):
    return AdminClient({"bootstrap.servers": broker.address(listener) if listener else broker.bootstrap, **_dotted(config)})


def producer(broker, **config):
    """Options with underscores for dots: `compression_type="zstd"`."""
    options = {"bootstrap.servers": broker.bootstrap, "linger.ms": 5, "message.timeout.ms": 30_000}
    return Producer({**options, **_dotted(config)})


def try_produce(broker, topic, items, **config):
    """Sends all and returns each one's delivery report, a Message with .error(), in the order sent."""
    client = config.pop("client", None) or producer(broker, **config)
    reports = [None] * len(items)

    def deliver(index):
        def store(error, message):
            reports[index] = message
        return store

    for index, item in enumerate(items):
        options = {"headers": item.headers} if item.headers else {}
        while True:
            try:
                client.produce(topic, item.value, item.key, item.partition, on_delivery=deliver(index),
                               timestamp=item.timestamp, **options)
                break
            except BufferError:
                client.poll(0.1)
        client.poll(0)
    left = client.flush(60)
    assert left == 0, f"{left} records have no delivery report"
    return reports


def produce(broker, topic, items, **config):
    reports = try_produce(broker, topic, items, **config)
    errors = {str(report.error()) for report in reports if report.error()}
    assert not errors, errors
    return reports


def consumer(broker, **config):
    options = {"bootstrap.servers": broker.bootstrap, "group.id": "none", "enable.auto.commit": False,
               "enable.partition.eof": True, "auto.offset.reset": "error", "fetch.wait.max.ms": 100}
    return Consumer({**options, **_dotted(config)})


def read(client, count=None, within=30):
    """What an assigned consumer gets: `count` records, or all up to the end of its partitions. Errors raise."""
    messages, at_end = [], set()
    parts = len(client.assignment())
    while len(messages) != count:
        message = client.poll(within)
        assert message is not None, f"{len(messages)} records, then nothing for {within} s"
        if message.error() is None:
            messages.append(message)
        elif message.error().code() == KafkaError._PARTITION_EOF:
            at_end.add(message.partition())
            if count is None and len(at_end) == parts:
                break
        else:
            raise KafkaException(message.error())
    return messages


def consume(broker, topic, count=None, *, partition=0, offset=OFFSET_BEGINNING, **config):
    client = consumer(broker, **config)
    try:
        client.assign([TopicPartition(topic, partition, offset)])
        return read(client, count)
    finally:
        client.close()


def values(messages):
    return [message.value() for message in messages]


def create_topic(broker, name, partitions=1, replicas=None, **config):
    """Creates the topic and waits until every partition is led. `partitions` may be a list: the nodes of each. Without
    `replicas` it has as many as is usual on that broker or cluster."""
    client = admin(broker)
    assigned = isinstance(partitions, list)
    where = {"replica_assignment": partitions} if assigned else {"replication_factor": replicas or broker.replicas}
    partitions = len(partitions) if assigned else partitions
    client.create_topics([NewTopic(name, partitions, config=_dotted(config), **where)])[name].result(30)
    wait_for(lambda: is_led(client, name, partitions), f"{name} has leaders")
    broker.knows(name)
    return name


def is_led(client, name, partitions=1):
    """Whether the leaders serve: metadata may know of them a moment before they do."""
    topic = client.list_topics(timeout=10).topics.get(name)
    if not topic or len(topic.partitions) != partitions or any(p.leader < 0 for p in topic.partitions.values()):
        return False
    asked = {TopicPartition(name, partition): OffsetSpec.latest() for partition in range(partitions)}
    return all(future.exception(10) is None for future in client.list_offsets(asked).values())


def _dotted(config):
    return {key if key in ("error_cb", "log_level") else key.replace("_", "."): value for key, value in config.items()}


# --- kcat --------------------------------------------------------------------------------------------------------

def kcat(broker, *args, stdin=b"", within=60, may_fail=False):
    """The output of one kcat run; `-m` bounds its wait for metadata."""
    command = ["kcat", "-b", broker.bootstrap, "-m", "20", *map(str, args)]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=within)
    if done.returncode != 0 and not may_fail:
        raise AssertionError(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr.decode()}")
    return done if may_fail else done.stdout


def kcat_consume(broker, topic, *args, partition=0, offset="beginning"):
    return kcat(broker, "-C", "-q", "-e", "-t", topic, "-p", partition, "-o", offset, *args)
