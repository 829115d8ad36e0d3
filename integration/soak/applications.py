"""Real transactional applications, one after another in rounds of about a minute: Kafka Streams with exactly_once_v2 and with
at_least_once, a pair of Kafka Connect's workers, a Flink job. They, and the nodes that they work on, are killed with SIGKILL at
random; then what they made of their input is looked at, record by record.

    integration/soak/applications [--minutes 10] [--seed N] [--only NAME] [--broker kafka]

The seed decides what is killed and when; two runs still differ, as two runs of processes do. What fails leaves the nodes'
directories.
"""

import argparse
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from harness.application import ON_BROKERS  # noqa: E402
from harness.cluster import Cluster  # noqa: E402
from harness.connect import Connect  # noqa: E402
from harness.flink import Copy  # noqa: E402
from harness.tools import Tools  # noqa: E402
from harness.wait import wait_for  # noqa: E402
from harness.word_count import WordCount  # noqa: E402

KILLS = 4  # of each application in a round; a node dies with every other one


class Streams:
    def __init__(self, cluster, name, dice, guarantee="exactly_once_v2"):
        self.work, self.dice, self.progress = WordCount(cluster, name, guarantee, dice, processes=2), dice, 200

    def kill(self):
        self.work.kill(self.dice.choice(self.work.processes), loses_its_disk=self.dice.random() < 0.25)


class AtLeastOnce(Streams):
    def __init__(self, cluster, name, dice):
        super().__init__(cluster, name, dice, "at_least_once")


class Workers:
    def __init__(self, cluster, name, dice):
        self.work, self.dice, self.progress = Connect(cluster, name), dice, 400

    def kill(self):
        time.sleep(self.dice.uniform(0, 1.5))
        victim = self.dice.choice(self.work.workers)
        victim.kill9()
        if self.dice.random() < 0.5:
            self.work.progress(100)
        victim.spawn()
        wait_for(victim.serves, f"{victim.name} serves", 120, victim.log_tail)


class Flink:
    def __init__(self, cluster, name, dice):
        naming = dice.choice(["POOLING", "INCREMENTING"])
        self.work, self.dice, self.progress = Copy(cluster, name, naming), dice, 400

    def kill(self):
        time.sleep(self.dice.uniform(0, 1.5))
        self.work.job.kill9()
        self.work.job.spawn()


APPLICATIONS = {"streams": Streams, "at-least-once": AtLeastOnce, "connect": Workers, "flink": Flink}


def one_round(cluster, application, dice):
    work = application.work
    try:
        work.start()
        for kill in range(KILLS):
            work.progress(application.progress)
            application.kill()
            if kill % 2:
                node = dice.choice(cluster.nodes)
                time.sleep(dice.uniform(0, 1.5))
                node.kill9()
                work.progress(application.progress)
                cluster.healed()
        work.progress(application.progress)
        work.settle()
        work.check()
    finally:
        work.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--only", choices=list(APPLICATIONS))
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--broker", choices=["ottla", "kafka"], default="ottla")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    dice, tools, began, done = random.Random(options.seed), Tools(), time.monotonic(), 0
    cluster = Cluster(options.broker, "applications", tools, config=ON_BROKERS)
    names = [options.only] if options.only else list(APPLICATIONS)
    try:
        cluster.start()
        while time.monotonic() - began < 60 * options.minutes or done < len(names):
            name, again = names[done % len(names)], time.monotonic()
            one_round(cluster, APPLICATIONS[name](cluster, f"{name}-{done}", dice), dice)
            done += 1
            print(f"{done:4} {name:14} {time.monotonic() - again:6.0f} s, nothing is wrong", flush=True)
    except BaseException as failure:
        cluster.kill9()
        print(f"{failure}\nFAILED with seed {options.seed}; the nodes' directories are {[str(node.dir) for node in cluster.nodes]}", flush=True)
        sys.exit(1)
    finally:
        tools.close()
    cluster.close()
    print(f"passed: {done} rounds, seed {options.seed}")


if __name__ == "__main__":
    main()
