"""One node of a cluster fails, and what is seen of that from the others: when its partitions have other leaders, when each of
them has taken a record, how long none was taken, and when the cluster makes topics again. All of it is asked without
any pause of a client's own."""

import itertools
import threading
import time

from . import raw
from .wire import Connection, batch

RECORD = batch(b"after the failure")
TOPICS_AT_ONCE = 10  # in a question about leaders
SAMPLED = 50  # of the failing node's partitions, to which records go all the time
PAUSE = 0.005  # before what brought nothing is asked again
WITHIN = 300
_numbers = itertools.count()


class Outage:
    """`creates`: topics are made as well. `steady`: records go to some of the partitions all the time, also before."""

    def __init__(self, cluster, victim, topics, creates=False, steady=False):
        self.victim, self.creates, self.steady = victim, creates, steady
        self.others = {node.id: node for node in cluster.nodes if node is not victim}
        self.watched = next(iter(self.others.values()))
        with Connection(self.watched.bootstrap) as connection:
            shown = connection.leaders(topics)
        self.moving = [partition for partition, (leader, *_) in shown.items() if leader == victim.id]
        assert self.moving, f"{victim.name} leads nothing"
        self.created, self.codes, self.taken_at, self.gap, self.led, self.ended = [], [], [], None, None, None
        self.to_take, self.untaken = {id: [] for id in self.others}, set(self.moving)
        self.lock, self.began, self.failures = threading.Lock(), None, []
        self.all_taken, self.flowing = threading.Event(), threading.Event()

    def run(self, fail):
        """`fail` fails the node; returns when everything is as it was, without it."""
        background = self._thread(self._flow) if self.steady else None
        assert background is None or self.flowing.wait(WITHIN) and not self.failures, self.failures
        self.began = time.monotonic()
        fail()
        threads = [self._thread(self._watch), *(self._thread(self._take, id) for id in self.others)]
        threads += [self._thread(self._create, node) for node in self.others.values() if self.creates]
        threads += [] if self.victim.paused else [self._thread(self._end)]
        self._join(threads)
        self.all_taken.set()
        if background:
            self._join([background])
        return self

    def seen(self):
        """Seconds from the failure."""
        seen = {"led": self.led, "took": max(self.taken_at) - self.began, "gap": self.gap, "ended": self.ended}
        if self.created:
            seen |= {"created": min(self.created), "created_by_both": max(self.created)}
        return {what: seconds for what, seconds in seen.items() if seconds is not None}

    def _thread(self, act, *what):
        def guarded():
            try:
                act(*what)
            except Exception as failure:  # told by whoever waits
                self.failures.append(failure)
                self.flowing.set()
        thread = threading.Thread(target=guarded, daemon=True)
        thread.start()
        return thread

    def _join(self, threads):
        deadline = time.monotonic() + WITHIN
        for thread in threads:
            thread.join(max(0, deadline - time.monotonic()))
        assert not self.failures, self.failures
        assert not any(thread.is_alive() for thread in threads), f"not over within {WITHIN} s"

    def _since(self):
        return time.monotonic() - self.began

    def _watch(self):
        """Until another node leads each of the partitions, as one of the others shows it."""
        left = {}
        for topic, index in self.moving:
            left.setdefault(topic, set()).add(index)
        with Connection(self.watched.bootstrap, WITHIN) as connection:
            while left:
                found = {}
                for (topic, index), (leader, *_) in connection.leaders(list(left)[:TOPICS_AT_ONCE]).items():
                    if leader in self.others and index in left[topic]:
                        left[topic].remove(index)
                        found.setdefault(leader, []).append((topic, index))
                left = {topic: indexes for topic, indexes in left.items() if indexes}
                with self.lock:
                    for leader, partitions in found.items():
                        self.to_take[leader] += partitions
                if not found:
                    time.sleep(PAUSE)
        self.led = self._since()

    def _take(self, id):
        """As long as there are partitions that have taken no record: gives one to each that this node leads now."""
        with Connection(self.others[id].bootstrap, WITHIN) as connection:
            while self.untaken and not self.failures:
                with self.lock:
                    partitions, self.to_take[id] = self.to_take[id], []
                took = connection.produce(partitions, RECORD) if partitions else []
                if took:
                    self.taken_at.append(time.monotonic())
                with self.lock:
                    self.untaken.difference_update(took)
                missing = set(partitions).difference(took)
                # It does not lead yet, or no more.
                shown = connection.leaders({topic for topic, _ in missing}) if missing else {}
                with self.lock:
                    for one in missing:
                        leader = shown[one][0]
                        self.to_take[leader if leader in self.others else id].append(one)
                if not took:
                    time.sleep(PAUSE)

    def _end(self):
        """Until the process of the node has ended."""
        self.victim.process.wait(WITHIN)
        self.ended = self._since()

    def _create(self, node):
        """Until a topic is made by way of this node."""
        while True:
            try:
                code, _ = raw.create(node.bootstrap, f"made-{next(_numbers)}", 1, len(self.others) + 1, 30)
            except OSError as failure:
                code = repr(failure)
            if code == 0:
                self.created.append(self._since())
                return
            self.codes.append(code)
            time.sleep(PAUSE)

    def _flow(self):
        """Records all the time; notes the longest time in which one of the partitions took none."""
        sample = self.moving[::max(1, len(self.moving) // SAMPLED)]
        leaders, last, gaps = dict.fromkeys(sample, self.victim.id), {}, dict.fromkeys(sample, 0.0)
        nodes, connections = {**self.others, self.victim.id: self.victim}, {}
        while True:
            is_last, taken = self.all_taken.is_set(), 0
            for id in set(leaders.values()) & nodes.keys():
                for one in self._try(connections, nodes[id], [one for one in sample if leaders[one] == id]):
                    now, taken = time.monotonic(), taken + 1
                    gaps[one] = max(gaps[one], now - last.get(one, now))
                    last[one] = now
            if taken == len(sample):
                self.flowing.set()
                if is_last:
                    break
            else:
                with Connection(self.watched.bootstrap, WITHIN) as connection:
                    shown = connection.leaders({topic for topic, _ in sample})
                leaders = {one: shown[one][0] for one in sample}
            time.sleep(PAUSE)
        self.gap = max(gaps.values())

    def _try(self, connections, node, partitions):
        try:
            if node.id not in connections:
                connections[node.id] = Connection(node.bootstrap)
            return connections[node.id].produce(partitions, RECORD)
        except OSError:
            if node.id in connections:
                connections.pop(node.id).close()
            return []
