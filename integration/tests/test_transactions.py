"""Transactions through real clients (KIP-98, KIP-360, KIP-447, KIP-890): what is committed is seen at once and in order, what
is aborted never, and whoever was replaced is fenced. librdkafka adds partitions before it writes to them, as clients did before
KIP-890; Java's producer adds them by writing."""

import asyncio

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition as AioPartition
from aiokafka.errors import ProducerFenced
from confluent_kafka import Consumer, KafkaException, TopicPartition
from harness.clients import consume, consumer, create_topic, produce, producer, read, records, values
from harness.transactions import WITHIN, committed, ends, is_stable, transactional
from harness.wait import wait_for
from kafka import KafkaProducer
from kafka.structs import OffsetAndMetadata, TopicPartition as PythonPartition

def write(client, topic, *items, partition=0):
    """The records are in the log, and their transaction is open."""
    for item in items:
        client.produce(topic, item, partition=partition)
    assert client.flush(WITHIN) == 0


def everything(broker, topic, partition=0):
    return values(consume(broker, topic, partition=partition, isolation_level="read_uncommitted"))


def code(raised):
    return raised.value.args[0].name()


def test_commits_and_aborts_over_partitions(broker, name):
    topic = create_topic(broker, name, 3)
    client = transactional(broker, name)
    for number in range(6):
        client.begin_transaction()
        for partition in range(3):
            write(client, topic, b"%d" % number, partition=partition)
        client.commit_transaction(WITHIN) if number % 2 else client.abort_transaction(WITHIN)
    for partition in range(3):
        is_stable(broker, topic, partition)
        assert committed(broker, topic, partition) == [b"1", b"3", b"5"]
        assert everything(broker, topic, partition) == [b"%d" % number for number in range(6)]


def test_row_13_read_committed_stops_at_the_last_stable_offset(broker, topic, name):
    assert committed(broker, topic) == [], "of an empty log"
    produce(broker, topic, records(b"before"))
    client = transactional(broker, name)
    client.begin_transaction()
    write(client, topic, b"open")
    produce(broker, topic, records(b"behind"))
    assert ends(broker, topic) == [3, 1]
    assert committed(broker, topic) == [b"before"]
    assert everything(broker, topic) == [b"before", b"open", b"behind"]
    client.commit_transaction(WITHIN)
    is_stable(broker, topic)
    assert committed(broker, topic) == [b"before", b"open", b"behind"]


def test_row_32_a_marker_may_be_the_last_thing_in_a_log(tools, broker, topic, name):
    client = transactional(broker, name)
    for ends_with in [client.commit_transaction, client.abort_transaction]:
        client.begin_transaction()
        write(client, topic, b"value")
        ends_with(WITHIN)
        is_stable(broker, topic)
        assert committed(broker, topic) == [b"value"]
    reader = consumer(broker, isolation_level="read_committed")
    reader.assign([TopicPartition(topic, 0, 3)])
    assert read(reader) == [], "only an aborted record and its marker are left"
    reader.close()
    words = ["--topic", topic, "--partition", 0, "--offset", "earliest", "--isolation-level", "read_committed",
             "--timeout-ms", 5000]
    seen = tools("kafka-console-consumer", *words, "--max-messages", 1, broker=broker)
    assert seen.lines == ["value"]


def test_row_29_a_timeout_beyond_the_brokers(broker, name):
    with pytest.raises(KafkaException) as raised:
        transactional(broker, name, transaction_timeout_ms=900_001)
    assert code(raised) == "INVALID_TRANSACTION_TIMEOUT"


def test_a_replaced_producer_is_fenced(broker, topic, name):
    zombie = transactional(broker, name)
    zombie.begin_transaction()
    write(zombie, topic, b"zombie's")
    successor = transactional(broker, name)
    is_stable(broker, topic)
    successor.begin_transaction()
    write(successor, topic, b"successor's")
    with pytest.raises(KafkaException) as raised:
        zombie.commit_transaction(WITHIN)
    assert code(raised) in ("_FENCED", "PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH"), raised.value
    successor.commit_transaction(WITHIN)
    is_stable(broker, topic)
    assert committed(broker, topic) == [b"successor's"]


