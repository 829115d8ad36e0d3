"""Whoever does not belong to a quorum: frames that no voter can have said, controllers of other clusters, an id twice, and
properties that contradict the disk. One clear line or error each; nobody dies, and the quorum goes on."""

import base64
import socket
import struct
import uuid

import pytest
from harness import raw
from harness.cluster import CLUSTER_ID, CONTROLLER
from harness.wait import wait_for

pytestmark = pytest.mark.timeout(300)

QUORUM_MESSAGE = 10000
PRE_VOTE, VOTE, VOTE_ANSWER, APPEND, HEARTBEAT, TIMEOUT_NOW = 1, 3, 4, 5, 8, 13
NOBODY = 9


@pytest.fixture(scope="module")
def founded(clusters):
    return clusters("founded", shape="small", quorum="bootstrap").start()


@pytest.fixture
def small(founded):
    """It goes on as if nothing had happened: the same leader in the same epoch, and topics are made."""
    founded.healed()
    before = founded.describe()
    yield founded
    assert all(node.process.poll() is None for node in founded.nodes)
    assert raw.create(founded.brokers[0].bootstrap, f"made-{uuid.uuid4()}", 1, 1)[0] == 0
    after = founded.describe()
    assert (after.leader_id, after.leader_epoch) == (before.leader_id, before.leader_epoch)


# --- what is said

def directory(node):
    return uuid.UUID(bytes=base64.urlsafe_b64decode(node.directory_id() + "=="))


def message(to, sender, kind, body=b"", term=90, cluster_id=CLUSTER_ID, voters_index=0, addressee=None):
    """As one voter says it to another; `sender` and `addressee` are (id, directory)."""
    def key(id, directory):
        return struct.pack(">i", id) + directory.bytes
    id, at = addressee or (to.id, directory(to))
    name = cluster_id.encode()
    return (struct.pack(">hB", 0, len(name) + 1) + name + key(*sender) + key(id, at)
            + struct.pack(">qib", voters_index, term, kind) + body)


def candidacy(term=50, transfer=True):
    return struct.pack(">qiqi?", 1000, term, 0, 0, transfer)


def code(answer):
    return None if answer is None else struct.unpack(">h", answer[:2])[0]


def say(node, said):
    return code(raw.exchange(node.address("CONTROLLER"), QUORUM_MESSAGE, 0, said))


def lines(node, mention):
    return [line for line in node.log_text().splitlines() if mention in line]


@pytest.mark.ottla_only
def test_what_no_voter_can_have_said(small):
    node, other = small.controllers[:2]
    me, known, stranger = (node.id, directory(node)), (other.id, directory(other)), (NOBODY, uuid.uuid4())
    wiped = (other.id, uuid.uuid4())
    for sender in (stranger, wiped, me):
        assert say(node, message(node, sender, VOTE, candidacy())) == 0
        wait_for(lambda: lines(node, "which is no voter"), "it says who was not heard", 10)
    assert say(node, message(node, stranger, VOTE, candidacy(), cluster_id="Another-cluster-s-idAA")) == 104, "INCONSISTENT_CLUSTER_ID"
    assert say(node, message(node, known, VOTE, candidacy(), addressee=(node.id, uuid.uuid4()))) == 0
    assert say(node, message(node, known, VOTE, candidacy(), addressee=(NOBODY, uuid.uuid4()))) == 0
    for term in (0, 2**31 - 1):
        assert say(node, message(node, known, HEARTBEAT, struct.pack(">q", 0), term=term)) == 0
    for body in (struct.pack(">q", 2**40), struct.pack(">q", 2**62)):
        assert say(node, message(node, known, HEARTBEAT, body, term=small.describe().leader_epoch)) == 0


@pytest.mark.ottla_only
def test_the_same_again_and_again_is_told_once(small):
    node = small.controllers[0]
    stranger = (NOBODY + 1, uuid.uuid4())
    said = message(node, stranger, TIMEOUT_NOW)
    for _ in range(300):
        assert say(node, said) == 0
    assert len(lines(node, str(stranger[1]))) <= 2, "it is told once in half a minute"


