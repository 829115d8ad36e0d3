"""Three replicas on three real nodes: nothing acknowledged is lost, doubled or out of order while nodes are killed, paused
and wiped under producers with acks=all; groups go on; and Kafka's tools for partitions, replicas and leaders."""

import json
import random
import re
import subprocess

import pytest
from harness import raw
from harness.adapter import Adapter
from harness.clients import Record, consume, create_topic, kcat, produce, records, try_produce, values
from harness.cluster import view
from harness.load import OFTEN, Load
from harness.matrix import committed
from harness.tools import DIES_WITH_US, JARS, LOGGING, MAIN_CLASSES, QUICK_START
from harness.wait import wait_for

pytestmark = pytest.mark.timeout(600)
IDLE = 60  # partitions of a topic to which nothing is written


@pytest.fixture(scope="module")
def made(clusters):
    return {}


@pytest.fixture
def three(clusters, made):
    """Three nodes, broker and controller."""
    if "three" not in made:
        made["three"] = clusters("three", config=OFTEN).start()
    return made["three"].healed()


@pytest.fixture
def six(clusters, made):
    """Three controllers and three brokers: brokers may go, and the quorum stays."""
    if "six" not in made:
        made["six"] = clusters("six", shape="dedicated", quorum="bootstrap", config=OFTEN).start()
    return made["six"].healed()


# --- nodes that go and come back ---------------------------------------------------------------------------------

def test_each_node_is_killed_in_turn_under_producers(three, name):
    with Load(three, name, random.Random(1)) as load:
        for node in three.nodes:
            load.progress()
            node.kill9()
            load.progress()
            three.start(node)
            three.whole()


def test_all_nodes_are_killed_at_once_under_producers(three, name):
    """And start in an order that chance decides."""
    dice = random.Random(2)
    with Load(three, name, dice) as load:
        for _ in range(2):
            load.progress()
            three.kill9()
            three.start(*dice.sample(three.nodes, 3))
        three.whole()
        load.progress()


def test_a_node_is_paused_for_longer_than_the_lag_that_is_allowed(six, name):
    """It leaves every in-sync set, and what it led when it was paused is led by others; then it comes back."""
    with Load(six, name, random.Random(3)) as load:
        load.progress()
        victim, other = six.brokers[0], six.brokers[1]
        victim.pause()

        def is_out():
            said = view(other)
            return said and all(victim.id not in part.isr for topic in load.topics for part in said.topics[topic].values())

        wait_for(is_out, "it is in no in-sync set", 60)
        load.progress()
        victim.resume()
        load.progress()


def test_idle_partitions_are_in_sync_again_after_a_broker_was_fenced(three, name):
    """It stands still for longer than its session and goes on without a restart; nobody writes to most partitions again, and
    to none of them after it is back."""
    topics = [create_topic(three, f"{name}-{number}", IDLE, 3) for number in range(5)]
    one_each = [Record(b"before", partition=partition) for partition in range(IDLE)]
    for topic in topics:
        produce(three, topic, one_each, acks="all", message_timeout_ms=90_000)
    for victim in three.nodes:
        other = next(node for node in three.nodes if node is not victim)
        victim.pause()

        def is_out():
            said = view(other)
            return said and all(victim.id not in part.isr for topic in topics for part in said.topics[topic].values())

        wait_for(is_out, "it is in no in-sync set", 60)
        for topic in topics[:2]:
            produce(three, topic, [Record(b"without it", partition=victim.id)], acks="all", message_timeout_ms=90_000)
        victim.resume()
        three.whole(*topics, within=30)


def test_a_broker_with_a_new_disk_refills_itself(six, name):
    with Load(six, name, random.Random(4)) as load:
        load.progress()
        victim = six.brokers[0]
        victim.kill9()
        victim.wipe()
        load.progress()
        six.start(victim)
        six.whole()
        load.progress()
    for node in six.brokers[1:]:
        node.kill9()
    wait_for(lambda: leaders(victim, load.topics) == {victim.id}, "it leads everything", 60)
    load.streams.check()


def leaders(node, topics):
    said = view(node)
    return said and {part.leader for topic in topics for part in said.topics[topic].values()}


# --- groups ------------------------------------------------------------------------------------------------------

