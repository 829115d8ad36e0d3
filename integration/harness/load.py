"""Producers of three clients against topics with three replicas, for as long as nodes are killed and paused, and the look
for everything that they were told: each record once, in its place, and the same bytes on every replica."""

from .kills import BUSY, TOPICS, Kills
from .replicas import check_equal
from .streams import Streams

# Rolls, retention, cleaning and checkpoints many times a second, as in Kills; sessions as the cluster has them.
OFTEN = {key: BUSY[key] for key in BUSY if key.startswith("log.")}
SAME = {"plain", "compressed"}  # whose replicas are the same bytes; the others are cleaned by each node for itself


class Load:
    """librdkafka's, Java's and franz-go's producers, all at once; at its end, everything is looked for."""

    def __init__(self, cluster, prefix, dice, producers=2):
        self.cluster, self.kills = cluster, Kills(cluster, prefix, dice, producers, replicas=3)
        self.streams = Streams(cluster, prefix)
        self.topics = {topic: TOPICS[kind][0] for topic, kind in self.kills.topics.items() if kind in SAME} | self.streams.topics

    def __enter__(self):
        self.kills.run()
        self.streams.__enter__()
        return self

    def progress(self, records=200):
        self.kills.progress(records)
        self.streams.progress(records // 2)

    def __exit__(self, kind, *_):
        self.streams.__exit__(kind)
        try:
            if kind is None:
                self.check()
        finally:
            self.kills.finish()

    def check(self):
        """With all nodes up."""
        self.cluster.whole(*self.topics)
        with self.kills.settled():
            self.kills.check()
            self.streams.check()
            if self.streams.are_done():
                check_equal(self.cluster, self.topics)
