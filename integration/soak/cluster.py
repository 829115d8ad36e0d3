"""Kills the nodes of a cluster with SIGKILL, or pauses them, at random moments, while producers of three clients write
with acks=all, and topics are made and deleted; then finds each acknowledged record once, in its place and the same on
every replica, and each topic as it was answered.

    integration/soak/cluster [--kills 50] [--shape combined|dedicated] [--check-every 10] [--seed N] [--broker kafka]

One time in ten all nodes are killed at once, and started in any order; one time in ten the active controller is what is
killed; one time in ten a node is paused until it is in no in-sync set. What fails leaves the nodes' directories.
"""

import argparse
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from harness.changes import Changes  # noqa: E402
from harness.cluster import Cluster  # noqa: E402
from harness.load import OFTEN, Load  # noqa: E402
from harness.tools import Tools  # noqa: E402
from harness.trouble import Trouble  # noqa: E402


class Soak:
    def __init__(self, cluster, dice):
        self.cluster, self.dice, self.trouble = cluster, dice, Trouble(cluster, dice)

    def run(self, kills, check_every):
        began, done = time.monotonic(), 0
        while done < kills:
            batch = min(check_every, kills - done)
            with Load(self.cluster, f"soak-{done}", self.dice, producers=3) as load, \
                    Changes(self.cluster, f"made-{done}", replicas=2) as changes:
                for _ in range(batch):
                    load.progress()
                    # Not a wait for something: the moment is what chance decides.
                    time.sleep(self.dice.uniform(0, 1))
                    self.trouble.one()
                changes.progress(1)
            changes.check()
            done += batch
            print(f"{done:4} kills  {load.kills.acked() + load.streams.told():9} records and {changes.done():5} changes of topics "
                  f"answered, all there once  {time.monotonic() - began:6.0f} s", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--check-every", type=int, default=10, metavar="KILLS")
    parser.add_argument("--shape", choices=["combined", "dedicated"], default="combined")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--broker", choices=["ottla", "kafka"], default="ottla")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    tools = Tools()
    quorum = "voters" if options.shape == "combined" else "bootstrap"
    cluster = Cluster(options.broker, "soak", tools, options.shape, quorum, OFTEN)
    try:
        cluster.start()
        Soak(cluster, random.Random(options.seed)).run(options.kills, options.check_every)
    except BaseException as failure:
        cluster.kill9()
        print(f"{failure}\nFAILED with seed {options.seed}; the nodes' directories are {[str(node.dir) for node in cluster.nodes]}", flush=True)
        sys.exit(1)
    finally:
        tools.close()
    cluster.close()
    print(f"passed: {options.kills} kills, seed {options.seed}")


if __name__ == "__main__":
    main()