def test_a_group_goes_on_when_its_coordinator_is_killed(three, name):
    topic = create_topic(three, name, 3, 3)
    sent = 0

    def send(count):
        nonlocal sent
        produce(three, topic, records(*[b"%d" % number for number in range(sent, sent + count)]), acks="all", message_timeout_ms=90_000)
        sent += count

    members = [Adapter(client, three.bootstrap) for client in ("confluent-kafka", "java")]
    processed = lambda: {value for member in members for _, _, value in member.look().processed}
    try:
        for member in members:
            member.join(name, [topic], session=6000)
        send(100)
        for _ in range(2):
            wait_for(lambda: len(processed()) >= sent, "all of them are processed", 90, lambda: (len(processed()), sent))
            before = wait_for(lambda: sum(committed(three, name, topic, 3)) == sent and sent, "all of them are committed")
            code, id = raw.coordinator(three.nodes[0].bootstrap, name)
            assert code == 0
            three.node(id).kill9()
            send(100)
            wait_for(lambda: len(processed()) >= sent, "the group goes on", 90, lambda: (len(processed()), sent))
            assert sum(committed(three, name, topic, 3)) >= before
            three.start(three.node(id))
            three.whole()
        assert processed() == {str(number) for number in range(sent)}
    finally:
        for member in members:
            member.close()


# --- who is in sync ----------------------------------------------------------------------------------------------

def test_too_few_replicas_in_sync_are_an_error_for_acks_all_alone(three, name):
    topic = create_topic(three, name, [[1, 2, 3]], min_insync_replicas="3")
    three.whole(topic)
    produce(three, topic, records(b"before"), acks="all")
    three.node(3).kill9()
    wait_for(lambda: view(three.node(1)).topics[topic][0].isr == [1, 2], "it is out of the set")
    refused = try_produce(three, topic, records(b"refused"), acks="all", retries=0)
    assert [report.error().name() for report in refused] == ["NOT_ENOUGH_REPLICAS"]
    produce(three, topic, records(b"alone"), acks=1)
    three.start(three.node(3))
    three.whole()
    produce(three, topic, records(b"after"), acks="all")
    assert values(consume(three, topic)) == [b"before", b"alone", b"after"]


def test_what_is_not_replicated_is_not_read(six, name):
    """With acks=1 and followers that are paused: the high watermark waits for them until they are out of the set."""
    first, second, third = (node.id for node in six.brokers)
    topic = create_topic(six, name, [[first, second]], min_insync_replicas="1")
    six.whole(topic)
    produce(six, topic, records(b"seen"), acks="all")
    six.node(second).pause()
    produce(six, topic, records(b"waits"), acks=1)
    seen = kcat(six.node(first), "-C", "-q", "-e", "-t", topic, "-p", "0", "-o", "beginning")
    assert seen == b"seen\n" or second not in view(six.node(first)).topics[topic][0].isr
    wait_for(lambda: view(six.node(first)).topics[topic][0].isr == [first], "it is out of the set", 60)
    assert values(consume(six, topic, 2)) == [b"seen", b"waits"]
    six.node(second).resume()
    six.whole()


# --- Kafka's tools -----------------------------------------------------------------------------------------------

@pytest.fixture
def topics(tools, three):
    def run(*args):
        return tools("kafka-topics", *args, "--bootstrap-server", ",".join(node.bootstrap for node in three.brokers if node.answers)).lines
    return run


def test_the_views_of_kafka_topics(three, topics, name):
    """Under-replicated, under and at min ISR, unavailable: with all nodes up none of them, then with one of them gone."""
    name = name.replace("_", "-")
    sets = {"three": [[3, 1, 2]], "two": [[3, 1]], "one": [[3]]}
    for kind, where in sets.items():
        create_topic(three, f"{name}-{kind}", where, min_insync_replicas=str(min(2, len(where[0]))))
    three.whole(*[f"{name}-{kind}" for kind in sets])

    def shown(view):
        lines = topics("--describe", f"--{view}-partitions")
        return {kind for kind in sets if any(f"Topic: {name}-{kind}\t" in line for line in lines)}

    assert shown("under-replicated") == shown("under-min-isr") == shown("unavailable") == set()
    assert shown("at-min-isr") == {"two", "one"}
    three.node(3).kill9()
    wait_for(lambda: shown("unavailable") == {"one"}, "what has no other replica has no leader", 60)
    wait_for(lambda: shown("under-replicated") >= {"three", "two"}, "the sets are smaller")
    assert shown("under-replicated") == {"three", "two", "one"}
    assert shown("under-min-isr") == {"two", "one"}
    assert shown("at-min-isr") == {"three"}


