"""Clients that make topics and delete half of them again, at a steady rate, whatever happens to the nodes; and the check
that no answered change is lost and none was made twice: in what each broker shows, and in each node's metadata log."""

import json
import random
import re
import threading
from collections import Counter

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import NewTopic

from . import raw
from .clients import admin
from .wait import wait_for

EXISTS, UNKNOWN = KafkaError.TOPIC_ALREADY_EXISTS, KafkaError.UNKNOWN_TOPIC_OR_PART
PAUSE = 0.05  # seconds between the changes of a worker
PATIENCE = 10.0  # seconds for one request


class Changes:
    """Two workers: one is librdkafka's, the other sends single requests to one node each and learns the topics' ids."""

    def __init__(self, cluster, prefix, replicas=3):
        self.cluster = cluster
        self.workers = [Worker(f"{prefix}-{kind.__name__.lower()}", kind(cluster, replicas)) for kind in (Client, Single)]

    def __enter__(self):
        for worker in self.workers:
            worker.start()
        return self

    def __exit__(self, *_):
        for worker in self.workers:
            worker.stopping.set()
        for worker in self.workers:
            worker.join(60)

    def done(self):
        return sum(worker.done for worker in self.workers)

    def failures(self):
        return [worker.failure for worker in self.workers if worker.failure]

    def progress(self, changes, within=60):
        """Waits until each worker has made so many more."""
        enough = [(worker, worker.done + changes) for worker in self.workers]
        wait_for(lambda: self.failures() or all(worker.done >= most for worker, most in enough),
                 f"{changes} more changes of topics by each client", within)
        assert not self.failures(), self.failures()

    def check(self):
        """With all workers at rest and all nodes up."""
        assert not self.failures(), self.failures()
        assert not any(worker.is_alive() for worker in self.workers), "a client waits for its answer for ever"
        there = {name: what for worker in self.workers for name, what in worker.there.items()}
        gone = {name: how for worker in self.workers for name, how in worker.gone.items()}
        for node in self.cluster.brokers:
            wait_for(lambda: not differences(node, there, gone), f"{node.name} shows what was answered", 30,
                     lambda: differences(node, there, gone)[:5])
        logs = same_records(self.cluster)
        for name, records in logs.items():
            made = topics_made(records)
            twice = [(topic, made[topic]) for topic in [*there, *gone] if made[topic] != 1]
            assert not twice, f"{name}: not once in the metadata log: {twice[:5]}"


class Worker(threading.Thread):
    """Makes a topic and, one time in two, deletes it again; asks again as long as an answer leaves it in doubt."""

    def __init__(self, prefix, client):
        super().__init__(daemon=True)
        self.prefix, self.client, self.random = prefix, client, random.Random(prefix)
        self.stopping, self.done, self.failure = threading.Event(), 0, None
        self.there, self.gone = {}, {}  # name -> (id or None, partitions); name -> how the client knows

    def run(self):
        number = 0
        try:
            while not self.stopping.is_set():
                self._one(f"{self.prefix}-{number}", 1 + number % 3, number % 2 == 1)
                number += 1
                self.stopping.wait(PAUSE)
        except Exception as failure:  # reported by whoever looks at the worker
            self.failure = f"{self.prefix}-{number}: {failure!r}"

    def _one(self, name, partitions, delete):
        made = self._until(lambda: self.client.create(name, partitions), EXISTS)
        self.there[name] = (made, partitions)
        self.done += 1
        if delete:
            told = self._until(lambda: self.client.delete(name) or "deleted", UNKNOWN)
            del self.there[name]
            self.gone[name] = told or "said to be unknown"
            self.done += 1

    def _until(self, ask, done_before):
        """The first answer that leaves no doubt. `done_before` does: a broker that forwards a request sends it again when
        the active controller dies, as Kafka's do, and hears that it was done. What was really done is in the log."""
        while True:
            try:
                return ask()
            except Doubt:
                pass
            except Refused as refused:
                if refused.code == done_before:
                    return None
                raise


class Doubt(Exception):
    """There is no answer, or one that means: ask again."""


class Refused(Exception):
    def __init__(self, code):
        super().__init__(str(KafkaError(code)))
        self.code = code


