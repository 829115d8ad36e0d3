"""The voters of a quorum of real processes (KIP-853): controllers that are added and removed by Kafka's tools, lose their disks,
move, and join by themselves; and a quorum whose voters can change once `kraft.version` says so."""

import re
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from harness import raw
from harness.broker import free_ports, write
from harness.cluster import BOTH, CONTROLLER
from harness.wait import wait_for

# Four or five JVMs on two cores start slowly.
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def founded(clusters):
    """Three controllers that the storage tool has made voters, and a broker; shared."""
    return clusters("founded", shape="small", quorum="bootstrap").start()


@pytest.fixture
def small(founded):
    return founded.healed()


@pytest.fixture
def newcomer(small):
    """A controller with a directory of its own that nobody has made a voter; gone in the end, as a voter too."""
    node = small.stranger(5, CONTROLLER)
    small.start(node)
    yield node
    small.strangers.remove(node)
    if 5 in voters(small):
        remove(small, 5, voters(small)[5])
    node.close()


# --- what is asked and seen

def metadata_quorum(cluster, *words, may_fail=False):
    return cluster.tools("kafka-metadata-quorum", "--bootstrap-controller", cluster.controller_bootstrap, *words, may_fail=may_fail)


def add(cluster, node, may_fail=False):
    """As its administrator does, with the properties of the controller itself; what may pass is tried again for a while."""
    properties = node.dir / "add-controller.properties"
    write(properties, {**node.config, "default.api.timeout.ms": 15_000, "request.timeout.ms": 5_000})
    return metadata_quorum(cluster, "--command-config", properties, "add-controller", may_fail=may_fail)


def remove(cluster, id, directory_id, *words, may_fail=False):
    return metadata_quorum(cluster, "remove-controller", "--controller-id", id, "--controller-directory-id", directory_id, *words, may_fail=may_fail)


@dataclass
class Replica:
    id: int
    directory_id: str
    log_end: int
    lag: int
    status: str


def replication(cluster):
    """Nobody while no controller is active."""
    said = metadata_quorum(cluster, "describe", "--replication", may_fail=True)
    rows = [line.split() for line in said.lines if line][1:] if said.code == 0 else []
    return [Replica(int(row[0]), row[1], int(row[2]), int(row[3]), row[-1]) for row in rows]


def voters(cluster):
    """node -> directory id"""
    shown = wait_for(lambda: replication(cluster), "the quorum is described", 60)
    return {one.id: one.directory_id for one in shown if one.status != "Observer"}


def follows(cluster, node, among="Observer"):
    """Waits until it has what the leader has, in this part."""
    def is_it(one):
        return one.directory_id == node.directory_id() and one.status == among and one.lag <= 5
    wait_for(lambda: any(map(is_it, replication(cluster))), f"{node.name} follows as {among}", 60, lambda: replication(cluster))


def decides(cluster, name):
    """Something new is agreed on."""
    def made():
        try:
            return raw.create(cluster.brokers[0].bootstrap, name, 1, 1)[0] in (0, 36)
        except OSError:
            return False
    wait_for(made, "the quorum decides", 60)


# --- controllers come and go

def test_a_controller_is_added_votes_and_is_removed(small, newcomer, name):
    follows(small, newcomer)
    assert set(voters(small)) == {1, 2, 3}
    directory = newcomer.directory_id()
    said = add(small, newcomer).lines[-1]
    assert said == f"Added controller 5 with directory id {directory} and endpoints: CONTROLLER://{newcomer.address('CONTROLLER')}"
    assert voters(small)[5] == directory
    follows(small, newcomer, "Follower")
    # Three of four agree only with it.
    active = small.active()
    victim = next(node for node in small.controllers if node is not active)
    victim.kill9()
    decides(small, name)
    small.start(victim)
    said = remove(small, 5, directory).lines[-1]
    assert said == f"Removed KRaft controller 5 with directory id {directory}"
    assert set(voters(small)) == {1, 2, 3}
    follows(small, newcomer)


def test_what_cannot_be_done_to_voters(small, newcomer):
    """One error each, and nothing has changed."""
    before = voters(small)
    follows(small, newcomer)
    present = small.node(1)
    for said, why in [
        (add(small, present, may_fail=True), "DuplicateVoterException"),
        (remove(small, 9, before[1], may_fail=True), "VoterNotFoundException"),
        (remove(small, 1, newcomer.directory_id(), may_fail=True), "VoterNotFoundException"),
    ]:
        assert said.code != 0 and why in said.all_text, said.all_text
    assert voters(small) == before


def test_a_controller_that_does_not_run_is_not_added(small, newcomer, name):
    """The voters would have to wait for it."""
    follows(small, newcomer)
    newcomer.kill9()
    said = add(small, newcomer, may_fail=True)
    assert said.code != 0 and "Timeout" in said.all_text, said.all_text
    assert set(voters(small)) == {1, 2, 3}
    decides(small, name)
    newcomer.start()


