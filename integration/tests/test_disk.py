"""Disks that fill up and disks that fail, on file systems of the test's own: what was acknowledged stays, the rest of
the broker goes on, and room is all that a full disk needs."""

import os
import subprocess
import time
from pathlib import Path

import pytest
from confluent_kafka import ElectionType, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType
from harness.clients import Record, admin, consume, create_topic, producer, records, try_produce, values
from harness.cluster import view
from harness.replicas import check_equal
from harness.wait import wait_for

MIB = 1 << 20
PIECE = 100_000  # bytes of a record
pytestmark = pytest.mark.ottla_only  # Apache Kafka gives up the directory at the first failed write


def run(*command):
    return subprocess.run([*map(str, command)], capture_output=True, text=True)


class Breakable:
    """A file system on a loop device that can be told to fail, which makes it read-only there and then."""

    def __init__(self, image, path):
        self.image, self.path, self.device = image, path, None
        image.write_bytes(b"")
        os.truncate(image, 64 * MIB)

    def made(self):
        return run("mkfs.ext4", "-q", "-F", self.image).returncode == 0 and self.mount()

    def mount(self):
        attached = run("losetup", "--find", "--show", self.image)
        self.device = attached.stdout.strip()
        if attached.returncode != 0 or run("mount", "-o", "errors=remount-ro", self.device, self.path).returncode != 0:
            return False
        return self._trigger().exists()

    def _trigger(self):
        return Path("/sys/fs/ext4") / Path(self.device).name / "trigger_fs_error"

    def fail(self):
        self._trigger().write_text("1")

    def umount(self):
        if self.device:
            run("umount", "-l", self.path)
            run("losetup", "-d", self.device)
            self.device = None

    def repair(self):
        run("umount", self.path)
        run("e2fsck", "-p", self.device)
        run("losetup", "-d", self.device)
        assert self.mount()


@pytest.fixture
def breakable(tmp_path):
    """Makes file systems that can be told to fail."""
    made = []

    def make(name):
        path = tmp_path / name
        path.mkdir()
        one = Breakable(tmp_path / f"{name}.image", path)
        made.append(one)
        if os.geteuid() != 0 or not one.made():
            pytest.skip("only root, with loop devices and ext4, has a file system that can be made to fail")
        (path / "lost+found").rmdir()
        return one

    yield make
    for one in made:
        one.umount()


@pytest.fixture
def volume(tmp_path):
    """Makes small file systems."""
    made = []

    def make(name, size):
        if os.geteuid() != 0:
            pytest.skip("only root may mount a file system of a limited size")
        path = tmp_path / name
        path.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)],
                                 capture_output=True, text=True)
        if mounted.returncode != 0:
            pytest.skip(f"cannot mount a file system of a limited size: {mounted.stderr.strip()}")
        made.append(path)
        return path

    yield make
    for path in made:
        subprocess.run(["umount", "-l", str(path)], check=True)


def numbered(first, count):
    return records(*[b"%08d" % n + bytes(PIECE - 8) for n in range(first, first + count)])


def fill(broker, topic):
    """Produces until it is refused; the acknowledged values by offset."""
    client = producer(broker, retries=0, acks="all", linger_ms=0, log_level=0)
    acked = {}
    for n in range(1000):
        [report] = try_produce(broker, topic, numbered(n, 1), client=client)
        if report.error():
            assert report.error().code() == KafkaError.KAFKA_STORAGE_ERROR, report.error()  # retriable
            return acked
        acked[report.offset()] = report.value()
    raise AssertionError("the disk never filled")


def takes(broker, topic, acked):
    [report] = try_produce(broker, topic, numbered(len(acked) + 1000, 1), retries=0, acks="all", log_level=0)
    if report.error():
        return False
    acked[report.offset()] = report.value()
    return True


def got(broker, topic):
    return {message.offset(): message.value() for message in consume(broker, topic)}


