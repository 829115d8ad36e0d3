"""How long a cluster of three combined nodes is without a controller, and its partitions without leaders, when one node fails:
Ottla and Apache Kafka in one run, alternating, with the same session timeout.

    integration/bench/failover [--partitions 1000] [--rounds 2] [--times 3] [--session 1000] [--only ottla | --only kafka]

Each round starts a new cluster (A B B A), makes the partitions with three replicas each, a hundred in a topic, and lets one
node fail in each of these ways, some times each; then the node returns, everything is in sync again, and every partition
has its preferred leader:

    stop      SIGTERM of a node that is not the active controller
    kill      SIGKILL of such a node
    active    SIGKILL of the active controller's node
    pause     SIGSTOP of the active controller's node, until everything goes on without it

What is seen is told by the other two nodes (harness/outage.py): until every partition of the failed node has another leader;
until each of them has taken a record with acks=all; for how long at most one of fifty of them took none; until a topic is
made, by way of the first node and by way of both. With --session the heartbeats are a fifth of it apart. Kafka's quorum has
its default timeouts unless --quorum says otherwise; Ottla's elections begin 0.6 to 1.2 s after the last word of a leader.
Memory is what the processes hold when the partitions are made: RSS, and PSS, which counts what nodes share once.
"""

import argparse
import os
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from confluent_kafka.admin import AdminClient, NewTopic  # noqa: E402
from harness import broker as brokers  # noqa: E402
from harness import cluster as clusters  # noqa: E402
from harness.outage import RECORD, Outage  # noqa: E402
from harness.tools import Tools  # noqa: E402
from harness.wait import wait_for  # noqa: E402
from harness.wire import Connection  # noqa: E402

EACH = 100  # partitions of a topic
BATCH = 10  # topics in a request
WITHIN = 900
REST = 10  # seconds over which the use of CPU at rest is measured
brokers.STARTS_WITHIN = brokers.STOPS_WITHIN = WITHIN
clusters.Node.heap = ("-Xms128m", "-Xmx512m")

FAILURES = {
    "stop": "clean stop of a node",
    "kill": "kill -9 of a node",
    "active": "kill -9 of the active controller's node",
    "pause": "SIGSTOP of the active controller's node",
}
SEEN = {
    "led": "every partition has another leader",
    "took": "each has taken a record",
    "gap": "longest time without an acknowledgement",
    "ended": "the process has ended",
    "created": "a topic is made by way of one of the others",
    "created_by_both": "and by way of both",
}


