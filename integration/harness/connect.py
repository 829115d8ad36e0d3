"""Two workers of Kafka Connect as one distributed cluster: a file of lines goes through a topic to another file. With
exactly.once.source.support each line is in the topic once, whatever worker is killed; a sink may write a line again."""

import json
import re
import threading
import urllib.error
import urllib.request

from .application import Application, Seen, committed
from .broker import free_ports, write
from .clients import create_topic
from .cluster import Cluster
from .wait import wait_for

WORKER = "org.apache.kafka.connect.cli.ConnectDistributed"
STRINGS = "org.apache.kafka.connect.storage.StringConverter"
RATE = 200  # lines a second
LINE = re.compile(r"<(\d+)>")


class Lines(threading.Thread):
    """Writes numbered lines to the end of a file."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path, self.count, self.stopping = path, 0, threading.Event()
        self.path.touch()

    def run(self):
        with open(self.path, "a") as file:
            while not self.stopping.wait(20 / RATE):
                for _ in range(20):
                    file.write(f"<{self.count}>\n")
                    self.count += 1
                file.flush()

    def finish(self):
        self.stopping.set()
        self.join()


class Connect:
    """Not started. Its files are beside the broker's, and go with them."""

    def __init__(self, broker, name):
        self.broker, self.name, self.topic = broker, name, f"{name}-lines"
        self.replicas = 3 if isinstance(broker, Cluster) else 1
        create_topic(broker, self.topic, 1, self.replicas)
        self.home = (broker.nodes[0].dir if isinstance(broker, Cluster) else broker.dir) / name
        self.workers = [Worker(self, number, port) for number, port in enumerate(free_ports(2))]
        self.lines, self.out = Lines(self.home / "in.txt"), self.home / "out.txt"
        self.seen = Seen(broker, self.topic, 1)

    def settings(self):
        return {
            "bootstrap.servers": self.broker.bootstrap, "group.id": self.name,
            "key.converter": STRINGS, "value.converter": STRINGS,
            **{f"{what}.storage.topic": f"{self.name}-{what}" for what in ("config", "offset", "status")},
            **{f"{what}.storage.replication.factor": self.replicas for what in ("config", "offset", "status")},
            "offset.storage.partitions": 3, "status.storage.partitions": 2, "offset.flush.interval.ms": 500,
            "exactly.once.source.support": "enabled", "plugin.discovery": "service_load",
            "session.timeout.ms": 4000, "heartbeat.interval.ms": 500, "scheduled.rebalance.max.delay.ms": 0,
            "consumer.session.timeout.ms": 4000, "consumer.heartbeat.interval.ms": 500,
            "consumer.isolation.level": "read_committed",
        }

    def start(self):
        for worker in self.workers:
            worker.spawn()
        for worker in self.workers:
            wait_for(worker.serves, f"{worker.name} serves", 120, worker.log_tail)
        # A batch that is full leaves lines in the connector's buffer, where they stay until the file grows again.
        self.put(self.workers[0], "source", {
            "connector.class": "FileStreamSource", "tasks.max": 1, "file": self.lines.path, "topic": self.topic,
            "exactly.once.support": "required", "batch.size": 1_000_000})
        self.put(self.workers[1], "sink", {
            "connector.class": "FileStreamSink", "tasks.max": 1, "file": self.out, "topics": self.topic})
        self.lines.start()
        return self

    def put(self, worker, connector, config):
        """While the workers find together they answer with 409."""
        body = {"name": connector, **{key: str(value) for key, value in config.items()}}
        wait_for(lambda: worker.ask(f"/connectors/{connector}/config", body), f"{worker.name} takes the {connector}", 60,
                 worker.log_tail)

    def runs(self, connector):
        """The worker that runs the connector's task; None where nobody does, as far as those that answer know."""
        for worker in self.workers:
            said = worker.ask(f"/connectors/{connector}/status")
            if said:
                tasks = said["tasks"]
                assert all(task["state"] != "FAILED" for task in tasks), tasks
                running = [task["worker_id"] for task in tasks if task["state"] == "RUNNING"]
                return next((one for one in self.workers if running == [one.address]), None)
        return None

    def worker_of(self, connector):
        """Waits until the task runs on a worker that lives."""
        def found():
            worker = self.runs(connector)
            return worker if worker and worker.process is not None else None
        return wait_for(found, f"a worker runs the {connector}", 90, self.logs)

    def progress(self, lines):
        """Waits until so many more lines are in the topic."""
        enough = self.seen.count + lines

        def reached():
            for worker in self.workers:
                worker.check()
            return self.seen.look() >= enough

        wait_for(reached, f"{enough} lines in {self.topic}", 120, lambda: f"{self.seen.count}\n{self.logs()}")

    def drain(self):
        """The file ends; all of it is in the topic, in the sink's file, and in the offsets that are committed."""
        self.lines.finish()
        wait_for(lambda: self.seen.look() >= self.lines.count, f"all lines are in {self.topic}", 120,
                 lambda: f"{self.seen.count} of {self.lines.count}\n{self.logs()}")
        wait_for(lambda: self.sunk() >= set(range(self.lines.count)), f"all lines are in {self.out}", 120,
                 lambda: f"{len(self.sunk())} of {self.lines.count}\n{self.logs()}")

    def settle(self):
        self.drain()
        for worker in self.workers:
            worker.stop()

    def sunk(self):
        """Where a worker dies in the middle of a line, its successor goes on in the same line."""
        return {int(number) for number in LINE.findall(self.out.read_text())} if self.out.exists() else set()

    def check(self):
        """With everything processed, and the workers stopped: each line once, in order."""
        found = [int(LINE.fullmatch(value.decode())[1]) for value in committed(self.broker, self.topic, 1)[None]]
        expected = list(range(self.lines.count))
        if found != expected:
            at = next((at for at, (one, other) in enumerate(zip(found, expected)) if one != other), min(len(found), len(expected)))
            raise AssertionError(f"{self.topic}: {len(found)} lines of {len(expected)}, the first wrong one: {found[at - 3:at + 5]}")
        assert self.sunk() == set(expected)

    def logs(self):
        return "\n".join(f"--- {worker.name}\n{worker.log_tail()}" for worker in self.workers)

    def close(self):
        self.lines.stopping.set()
        for worker in self.workers:
            worker.close()
        self.seen.close()


class Worker(Application):
    def __init__(self, connect, number, port):
        self.address, dir = f"127.0.0.1:{port}", connect.home / f"worker-{number}"
        super().__init__(connect.broker.kind, f"{connect.name}-{number}", dir, WORKER, dir / "worker.properties")
        write(dir / "worker.properties", {**connect.settings(), "listeners": f"http://{self.address}"})

    def ask(self, path, body=None):
        """The answer of its REST API: PUT with a body, GET without; None where it has none yet."""
        request = urllib.request.Request(f"http://{self.address}{path}", json.dumps(body).encode() if body else None,
                                         {"Content-Type": "application/json"}, method="PUT" if body else "GET")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")
            assert error.code in (404, 409, 500, 503), f"{self.name}, {path}: {error.code} {said}"
            return None
        except OSError:
            return None

    def serves(self):
        """It is in the group, and has read its topics."""
        self.check()
        return self.ask("/") and self.ask("/connectors") is not None
