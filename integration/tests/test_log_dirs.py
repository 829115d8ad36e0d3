"""Partitions that move from one log directory to another while they are written to, and what a kill does to a move."""

import itertools
import json

import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from harness import raw
from harness.clients import Record, admin, consume, create_topic, is_led, producer, records, try_produce, values
from harness.wait import wait_for

TIMES = {"broker.session.timeout.ms": 2000, "broker.heartbeat.interval.ms": 500, "log.cleaner.backoff.ms": 100}


@pytest.fixture
def two(brokers, tools):
    """A broker with two log directories, and the paths of both."""
    broker = brokers("dirs", config={**TIMES, "offsets.topic.num.partitions": 1})
    first, second = broker.dir / "first", broker.dir / "second"
    broker.config["log.dirs"] = f"{first},{second}"
    return broker.start(), first, second


def where(tools, broker, topic):
    """Partition -> the directory that it lives in, and the one that a copy is made in, if any."""
    text = tools("kafka-log-dirs", "--describe", "--topic-list", topic, broker=broker).lines[-1]
    found = {}
    for directory in json.loads(text)["brokers"][0]["logDirs"]:
        for one in directory["partitions"]:
            at = found.setdefault(one["partition"].removeprefix(f"{topic}-"), [None, None])
            at[one["isFuture"]] = directory["logDir"]
    return found


def move(tools, broker, directory, *partitions):
    return tools("move-logs", directory, *partitions, broker=broker).lines


def throttle(broker, bytes_per_second):
    one = ConfigResource(ResourceType.BROKER, "1", incremental_configs=[
        ConfigEntry("replica.alter.log.dirs.io.max.bytes.per.second", str(bytes_per_second),
                    incremental_operation=AlterConfigOpType.SET)])
    client = admin(broker)
    client.incremental_alter_configs([one])[one].result(30)


def test_partitions_move_while_they_are_written_to(two, tools, name):
    broker, first, second = two
    topic = create_topic(broker, name, partitions=3, segment_bytes="1048576", flush_messages="1")
    writer = producer(broker, acks="all", enable_idempotence=True, linger_ms=1)
    sent = {partition: [] for partition in range(3)}

    def write(count):
        for n in range(count):
            for partition, all_sent in sent.items():
                all_sent.append(b"%d-%d" % (partition, len(all_sent)) + bytes(500))
                writer.produce(topic, value=all_sent[-1], partition=partition)
            writer.poll(0)

    write(2000)
    writer.flush(60)
    for target in (second, first, second):
        began = move(tools, broker, target, *(f"{topic}-{n}" for n in range(3)))
        assert began == [f"{topic}-{n}: under way" for n in range(3)]
        def there():
            write(50)
            return set(map(tuple, where(tools, broker, topic).values())) == {(str(target), None)}
        wait_for(there, f"all live in {target}", within=60)
    assert writer.flush(60) == 0

    def whole():
        return {partition: values(consume(broker, topic, partition=partition)) for partition in sent}

    assert whole() == sent, "all of it, once, in order"
    for stop in (broker.kill9, broker.stop):
        stop()
        broker.start()
        assert whole() == sent
        assert set(map(tuple, where(tools, broker, topic).values())) == {(str(second), None)}
    wait_for(lambda: not list(first.glob(f"{topic}-*")), "what was left behind is removed", within=90)


def test_a_move_is_seen_slowed_stopped_and_taken_up_again_after_a_kill(two, tools, name):
    broker, first, second = two
    topic = create_topic(broker, name, segment_bytes="1048576")
    try_produce(broker, topic, records(*[b"%06d" % n + bytes(10_000) for n in range(600)]))
    before = values(consume(broker, topic))
    [home] = {place[0] for place in where(tools, broker, topic).values()}
    away = str(second) if home == str(first) else str(first)

    throttle(broker, 100_000)
    assert move(tools, broker, away, f"{topic}-0") == [f"{topic}-0: under way"]
    wait_for(lambda: where(tools, broker, topic) == {"0": [home, away]}, "a copy is being made")
    assert move(tools, broker, home, f"{topic}-0") == [f"{topic}-0: under way"], "it is to stay after all"
    wait_for(lambda: where(tools, broker, topic) == {"0": [home, None]}, "the copy is gone")

    move(tools, broker, away, f"{topic}-0")
    wait_for(lambda: where(tools, broker, topic) == {"0": [home, away]}, "a copy is being made")
    for stop in (broker.kill9, broker.stop):
        stop()
        broker.start()
        assert values(consume(broker, topic)) == before
        wait_for(lambda: where(tools, broker, topic) == {"0": [home, away]}, "the move goes on")
    throttle(broker, 100_000_000)
    wait_for(lambda: where(tools, broker, topic) == {"0": [away, None]}, "the move has been taken up again", within=60)
    assert values(consume(broker, topic)) == before


