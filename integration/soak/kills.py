"""Kills the broker with SIGKILL at random moments, a hundred times, while idempotent producers write to plain,
compressed, retained and compacted topics; then reads everything and finds each acknowledged record once, in its place.

    integration/soak/kills [--cycles 100] [--check-every 20] [--seed N] [--broker kafka]

One kill in four comes while the broker is still starting. The seed decides when it is killed and what is written; two
runs still differ, as two runs of a process do. What fails names what was lost and leaves the data directory.
"""

import argparse
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from harness.broker import Broker  # noqa: E402
from harness.kills import BUSY, Kills  # noqa: E402
from harness.tools import Tools  # noqa: E402


def soak(broker, dice, cycles, check_every):
    broker.start()
    kills = Kills(broker, "soak", dice)
    kills.run()
    began, starts, gaps = time.monotonic(), [], []
    for cycle in range(1, cycles + 1):
        gap = time.monotonic()
        kills.progress(200)
        gaps.append(time.monotonic() - gap)
        # Not a wait for something: the moment is what chance decides.
        time.sleep(dice.uniform(0, 1.5))
        broker.kill9()
        if dice.random() < 0.25:
            broker.spawn()
            time.sleep(dice.uniform(0, 0.3))
            broker.kill9()
        again = time.monotonic()
        broker.start()
        starts.append(time.monotonic() - again)
        if cycle % check_every == 0 or cycle == cycles:
            with kills.settled():
                kills.check()
                segments = len(list(broker.data.glob("soak-*/*.log")))
                print(f"{cycle:4} kills  {kills.acked():9} records acknowledged, all there once  {segments:5} segments  "
                      f"slowest start {max(starts):5.2f} s, first records {max(gaps):5.2f} s later  "
                      f"{time.monotonic() - began:6.0f} s", flush=True)
    kills.finish()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cycles", type=int, default=100)
    parser.add_argument("--check-every", type=int, default=20, metavar="CYCLES")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--broker", choices=["ottla", "kafka"], default="ottla")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    tools = Tools()
    broker = Broker(options.broker, "kills", tools, config=BUSY)
    try:
        soak(broker, random.Random(options.seed), options.cycles, options.check_every)
    except BaseException as failure:
        if broker.process is not None:
            broker.kill9()
        print(f"{failure}\nFAILED with seed {options.seed}; the data is in {broker.data}", flush=True)
        sys.exit(1)
    finally:
        tools.close()
    broker.close()
    print(f"passed: {options.cycles} kills, seed {options.seed}")


if __name__ == "__main__":
    main()
