"""Kills the nodes of a cluster with SIGKILL, or pauses them, at random moments, while transactional producers write to
partitions of all of them, commit, abort, and die with transactions open, and a loop copies records with their offsets; then
finds each transaction whole or not at all, as it was answered, the copy exact, and no partition stuck.

    integration/soak/transactions [--kills 50] [--shape combined|dedicated] [--check-every 10] [--seed N] [--broker kafka]

What fails leaves the nodes' directories.
"""

import argparse
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from harness.cluster import Cluster  # noqa: E402
from harness.tools import Tools  # noqa: E402
from harness.transactions import Transactions  # noqa: E402
from harness.trouble import Trouble  # noqa: E402


def soak(cluster, dice, kills, check_every):
    began, done, trouble = time.monotonic(), 0, Trouble(cluster, dice)
    while done < kills:
        batch = min(check_every, kills - done)
        with Transactions(cluster, f"soak-{done}", dice) as transactions:
            for _ in range(batch):
                transactions.progress()
                # Not a wait for something: the moment is what chance decides.
                time.sleep(dice.uniform(0, 1))
                trouble.one()
            transactions.progress()
        done += batch
        print(f"{done:4} kills  {transactions.done():6} transactions, all as they were answered  {time.monotonic() - began:6.0f} s", flush=True)


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
    cluster = Cluster(options.broker, "soak-transactions", tools, options.shape, quorum)
    try:
        soak(cluster.start(), random.Random(options.seed), options.kills, options.check_every)
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
