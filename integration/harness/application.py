"""A Java application as a process of its own: killed with -9, started again, and what it says in a log file; and what
read_committed consumers see of a topic while it works."""

import os
import signal
import subprocess
from collections import defaultdict

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import ConfigResource, ResourceType

from .clients import admin, consume, consumer
from .tools import DIES_WITH_US, INSTALLED, JARS, LOGGING, QUICK_START
from .transactions import is_stable

STOPS_WITHIN = 60
# What applications leave behind when they are killed is cleared away soon.
ON_BROKERS = {"group.min.session.timeout.ms": 1000, "transaction.abort.timed.out.transaction.cleanup.interval.ms": 500}


class Application:
    """Not started. `jars` is its class path; `dir` is its own, for what it keeps between its lives."""

    def __init__(self, kind, name, dir, *words, jars=JARS, options=()):
        self.name, self.dir, self.process = name, dir, None
        self.command = ["java", "-Xmx256m", *QUICK_START, LOGGING, *options, "-cp", jars, *map(str, words)]
        self.log_file = INSTALLED / "logs" / kind / f"{name}.log"
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        self.log_file.write_bytes(b"")
        self.dir.mkdir(parents=True, exist_ok=True)

    def spawn(self):
        assert self.process is None, f"{self.name} runs already"
        # RocksDB's library is unpacked to the same file in each life, not to another one in /tmp.
        environment = {**os.environ, "ROCKSDB_SHAREDLIB_DIR": str(self.dir)}
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen([*DIES_WITH_US, *self.command], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            cwd=self.dir, env=environment)
        return self

    def check(self):
        """It has not ended by itself."""
        if self.process is not None and self.process.poll() is not None:
            raise AssertionError(f"{self.name} ended by itself, with {self.process.returncode}:\n{self.log_tail()}")

    def kill9(self):
        self.check()
        self.process.kill()
        self.process.wait()
        self.process = None

    def stop(self):
        """SIGTERM, for which it finishes its work."""
        self.check()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOPS_WITHIN)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs {STOPS_WITHIN} s after SIGTERM:\n{self.log_tail()}") from None
        self.process = None

    def close(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def log_text(self):
        return self.log_file.read_text(errors="replace")

    def log_tail(self, lines=40):
        return "\n".join(self.log_text().splitlines()[-lines:])


class Seen:
    """What a read_committed consumer has seen of a topic until now: by key, each key's values in their order."""

    def __init__(self, broker, topic, partitions):
        self.client = consumer(broker, isolation_level="read_committed", log_level=0)
        self.client.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in range(partitions)])
        self.by_key, self.count = defaultdict(list), 0

    def look(self):
        """Takes what there is now; the count of all values."""
        while messages := self.client.consume(1000, 0.05):
            for message in messages:
                self._take(message)
        return self.count

    def _take(self, message):
        if message.error() is None:
            key = message.key()
            self.by_key[key and key.decode()].append(message.value())
            self.count += 1
        elif message.error().code() != KafkaError._PARTITION_EOF and not message.error().retriable():
            raise KafkaException(message.error())

    def close(self):
        self.client.close()


def committed(broker, topic, partitions):
    """Everything that is committed, to the very end: by key, each key's values in their order. Nobody writes any more."""
    by_key = defaultdict(list)
    for partition in range(partitions):
        is_stable(broker, topic, partition, 60)
        for message in consume(broker, topic, partition=partition, isolation_level="read_committed"):
            key = message.key()
            by_key[key and key.decode()].append(message.value())
    return by_key


def cleanup_policy(broker, topic):
    client, asked = admin(broker), ConfigResource(ResourceType.TOPIC, topic)
    return client.describe_configs([asked])[asked].result(30)["cleanup.policy"].value
