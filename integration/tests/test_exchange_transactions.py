"""Transactions in a data directory that goes from Apache Kafka to Ottla and back, and the other way: what is completed stays, what
is open can be ended by its producer, by the next one or by time, and what was decided is carried out by whoever has it next."""

import struct

import pytest
from confluent_kafka import KafkaException, TopicPartition
from harness.broker import Broker
from harness.clients import admin, consumer, create_topic, producer
from harness.raw import describe_transaction
from harness.transactions import WITHIN, committed, ends, is_stable, transactional
from harness.wait import wait_for

pytestmark = [pytest.mark.ottla_only, pytest.mark.timeout(300)]

SETTINGS = {"transaction.state.log.num.partitions": 1, "offsets.topic.num.partitions": 1,
            "transaction.abort.timed.out.transaction.cleanup.interval.ms": 500}
ENDED, PREPARED, RESUMED, TAKEN_OVER, OVERDUE = range(5)
# Not over before the next broker knows who leads: Kafka would forget the partitions (see `fill`).
LONG_MS, SHORT_MS = 600_000, 30_000
COMPLETE_COMMIT = 4


@pytest.fixture
def broker(tools, name):
    broker = Broker("ottla", name, tools, config=SETTINGS)
    yield broker
    broker.close()


def begin(broker, id, topic, partition, value, **config):
    timeout_ms = config.pop("timeout_ms", LONG_MS)
    # No message may be tried for longer than its transaction.
    client = transactional(broker, id, transaction_timeout_ms=timeout_ms, message_timeout_ms=min(timeout_ms, 30_000), **config)
    client.begin_transaction()
    write(client, topic, partition, value)
    return client


def write(client, topic, partition, value):
    client.produce(topic, value, partition=partition)
    assert client.flush(WITHIN) == 0


def batches(path):
    """Where each batch of a segment begins, with its bytes."""
    data, at = path.read_bytes(), 0
    while at + 12 <= len(data):
        size = 12 + struct.unpack_from(">i", data, at + 8)[0]
        yield at, data[at:at + size]
        at += size


def cut_last(broker, folder, is_that):
    """The last batch did not get to the disk."""
    segment = max((broker.data / folder).glob("*.log"))
    at, batch = list(batches(segment))[-1]
    assert is_that(batch), f"{folder} ends with {batch!r}"
    with open(segment, "r+b") as file:
        file.truncate(at)


def is_marker(batch):
    attributes = struct.unpack_from(">h", batch, 21)[0]
    return attributes & 0x20


def is_completion(id):
    """A record of the transaction log: behind its key, which ends with the id, are the length of its value, and in that a version,
    a producer's id and epoch, a timeout and the state."""
    def found(batch):
        at = batch.index(id.encode()) + len(id)
        while batch[at] & 0x80:
            at += 1
        return batch[at + 1 + 2 + 8 + 2 + 4] == COMPLETE_COMMIT
    return found


def state(broker, id):
    return describe_transaction(broker.bootstrap, id).transaction_state


def fill(broker, tag):
    """Transactions of each kind, each in a partition of its own. The broker is killed with them. Where Ottla is next, a little less
    than all of it was on the disk: the transaction `prepared` is decided and nobody knows. (Kafka may forget such a transaction: it
    skips a partition whose leader it does not know, and a broker that starts again leads nothing for a moment.)"""
    topic, source = create_topic(broker, tag, 5), create_topic(broker, f"{tag}-in")
    plain = producer(broker)
    for partition in range(5):
        write(plain, topic, partition, b"before")
    client = begin(broker, f"{tag}-done", topic, ENDED, b"committed")
    client.send_offsets_to_transaction([TopicPartition(source, 0, 7)], group_metadata(broker, tag), WITHIN)
    client.commit_transaction(WITHIN)
    client.begin_transaction()
    write(client, topic, ENDED, b"aborted")
    client.abort_transaction(WITHIN)
    open = {partition: begin(broker, f"{tag}-{partition}", topic, partition, b"open", timeout_ms=timeout_ms, log_level=0)
            for partition, timeout_ms in [(RESUMED, LONG_MS), (TAKEN_OVER, LONG_MS), (OVERDUE, SHORT_MS)]}
    prepared = begin(broker, f"{tag}-prepared", topic, PREPARED, b"decided")
    prepared.commit_transaction(WITHIN)
    wait_for(lambda: state(broker, f"{tag}-prepared") == "CompleteCommit", "it is complete")
    broker.kill9()
    if broker.kind == "ottla":
        return open
    cut_last(broker, "__transaction_state-0", is_completion(f"{tag}-prepared"))
    cut_last(broker, f"{topic}-{PREPARED}", is_marker)
    return open


def group_metadata(broker, tag):
    client = consumer(broker, group_id=f"{tag}-group")
    metadata = client.consumer_group_metadata()
    client.close()
    return metadata


def served_by(broker, kind, topic):
    broker.stop()
    broker.kind = kind
    broker.start()

    def led():
        partitions = admin(broker).list_topics(topic, timeout=10).topics[topic].partitions
        return partitions and all(partition.leader >= 0 for partition in partitions.values())
    wait_for(led, f"{topic} has leaders under {kind}")


def check(broker, tag, expected):
    for partition, values in expected.items():
        assert committed(broker, tag, partition) == [b"before", *values], f"{tag}-{partition}"
    client = consumer(broker, group_id=f"{tag}-group")
    assert client.committed([TopicPartition(f"{tag}-in", 0)], WITHIN)[0].offset == 7
    client.close()


def goes_on(broker, tag, open):
    """What becomes of each transaction under the next broker."""
    check(broker, tag, {ENDED: [b"committed"], RESUMED: [], TAKEN_OVER: []})
    is_stable(broker, tag, ENDED)
    assert ends(broker, tag, RESUMED) == [2, 1], "it is open"
    write(open[RESUMED], tag, RESUMED, b"and on")
    open[RESUMED].commit_transaction(WITHIN)
    begin(broker, f"{tag}-{TAKEN_OVER}", tag, TAKEN_OVER, b"by the next").commit_transaction(WITHIN)
    with pytest.raises(KafkaException):
        open[TAKEN_OVER].commit_transaction(WITHIN)
    is_stable(broker, tag, PREPARED)
    begin(broker, f"{tag}-prepared", tag, PREPARED, b"next").commit_transaction(WITHIN)
    is_stable(broker, tag, OVERDUE, within=60)
    expected = {ENDED: [b"committed"], PREPARED: [b"decided", b"next"], RESUMED: [b"open", b"and on"],
                TAKEN_OVER: [b"by the next"], OVERDUE: []}
    for partition in expected:
        is_stable(broker, tag, partition)
    check(broker, tag, expected)
    return expected


@pytest.mark.parametrize("kinds", [("kafka", "ottla"), ("ottla", "kafka")], ids=["from_kafka", "from_ottla"])
def test_transactions_of_each_state_change_hands(broker, kinds):
    first, second = kinds
    broker.kind = first
    broker.start()
    left = fill(broker, first)
    broker.formatted = True
    served_by(broker, second, first)
    here = goes_on(broker, first, left)
    left = fill(broker, second)
    served_by(broker, first, second)
    check(broker, first, here)
    there = goes_on(broker, second, left)
    served_by(broker, second, second)
    check(broker, first, here)
    check(broker, second, there)