def test_offsets_count_with_the_transaction(broker, topic, name):
    group, out = f"{name}-group", create_topic(broker, f"{name}-out")
    produce(broker, topic, records(b"a", b"b", b"c"))
    client = transactional(broker, name)
    reader = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": group, "auto.offset.reset": "earliest",
                       "enable.auto.commit": False, "isolation.level": "read_committed"})
    reader.subscribe([topic])
    at = [TopicPartition(topic, 0)]

    def copy(*ends_with):
        message = reader.poll(WITHIN)
        client.begin_transaction()
        write(client, out, message.value())
        client.send_offsets_to_transaction(reader.position(reader.assignment()), reader.consumer_group_metadata(), WITHIN)
        client.commit_transaction(WITHIN) if "commit" in ends_with else client.abort_transaction(WITHIN)

    copy("commit")
    assert reader.committed(at, WITHIN)[0].offset == 1
    copy("abort")
    assert reader.committed(at, WITHIN)[0].offset == 1, "the abort takes the offset along"
    reader.seek(TopicPartition(topic, 0, 1))
    copy("commit")
    copy("commit")
    assert reader.committed(at, WITHIN)[0].offset == 3
    reader.close()
    is_stable(broker, out)
    assert committed(broker, out) == [b"a", b"b", b"c"]


def test_aiokafka(broker, topic, name):
    out, group = create_topic(broker, f"{name}-out"), f"{name}-group"

    async def story():
        async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap, transactional_id=name) as client:
            async with client.transaction():
                await client.send_and_wait(out, b"one", partition=0)
                await client.send_offsets_to_transaction({AioPartition(topic, 0): 7}, group)
            with pytest.raises(ZeroDivisionError):
                async with client.transaction():
                    await client.send_and_wait(out, b"never", partition=0)
                    raise ZeroDivisionError
            async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap, transactional_id=name) as successor:
                with pytest.raises(ProducerFenced):
                    async with client.transaction():
                        await client.send_and_wait(out, b"zombie's", partition=0)
                async with successor.transaction():
                    await successor.send_and_wait(out, b"two", partition=0)

    asyncio.run(story())
    is_stable(broker, out)
    assert committed(broker, out) == [b"one", b"two"]
    reader = consumer(broker, group_id=group)
    assert reader.committed([TopicPartition(topic, 0)], WITHIN)[0].offset == 7
    reader.close()


def test_kafka_python(broker, topic, name):
    out, group = create_topic(broker, f"{name}-out"), f"{name}-group"
    client = KafkaProducer(bootstrap_servers=broker.bootstrap, transactional_id=name)
    client.init_transactions()
    for number in range(4):
        client.begin_transaction()
        client.send(out, b"%d" % number, partition=0).get(WITHIN)
        if number % 2:
            client.abort_transaction()
        else:
            client.send_offsets_to_transaction({PythonPartition(topic, 0): OffsetAndMetadata(number, "", -1)}, group)
            client.commit_transaction()
    client.close(5)
    is_stable(broker, out)
    assert committed(broker, out) == [b"0", b"2"]
    reader = consumer(broker, group_id=group)
    assert reader.committed([TopicPartition(topic, 0)], WITHIN)[0].offset == 2
    reader.close()


def test_javas_producer_bumps_its_epoch_with_each_transaction(tools, broker, name):
    topic = create_topic(broker, name, 3)
    tools("kafka-producer-perf-test", "--topic", topic, "--num-records", 3000, "--record-size", 100, "--throughput", -1,
          "--transactional-id", name, "--transaction-duration-ms", 10, broker=broker)
    for partition in range(3):
        is_stable(broker, topic, partition)
    assert sum(len(committed(broker, topic, partition)) for partition in range(3)) == 3000
    described = tools("kafka-transactions", "--bootstrap-server", broker.bootstrap, "describe", "--transactional-id", name).lines
    epoch = int(described[-1].split()[3])
    assert epoch > 0, described