def test_a_full_disk_refuses_producers_and_nothing_else(brokers, volume, name):
    data = volume("data", "24m")
    times = {"log.retention.check.interval.ms": 500, "broker.session.timeout.ms": 2000,
             "broker.heartbeat.interval.ms": 500, "offsets.topic.num.partitions": 1}
    broker = brokers("full", config={"log.dirs": data, **times}).start()
    client = admin(broker)
    small, short = {"segment_bytes": str(MIB)}, {"file_delete_delay_ms": "0"}
    # What is deleted goes within a second, not a minute.
    kept = create_topic(broker, f"{name}-kept", **small, **short)
    gone = create_topic(broker, f"{name}-gone", **small, **short)
    first = [report.offset() for report in try_produce(broker, gone, numbered(0, 60))]
    assert first == list(range(60))

    acked = fill(broker, kept)
    assert len(acked) > 50, "most of the disk was the topic's"
    assert got(broker, kept) == acked, "reads go on"
    assert not takes(broker, kept, acked), "still full"
    wait_for(lambda: "no space left in the log directory" in broker.log_text(), "the log says what is full")
    new = f"{name}-new"
    try:  # Its metadata may still have found room; its files then wait for some.
        client.create_topics([NewTopic(new, 1, 1)])[new].result(30)
    except KafkaException as refused:
        assert refused.args[0].code() == KafkaError.KAFKA_STORAGE_ERROR
        assert new not in client.list_topics(timeout=10).topics

    # Deleting a topic makes room.
    client.delete_topics([gone], operation_timeout=30)[gone].result(30)
    wait_for(lambda: takes(broker, kept, acked), "producing goes on")
    wait_for(lambda: "the log directory has room again" in broker.log_text(), "the log says so")
    if new not in client.list_topics(timeout=10).topics:
        create_topic(broker, new)
    wait_for(lambda: takes(broker, new, {}), "the new topic takes records")

    # So does retention.
    again = fill(broker, kept)
    acked.update(again)
    assert got(broker, kept) == acked
    lower = ConfigResource(ResourceType.TOPIC, kept, incremental_configs=[
        ConfigEntry("retention.bytes", str(8 * MIB), incremental_operation=AlterConfigOpType.SET)])
    client.incremental_alter_configs([lower])[lower].result(30)
    wait_for(lambda: takes(broker, kept, acked), "producing goes on")
    left = got(broker, kept)
    assert 0 < len(left) < len(acked)

    for stop in (broker.stop, broker.kill9):
        stop()
        broker.start()
        there = got(broker, kept)
        assert there == {offset: acked[offset] for offset in there}, "nothing is another's, nothing twice"
        assert max(there) == max(acked), "what was acknowledged last is there"
        assert sorted(there) == list(range(min(there), max(there) + 1))
        assert len(there) >= len(left) - 11, "but what retention took meanwhile, a segment"
        assert takes(broker, kept, acked)


def test_a_failed_directory_takes_its_partitions_offline_and_the_rest_goes_on(brokers, breakable, tools, name):
    disk = breakable("bad")
    bad = disk.path
    broker = brokers("failed", config={"broker.session.timeout.ms": 2000, "broker.heartbeat.interval.ms": 500})
    good = broker.data
    broker.config.update({"log.dirs": f"{good},{bad}", "metadata.log.dir": good})
    broker.start()
    # They spread over both directories.
    topics = [create_topic(broker, f"{name}-{n}", flush_messages="1") for n in range(4)]
    lost = [topic for topic in topics if (bad / f"{topic}-0").is_dir()]
    kept = [topic for topic in topics if (good / f"{topic}-0").is_dir()]
    assert len(lost) == len(kept) == 2
    acked = {topic: {} for topic in topics}
    assert all(takes(broker, topic, acked[topic]) for topic in topics)

    client = admin(broker)
    disk.fail()
    assert not takes(broker, lost[0], {}), "a failed write is not acknowledged"
    wait_for(lambda: "the log directory has failed" in broker.log_text(), "the log says what has failed")

    def shown():
        topics = client.list_topics(timeout=10).topics
        return {topic: topics[topic].partitions[0].leader for topic in lost + kept}

    wait_for(lambda: shown() == {**dict.fromkeys(lost, -1), **dict.fromkeys(kept, 1)}, "metadata shows who is offline")
    assert all(takes(broker, topic, acked[topic]) for topic in kept), "the others go on"
    assert all(got(broker, topic) == acked[topic] for topic in kept)
    dirs = tools("kafka-log-dirs", "--describe", broker=broker)
    assert "KafkaStorageException" in dirs.text, "the directory is shown as offline"

    for stop in (broker.kill9, broker.stop):
        stop()
        broker.start()
        wait_for(lambda: shown() == {**dict.fromkeys(lost, -1), **dict.fromkeys(kept, 1)}, "it starts with the rest")
        assert all(takes(broker, topic, acked[topic]) for topic in kept)
        assert not any((good / f"{topic}-0").exists() for topic in lost), "what is elsewhere is not made anew"

    broker.stop()
    disk.repair()
    broker.start()
    for topic in topics:
        assert got(broker, topic) == acked[topic], "with the directory everything is back"
        assert takes(broker, topic, acked[topic])


