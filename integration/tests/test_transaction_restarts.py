"""Transactions through kills of the broker, of producers, and of nobody who ends them."""

import itertools

import pytest
from confluent_kafka import KafkaException, TopicPartition
from harness.clients import consumer, create_topic, produce, producer, records
from harness.transactions import WITHIN, committed, ends, is_stable, transactional
from harness.wait import wait_for
from test_transactions import everything, write

pytestmark = pytest.mark.timeout(300)  # Apache Kafka starts again in as many seconds as Ottla in tenths
QUICK = {"broker.session.timeout.ms": 2000, "broker.heartbeat.interval.ms": 500,
         "transaction.abort.timed.out.transaction.cleanup.interval.ms": 100}


@pytest.fixture(scope="module")
def private(brokers):
    return brokers("restarts", config=QUICK).start()


def test_an_abandoned_transaction_is_aborted(private, name):
    topic = create_topic(private, name)
    client = transactional(private, name, transaction_timeout_ms=1000, message_timeout_ms=1000)
    client.begin_transaction()
    write(client, topic, b"abandoned")
    is_stable(private, topic)
    assert committed(private, topic) == [] and everything(private, topic) == [b"abandoned"]
    with pytest.raises(KafkaException):
        client.commit_transaction(WITHIN)


def test_an_open_transaction_is_open_after_kill_9(private, name):
    topic = create_topic(private, name)
    client = transactional(private, name, transaction_timeout_ms=600_000)
    client.begin_transaction()
    write(client, topic, b"before")
    private.kill9()
    private.start()
    assert ends(private, topic) == [1, 0], "and nobody aborts it"
    write(client, topic, b"after")
    client.commit_transaction(WITHIN)
    is_stable(private, topic)
    assert committed(private, topic) == [b"before", b"after"]


def test_an_abandoned_transaction_is_aborted_after_a_clean_restart(private, name):
    topic = create_topic(private, name)
    client = transactional(private, name, transaction_timeout_ms=3000, message_timeout_ms=3000)
    client.begin_transaction()
    write(client, topic, b"abandoned")
    private.restart()
    is_stable(private, topic)
    assert committed(private, topic) == []


def test_what_was_committed_is_atomic_through_kills(private, name):
    """Each transaction writes its number to three partitions, and its broker is killed at one moment or another of it."""
    topic = create_topic(private, name, 3)
    numbers, told = itertools.count(), {}
    client = transactional(private, name, transaction_timeout_ms=60_000)
    for moment in range(6):
        number = next(numbers)
        client.begin_transaction()
        for partition in range(3):
            client.produce(topic, b"%d" % number, partition=partition)
            if moment == partition:
                private.kill9()
                private.start()
        assert client.flush(60) == 0
        if moment == 3:
            private.kill9()
            private.start()
        client.commit_transaction(60)
        told[number] = True
        if moment >= 4:  # perhaps between its markers
            private.kill9()
            private.start()
    for partition in range(3):
        is_stable(private, topic, partition)
        assert committed(private, topic, partition) == [b"%d" % number for number in sorted(told)]


def test_a_loop_of_consume_and_produce_is_exact_through_kills(private, name):
    """A loop dies with its transaction open, the broker too; another one goes on under the same id."""
    source, out, group = create_topic(private, name), create_topic(private, f"{name}-out"), f"{name}-group"
    produce(private, source, records(*(b"%d" % number for number in range(30))))

    def loop(last):
        client = transactional(private, name, transaction_timeout_ms=60_000)
        reader = consumer(private, group_id=group, auto_offset_reset="earliest", isolation_level="read_committed")
        at = TopicPartition(source, 0)
        begin = max(reader.committed([at], WITHIN)[0].offset, 0)
        reader.assign([TopicPartition(source, 0, begin)])
        for number in range(begin, last):
            message = reader.poll(WITHIN)
            assert message.value() == b"%d" % number
            client.begin_transaction()
            write(client, out, message.value())
            client.send_offsets_to_transaction([TopicPartition(source, 0, number + 1)], reader.consumer_group_metadata(), WITHIN)
            if number + 1 < last:
                client.commit_transaction(WITHIN)
        return client, reader

    left = []  # they are dead, and say nothing any more
    for last in [7, 14, 21]:
        left.append(loop(last))
        private.kill9()
        private.start()
    client, reader = loop(30)
    client.commit_transaction(WITHIN)
    is_stable(private, out)
    assert committed(private, out) == [b"%d" % number for number in range(30)]
    assert wait_for(lambda: reader.committed([TopicPartition(source, 0)], WITHIN)[0].offset == 30, "all is consumed")
    reader.close()
