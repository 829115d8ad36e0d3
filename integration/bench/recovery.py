"""How long a broker takes to come back after kill -9: Ottla and Apache Kafka in one run, in turn, with the same data.

    integration/bench/recovery [--gigabytes 10] [--partitions 1000] [--rounds 3] [--only ottla | --only kafka]

The Rust client fills the partitions with batches of 64 KiB. Nothing was flushed when the broker dies, so all of it is
read again, out of the page cache: the machine stays up. (A segment that was rolled is flushed: with more than 1 GiB in a
partition, the older ones are believed.) A round kills and starts the same data once, and says when the broker listens,
when every partition is led and knows where it ends, and when each has taken one more record. Data goes below TMPDIR and
is gone afterwards, one broker's at a time.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from confluent_kafka import Producer  # noqa: E402
from confluent_kafka.admin import AdminClient  # noqa: E402
from harness import broker as brokers  # noqa: E402
from harness.clients import is_led  # noqa: E402
from harness.tools import Tools  # noqa: E402
from harness.wait import wait_for  # noqa: E402

TOPIC = "filled"
WITHIN = 1800
os.environ.setdefault("OTTLA_LOG", "info,ottla_broker::run::owners::storage=debug")  # says what is read again
brokers.STARTS_WITHIN = brokers.STOPS_WITHIN = WITHIN


class Filled:
    """A broker that is full of what nobody has flushed."""

    def __init__(self, kind, tools, gigabytes, partitions):
        self.kind, self.partitions = kind, partitions
        # Kafka's controller lets a killed broker back in only after its session.
        times = {"broker.session.timeout.ms": 2000, "broker.heartbeat.interval.ms": 500, "group.initial.rebalance.delay.ms": 0}
        self.broker = brokers.Broker(kind, f"recovery-{kind}", tools, config=times)
        try:
            self.broker.start()
            self.fill(gigabytes)
        except BaseException:
            self.broker.close()
            raise

    def fill(self, gigabytes):
        command = [os.environ["OTTLA_BENCH_BIN"], "produce", "--address", self.broker.bootstrap, "--pid",
                   str(self.broker.process.pid), "--topic", TOPIC, "--partitions", str(self.partitions),
                   "--megabytes", str(gigabytes * 1000)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def size(self):
        return sum(file.stat().st_size for file in self.broker.data.glob(f"{TOPIC}-*/*.log"))

    def round(self):
        """Seconds until it listens, every partition answers, and every one has taken a record."""
        self.broker.kill9()
        log_at = len(self.broker.log_text())
        began = time.monotonic()
        self.broker.start()
        listens = time.monotonic() - began
        client = AdminClient({"bootstrap.servers": self.broker.bootstrap, "log_level": 0})
        wait_for(lambda: is_led(client, TOPIC, self.partitions), "every partition is led", WITHIN)
        led = time.monotonic() - began
        self.produce()
        return listens, led, time.monotonic() - began, scanned(self.broker.log_text()[log_at:])

    def produce(self):
        client = Producer({"bootstrap.servers": self.broker.bootstrap, "linger.ms": 0, "acks": "all",
                           "message.timeout.ms": WITHIN * 1000, "log_level": 0})
        client.list_topics(TOPIC, timeout=60)  # or the client looks for the leaders once a second
        failed = []
        for partition in range(self.partitions):
            client.produce(TOPIC, b"after", partition=partition, on_delivery=lambda e, _: failed.append(e) if e else None)
        assert client.flush(WITHIN) == 0 and not failed, failed[:3]


def scanned(log):
    """Bytes that the broker says it has read again; Kafka names segments only."""
    return sum(int(found) for found in re.findall(r"scanned_bytes=(\d+)", log))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=10)
    parser.add_argument("--partitions", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["ottla", "kafka"])
    options = parser.parse_args()
    tools = Tools()
    medians = {}
    try:
        for kind in [options.only] if options.only else ["ottla", "kafka"]:
            filled = Filled(kind, tools, options.gigabytes, options.partitions)
            try:
                print(f"{kind}: {filled.size() / 1e9:.2f} GB in {options.partitions} partitions", flush=True)
                print(f"{'':6} {'listens, s':>11} {'all led, s':>11} {'all took a record, s':>21} {'scanned, GB':>12}")
                rows = []
                for _ in range(options.rounds):
                    rows.append(filled.round())
                    listens, led, took, read = rows[-1]
                    print(f"{kind:6} {listens:11.2f} {led:11.2f} {took:21.2f} {read / 1e9 if read else '-':>12.5}", flush=True)
                medians[kind] = statistics.median(row[2] for row in rows)
            finally:
                filled.broker.close()
    finally:
        tools.close()
    if len(medians) == 2:
        print(f"Ottla is back {medians['kafka'] / medians['ottla']:.1f} times as fast (medians)")


if __name__ == "__main__":
    main()
