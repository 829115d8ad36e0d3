"""A Kafka Streams application (java/WordCount.java) in one process or two, its input, and the look at what it made of it:
killed at any moment, its output is exactly right with exactly_once_v2, and nothing is missing in it with at_least_once."""

import shutil
import struct
import threading
import time
from collections import Counter
from pathlib import Path

from confluent_kafka import TopicPartition
from confluent_kafka.admin import OffsetSpec

from .application import Application, Seen, cleanup_policy, committed
from .broker import write
from .clients import admin, create_topic, producer
from .cluster import Cluster
from .wait import wait_for

WORDS = [f"word-{number}" for number in range(20)]
PARTITIONS = 3
RATE = 100  # lines a second


class Input(threading.Thread):
    """Lines, and for each an answer of the same key; both are written once."""

    def __init__(self, broker, prefix, dice):
        super().__init__(daemon=True)
        self.prefix, self.dice = prefix, dice
        self.client = producer(broker, enable_idempotence=True, message_timeout_ms=300_000, log_level=0)
        self.stopping, self.failed = threading.Event(), []
        self.words, self.lines = Counter(), {}

    def run(self):
        while not self.stopping.wait(10 / RATE):
            for _ in range(10):
                self.one()
            self.client.poll(0)
        left = self.client.flush(300)
        if left:
            self.failed.append(f"{left} records of the input are not acknowledged")

    def one(self):
        key, words = str(len(self.lines)), self.dice.choices(WORDS, k=self.dice.randint(1, 5))
        self.send("lines", key, " ".join(words))
        self.send("answers", key, f"answer {key}")
        self.words.update(words)
        self.lines[key] = f"{' '.join(words)}=answer {key}".encode()

    def send(self, topic, key, value):
        self.client.produce(f"{self.prefix}-{topic}", value, key, on_delivery=self._told)

    def _told(self, error, _):
        if error is not None:
            self.failed.append(str(error))

    def finish(self):
        self.stopping.set()
        self.join(310)
        assert not self.is_alive() and not self.failed, self.failed[:3]