@pytest.mark.ottla_only
def test_bytes_that_are_no_message_end_their_connection_alone(small):
    node, other = small.controllers[:2]
    whole = message(node, (other.id, directory(other)), VOTE, candidacy())
    broken = [whole[:size] for size in range(0, len(whole), 5)] + [
        whole + b"x",
        message(node, (other.id, directory(other)), 99),
        message(node, (-1, directory(other)), TIMEOUT_NOW),
        message(node, (other.id, directory(other)), TIMEOUT_NOW, term=-1),
        message(node, (other.id, directory(other)), TIMEOUT_NOW, voters_index=-1),
        # A million entries, of which there is none.
        message(node, (other.id, directory(other)), APPEND, struct.pack(">qiq", 0, 0, 0) + bytes([0x81, 0x89, 0x7a])),
    ]
    for said in broken:
        assert say(node, said) is None, said
    assert lines(node, "a message to the metadata quorum:")
    # More than a request may have.
    with socket.create_connection(("127.0.0.1", node.ports["CONTROLLER"]), 5) as connection:
        connection.settimeout(5)
        connection.sendall(struct.pack(">ihhih", 2**31 - 1, QUORUM_MESSAGE, 0, 7, 1))
        try:
            assert connection.recv(1) == b""
        except ConnectionResetError:
            pass


@pytest.mark.ottla_only
def test_brokers_do_not_take_what_voters_say(small):
    broker, node = small.brokers[0], small.controllers[0]
    assert code(raw.exchange(broker.bootstrap, QUORUM_MESSAGE, 0, message(node, (NOBODY, uuid.uuid4()), TIMEOUT_NOW))) is None


# --- who comes

def test_a_controller_of_another_cluster_is_refused(small, kind):
    node = small.stranger(NOBODY, CONTROLLER, cluster_id="Another-cluster-s-idAA")
    node.spawn()
    wait_for(lambda: lines(node, "INCONSISTENT_CLUSTER_ID"), f"{node.name} is told", 60)
    assert NOBODY not in {one.replica_id for one in small.describe().observers}
    if kind == "ottla":
        assert len(lines(node, "INCONSISTENT_CLUSTER_ID")) == 1, node.log_text()
    node.kill9()


def test_a_second_controller_with_one_id_has_no_vote(small, kind):
    """It is what that one would be with a new disk."""
    twin = small.stranger(small.controllers[0].id, CONTROLLER)
    small.start(twin)
    if kind == "ottla":
        # The leader's own twin hears of a leader with its own id, and can follow nobody.
        leads = small.active().id == twin.id
        words = "another process has the same node.id" if leads else "this controller does not vote"
        wait_for(lambda: lines(twin, words), "it says so", 60)
        assert leads or twin.directory_id() in lines(twin, words)[0]
    twin.kill9()


# --- what the disk says

def ends(node, mention):
    """It does not start, and says why in one line."""
    node.spawn()
    assert node.exit_code(60) != 0
    found = lines(node, mention)
    assert found, node.log_tail()
    return found


@pytest.fixture
def own(clusters, name):
    """A cluster that nobody else looks at, stopped."""
    cluster = clusters(name[:30], shape="one", quorum="bootstrap").start()
    cluster.node(1).stop()
    return cluster.node(1)


def test_properties_of_another_node_are_refused(own, kind):
    own.config["node.id"] = 7
    found = ends(own, "7")
    if kind == "ottla":
        assert any("belongs to node 1" in line or "node.id" in line for line in found), found


@pytest.mark.ottla_only
def test_an_environment_of_another_cluster_is_not_believed(own):
    """The directories say where they belong."""
    own.cluster_id = "Another-cluster-s-idAA"
    own.start()
    assert len(lines(own, "Another-cluster-s-idAA")) == 1, own.log_text()


def test_voters_without_this_controller_are_refused(own):
    del own.config["controller.quorum.bootstrap.servers"]
    own.config["controller.quorum.voters"] = "2@127.0.0.1:1,3@127.0.0.1:2"
    assert "controller.quorum.voters" in ends(own, "controller.quorum.voters")[0]


def test_a_voter_among_several_does_not_start_without_its_listener(clusters, name):
    """The others could not reach it, and only its log says that there are others."""
    cluster = clusters(name[:30], shape="combined", quorum="bootstrap").start()
    node = cluster.node(3)
    node.stop()
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", node.ports["CONTROLLER"]))
        taken.listen()
        ends(node, str(node.ports["CONTROLLER"]))
    cluster.start(node)