def plan(cluster, *partitions):
    path = cluster.nodes[0].dir / "plan.json"
    path.write_text(json.dumps({"version": 1, "partitions": [dict(topic=t, partition=p, replicas=r) for t, p, r in partitions]}))
    return ["--reassignment-json-file", path]


def replicas(cluster, topic, partition=0):
    part = view(cluster.brokers[0]).topics[topic][partition]
    return part.replicas, sorted(part.isr)


def test_partitions_are_moved(three, tools, name):
    topic = create_topic(three, name, [[1, 2], [2, 3]])
    items = [b"%d" % number for number in range(500)]
    produce(three, topic, records(*items), partitioner="consistent", acks="all")
    reassign = lambda *words: tools("kafka-reassign-partitions", *words, broker=three).text
    wanted = plan(three, (topic, 0, [3, 1]), (topic, 1, [1, 2]))
    assert f"Successfully started partition reassignments for {topic}-0,{topic}-1" in reassign("--execute", *wanted, "--throttle", 50_000_000)
    wait_for(lambda: "No partition reassignments found." in reassign("--list"), "they are moved", 60)
    # A broker may show the partitions as they were before the controller's last change for a moment.
    done = "Reassignment of partition {} is completed."
    said = wait_for(lambda: (text := reassign("--verify", *wanted)).count("is completed.") == 2 and text, "the tool sees it")
    assert all(done.format(f"{topic}-{number}") in said for number in range(2))
    assert "Clearing broker-level throttles on brokers 1,2,3" in said and "Clearing topic-level throttles" in said
    assert replicas(three, topic) == ([3, 1], [1, 3]) and replicas(three, topic, 1) == ([1, 2], [1, 2])
    wait_for(lambda: not (three.node(2).data / f"{topic}-0").exists(), "what moved away is deleted there", 90)
    got = [value for number in range(2) for value in values(consume(three, topic, partition=number))]
    assert sorted(got) == sorted(items)


def test_a_move_is_cancelled_in_the_middle(three, tools, name):
    """Slowed down so far that it takes hours."""
    topic = create_topic(three, name, [[1, 2]])
    produce(three, topic, records(*[random.Random(n).randbytes(50_000) for n in range(200)]), acks="all")
    reassign = lambda *words: tools("kafka-reassign-partitions", *words, broker=three).text
    wanted = plan(three, (topic, 0, [2, 3]))
    reassign("--execute", *wanted, "--throttle", 1000)
    assert re.search(rf"{topic}-0: replicas: [\d,]+\. adding: 3\. removing: 1\.", reassign("--list")), reassign("--list")
    assert "is still in progress" in reassign("--verify", *wanted)
    assert f"Successfully cancelled partition reassignment for: {topic}-0" in reassign("--cancel", *wanted)
    assert sorted(replicas(three, topic)[0]) == replicas(three, topic)[1] == [1, 2]
    assert "No partition reassignments found." in reassign("--list")
    wait_for(lambda: not (three.node(3).data / f"{topic}-0").exists(), "what had come by then is deleted", 90)


def test_a_plan_is_generated_for_other_nodes(three, tools, name):
    topic = create_topic(three, name, [[1, 2], [2, 1]])
    wanted = three.nodes[0].dir / "topics.json"
    wanted.write_text(json.dumps({"version": 1, "topics": [{"topic": topic}]}))
    said = tools("kafka-reassign-partitions", "--generate", "--topics-to-move-json-file", wanted, "--broker-list", "1,3", broker=three).text
    proposed = json.loads(said.split("Proposed partition reassignment configuration")[1])
    assert all(set(one["replicas"]) == {1, 3} for one in proposed["partitions"])


