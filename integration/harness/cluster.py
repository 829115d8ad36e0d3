"""Several nodes as one cluster, of Ottla or of Apache Kafka: three that are broker and controller, or three controllers
and three brokers, with properties files as Kafka's users write them. Each node is killed, paused, wiped and started by
itself."""

import base64
import os
import shutil
import signal
import subprocess
import uuid

from . import raw
from .broker import STARTS_WITHIN, WAITS_FOR_THE_DISK, Broker, free_ports, write
from .wait import wait_for

CLUSTER_ID = "4L6g3nShT-eMCtK--X86sw"
BOTH, BROKER, CONTROLLER = "broker,controller", "broker", "controller"
SHAPES = {
    "combined": {1: BOTH, 2: BOTH, 3: BOTH},
    "one": {1: BOTH},
    "small": {1: CONTROLLER, 2: CONTROLLER, 3: CONTROLLER, 4: BROKER},
    "dedicated": {1: CONTROLLER, 2: CONTROLLER, 3: CONTROLLER, 4: BROKER, 5: BROKER, 6: BROKER},
}
# Sessions that end within seconds: long enough for three JVMs on two cores, short enough to wait for.
QUICK = {
    "broker.session.timeout.ms": 4000, "broker.heartbeat.interval.ms": 500,
    "replica.lag.time.max.ms": 4000, "group.initial.rebalance.delay.ms": 0,
    "offsets.topic.num.partitions": 3, "offsets.topic.replication.factor": 3,
    "transaction.state.log.num.partitions": 3, "transaction.state.log.replication.factor": 3,
    "transaction.state.log.min.isr": 2, "min.insync.replicas": 2, "default.replication.factor": 3,
    "log.cleaner.dedupe.buffer.size": 16 << 20,  # half of Apache Kafka's small heap otherwise
}


def directory_id():
    """As `kafka-storage random-uuid` prints it, never with a dash at its front."""
    return next(text for text in iter(_random_id, None) if not text.startswith("-"))


def _random_id():
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


class Node(Broker):
    """One node of a cluster."""

    heap = ("-Xms64m", "-Xmx256m")

    def __init__(self, cluster, id, roles, ports, config):
        self.cluster, self.id, self.roles, self.cluster_id = cluster, id, roles, cluster.cluster_id
        self.directory, self.founds, self.paused = directory_id(), True, False
        listeners = ("PLAINTEXT",) if self.is_broker else ()
        super().__init__(cluster.kind, f"{cluster.name}-{id}", cluster.tools, config, listeners, ports)

    @property
    def environment(self):
        return {"CLUSTER_ID": self.cluster_id} if self.kind == "ottla" else {}

    @property
    def is_broker(self):
        return "broker" in self.roles

    @property
    def is_controller(self):
        return "controller" in self.roles

    @property
    def answers(self):
        """It runs, and nobody has paused it."""
        return self.process is not None and not self.paused

    def defaults(self):
        served = [f"{name}://{self.address(name)}" for name in self.listeners]
        own = [f"CONTROLLER://{self.address('CONTROLLER')}"] if self.is_controller else []
        settings = {
            "process.roles": self.roles,
            "node.id": self.id,
            **self.cluster.quorum_settings(),
            "listeners": ",".join([*served, *own]),
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": self.data,
            **QUICK,
        }
        if self.is_broker:
            settings |= {"advertised.listeners": ",".join(served), "inter.broker.listener.name": "PLAINTEXT"}
        return settings

    def _format(self):
        """Ottla needs it only where the voters are not in the file."""
        if self.formatted or (self.kind == "ottla" and self.cluster.quorum == "voters"):
            return
        plain = self.dir / "format.properties"
        write(plain, {**self.defaults(), "log.dirs": self.config["log.dirs"]})
        words = ["format", "--ignore-formatted", "--cluster-id", self.cluster_id, "--config", str(plain)]
        if self.is_controller and self.cluster.quorum == "bootstrap":
            words += self.cluster.founding(self)
        if self.kind == "kafka":
            self.tools("kafka-storage", *words)
        else:
            subprocess.run([os.environ["OTTLA_BIN"], "storage", *words], check=True, capture_output=True, timeout=30)
        self.formatted = True

    def _serves(self):
        """A broker serves once it shows itself among the brokers: registered, and let in by the controller. A controller
        serves when it answers, active or not."""
        assert self.process.poll() is None, f"{self.name} ended by itself:\n{self.log_tail()}"
        try:
            if self.is_broker:
                return self.id in {broker.node_id for broker in raw.metadata(self.bootstrap, topics=[]).brokers}
            raw.quorum(self.bootstrap)
            return True
        except OSError:
            return False

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)
        self.paused = True

    def resume(self):
        self.process.send_signal(signal.SIGCONT)
        self.paused = False

    def stop(self):
        if self.paused:
            self.resume()
        super().stop()

    def kill9(self):
        super().kill9()
        self.paused = False

    def wipe(self):
        """Its disk is new and empty."""
        assert self.process is None
        shutil.rmtree(self.data)
        self.formatted, self.founds = False, False

    def directory_id(self):
        """The one that its metadata log is in, as it stands on the disk."""
        lines = (self.data / "meta.properties").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)["directory.id"]

    def close(self):
        """What it had is thrown away, so it is not asked to stop."""
        try:
            if self.process is not None:
                self.kill9()
            for line in self.log_text().splitlines():
                assert WAITS_FOR_THE_DISK not in line and "panicked at" not in line, f"{self.name}: {line}"
        finally:
            shutil.rmtree(self.dir, ignore_errors=True)


