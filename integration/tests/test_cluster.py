"""A quorum of real processes: three nodes that are broker and controller, and three of each. Topics from any node, Kafka's
tools, and controllers and brokers that are killed, paused and started again."""

import re

import pytest
from harness import raw
from harness.changes import Changes
from harness.clients import create_topic, produce, records
from harness.cluster import CLUSTER_ID, view
from harness.wait import wait_for

# Three or six JVMs on two cores start slowly.
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def started(clusters):
    """By its shape, made when asked for: the clusters that the tests of this file share."""
    made = {}

    def get(shape, quorum):
        if shape not in made:
            made[shape] = clusters(shape, shape=shape, quorum=quorum).start()
        return made[shape].healed()

    return get


@pytest.fixture
def three(started):
    """Three nodes, broker and controller, with the voters in their files."""
    return started("combined", "voters")


@pytest.fixture
def six(started):
    """Three controllers, founded by the storage tool, and three brokers."""
    return started("dedicated", "bootstrap")


@pytest.fixture(params=["combined", "dedicated"])
def both(started, request):
    return started(request.param, "voters" if request.param == "combined" else "bootstrap")


# --- topics ------------------------------------------------------------------------------------------------------

def test_topics_from_any_node(both, kind, name):
    """Whatever node is asked, all of them show the same soon, and the one that was asked at once."""
    for node in both.brokers:
        topic = f"{name}-{node.id}"
        code, id = raw.create(node.bootstrap, topic, 3, 3)
        assert code == 0
        if kind == "ottla":
            assert view(node).ids.get(topic) == id, "who hears that a topic is there finds it there"
        both.whole(topic)
        shown = [said.topics[topic] for said in both.views().values()]
        ids = {one.id for one in both.brokers}
        for partition in range(3):
            assert len({(part[partition].leader, *part[partition].replicas) for part in shown}) == 1
            assert set(shown[0][partition].replicas) == ids
        assert {part.leader for part in shown[0].values()} == ids, "each leads one of the three"
    for node in both.brokers:
        other = both.brokers[(both.brokers.index(node) + 1) % 3]
        topic = f"{name}-{node.id}"
        assert raw.delete(other.bootstrap, topic) == 0
        if kind == "ottla":
            assert topic not in view(other).topics
        wait_for(lambda: all(topic not in said.topics for said in both.views().values()), "it is gone everywhere")


def test_what_a_controller_refuses_is_told_by_any_broker(three, tools, name):
    create_topic(three, name, 1, 3)
    for node in three.brokers:
        assert raw.create(node.bootstrap, name, 1, 3)[0] == 36, "TOPIC_ALREADY_EXISTS"
        assert raw.create(node.bootstrap, f"{name}-4", 1, 4)[0] == 38, "INVALID_REPLICATION_FACTOR"
        assert raw.delete(node.bootstrap, f"{name}-absent") == 3, "UNKNOWN_TOPIC_OR_PARTITION"


# --- Kafka's tools -----------------------------------------------------------------------------------------------

def quorum_status(tools, *where):
    lines = tools("kafka-metadata-quorum", *where, "describe", "--status").lines
    return dict(re.match(r"(\w+):\s+(.*)", line).groups() for line in lines)


def replication(tools, *where):
    """node -> (lag, status)"""
    head, *rows = [line.split() for line in tools("kafka-metadata-quorum", *where, "describe", "--replication").lines if line]
    assert head == ["NodeId", "DirectoryId", "LogEndOffset", "Lag", "LastFetchTimestamp", "LastCaughtUpTimestamp", "Status"]
    return {int(row[0]): (int(row[3]), row[-1]) for row in rows}


def test_kafka_metadata_quorum(both, tools):
    voters = {node.id for node in both.controllers}
    for where in (["--bootstrap-server", both.bootstrap], ["--bootstrap-controller", both.controller_bootstrap]):
        status = quorum_status(tools, *where)
        assert status["ClusterId"] == CLUSTER_ID
        assert int(status["LeaderId"]) == both.active().id
        assert int(status["LeaderEpoch"]) >= 1 and int(status["HighWatermark"]) > 0
        assert {int(id) for id in re.findall(r'"id": (\d+)', status["CurrentVoters"])} == voters
        for node in both.controllers:
            assert f"CONTROLLER://{node.address('CONTROLLER')}" in status["CurrentVoters"]
        wait_for(lambda: all(lag <= 2 for lag, _ in replication(tools, *where).values()), "nobody lags")
        shown = replication(tools, *where)
        kinds = {id: kind for id, (_, kind) in shown.items()}
        assert sorted(kinds) == [node.id for node in both.nodes]
        assert [id for id, kind in kinds.items() if kind == "Leader"] == [both.active().id]
        assert {id for id, kind in kinds.items() if kind == "Observer"} == set(kinds) - voters