def test_a_controller_is_listed_once_it_has_introduced_itself(small, newcomer):
    """Whether it votes or not, as Kafka's are."""
    def listed():
        said = small.tools("kafka-cluster", "list-endpoints", "--bootstrap-controller", small.controller_bootstrap)
        return {row.split()[0] for row in said.lines if row.split()[0].isdigit()}

    follows(small, newcomer)
    wait_for(lambda: listed() == {"1", "2", "3", "5"}, "the one without a vote is listed, too", 60)


def test_a_controller_that_is_gone_is_forgotten(small, newcomer):
    """With its vote, or later by itself; whoever runs introduces itself again."""
    brokers, controllers = ["--bootstrap-server", small.bootstrap], ["--bootstrap-controller", small.controller_bootstrap]

    def forget(id, at):
        return small.tools("kafka-cluster", "unregister-controller", *at, "--id", id, may_fail=True)

    def is_forgotten(at):
        said = forget(5, at)
        assert said.code == 0 or unknown in said.all_text, said.all_text
        return said.code == 0 and said.lines[-1] == "Controller 5 is no longer registered."

    unknown = "ControllerIdNotRegisteredException: Controller ID 5 is not currently registered."
    follows(small, newcomer)
    add(small, newcomer)
    follows(small, newcomer, "Follower")
    introduced = ("this controller is registered", "Our registration has been persisted")
    wait_for(lambda: any(words in newcomer.log_text() for words in introduced), "5 has introduced itself")
    newcomer.kill9()
    said = remove(small, 5, newcomer.directory_id(), "--unregister").lines[-2:]
    assert said == [f"Removed KRaft controller 5 with directory id {newcomer.directory_id()}", "Unregistered KRaft controller 5"]
    assert set(voters(small)) == {1, 2, 3}
    assert not is_forgotten(brokers) and not is_forgotten(controllers), "nobody knows it any more"
    small.start(newcomer)
    wait_for(lambda: is_forgotten(brokers), "5 has introduced itself", 60)
    wait_for(lambda: is_forgotten(controllers), "5 has introduced itself again", 60)
    for at in (brokers, controllers):
        said = forget(small.active().id, at)
        assert said.code != 0 and "InvalidRequestException: Controller cannot unregister itself while it is active." in said.all_text, said.all_text


def test_a_voter_without_its_disk_is_removed_and_added_again(small, name):
    node = next(node for node in small.controllers if node is not small.active())
    before = voters(small)[node.id]
    node.kill9()
    node.wipe()
    small.start(node)
    assert node.directory_id() != before
    # Its id stands for the replica that is gone.
    follows(small, node)
    said = add(small, node, may_fail=True)
    assert said.code != 0 and "DuplicateVoterException" in said.all_text
    remove(small, node.id, before)
    decides(small, name)
    follows(small, node)
    add(small, node)
    follows(small, node, "Follower")
    assert voters(small)[node.id] == node.directory_id()
    small.whole(name)


def test_the_active_controller_is_removed(small, name):
    """It hands over, follows the others, and comes back."""
    active = small.active()
    directory = active.directory_id()
    remove(small, active.id, directory)
    successor = small.active(other_than=active)
    assert active.id not in voters(small)
    decides(small, name)
    follows(small, active)
    assert small.active() is successor
    add(small, active)
    follows(small, active, "Follower")


@contextmanager
def moved(cluster, node):
    """The stopped node is to be found elsewhere; in the end it is where it was before."""
    def goes_to(port):
        node.ports["CONTROLLER"] = port
        node.bootstrap = node.address("CONTROLLER")
        node.config["listeners"] = f"CONTROLLER://{node.bootstrap}"
        cluster.start(node)

    old = node.ports["CONTROLLER"]
    goes_to(free_ports(1)[0])
    try:
        yield
    finally:
        node.stop()
        goes_to(old)


def is_named(cluster, node):
    def is_known():
        said = metadata_quorum(cluster, "describe", "--status", may_fail=True)
        return said.code == 0 and f'"CONTROLLER://{node.bootstrap}"' in said.text
    wait_for(is_known, "the log says where it is", 60)


def test_a_voter_that_has_moved_says_where_it_is(small, name):
    """Nobody has to tell the others: it finds the leader, and tells it."""
    node = next(node for node in small.controllers if node is not small.active())
    node.stop()
    with moved(small, node):
        is_named(small, node)
        follows(small, node, "Follower")
        victim = next(one for one in small.controllers if one is not node and one is not small.active())
        victim.kill9()
        decides(small, name)
        small.start(victim)


