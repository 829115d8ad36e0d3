"""Transactions over three nodes: coordinators, leaders and groups are on different ones, and each is killed in the middle.
librdkafka adds partitions before it writes to them, so leaders only ask for them (KIP-890); Java's producer has leaders add
them."""

import pytest
from confluent_kafka import TopicPartition
from harness import raw
from harness.adapter import Pool
from harness.clients import consumer, create_topic
from harness.cluster import view
from harness.transactions import WITHIN, committed, is_stable, transactional
from harness.wait import wait_for
from test_transactions import everything, write

pytestmark = pytest.mark.timeout(400)
PARTITIONS = range(3)
NOT_COORDINATOR = 16


@pytest.fixture(scope="module")
def started(clusters):
    return clusters("transactions").start()


@pytest.fixture
def three(started):
    return started.healed()


@pytest.fixture
def java(three):
    pool = Pool(three.bootstrap)
    yield pool.take("java")
    pool.close()


def spread(cluster, name):
    """Partition n is led by node n + 1."""
    return create_topic(cluster, name, [[1, 2, 3], [2, 3, 1], [3, 1, 2]])


def ids_of_all_coordinators(name):
    """Transactional ids for each of the three partitions of the transaction log, which the three nodes lead."""
    found = {}
    for number in range(100):
        found.setdefault(shard(f"{name}-{number}"), f"{name}-{number}")
    assert len(found) == 3
    return list(found.values())


def shard(id):
    """As Kafka deals ids to the partitions of its transaction log: by the hash of a Java string, without its sign."""
    hashed = 0
    for letter in id:
        hashed = (31 * hashed + ord(letter)) & 0xFFFFFFFF
    return min(hashed, 2**32 - hashed) % 3


def coordinator(cluster, id):
    said = view(next(node for node in cluster.brokers if node.answers))
    return cluster.node(said.topics["__transaction_state"][shard(id)].leader)


def test_commits_and_aborts_wherever_the_coordinator_is(three, name):
    topic = spread(three, name)
    for id in ids_of_all_coordinators(name):
        client = transactional(three, id)
        for number in range(4):
            client.begin_transaction()
            for partition in PARTITIONS:
                write(client, topic, b"%d" % number, partition=partition)
            client.commit_transaction(WITHIN) if number % 2 else client.abort_transaction(WITHIN)
    for partition in PARTITIONS:
        is_stable(three, topic, partition)
        assert committed(three, topic, partition) == [b"1", b"3"] * 3
        assert everything(three, topic, partition) == [b"0", b"1", b"2", b"3"] * 3


def test_leaders_add_partitions_at_another_nodes_coordinator(three, java, name):
    topic = spread(three, name)
    for id in ids_of_all_coordinators(name):
        for number in range(4):
            java("begin", id=id, topic=topic, records=[{"value": str(number), "partition": partition} for partition in PARTITIONS])
            java("end", commit=bool(number % 2))
    for partition in PARTITIONS:
        is_stable(three, topic, partition)
        assert committed(three, topic, partition) == [b"1", b"3"] * 3


def test_offsets_of_a_group_whose_coordinator_is_elsewhere(three, name):
    topic, at = spread(three, name), TopicPartition(name, 0)
    for number, id in enumerate(ids_of_all_coordinators(name)):
        client, reader = transactional(three, id), consumer(three, group_id=name, isolation_level="read_committed")
        for commits in (False, True):
            client.begin_transaction()
            write(client, topic, b"%d" % number, partition=number)
            where = [TopicPartition(topic, 0, 10 * number + 5 * commits)]
            client.send_offsets_to_transaction(where, reader.consumer_group_metadata(), WITHIN)
            client.commit_transaction(WITHIN) if commits else client.abort_transaction(WITHIN)
        assert reader.committed([at], WITHIN)[0].offset == 10 * number + 5
        reader.close()


@pytest.mark.parametrize("moment", ["open", "ending"])
def test_what_was_committed_is_atomic_though_the_coordinator_is_killed(three, name, moment):
    topic = spread(three, name)
    client, told = transactional(three, name, message_timeout_ms=60_000), []
    for number in range(6):
        client.begin_transaction()
        for partition in PARTITIONS:
            client.produce(topic, b"%d" % number, partition=partition)
        assert client.flush(60) == 0
        if (number, moment) == (2, "open"):
            coordinator(three, name).kill9()
        client.commit_transaction(60)
        told.append(b"%d" % number)
        if (number, moment) == (2, "ending"):  # perhaps between its markers
            coordinator(three, name).kill9()
    three.healed()
    for partition in PARTITIONS:
        is_stable(three, topic, partition)
        assert committed(three, topic, partition) == told


def test_a_leader_that_is_killed_gets_its_markers_later(three, name):
    topic = spread(three, name)
    client = transactional(three, name, message_timeout_ms=60_000)
    client.begin_transaction()
    for partition in PARTITIONS:
        write(client, topic, b"whole", partition=partition)
    victim = next(node for node in three.brokers if node is not coordinator(three, name))
    victim.kill9()
    client.commit_transaction(60)
    for partition in PARTITIONS:
        is_stable(three, topic, partition)
        assert committed(three, topic, partition) == [b"whole"]


def test_a_broker_that_is_not_the_coordinator_says_so(three, name):
    """To everything that is asked under a transactional id, and changes nothing; a list has only what the broker coordinates."""
    topic, id = spread(three, name), name
    client = transactional(three, id)
    client.begin_transaction()
    write(client, topic, b"value")
    right = coordinator(three, id)
    who = raw.describe_transaction(right.bootstrap, id)
    assert who.error_code == 0 and who.transaction_state == "Ongoing"
    for node in three.brokers:
        listed = raw.list_transactions(node.bootstrap)
        assert (id in listed) == (node is right), node.name
        if node is not right:
            assert raw.asked_of_a_coordinator(node.bootstrap, id, who.producer_id, who.producer_epoch, topic) == {
                "InitProducerId": NOT_COORDINATOR, "AddPartitionsToTxn": NOT_COORDINATOR, "AddOffsetsToTxn": NOT_COORDINATOR,
                "EndTxn": NOT_COORDINATOR, "DescribeTransactions": NOT_COORDINATOR}
    client.commit_transaction(WITHIN)
    is_stable(three, topic)
    assert committed(three, topic) == [b"value"]


def test_offsets_of_a_transaction_at_a_broker_that_does_not_coordinate_the_group(three, name):
    topic = spread(three, name)
    transactional(three, name)
    who = raw.describe_transaction(coordinator(three, name).bootstrap, name)
    wait_for(lambda: raw.coordinator(three.brokers[0].bootstrap, name)[0] == 0, "the group has a coordinator")
    _, right = raw.coordinator(three.brokers[0].bootstrap, name)
    for node in three.brokers:
        if node.id != right:
            code = raw.commit_in_transaction(node.bootstrap, name, name, who.producer_id, who.producer_epoch, topic)
            assert code == NOT_COORDINATOR, node.name
