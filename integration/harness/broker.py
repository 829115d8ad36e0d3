"""The broker under test as a process: Ottla, or Apache Kafka as oracle. Loopback only, its own data directory,
stopped by its own pid."""

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from .tools import DIES_WITH_US, HERE, INSTALLED, JARS, QUICK_START
from .wait import wait_for

STARTS_WITHIN = 90
STOPS_WITHIN = 60


def free_ports(count):
    """Below the range of outgoing connections: a client that retries a port there can connect to itself."""
    ports = []
    while len(ports) < count:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in ports:
            ports.append(port)
    return ports


def write(path, properties):
    path.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))


# What Ottla says of itself when a thread that serves clients makes a call that may wait for the disk.
WAITS_FOR_THE_DISK = "a thread that serves clients waits for the disk"


class Broker:
    """One broker: its directory, its ports, and the process while there is one."""

    heap = ("-Xms256m", "-Xmx512m")  # of Apache Kafka's JVM
    replicas = 1  # of a topic that is made without a number
    program = None  # instead of OTTLA_BIN
    environment = {}  # what the process has beside what we have

    def __init__(self, kind, name, tools, config=None, listeners=("PLAINTEXT",), ports=None):
        self.kind, self.name, self.tools = kind, name, tools
        self.dir = Path(tempfile.mkdtemp(prefix=f"ottla-integration-{name}-"))
        self.data = self.dir / "data"
        self.properties_file = self.dir / "server.properties"
        self.log_file = INSTALLED / "logs" / kind / f"{name}.log"
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        self.log_file.write_bytes(b"")
        self.process = None
        self.formatted = False
        names = [*listeners, "CONTROLLER"]
        self.ports = ports or dict(zip(names, free_ports(len(names))))
        self.bootstrap = self.address(names[0])
        self.listeners = listeners
        self.config = {**self.defaults(), **(config or {})}

    def address(self, listener):
        return f"127.0.0.1:{self.ports[listener]}"

    def defaults(self):
        served = [f"{name}://{self.address(name)}" for name in self.listeners]
        return {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.bootstrap.servers": self.address("CONTROLLER"),
            "listeners": ",".join([*served, f"CONTROLLER://{self.address('CONTROLLER')}"]),
            "advertised.listeners": ",".join(served),
            "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in self.ports),
            "inter.broker.listener.name": self.listeners[0],
            "controller.listener.names": "CONTROLLER",
            "log.dirs": self.data,
            "offsets.topic.replication.factor": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "group.initial.rebalance.delay.ms": 0,
        }

    def write_properties(self):
        write(self.properties_file, self.config)

    def command(self, *overrides):
        words = [word for override in overrides for word in ("--override", override)]
        if self.kind == "ottla":
            return [self.program or os.environ["OTTLA_BIN"], "server", str(self.properties_file), *words]
        log = f"-Dlog4j2.configurationFile={HERE}/java/broker-log4j2.properties"
        jvm = ["java", *self.heap, *QUICK_START, log, "-cp", JARS]
        return [*jvm, "kafka.Kafka", str(self.properties_file), *words]

    def _format(self):
        """Ottla needs no help to make its first data directory; Kafka does. The settings under test may be wrong
        on purpose, and it is the start that should say so."""
        if self.kind == "kafka" and not self.formatted:
            plain = self.dir / "format.properties"
            write(plain, {**self.defaults(), "log.dirs": self.config["log.dirs"]})
            self.tools("kafka-storage", "format", "--standalone", "--ignore-formatted",
                       "--cluster-id", "J4f8Yy1nQ2uO0l3nKvQb8A", "--config", plain)
            self.formatted = True

    def knows(self, topic):
        """Whoever is asked: it is one broker, and has said that it does."""

    def spawn(self, *overrides):
        """Starts the process and does not wait for anything."""
        assert self.process is None, f"{self.name} runs already"
        self.write_properties()
        self._format()
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(
                [*DIES_WITH_US, *self.command(*overrides)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.dir, env={**os.environ, **self.environment},
            )
        return self

    def start(self, *overrides):
        self.spawn(*overrides)
        wait_for(self._serves, f"{self.name} serves", STARTS_WITHIN)
        return self

    def _serves(self):
        assert self.process.poll() is None, f"{self.name} ended by itself:\n{self.log_tail()}"
        try:
            socket.create_connection(("127.0.0.1", int(self.bootstrap.rsplit(":")[-1])), 1).close()
            admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
            return admin.list_topics(timeout=5).brokers
        except (OSError, KafkaException):
            return False

    def exit_code(self, within):
        """Waits for the process to end by itself."""
        try:
            code = self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs after {within} s:\n{self.log_tail()}") from None
        self.process = None
        return code

    def stop(self):
        """SIGTERM; a broker that needs more than that is a failure, and is gone all the same."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.exit_code(STOPS_WITHIN)
        except AssertionError:
            self.kill9()
            raise

    def kill9(self):
        self.process.kill()
        self.process.wait()
        self.process = None

    def restart(self, *overrides):
        self.stop()
        return self.start(*overrides)

    def close(self):
        try:
            self.stop()
            waits = [line for line in self.log_text().splitlines() if WAITS_FOR_THE_DISK in line]
            assert not waits, f"{self.name}: {waits[0]}"
        finally:
            shutil.rmtree(self.dir, ignore_errors=True)

    def log_text(self):
        return self.log_file.read_text(errors="replace")

    def log_tail(self, lines=25):
        return "\n".join(self.log_text().splitlines()[-lines:])
