"""A Flink job that copies numbers from one topic to another with exactly-once checkpoints (java/flink/FlinkCopy.java), and the
numbers."""

import threading

from .application import Application, Seen, committed
from .clients import create_topic, producer
from .cluster import Cluster
from .tools import INSTALLED
from .wait import wait_for

JARS = f"{INSTALLED}/flink/classes:{INSTALLED}/flink/jars/*"
PARTITIONS = 2
RATE = 200  # numbers a second


class Numbers(threading.Thread):
    """Each is written once."""

    def __init__(self, broker, topic):
        super().__init__(daemon=True)
        self.topic, self.count, self.failed, self.stopping = topic, 0, [], threading.Event()
        self.client = producer(broker, enable_idempotence=True, message_timeout_ms=300_000, log_level=0)

    def run(self):
        while not self.stopping.wait(20 / RATE):
            for _ in range(20):
                self.client.produce(self.topic, str(self.count), partition=self.count % PARTITIONS, on_delivery=self._told)
                self.count += 1
            self.client.poll(0)
        self.client.flush(300)

    def _told(self, error, _):
        if error is not None:
            self.failed.append(str(error))

    def finish(self):
        self.stopping.set()
        self.join(310)
        assert not self.is_alive() and not self.failed, self.failed[:3]


class Copy:
    """Not started. Its files are beside the broker's, and go with them."""

    def __init__(self, broker, name, naming):
        self.broker, self.target = broker, f"{name}-copy"
        for topic in (name, self.target):
            create_topic(broker, topic, PARTITIONS, 3 if isinstance(broker, Cluster) else 1)
        dir = (broker.nodes[0].dir if isinstance(broker, Cluster) else broker.dir) / name
        (dir / "checkpoints").mkdir(parents=True)
        words = ["FlinkCopy", broker.bootstrap, name, self.target, dir / "checkpoints", naming]
        self.job = Application(broker.kind, name, dir, *words, jars=JARS)
        self.numbers, self.seen = Numbers(broker, name), Seen(broker, self.target, PARTITIONS)

    def start(self):
        self.job.spawn()
        self.numbers.start()
        return self

    def progress(self, numbers):
        """Waits until so many more were copied."""
        self._reach(self.seen.count + numbers)

    def _reach(self, numbers):
        def reached():
            self.job.check()
            return self.seen.look() >= numbers

        wait_for(reached, f"{numbers} numbers in {self.target}", 120, lambda: f"{self.seen.count}\n{self.job.log_tail()}")

    def settle(self):
        self.numbers.finish()
        self._reach(self.numbers.count)

    def check(self):
        """With everything copied."""
        found = sorted(int(value) for value in committed(self.broker, self.target, PARTITIONS)[None])
        assert len(found) == self.numbers.count, f"{len(found)} numbers of {self.numbers.count}"
        assert found == list(range(self.numbers.count))

    def close(self):
        self.numbers.stopping.set()
        self.job.close()
        self.seen.close()