def test_a_voter_that_has_moved_while_nobody_leads_is_found(small, name):
    """One of three is left, which does not know where the other one is that it needs to lead or to be led by."""
    victim = small.active()
    node = next(node for node in small.controllers if node is not victim)
    for one in (node, victim):
        one.kill9()
    with moved(small, node):
        decides(small, name)
        is_named(small, node)
        small.start(victim)
        follows(small, victim, "Follower")


def test_controllers_join_by_themselves(small, name):
    """With `controller.quorum.auto.join.enable`, also in place of what they were before they lost their disks."""
    node = small.stranger(6, CONTROLLER, {"controller.quorum.auto.join.enable": "true"})
    small.start(node)
    follows(small, node, "Follower")
    node.kill9()
    node.wipe()
    small.start(node)
    follows(small, node, "Follower")
    assert voters(small)[6] == node.directory_id()
    decides(small, name)
    # Three of four, or the next tests would have to wait for it.
    node.stop()
    remove(small, 6, node.directory_id())
    small.strangers.remove(node)
    node.close()


def test_kafka_dump_log_reads_the_log_of_every_node(small, tools, name):
    """Voters and observers have the same, and the records of the quorum itself are in it."""
    decides(small, name)
    for node in small.nodes:
        def dumped():
            logs = sorted((node.data / "__cluster_metadata-0").glob("*.log"))
            return tools("kafka-dump-log", "--cluster-metadata-decoder", "--files", ",".join(map(str, logs))).text
        text = wait_for(lambda: next((text for text in [dumped()] if f'"name":"{name}"' in text), None), f"{node.name} has it", 30)
        for kind in ("KRaftVersion", "KRaftVoters", "LeaderChange", "REGISTER_BROKER_RECORD", "TOPIC_RECORD", "FEATURE_LEVEL_RECORD"):
            assert kind in text, f"{node.name}: {kind}"


# --- quorums that were not made by three

def test_a_standalone_quorum_grows_to_three_nodes(clusters, name):
    """Nodes that are broker and controller are brokers before they are voters."""
    cluster = clusters("standalone", shape="one", quorum="bootstrap").start()
    others = [cluster.stranger(id, BOTH) for id in (2, 3)]
    cluster.start(*others)
    assert cluster.views()[cluster.node(1)].brokers == [1, 2, 3]
    for other in others:
        follows(cluster, other)
        add(cluster, other)
        follows(cluster, other, "Follower")
    cluster.node(1).kill9()
    leader = wait_for(lambda: (raw.quorum(others[0].bootstrap) or None), "another one leads", 60).leader_id
    assert leader in (2, 3)
    assert raw.create(others[0].bootstrap, name, 1, 2)[0] == 0
    cluster.start(cluster.node(1))


def finalized(cluster):
    text = cluster.tools("kafka-features", "--bootstrap-controller", cluster.controller_bootstrap, "describe").text
    return re.search(r"kraft.version\s.*FinalizedVersionLevel: (\d+)", text)[1]


def test_voters_of_the_configuration_change_once_kraft_version_says_so(clusters, tools, name):
    cluster = clusters("fixed", shape="small", quorum="voters").start()
    at = ["--bootstrap-controller", cluster.controller_bootstrap]
    assert finalized(cluster) == "0"
    decides(cluster, f"{name}-before")
    refused = remove(cluster, 1, cluster.node(1).directory_id(), may_fail=True)
    assert refused.code != 0 and "UnsupportedVersionException" in refused.all_text, refused.all_text
    # Each controller has to be known first.
    upgrade = ["kafka-features", *at, "upgrade", "--feature", "kraft.version=1"]
    wait_for(lambda: "was upgraded to 1" in tools(*upgrade, may_fail=True).text, "it is raised", 60)
    wait_for(lambda: finalized(cluster) == "1", "it is seen", 60)
    for broker in cluster.brokers:
        shown = tools("kafka-features", "--bootstrap-server", broker.bootstrap, "describe").text
        assert re.search(r"kraft.version\s.*FinalizedVersionLevel: 1", shown), shown
    refused = tools("kafka-features", *at, "downgrade", "--feature", "kraft.version=0", may_fail=True)
    assert refused.code != 0 and "Can't downgrade the version of this feature." in refused.all_text, refused.all_text
    assert voters(cluster) == {node.id: node.directory_id() for node in cluster.controllers}
    victim = next(node for node in cluster.controllers if node is not cluster.active())
    before = victim.directory_id()
    remove(cluster, victim.id, before)
    decides(cluster, name)
    cluster.kill9()
    cluster.start()
    assert finalized(cluster) == "1" and victim.id not in voters(cluster)
    follows(cluster, victim)
    add(cluster, victim)
    follows(cluster, victim, "Follower")