def test_what_cannot_move_says_why(two, tools, name):
    broker, _, second = two
    topic = create_topic(broker, name)
    assert move(tools, broker, "/no/such", f"{topic}-0") == [f"{topic}-0: LogDirNotFoundException"]
    assert move(tools, broker, second, f"{topic}-7") == [f"{topic}-7: UnknownTopicOrPartitionException"]
    # It is remembered for the time when there is one.
    for new in (f"{name}-{n}" for n in range(4)):
        assert move(tools, broker, second, f"{new}-0") == [f"{new}-0: UnknownTopicOrPartitionException"]
        create_topic(broker, new)
        assert where(tools, broker, new) == {"0": [str(second), None]}


def test_new_partitions_avoid_directories_that_are_cordoned(two, tools, name):
    """KIP-1066: the broker puts none there, and the controller none on a broker that has no other."""
    broker, first, second = two
    numbers = itertools.count()

    def configure(*words):
        tools("kafka-configs", "--alter", "--entity-type", "brokers", "--entity-name", "1", *words, broker=broker)

    def made():
        topic = f"{name}-{next(numbers)}"
        return raw.create(broker.bootstrap, topic, 1, 1)[0], topic
    try:
        configure("--add-config", f"cordoned.log.dirs={first}")
        wait_for(lambda: where(tools, broker, made()[1]) == {"0": [str(second), None]}, "the broker knows it")
        for _ in range(3):
            code, topic = made()
            assert code == 0 and where(tools, broker, topic) == {"0": [str(second), None]}
        configure("--add-config", "cordoned.log.dirs=*")
        wait_for(lambda: made()[0] == 38, "the controller knows it: INVALID_REPLICATION_FACTOR")
    finally:
        configure("--delete-config", "cordoned.log.dirs")
    wait_for(lambda: made()[0] == 0, "it takes new replicas again")


def test_a_compacted_log_keeps_its_tombstones_when_it_moves(two, tools, name):
    """What is deleted stays deleted, though the cleaner works all the while."""
    broker, first, second = two
    topic = create_topic(broker, name, cleanup_policy="compact", segment_bytes="1048576", min_cleanable_dirty_ratio="0.01",
                         delete_retention_ms="0", max_compaction_lag_ms="1000")
    keyed = lambda pairs: [dict(key=key, value=value) for key, value in pairs]
    model = {}
    for round in range(6):
        pairs = [(b"%d" % n, None if (n + round) % 3 == 0 else b"%d-%d" % (n, round) + bytes(5000)) for n in range(300)]
        writer = producer(broker, acks="all")
        for one in keyed(pairs):
            writer.produce(topic, **one)
        assert writer.flush(60) == 0
        model.update(pairs)
        [home] = {place[0] for place in where(tools, broker, topic).values()}
        away = str(second) if home == str(first) else str(first)
        move(tools, broker, away, f"{topic}-0")
        wait_for(lambda: where(tools, broker, topic) == {"0": [away, None]}, "it has moved", within=60)
    state = {}
    for message in consume(broker, topic):
        state[message.key()] = message.value()
    there = lambda found: {key: value for key, value in found.items() if value is not None}
    assert there(state) == there(model)


@pytest.mark.ottla_only
@pytest.mark.timeout(240)
def test_what_has_moved_is_taken_over_by_kafka_and_back(two, tools, name):
    broker, _, second = two
    topic = create_topic(broker, name, partitions=2)
    sent = [b"%d" % n for n in range(100)]
    for partition in range(2):
        try_produce(broker, topic, [Record(value, partition=partition) for value in sent])
    move(tools, broker, second, f"{topic}-0", f"{topic}-1")
    expected = {"0": [str(second), None], "1": [str(second), None]}
    wait_for(lambda: where(tools, broker, topic) == expected, "both live in the second directory")
    for kind in ("kafka", "ottla"):
        broker.stop()
        broker.kind, broker.formatted = kind, True
        broker.start()
        wait_for(lambda: is_led(admin(broker), topic, 2), f"{topic} has leaders under {kind}")
        assert where(tools, broker, topic) == expected
        for partition in range(2):
            assert values(consume(broker, topic, partition=partition)) == sent
            try_produce(broker, topic, [Record(b"under " + kind.encode(), partition=partition)])
        sent.append(b"under " + kind.encode())
