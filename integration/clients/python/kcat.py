"""Debian's kcat (librdkafka 2.0.2): a run of it for each command, and one that lives as long as a membership."""

import json
import re
import signal
import subprocess
import sys
import time
from itertools import groupby
from threading import Thread

from adapter import Adapter, Failed

DIES_WITH_US = ["setpriv", "--pdeathsig", "KILL", "--"]
KEY, RECORD = "\x01", "\x02"
CODES = {"Unknown topic or partition": 3, "Message size too large": 10}
NO_ADMIN = "it is no admin client"


def said(words):
    for meaning, code in CODES.items():
        if meaning in words:
            raise Failed(code, words)
    raise Failed(None, words)


class Kcat(Adapter):
    cannot = {
        "empty parts": "what is empty is null to it with -Z, and nothing is null without",
        "timestamp": "it takes no timestamp for what it sends",
        **dict.fromkeys(["commit", "committed"], "it commits as a member of a group only, and shows none"),
        "cluster": "its view of the cluster has no id",
        **dict.fromkeys(["create", "delete", "grow", "configs", "configure", "trim", "groups", "group", "forget"], NO_ADMIN),
    }

    def __init__(self, bootstrap):
        super().__init__(bootstrap)
        self.heard = 0
        self.client = re.search(r"Version (\S+)", self._run("-V"))[0].replace("Version", "kcat")

    def code(self, failure):
        return getattr(failure, "code", None)

    def _run(self, *words, stdin=""):
        done = subprocess.run(["kcat", "-b", self.bootstrap, "-m", "10", *map(str, words)], input=stdin.encode(),
                              capture_output=True, timeout=60)
        errors = done.stderr.decode()
        if done.returncode != 0 or "% Delivery failed" in errors:
            said(errors)
        return done.stdout.decode()

    # --- records

    def produce(self, topic, records, compression="none"):
        """kcat does not say where a record went: behind the last one, as nobody else writes there now."""
        offsets = []
        for (partition, headers), batch in groupby(records, lambda one: (one.get("partition", 0), one.get("headers") or [])):
            batch = list(batch)
            first = self.offsets(topic, "end", partition)
            words = [word for name, value in headers for word in ("-H", name if value is None else f"{name}={value}")]
            lines = [f"{one.get('key') or ''}{KEY}{one['value'] or ''}{RECORD}" for one in batch]
            self._run("-P", "-t", topic, "-p", partition, "-z", compression, "-K", KEY, "-D", RECORD, "-Z", *words,
                      "-X", "message.max.bytes=10000000", "-X", "message.timeout.ms=10000", stdin="".join(lines))
            offsets += range(first, first + len(batch))
        return offsets

    def consume(self, topic, count, partition=0, start="beginning"):
        out = self._run("-C", "-q", "-J", "-t", topic, "-p", partition, "-o", start, "-c", count,
                        "-X", "fetch.wait.max.ms=100")
        return [self._record(json.loads(line)) for line in out.splitlines()]

    def _record(self, one):
        flat = one.get("headers", [])
        return {"partition": one["partition"], "offset": one["offset"], "key": one["key"], "value": one["payload"],
                "headers": [list(pair) for pair in zip(flat[::2], flat[1::2])], "timestamp": one["ts"]}

    def seek(self, topic, to, partition=0):
        return [self.offsets(topic, "end", partition) if target == "end" else
                self.consume(topic, 1, partition, f"s@{target['time']}" if isinstance(target, dict) else target)[0]["offset"]
                for target in to]

    def offsets(self, topic, at, partition=0):
        at = {"beginning": -2, "end": -1}[at] if isinstance(at, str) else at["time"]
        return int(re.search(r" offset (\d+)", self._run("-Q", "-t", f"{topic}:{partition}:{at}"))[1])

    # --- groups

    def join(self, group, topics, session=6000):
        """It commits by itself, what it has printed and nothing more."""
        words = [word for one in (f"session.timeout.ms={session}", "heartbeat.interval.ms=500", "auto.commit.interval.ms=200",
                                  "auto.offset.reset=earliest", "fetch.wait.max.ms=100") for word in ("-X", one)]
        run = subprocess.Popen([*DIES_WITH_US, "kcat", "-b", self.bootstrap, "-J", "-u", *words, "-G", group, *topics],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        readers = [Thread(target=self._records, args=(run.stdout,)), Thread(target=self._rebalances, args=(run.stderr,))]
        for one in readers:
            one.start()
        self.commands.put(self.commands.get())  # waits for the next command and leaves it where it was
        while time.monotonic() - self.heard < 0.5:  # told to stop, it drops the record in its hands, which counts as read
            time.sleep(0.05)
        run.send_signal(signal.SIGTERM)
        run.wait(30)
        for one in readers:
            one.join()

    def _records(self, out):
        for line in out:
            self.heard = time.monotonic()
            one = json.loads(line)
            self.say(record=[one["partition"], one["offset"], one["payload"]])

    def _rebalances(self, errors):
        for line in errors:
            sys.stderr.write(line.decode())
            if b" rebalanced " in line:
                held = re.findall(r"(\S+) \[(\d+)\]", line.decode().split("assigned:")[-1]) if b"assigned: " in line else []
                self.say(assigned=[[topic, int(partition)] for topic, partition in held])

    # --- what its metadata list shows

    def topics(self):
        return [one["topic"] for one in json.loads(self._run("-L", "-J"))["topics"]]

    def describe(self, topic):
        found = json.loads(self._run("-L", "-J", "-t", topic))["topics"][0]
        if "error" in found:
            said(found["error"])
        return [[one["partition"], one["leader"], [node["id"] for node in one["replicas"]], [node["id"] for node in one["isrs"]]]
                for one in found["partitions"]]


if __name__ == "__main__":
    Kcat(sys.argv[1]).serve()