def test_the_process_ends_with_its_only_directory(brokers, breakable, name):
    disk = breakable("only")
    broker = brokers("only", config={"log.dirs": disk.path}).start()
    create_topic(broker, name)
    disk.fail()
    admin(broker).create_topics([NewTopic(f"{name}-2", 1, 1)])
    assert broker.exit_code(30) == 1
    assert "cannot go on" in broker.log_text() or "the controller failed" in broker.log_text()
    broker.spawn()
    assert broker.exit_code(30) == 1, "it does not start without one"


# --- one of three nodes ------------------------------------------------------------------------------------------

def led_by(cluster, topic, other_than=None):
    said = view(cluster.nodes[0])
    return [index for index, part in said.topics[topic].items() if part.leader != other_than]


def test_a_full_disk_of_one_of_three_nodes(clusters, volume, name):
    """What it follows goes on without it, and whatever was acknowledged is on the others. With room, all are in sync again."""
    cluster = clusters("full", config={"log.retention.check.interval.ms": 500, "replica.lag.time.max.ms": 3000})
    victim = cluster.nodes[2]
    victim.data = victim.config["log.dirs"] = volume("data", "24m")
    cluster.start()
    topic = create_topic(cluster, name, 6, 3, min_insync_replicas="2", segment_bytes=str(MIB))
    elsewhere = led_by(cluster, topic, other_than=victim.id)
    client = producer(cluster, acks="all", enable_idempotence=True, linger_ms=0, log_level=0, message_timeout_ms=60_000)
    acked = {}

    def send(count):
        """To partitions that other nodes lead."""
        first = len(acked)
        items = [Record(record.value, partition=elsewhere[n % len(elsewhere)]) for n, record in enumerate(numbered(first, count))]
        for report in try_produce(cluster, topic, items, client=client):
            assert not report.error(), report.error()
            acked[report.partition(), report.offset()] = report.value()

    wait_for(lambda: send(20) or FULL in victim.log_text(), "the disk is full", 60)
    send(100)
    assert victim.log_text().count(FULL) == 1, "one line says what has happened"
    wait_for(lambda: out_of_sync(cluster, victim, topic, elsewhere), "what it cannot follow goes on without it")
    assert victim.process.poll() is None
    check(cluster, topic, acked)
    subprocess.run(["mount", "-o", "remount,size=256m", str(victim.data)], check=True)
    cluster.whole(topic)
    send(20)
    victim.restart()
    cluster.whole(topic)
    send(20)
    check(cluster, topic, acked)
    check_equal(cluster, {topic: 6})


def test_what_a_full_disk_led_others_lead(clusters, volume, name):
    """Where another replica in sync has room it leads at once, and producers go on."""
    cluster = clusters("moves", config={"log.retention.check.interval.ms": 500, "replica.lag.time.max.ms": 5000})
    victim = cluster.nodes[2]
    victim.data = victim.config["log.dirs"] = volume("data", "24m")
    cluster.start()
    topic = create_topic(cluster, name, 6, 3, min_insync_replicas="2", segment_bytes=str(MIB))
    assert len(led_by(cluster, topic, other_than=victim.id)) < 6, "it leads something"
    client = producer(cluster, acks="all", enable_idempotence=True, linger_ms=0, log_level=0, message_timeout_ms=60_000)
    acked = {}
    wait_for(lambda: send(cluster, topic, client, acked, 24) or FULL in victim.log_text(), "the disk is full", 60)
    wait_for(lambda: len(led_by(cluster, topic, other_than=victim.id)) == 6, "the others lead", 10)
    wait_for(lambda: out_of_sync(cluster, victim, topic, range(6)), "nobody waits for it", 10)
    began = time.monotonic()
    send(cluster, topic, client, acked, 120)
    assert time.monotonic() - began < 20, "followers that cannot follow are waited for once"
    check(cluster, topic, acked)

    subprocess.run(["mount", "-o", "remount,size=256m", str(victim.data)], check=True)
    cluster.whole(topic)
    wait_for(lambda: "the log directory has room again" in victim.log_text(), "the log says so")
    client_of_admin = admin(cluster)
    elected = client_of_admin.elect_leaders(ElectionType.PREFERRED, [TopicPartition(topic, index) for index in range(6)])
    assert all(error is None or error.code() == KafkaError.ELECTION_NOT_NEEDED for error in elected.result(30).values())
    assert len(led_by(cluster, topic, other_than=victim.id)) < 6, "it leads again"
    send(cluster, topic, client, acked, 24)
    check(cluster, topic, acked)
    check_equal(cluster, {topic: 6})