class Fleet:
    """A cluster with its partitions."""

    def __init__(self, kind, name, tools, options):
        self.kind, self.options, self.figures, self.failed = kind, options, defaultdict(list), 0
        config = {
            "broker.session.timeout.ms": options.session, "broker.heartbeat.interval.ms": options.session // 5,
            "auto.leader.rebalance.enable": "false",  # when all is whole again, leaders go back on request
        }
        if options.quorum:
            config["controller.quorum.fetch.timeout.ms"] = options.quorum
        self.cluster = clusters.Cluster(kind, name, tools, config=config)
        self.topics = [f"failover-{n:03}" for n in range(options.partitions // EACH)]

    def run(self):
        self.cluster.start()
        self.note("started, MB RSS and PSS", *self.memory())
        began = time.monotonic()
        self.create()
        self.note("partitions made, s", time.monotonic() - began)
        self.whole()
        self.note("a record in each, s", self.fill())
        self.note("partitions made, MB RSS and PSS", *self.memory())
        self.note("CPU of three nodes at rest, %", self.rest())
        for _ in range(self.options.times):
            for failure in self.options.failures:
                self.fail(failure)

    def note(self, what, *values):
        self.figures[what].append(values)
        print(f"{self.kind:6} {what:74} {' '.join(f'{value:10.3f}' for value in values)}", flush=True)

    def create(self):
        client = AdminClient({"bootstrap.servers": self.cluster.bootstrap, "log_level": 0})
        for at in range(0, len(self.topics), BATCH):
            new = [NewTopic(name, EACH, 3) for name in self.topics[at:at + BATCH]]
            for made in client.create_topics(new, request_timeout=WITHIN, operation_timeout=WITHIN).values():
                made.result(WITHIN)

    def fill(self):
        """A record in each partition, through its leader; the seconds that takes."""
        began = time.monotonic()
        for node in self.cluster.nodes:
            with Connection(node.bootstrap, WITHIN) as connection:
                for topic in self.topics:
                    left = {one for one, (leader, *_) in connection.leaders([topic]).items() if leader == node.id}
                    # A node may show that it leads before it does.
                    wait_for(lambda: not left or left.difference_update(connection.produce(left, RECORD)),
                             f"{topic} has taken records", WITHIN)
        return time.monotonic() - began

    # --- one failure

    def fail(self, failure):
        active = self.cluster.active()
        self.failed += 1
        others = [node for node in self.cluster.nodes if node is not active]
        victim = active if failure in ("active", "pause") else others[self.failed % 2]
        outage = Outage(self.cluster, victim, self.topics, creates=victim is active, steady=failure in ("stop", "kill"))
        fail = {"stop": victim.process.terminate, "pause": victim.pause}.get(failure, victim.process.kill)
        outage.run(fail)
        for what, seconds in outage.seen().items():
            self.note(f"{FAILURES[failure]}: {SEEN[what]}, s", seconds)
        if outage.codes:
            print(f"{self.kind:6} refused meanwhile: {outage.codes[:5]}", flush=True)
        self.heal(victim)

    def heal(self, victim):
        if victim.paused:
            victim.resume()
        else:
            victim.process = None
            self.cluster.start(victim)
        self.whole()

    def whole(self):
        """Waits until each node shows every replica in sync, and every partition led by its first replica."""
        wait_for(lambda: all(map(self.is_in_sync, self.cluster.nodes)), "every replica is in sync", WITHIN)
        with Connection(self.cluster.nodes[0].bootstrap, WITHIN) as connection:
            connection.elect_preferred()
        wait_for(lambda: all(map(self.is_preferred, self.cluster.nodes)), "preferred leaders lead", WITHIN)

    def is_in_sync(self, node):
        return self.shown(node, lambda leader, replicas, isr: leader >= 0 and len(isr) == len(replicas))

    def is_preferred(self, node):
        return self.shown(node, lambda leader, replicas, isr: leader == replicas[0])

    def shown(self, node, holds):
        """Whether that holds for every partition as this node shows it. Asked gently: the node has other things to do."""
        with Connection(node.bootstrap, WITHIN) as connection:
            for at in range(0, len(self.topics), BATCH):
                parts = connection.leaders(self.topics[at:at + BATCH])
                if len(parts) < len(self.topics[at:at + BATCH]) * EACH or not all(holds(*part) for part in parts.values()):
                    time.sleep(0.2)
                    return False
        return True

    # --- what it costs

    def memory(self):
        """MB of RSS and PSS of the node that holds most."""
        return max((kilobytes(node, "Rss") / 1024, kilobytes(node, "Pss") / 1024) for node in self.cluster.nodes)

    def rest(self):
        before = [cpu_seconds(node) for node in self.cluster.nodes]
        time.sleep(REST)
        return sum(cpu_seconds(node) for node in self.cluster.nodes) * 100 / REST - sum(before) * 100 / REST


def kilobytes(node, key):
    lines = Path(f"/proc/{node.process.pid}/smaps_rollup").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{key}:")))


def cpu_seconds(node):
    fields = Path(f"/proc/{node.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def table(fleets):
    """Markdown: medians, with the least and the most of them, and how many times as much it is for Kafka."""
    kinds = list(dict.fromkeys(fleet.kind for fleet in fleets))
    print(f"\n| | {' | '.join(kinds)} | ratio |\n|---|{'---:|' * (len(kinds) + 1)}")
    for what in fleets[0].figures:
        cells, middles = [], []
        for kind in kinds:
            rows = [row for fleet in fleets if fleet.kind == kind for row in fleet.figures[what]]
            middles.append([statistics.median(column) for column in zip(*rows)])
            cells.append(", ".join(span(column) for column in zip(*rows)))
        ratio = f"{middles[1][0] / middles[0][0]:.1f}" if len(kinds) == 2 and middles[0][0] else ""
        print(f"| {what} | {' | '.join(cells)} | {ratio} |")


def span(values):
    middle = f"{statistics.median(values):.3g}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.3g}-{max(values):.3g})"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--partitions", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--session", type=int, default=1000, help="broker.session.timeout.ms")
    parser.add_argument("--quorum", type=int, help="controller.quorum.fetch.timeout.ms")
    parser.add_argument("--failures", type=lambda text: text.split(","), default=list(FAILURES))
    parser.add_argument("--only", choices=["ottla", "kafka"])
    options = parser.parse_args()
    tools, fleets = Tools(), []
    try:
        for number in range(options.rounds):
            kinds = [options.only] if options.only else ["ottla", "kafka"][::1 if number % 2 == 0 else -1]
            for kind in kinds:
                fleets.append(Fleet(kind, f"failover-{kind}-{number}", tools, options))
                try:
                    fleets[-1].run()
                finally:
                    fleets[-1].cluster.close()
    finally:
        tools.close()
    table(sorted(fleets, key=lambda fleet: fleet.kind != "ottla"))


if __name__ == "__main__":
    main()