def test_kafka_features(both, tools):
    for where in (["--bootstrap-server", both.bootstrap], ["--bootstrap-controller", both.controller_bootstrap]):
        rows = dict(re.match(r"Feature: (\S+)\s+SupportedMinVersion: \S+\s+SupportedMaxVersion: \S+\s+FinalizedVersionLevel: (\S+)", line).groups()
                    for line in tools("kafka-features", *where, "describe").lines)
        assert rows["metadata.version"].startswith("4.")
        assert rows["kraft.version"] == ("1" if both.quorum == "bootstrap" else "0")
        assert rows["group.version"] == "1" and rows["transaction.version"] == "2"


def test_kafka_cluster(both, tools):
    for where in (["--bootstrap-server", both.bootstrap], ["--bootstrap-controller", both.controller_bootstrap]):
        assert tools("kafka-cluster", "cluster-id", *where).lines == [f"Cluster ID: {CLUSTER_ID}"]
    head, *rows = [line.split() for line in tools("kafka-cluster", "list-endpoints", "--bootstrap-server", both.bootstrap).lines]
    assert head[:5] == ["ID", "HOST", "PORT", "RACK", "STATE"]
    assert [(int(row[0]), f"{row[1]}:{row[2]}", row[4]) for row in rows] == \
        [(node.id, node.bootstrap, "unfenced") for node in both.brokers]
    head, *rows = [line.split() for line in tools("kafka-cluster", "list-endpoints", "--bootstrap-controller", both.controller_bootstrap).lines]
    assert {(int(row[0]), f"{row[1]}:{row[2]}") for row in rows} == {(node.id, node.address("CONTROLLER")) for node in both.controllers}


def test_what_administrators_ask_of_the_controllers(both, tools, name):
    """--bootstrap-controller, and the requests behind it, while brokers are not asked at all."""
    at = ["--bootstrap-controller", both.controller_bootstrap]
    active = both.active().address("CONTROLLER")
    code, id = raw.create(active, name, 2, 3)
    assert code == 0
    both.whole(name)
    assert {said.ids[name] for said in both.views().values()} == {id}
    tools("kafka-configs", "--alter", "--entity-type", "topics", "--entity-name", name, "--add-config", "retention.ms=61000", *at)
    describe = ["--describe", "--entity-type", "topics", "--entity-name", name]
    wait_for(lambda: "retention.ms=61000" in tools("kafka-configs", *describe, broker=both).text, "the brokers show it")
    assert tools("kafka-reassign-partitions", "--list", *at).lines == ["No partition reassignments found."]
    assert raw.delete(active, name) == 0
    wait_for(lambda: all(name not in said.topics for said in both.views().values()), "it is gone everywhere")


def test_api_versions_of_every_broker(both, tools):
    text = tools("kafka-broker-api-versions", "--bootstrap-server", both.bootstrap).text
    for node in both.brokers:
        assert f"{node.bootstrap} (id: {node.id} rack: null isFenced: false) -> (" in text


def test_the_java_admin_client_and_tools_work_from_any_node(three, tools, name):
    for number, node in enumerate(three.brokers):
        topic = f"{name}-{number}".replace("_", "-")
        made = tools("kafka-topics", "--create", "--topic", topic, "--partitions", 3, "--replication-factor", 3, broker=node)
        assert made.lines == [f"Created topic {topic}."]
        other = three.brokers[(number + 1) % 3]
        three.whole(topic)
        head, *rows = tools("kafka-topics", "--describe", "--topic", topic, broker=other).lines
        assert "PartitionCount: 3\tReplicationFactor: 3" in head
        for row in rows:
            found = re.search(r"Leader: (\d)\tReplicas: (\S+)\tIsr: (\S+)", row)
            assert set(found[2].split(",")) == set(found[3].split(",")) == {"1", "2", "3"}, row
        tools("kafka-configs", "--alter", "--entity-type", "topics", "--entity-name", topic, "--add-config", "retention.ms=60000", broker=other)
        shown = wait_for(lambda: "retention.ms=60000" in tools("kafka-configs", "--describe", "--entity-type", "topics", "--entity-name", topic, broker=node).text, "the config is seen")
        assert shown
        tools("kafka-topics", "--alter", "--topic", topic, "--partitions", 4, broker=other)
        wait_for(lambda: len(view(node).topics[topic]) == 4, "it has four partitions")
        tools("kafka-topics", "--delete", "--topic", topic, broker=node)


