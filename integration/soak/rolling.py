"""Restarts each node of a cluster in turn with SIGTERM, while producers of three clients write with acks=all and topics are
made and deleted; each comes back with this build or with another commit's, as chance decides. No client may see an error
that it does not retry away, and everything acknowledged is there once, on every replica.
"""

import argparse
import os
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from harness.changes import Changes  # noqa: E402
from harness.cluster import Cluster  # noqa: E402
from harness.load import OFTEN, Load  # noqa: E402
from harness.tools import Tools  # noqa: E402


def roll(cluster, programs, dice):
    """One node after the other, each when the one before is in sync again."""
    for node in dice.sample(cluster.nodes, len(cluster.nodes)):
        began = time.monotonic()
        node.stop()
        stopped = time.monotonic()
        node.program = dice.choice(programs)
        cluster.start(node)
        cluster.whole()
        print(f"{node.name}: stopped in {stopped - began:.2f} s, back and in sync {time.monotonic() - stopped:.1f} s later, "
              f"with {Path(node.program).name}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--other", required=True, help="the other build")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shape", choices=["combined", "dedicated"], default="combined")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    programs, dice, tools = [os.environ["OTTLA_BIN"], options.other], random.Random(options.seed), Tools()
    quorum = "voters" if options.shape == "combined" else "bootstrap"
    cluster = Cluster("ottla", "rolling", tools, options.shape, quorum, OFTEN)
    try:
        for node in cluster.nodes:
            node.program = options.other
        cluster.start()
        with Load(cluster, "rolling", dice) as load, Changes(cluster, "made", replicas=2) as changes:
            for _ in range(options.rounds):
                load.progress()
                roll(cluster, programs, dice)
            load.progress()
            changes.progress(1)
        changes.check()
        print(f"passed: {options.rounds} rounds, {load.kills.acked() + load.streams.told()} records and {changes.done()} changes of "
              f"topics answered, all there once; seed {options.seed}")
    except BaseException as failure:
        cluster.kill9()
        print(f"{failure}\nFAILED with seed {options.seed}; the nodes' directories are {[str(node.dir) for node in cluster.nodes]}", flush=True)
        sys.exit(1)
    finally:
        tools.close()
    cluster.close()


if __name__ == "__main__":
    main()