class WordCount:
    """Not started. `guarantee` is Streams' processing.guarantee. Its files are beside the broker's, and go with them."""

    def __init__(self, broker, name, guarantee, dice, processes=1):
        self.broker, self.name, self.exact, self.dice = broker, name, guarantee == "exactly_once_v2", dice
        replicas = 3 if isinstance(broker, Cluster) else 1
        for topic in ("lines", "answers", "counts", "joined"):
            create_topic(broker, f"{name}-{topic}", PARTITIONS, replicas)
        home = broker.nodes[0].dir if isinstance(broker, Cluster) else broker.dir
        self.processes = [self._process(home / f"{name}-{number}", guarantee, 2 // processes) for number in range(processes)]
        self.input = Input(broker, name, dice)
        self.joined = Seen(broker, f"{name}-joined", PARTITIONS)
        self.counts = Seen(broker, f"{name}-counts", PARTITIONS)

    def _process(self, dir: Path, guarantee, threads):
        process = Application(self.broker.kind, dir.name, dir, "WordCount", dir / "application.properties", self.name)
        write(dir / "application.properties", {
            "application.id": self.name, "bootstrap.servers": self.broker.bootstrap, "state.dir": dir / "state",
            "processing.guarantee": guarantee, "num.stream.threads": threads, "commit.interval.ms": 100,
            "statestore.cache.max.bytes": 0,  # every count is written, none is left out for a later one
            "repartition.purge.interval.ms": 1000, "replication.factor": -1,
            "consumer.session.timeout.ms": 4000, "consumer.heartbeat.interval.ms": 500,
        })
        return process

    def start(self):
        for process in self.processes:
            process.spawn()
        self.input.start()
        return self

    def kill(self, process, loses_its_disk=False):
        """With SIGKILL, at a moment that chance decides, and started again. Without its directory it is a stranger to the brokers:
        the transaction that it had open ends by its timeout."""
        time.sleep(self.dice.uniform(0, 1.5))
        process.kill9()
        if loses_its_disk:
            shutil.rmtree(process.dir / "state")
        process.spawn()

    def check_lives(self):
        assert not self.input.failed, self.input.failed[:3]
        for process in self.processes:
            process.check()

    def progress(self, lines):
        """Waits until so many more lines have their answer in the output."""
        self.reach(self.joined.count + lines)

    def reach(self, lines):
        def reached():
            self.check_lives()
            return self.joined.look() >= lines

        wait_for(reached, f"{lines} lines in {self.name}-joined", 120,
                 lambda: f"{self.joined.count}\n" + "\n".join(process.log_tail() for process in self.processes))

    def settle(self):
        """The input ends; all of it is processed, and the application stops."""
        self.input.finish()

        def is_done():
            self.check_lives()
            self.joined.look(), self.counts.look()
            return set(self.joined.by_key) == set(self.input.lines) and all(map(self._is_counted, self.input.words))

        wait_for(is_done, f"{self.name} has processed its input", 120, self._missing)
        for process in self.processes:
            process.stop()

    def _is_counted(self, word):
        seen = self.counts.by_key[word]
        return seen and number(seen[-1]) >= self.input.words[word]

    def check(self):
        """With everything processed, and the application stopped."""
        self._check_joined()
        self._check_counts(f"{self.name}-counts")
        self._check_counts(f"{self.name}-counts-changelog")
        self._check_topics()

    def _check_joined(self):
        found = committed(self.broker, f"{self.name}-joined", PARTITIONS)
        assert set(found) == set(self.input.lines)
        wrong = {key: values for key, values in found.items() if set(values) != {self.input.lines[key]}}
        assert not wrong, f"{len(wrong)} wrong lines in {self.name}-joined: {list(wrong.items())[:3]}"
        if self.exact:
            twice = {key: len(values) for key, values in found.items() if len(values) > 1}
            assert not twice, f"{len(twice)} of {len(found)} lines are there more than once: {list(twice.items())[:10]}"

    def _check_counts(self, topic):
        found = committed(self.broker, topic, PARTITIONS)
        assert set(found) == set(self.input.words), topic
        for word, count in self.input.words.items():
            seen = [number(value) for value in found[word]]
            if self.exact:
                expected = list(range(1, count + 1))
                assert seen == expected, f"{topic}: {word} comes {count} times, counted {difference(seen, expected)}"
            else:
                assert seen[-1] >= count, f"{topic}: {word} comes {count} times, and is counted {seen[-1]}"

    def _check_topics(self):
        """Streams' own topics are as it has asked for them, and what was repartitioned and consumed is deleted."""
        policies = {"counts-changelog": "compact", "words-repartition": "delete", "join-this-join-store-changelog": "delete",
                    "join-other-join-store-changelog": "delete"}
        client = admin(self.broker)
        topics = set(client.list_topics(timeout=30).topics)
        for topic, policy in policies.items():
            assert f"{self.name}-{topic}" in topics, sorted(topics)
            found = cleanup_policy(self.broker, f"{self.name}-{topic}")
            assert found == policy, f"{self.name}-{topic}: {found}"
        starts = client.list_offsets({TopicPartition(f"{self.name}-words-repartition", partition): OffsetSpec.earliest()
                                      for partition in range(PARTITIONS)})
        assert any(start.result(30).offset > 0 for start in starts.values()), "nothing of the repartition topic is deleted"

    def _missing(self):
        lines = len(set(self.input.lines) - set(self.joined.by_key))
        counts = {word: (count, [number(value) for value in self.counts.by_key[word][-1:]])
                  for word, count in self.input.words.items()}
        logs = "\n".join(process.log_tail() for process in self.processes)
        return f"{lines} of {len(self.input.lines)} lines missing, counts as expected and found: {counts}\n{logs}"

    def close(self):
        self.input.stopping.set()
        for process in self.processes:
            process.close()
        self.joined.close()
        self.counts.close()


def number(value):
    return struct.unpack(">q", value)[0]


def difference(seen, expected):
    at = next((at for at, (one, other) in enumerate(zip(seen, expected)) if one != other), min(len(seen), len(expected)))
    return f"{len(seen)} times, first wrong after {seen[max(at - 3, 0):at]}: {seen[at:at + 5]}"