def test_a_full_follower_has_room_once_its_records_are_deleted(clusters, volume, name):
    """It fetches nothing, and hears all the same what its leader has deleted."""
    cluster = clusters("deletes", config={"log.retention.check.interval.ms": 500, "replica.lag.time.max.ms": 3000,
                                          "log.segment.delete.delay.ms": 0})
    victim = cluster.nodes[2]
    victim.data = victim.config["log.dirs"] = volume("data", "24m")
    cluster.start()
    topic = create_topic(cluster, name, 6, 3, min_insync_replicas="2", segment_bytes=str(MIB), file_delete_delay_ms="0")
    client = producer(cluster, acks="all", enable_idempotence=True, linger_ms=0, log_level=0, message_timeout_ms=60_000)
    acked = {}
    wait_for(lambda: send(cluster, topic, client, acked, 24) or FULL in victim.log_text(), "the disk is full", 60)
    wait_for(lambda: out_of_sync(cluster, victim, topic, range(6)), "nobody waits for it", 10)
    send(cluster, topic, client, acked, 60)
    # A client that nobody holds any more never answers.
    client_of_admin = admin(cluster)
    everything = [TopicPartition(topic, index, -1) for index in range(6)]
    for deleted in client_of_admin.delete_records(everything).values():
        assert deleted.result(30).low_watermark > 0
    cluster.whole(topic)
    assert "the log directory has room again" in victim.log_text()
    acked = {}
    send(cluster, topic, client, acked, 24)
    check(cluster, topic, acked)
    check_equal(cluster, {topic: 6})


def test_where_all_disks_are_full_room_is_all_that_is_needed(clusters, volume, name):
    cluster = clusters("all", config={"log.retention.check.interval.ms": 500})
    for node in cluster.nodes:
        node.data = node.config["log.dirs"] = volume(f"data{node.id}", "24m")
    cluster.start()
    topic = create_topic(cluster, name, 3, 3, min_insync_replicas="2", segment_bytes=str(MIB))
    client = producer(cluster, acks="all", enable_idempotence=True, linger_ms=0, log_level=0, message_timeout_ms=10_000)
    acked, refused = {}, []

    def fill_all():
        for report in try_produce(cluster, topic, spread(len(acked), 12, 3), client=client):
            if report.error():
                refused.append(report.error())
            else:
                acked[report.partition(), report.offset()] = report.value()
        return bool(refused)

    wait_for(fill_all, "nobody has room", 120)
    # With the second one, too few are in sync for the third to take anything.
    assert sum(FULL in node.log_text() for node in cluster.nodes) >= 2
    assert all(node.process.poll() is None for node in cluster.nodes)
    for node in cluster.nodes:
        subprocess.run(["mount", "-o", "remount,size=256m", str(node.data)], check=True)
    cluster.whole(topic)
    again = producer(cluster, acks="all", enable_idempotence=True, linger_ms=0, log_level=0, message_timeout_ms=60_000)
    for report in try_produce(cluster, topic, spread(10_000, 12, 3), client=again):
        assert not report.error(), report.error()
        acked[report.partition(), report.offset()] = report.value()
    check(cluster, topic, acked)
    check_equal(cluster, {topic: 3})


def spread(first, count, partitions):
    return [Record(record.value, partition=n % partitions) for n, record in enumerate(numbered(first, count))]


def send(cluster, topic, client, acked, count):
    """To all six partitions; each record has to arrive."""
    for report in try_produce(cluster, topic, spread(len(acked), count, 6), client=client):
        assert not report.error(), report.error()
        acked[report.partition(), report.offset()] = report.value()


FULL = "no space left in the log directory"


def out_of_sync(cluster, node, topic, partitions):
    said = view(cluster.nodes[0])
    return said and all(node.id not in said.topics[topic][index].isr for index in partitions)


def check(cluster, topic, acked):
    found = {(partition, message.offset()): message.value()
             for partition in {partition for partition, _ in acked} for message in consume(cluster, topic, partition=partition)}
    lost = [where for where, value in acked.items() if found.get(where) != value]
    assert not lost, f"{len(lost)} of {len(acked)} acknowledged are lost: {lost[:5]}"