def test_preferred_leaders_are_elected(three, tools, name):
    topic = create_topic(three, name, [[1, 2, 3], [2, 3, 1], [3, 1, 2]])
    three.whole(topic)
    three.node(1).kill9()
    wait_for(lambda: 1 not in (leaders(three.node(2), [topic]) or {1}), "others lead")
    three.start(three.node(1))
    three.whole()
    said = tools("kafka-leader-election", "--election-type", "preferred", "--all-topic-partitions", broker=three).text
    assert f"{topic}-0" in said, said
    three.whole()
    assert [part.leader for _, part in sorted(view(three.node(2)).topics[topic].items())] == [1, 2, 3]
    said = tools("kafka-leader-election", "--election-type", "preferred", "--topic", topic, "--partition", 0, broker=three).text
    assert "Valid replica already elected" in said, said


def test_log_dirs_of_all_brokers(three, tools, name):
    topic = create_topic(three, name, 1, 3)
    three.whole(topic)
    produce(three, topic, records(*[b"%d" % number for number in range(1000)]), acks="all")

    def sizes():
        said = json.loads(tools("kafka-log-dirs", "--describe", "--topic-list", topic, broker=three).lines[-1])
        return {one["broker"]: [(part["size"], part["offsetLag"]) for folder in one["logDirs"] for part in folder["partitions"]]
                for one in said["brokers"]}

    wait_for(lambda: len({tuple(found) for found in sizes().values()}) == 1, "all have the same")
    found = sizes()
    assert sorted(found) == [1, 2, 3] and found[1][0][0] > 1000 and found[1][0][1] == 0


def test_deleted_records_are_deleted_on_every_replica(three, tools, name):
    topic = create_topic(three, name, [[1, 2, 3]])
    three.whole(topic)
    produce(three, topic, records(*[b"%d" % number for number in range(100)]), acks="all")
    file = three.nodes[0].dir / "delete.json"
    file.write_text(json.dumps({"version": 1, "partitions": [{"topic": topic, "partition": 0, "offset": 40}]}))
    said = tools("kafka-delete-records", "--offset-json-file", file, broker=three).text
    assert f"partition: {topic}-0\tlow_watermark: 40" in said
    earliest = lambda: tools("kafka-get-offsets", "--topic", topic, "--time", "earliest", broker=three).lines
    assert earliest() == [f"{topic}:0:40"]
    three.node(1).kill9()
    wait_for(lambda: leaders(three.node(2), [topic]) in ({2}, {3}), "another leads")
    assert earliest() == [f"{topic}:0:40"]
    assert len(consume(three, topic)) == 60


def test_replica_verification_finds_no_difference(three, tools, name):
    """The tool runs until it is ended, and reports each time it has compared all replicas."""
    topic = create_topic(three, name, 2, 3)
    three.whole(topic)
    produce(three, topic, [Record(b"%d" % number, partition=number % 2) for number in range(2000)], acks="all")
    command = ["java", "-Xmx128m", *QUICK_START, LOGGING, "-cp", JARS, MAIN_CLASSES["kafka-replica-verification"], "--broker-list",
               three.bootstrap, "--topics-include", topic, "--report-interval-ms", "500"]
    process = subprocess.Popen([*DIES_WITH_US, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if len([one for one in lines if "max lag is" in one]) == 3:
                break
        found = [line for line in lines if "max lag is" in line]
        assert len(found) == 3 and re.search(rf"max lag is 0 for partition {topic}-\d at offset 1000 among 2 partitions", found[-1]), lines
    finally:
        process.kill()
        process.wait()


def test_consumer_groups_from_any_node(three, tools, name):
    topic = create_topic(three, name, 1, 3)
    three.whole(topic)
    produce(three, topic, records(*[b"%d" % number for number in range(50)]), acks="all")
    groups = lambda node, *words: tools("kafka-consumer-groups", *words, broker=node).text
    for node in three.brokers:
        group = f"{name}-{node.id}"
        groups(node, "--reset-offsets", "--group", group, "--topic", topic, "--to-offset", 20, "--execute")
        for other in three.brokers:
            assert group in groups(other, "--list").split()
            row = next(line.split() for line in groups(other, "--describe", "--group", group).splitlines() if topic in line)
            assert row[:6] == [group, topic, "0", "20", "50", "30"], row
        groups(three.brokers[node.id % 3], "--delete", "--group", group)
