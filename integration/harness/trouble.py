"""What a soak does to the nodes of a cluster: kills them with SIGKILL or pauses them, as chance decides."""

import time

from .cluster import view
from .wait import wait_for


class Trouble:
    """One time in ten all nodes at once, one time in ten the active controller, one time in ten a pause until the node is in
    no in-sync set."""

    def __init__(self, cluster, dice):
        self.cluster, self.dice = cluster, dice

    def one(self):
        what = self.dice.random()
        if what < 0.1:
            self.cluster.kill9()
            self.cluster.start(*self.dice.sample(self.cluster.nodes, len(self.cluster.nodes)))
        elif what < 0.2:
            self.killed(self.cluster.active())
        elif what < 0.3:
            self.paused(self.dice.choice(self.cluster.brokers))
        else:
            self.killed(self.dice.choice(self.cluster.nodes))
        self.cluster.whole(within=180)

    def killed(self, node):
        node.kill9()
        time.sleep(self.dice.uniform(0, 8))
        self.cluster.start(node)

    def paused(self, node):
        others = [one for one in self.cluster.brokers if one is not node]
        node.pause()

        def is_out():
            said = view(others[0])
            return said and all(node.id not in part.isr or part.replicas == [node.id]
                                for topic in said.topics.values() for part in topic.values())

        wait_for(is_out, f"{node.name} is in no in-sync set", 90)
        node.resume()