# --- kills -------------------------------------------------------------------------------------------------------

def test_topics_are_made_while_the_active_controller_is_killed(both, name):
    """No answered change is lost, and none is made twice."""
    with Changes(both, name) as changes:
        changes.progress(5)
        for _ in range(2):
            active = both.active()
            active.kill9()
            both.active(other_than=active)
            changes.progress(5)
            both.start(active)
            changes.progress(3)
    both.whole()
    changes.check()


def test_the_active_controller_is_paused_for_longer_than_its_session(three, name):
    with Changes(three, name) as changes:
        changes.progress(3)
        active = three.active()
        active.pause()
        three.active(other_than=active)
        others = [node for node in three.brokers if node is not active]
        wait_for(lambda: all(said and active.id not in said.brokers for said in map(view, others)), "it is fenced", 60)
        changes.progress(5, within=150)  # Kafka waits half a minute for the answer of the one that is paused
        active.resume()
        changes.progress(5)
        three.whole()
    changes.check()


def test_partitions_of_a_killed_broker_have_leaders_elsewhere(six, name):
    create_topic(six, name, 12, 3)
    six.whole(name)
    victim = six.brokers[0]
    assert sum(part.leader == victim.id for part in view(victim).topics[name].values()) == 4
    victim.kill9()
    others = six.brokers[1:]

    def led_elsewhere():
        said = [view(node) for node in others]
        return all(one and all(part.leader in (others[0].id, others[1].id) and victim.id not in part.isr
                               for part in one.topics[name].values()) for one in said)

    wait_for(led_elsewhere, "all partitions have leaders among the others", 60)
    produce(six, name, records(*[b"%d" % number for number in range(100)]), acks="all")
    six.start(victim)
    six.whole()


def test_all_nodes_killed_at_once_come_back_with_everything(both, name):
    with Changes(both, name) as changes:
        changes.progress(5)
    create_topic(both, f"{name}-kept", 3, 3)
    both.kill9()
    both.start()
    both.whole(f"{name}-kept")
    with Changes(both, f"{name}-again") as more:
        more.progress(3)
    changes.check()
    more.check()


def test_nodes_stopped_one_after_another_hand_over(three, name):
    """A rolling restart, polite: the log says nothing of a lost quorum, and clients' topics go on."""
    with Changes(three, name, replicas=2) as changes:  # a broker that stops is given no new replica
        for node in three.nodes:
            node.stop()
            changes.progress(3)
            three.start(node)
            three.whole()
    changes.check()


# --- who does not belong -----------------------------------------------------------------------------------------

def refusals(node, mention):
    """The lines that say why this node is not one of the cluster. It may go on trying, as Kafka does."""
    return [line for line in node.log_text().splitlines() if mention in line]


def test_a_second_node_with_one_id_is_refused(six, kind, name):
    """While the first one lives, it is not taken for it."""
    twin = six.stranger(six.brokers[0].id, "broker")
    twin.spawn()
    wait_for(lambda: refusals(twin, "DUPLICATE_BROKER_REGISTRATION"), f"{twin.name} is told", 60)
    assert view(six.brokers[1]).brokers == [node.id for node in six.brokers]
    create_topic(six, name, 3, 3)
    if kind == "ottla":
        assert len(refusals(twin, "DUPLICATE_BROKER_REGISTRATION")) == 1, twin.log_text()
    twin.kill9()


@pytest.mark.parametrize("roles", ["broker"])
def test_a_node_of_another_cluster_is_refused(six, kind, name, roles):
    node = six.stranger(9, roles, cluster_id="Another-cluster-s-idAA")
    node.founds = False
    node.spawn()
    wait_for(lambda: refusals(node, "INCONSISTENT_CLUSTER_ID"), f"{node.name} is told", 60)
    assert 9 not in view(six.brokers[0]).brokers
    create_topic(six, name, 3, 3)
    if kind == "ottla":
        assert len(refusals(node, "INCONSISTENT_CLUSTER_ID")) == 1, node.log_text()
    node.kill9()