DOUBT = {KafkaError.REQUEST_TIMED_OUT, KafkaError.NOT_CONTROLLER, KafkaError.BROKER_NOT_AVAILABLE,
         KafkaError.NETWORK_EXCEPTION, KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._TIMED_OUT_QUEUE,
         KafkaError._DESTROY_BROKER}  # the last: librdkafka has dropped a connection that the request waited for


def judge(code):
    if code in DOUBT:
        raise Doubt
    if code:
        raise Refused(code)


class Client:
    """librdkafka's admin client with all nodes as bootstrap."""

    def __init__(self, cluster, replicas):
        self.replicas = replicas
        self.admin = admin(cluster, socket_timeout_ms=int(PATIENCE * 1000), reconnect_backoff_max_ms=200, log_level=0)

    def create(self, name, partitions):
        self._ask(self.admin.create_topics, [NewTopic(name, partitions, self.replicas)])

    def delete(self, name):
        self._ask(self.admin.delete_topics, [name])

    def _ask(self, method, what):
        future = next(iter(method(what, operation_timeout=PATIENCE, request_timeout=PATIENCE).values()))
        try:
            future.result(PATIENCE + 5)
        except KafkaException as failure:
            judge(failure.args[0].code())


class Single:
    """Single requests, each to a node that chance decides. Nothing is sent twice by itself."""

    def __init__(self, cluster, replicas):
        self.cluster, self.replicas, self.random = cluster, replicas, random.Random(1)

    def create(self, name, partitions):
        code, id = self._ask(lambda at: raw.create(at, name, partitions, self.replicas, PATIENCE))
        judge(code)
        return id

    def delete(self, name):
        judge(self._ask(lambda at: raw.delete(at, name, PATIENCE)))

    def _ask(self, ask):
        try:
            return ask(self.random.choice([node for node in self.cluster.brokers if not node.paused]).bootstrap)
        except OSError:
            raise Doubt from None


def differences(node, there, gone):
    """What a broker shows and should not, or does not and should."""
    try:
        said = raw.metadata(node.bootstrap)
    except OSError as failure:
        return [f"no answer: {failure}"]
    shown = {topic.name: topic for topic in said.topics if not topic.error_code}
    wrong = [f"{name} is lost" for name in there.keys() - shown.keys()]
    wrong += [f"{name} is there, though {gone[name]}" for name in gone.keys() & shown.keys()]
    for name, (id, partitions) in there.items():
        topic = shown.get(name)
        if topic and (len(topic.partitions) != partitions or id not in (None, topic.topic_id)):
            wrong.append(f"{name} is another one: {len(topic.partitions)} of {partitions} partitions, {topic.topic_id}")
    return wrong


# --- the metadata log of each node

def same_records(cluster):
    """node name -> its records by offset, of all nodes, equal up to what is agreed on now."""
    agreed = wait_for(cluster.describe, "the quorum is described").high_watermark
    nodes = cluster.nodes
    wait_for(lambda: all(agreed <= log_end(node) for node in nodes), "every node has what is agreed on", 30)
    logs = {node.name: metadata_records(node) for node in nodes}
    (first, right), *others = logs.items()
    for name, records in others:
        different = [at for at in range(agreed) if records.get(at) != right.get(at)]
        assert not different, (f"the metadata logs of {first} and {name} differ at {different[:3]} of {agreed}:\n"
                               f"{right.get(different[0])}\n{records.get(different[0])}")
    return logs


def log_end(node):
    return max(metadata_records(node), default=-1) + 1


def metadata_records(node):
    """offset -> what Kafka's tool prints of the record there."""
    files = sorted((node.data / "__cluster_metadata-0").glob("*.log"))
    shown = node.tools("kafka-dump-log", "--cluster-metadata-decoder", "--files", ",".join(map(str, files)))
    return {int(at): text for at, text in re.findall(r"^\| offset: (\d+) (.*)$", shown.text, re.MULTILINE)}


def topics_made(records):
    """topic -> how often it was made."""
    payloads = [json.loads(text.split("payload: ", 1)[1]) for text in records.values() if "payload: " in text]
    return Counter(one["data"]["name"] for one in payloads if one["type"] == "TOPIC_RECORD")