class Cluster:
    """Not started. `quorum`: "voters" lists them in each file, "bootstrap" has them founded by the storage tool."""

    def __init__(self, kind, name, tools, shape="combined", quorum="voters", config=None, cluster_id=CLUSTER_ID, replicas=1):
        self.replicas = replicas  # of a topic that is made without a number
        self.kind, self.name, self.tools, self.quorum, self.cluster_id = kind, name, tools, quorum, cluster_id
        roles = SHAPES[shape]
        ports = iter(free_ports(2 * len(roles)))
        self._ports = {id: {"PLAINTEXT": next(ports), "CONTROLLER": next(ports)} for id in roles}
        self._voters = {id: f"127.0.0.1:{self._ports[id]['CONTROLLER']}" for id in roles if "controller" in roles[id]}
        self.nodes = [Node(self, id, roles[id], self._ports[id], config) for id in roles]
        self.brokers = [node for node in self.nodes if node.is_broker]
        self.controllers = [node for node in self.nodes if node.is_controller]
        self.bootstrap = ",".join(node.bootstrap for node in self.brokers)
        self.controller_bootstrap = ",".join(self._voters.values())
        self.strangers = []

    def quorum_settings(self):
        if self.quorum == "voters":
            return {"controller.quorum.voters": ",".join(f"{id}@{at}" for id, at in self._voters.items())}
        return {"controller.quorum.bootstrap.servers": ",".join(self._voters.values())}

    def founding(self, node):
        """What the storage tool is told of the first voters. A controller that lost its disk founds nothing."""
        if not node.founds:
            return ["--no-initial-controllers"]
        if len(self.controllers) == 1:
            return ["--standalone"]
        return ["--initial-controllers", ",".join(f"{one.id}@{self._voters[one.id]}:{one.directory}" for one in self.controllers)]

    def stranger(self, id, roles, config=None, cluster_id=None):
        """One more node that belongs to this quorum by its file alone."""
        ports = dict(zip(("PLAINTEXT", "CONTROLLER"), free_ports(2)))
        node = Node(self, id, roles, ports, config)
        node.cluster_id, node.founds = cluster_id or self.cluster_id, False
        node.name += "-stranger"
        node.log_file = node.log_file.with_name(f"{node.name}.log")
        node.log_file.write_bytes(b"")
        self.strangers.append(node)
        return node

    def node(self, id):
        return next(node for node in self.nodes if node.id == id)

    def restart(self):
        """Each in turn, by SIGTERM, the next when all replicas are in sync again."""
        for node in self.nodes:
            node.restart()
            self.whole()

    def start(self, *nodes):
        """All of them, or these, at once."""
        nodes = nodes or self.nodes
        for node in nodes:
            node.spawn()
        for node in nodes:
            wait_for(node._serves, f"{node.name} serves", STARTS_WITHIN)
        return self

    def healed(self):
        """Whatever was done to it: all nodes run, and it is whole."""
        for node in self.nodes:
            if node.paused:
                node.resume()
            if node.process is not None and node.process.poll() is not None:
                node.process = None
        missing = [node for node in self.nodes if node.process is None]
        if missing:
            self.start(*missing)
        self.whole()
        return self

    def kill9(self):
        """All that run, at once."""
        running = [node for node in self.nodes if node.process is not None]
        for node in running:
            node.process.kill()
        for node in running:
            node.kill9()

    # --- what it looks like from outside

    def knows(self, topic):
        """Each broker that answers; one that hears of it last may be the one that a client asks."""
        wait_for(lambda: all(said and topic in said.topics for said in self.views().values()), f"all brokers know {topic}")

    def views(self):
        """What each broker that answers says of brokers and topics; None where one says nothing."""
        return {node: view(node) for node in self.brokers if node.answers}

    def whole(self, *topics, within=90):
        """Waits until each broker that runs sees all others that do, these topics, and every replica on those in sync."""
        def is_whole():
            return all(self._is_whole(said, topics) for said in self.views().values())
        wait_for(is_whole, f"{self.name} is whole", within, lambda: {node.id: vars(said) for node, said in self.views().items() if said})

    def _is_whole(self, said, topics):
        up = {node.id for node in self.brokers if node.answers}
        if said is None or set(said.brokers) != up or not set(topics) <= set(said.topics):
            return False
        parts = [part for topic in said.topics.values() for part in topic.values()]
        return all(part.leader in up and set(part.isr) == set(part.replicas) & up for part in parts)

    def describe(self, node=None):
        """The quorum as a node describes it, which any can; None while there is no active controller."""
        nodes = [node] if node else [node for node in self.nodes if node.answers]
        for one in nodes:
            try:
                found = raw.quorum(one.bootstrap, 3)
            except OSError:
                continue
            if found is not None:
                return found
        return None

    def active(self, other_than=None, within=60):
        """Waits for an active controller that runs, and is not the given one."""
        def found():
            said = self.describe()
            node = said and self.node(said.leader_id)
            return node if node and node.answers and node is not other_than else None
        return wait_for(found, f"{self.name} has an active controller", within)

    def close(self):
        failures = []
        for node in [*self.strangers, *self.nodes]:
            try:
                node.close()
            except AssertionError as failure:
                failures.append(str(failure))
        assert not failures, failures


class View:
    """Brokers, and topics as partition -> leader, replicas, isr."""

    def __init__(self, said):
        self.brokers = sorted(broker.node_id for broker in said.brokers)
        self.ids = {topic.name: topic.topic_id for topic in said.topics if not topic.error_code}
        self.topics = {topic.name: {part.partition_index: Part(part) for part in topic.partitions}
                       for topic in said.topics if not topic.error_code}


class Part:
    def __init__(self, said):
        self.leader, self.epoch = said.leader_id, said.leader_epoch
        self.replicas, self.isr = list(said.replica_nodes), list(said.isr_nodes)

    def __repr__(self):
        return f"{self.leader}@{self.epoch} {self.isr} of {self.replicas}"


def view(node):
    try:
        return View(raw.metadata(node.bootstrap))
    except OSError:
        return None
