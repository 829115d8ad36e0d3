"""The same stories of transactions by Java's client, franz-go and sarama, each as a process (harness/adapter.py). Those of Python
are in test_transactions."""

import pytest
from confluent_kafka import TopicPartition
from harness.adapter import AdapterError, Pool
from harness.clients import consumer, create_topic, produce, records
from harness.transactions import WITHIN, committed, is_stable
from test_transactions import everything


@pytest.fixture(scope="module")
def pool(broker):
    pool = Pool(broker.bootstrap)
    yield pool
    pool.close()


@pytest.fixture(params=["java", "franz-go", "sarama"])
def make(pool, request):
    """More of the same client."""
    made = []

    def one():
        made.append(pool.take(request.param))
        return made[-1]

    yield one
    for client in made:
        if client.process.poll() is None:
            pool.give_back(client)


def rows(value, *partitions):
    return [{"value": value, "partition": partition} for partition in partitions]


def test_commits_and_aborts(broker, make, name):
    topic, client = create_topic(broker, name, 2), make()
    for number in range(6):
        client("begin", id=name, topic=topic, records=rows(str(number), 0, 1))
        client("end", commit=bool(number % 2))
    for partition in range(2):
        is_stable(broker, topic, partition)
        assert committed(broker, topic, partition) == [b"1", b"3", b"5"]
        assert everything(broker, topic, partition) == [b"%d" % number for number in range(6)]


def test_a_replaced_producer_is_fenced(broker, make, topic, name):
    zombie, successor = make(), make()
    zombie("begin", id=name, topic=topic, records=rows("zombie's", 0))
    successor("begin", id=name, topic=topic, records=rows("successor's", 0))
    with pytest.raises(AdapterError):
        zombie("end", commit=True)
    successor("end", commit=True)
    is_stable(broker, topic)
    assert committed(broker, topic) == [b"successor's"]


def test_a_killed_producers_transaction_ends_with_its_successor(broker, make, topic, name):
    dead, successor = make(), make()
    dead("begin", id=name, topic=topic, records=rows("dead", 0))
    dead.kill9()
    successor("begin", id=name, topic=topic, records=rows("alive", 0))
    successor("end", commit=True)
    is_stable(broker, topic)
    assert committed(broker, topic) == [b"alive"]


def test_a_loop_of_consume_and_produce(broker, make, topic, name):
    out, group = create_topic(broker, f"{name}-out"), f"{name}-group"
    produce(broker, topic, records(*(b"%d" % number for number in range(12))))
    make()("copy", id=name, group=group, topic=topic, target=out, count=12)
    is_stable(broker, out)
    assert committed(broker, out) == [b"%d" % number for number in range(12)]
    reader = consumer(broker, group_id=group, isolation_level="read_committed")
    assert reader.committed([TopicPartition(topic, 0)], WITHIN)[0].offset == 12
    reader.close()
