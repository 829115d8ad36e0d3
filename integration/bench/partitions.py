"""What many partitions cost: seconds, memory and open files, once they are made, after a clean restart, and after
kill -9 with records that nobody had flushed.

    integration/bench/partitions [--partitions 10000] [--only ottla | --only kafka]

A hundred partitions a topic; a record of 100 bytes goes to each of them before the kill. A restart is over when the
broker answers for the last partition of the last topic. Memory is the RSS of its process.
"""

import argparse
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from confluent_kafka import Producer  # noqa: E402
from confluent_kafka.admin import AdminClient, NewTopic  # noqa: E402
from harness import broker as brokers  # noqa: E402
from harness.clients import is_led  # noqa: E402
from harness.tools import Tools  # noqa: E402
from harness.wait import wait_for  # noqa: E402

EACH = 100  # partitions of a topic
BATCH = 10  # topics in a request
brokers.STARTS_WITHIN = brokers.STOPS_WITHIN = 600


def held(broker):
    """MB of RSS, and open files, of the broker's own process."""
    pid = broker.process.pid
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["VmRSS"].split()[0]) / 1024, len(os.listdir(f"/proc/{pid}/fd"))


def served(broker, topic):
    """The last topic's partitions are opened after all others."""
    client = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    wait_for(lambda: is_led(client, topic, EACH), "every partition is led", 600)


def say(kind, what, seconds, broker):
    rss, files = held(broker)
    print(f"{kind:6} {what:34} {seconds:8.1f} s {rss:8.0f} MB {files:8} files", flush=True)


def timed(act):
    began = time.monotonic()
    act()
    return time.monotonic() - began


def measure(kind, tools, partitions):
    names = [f"many-{n:04}" for n in range(partitions // EACH)]
    # Kafka's controller lets a killed broker back in only after its session.
    times = {"broker.session.timeout.ms": 2000, "broker.heartbeat.interval.ms": 500}
    broker = brokers.Broker(kind, f"partitions-{kind}", tools, config=times)

    def start():
        broker.start()
        served(broker, names[-1])

    def create():
        client = AdminClient({"bootstrap.servers": broker.bootstrap})
        for at in range(0, len(names), BATCH):
            made = client.create_topics([NewTopic(name, EACH, 1) for name in names[at:at + BATCH]],
                                        request_timeout=300, operation_timeout=300)
            for one in made.values():
                one.result(300)
        served(broker, names[-1])

    def produce():
        client = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 50, "message.timeout.ms": 300_000,
                           "queue.buffering.max.messages": 1_000_000})
        for name in names:
            for index in range(EACH):
                client.produce(name, bytes(100), partition=index)
            client.poll(0)
        assert client.flush(300) == 0

    try:
        broker.start()
        say(kind, "empty", 0, broker)
        say(kind, f"{len(names) * EACH} partitions made", timed(create), broker)
        broker.stop()
        say(kind, "started after a clean stop", timed(start), broker)
        say(kind, "a record in each", timed(produce), broker)
        broker.kill9()
        say(kind, "started after kill -9", timed(start), broker)
    finally:
        broker.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--partitions", type=int, default=10_000)
    parser.add_argument("--only", choices=["ottla", "kafka"])
    options = parser.parse_args()
    tools = Tools()
    try:
        for kind in [options.only] if options.only else ["ottla", "kafka"]:
            measure(kind, tools, options.partitions)
    finally:
        tools.close()


if __name__ == "__main__":
    main()
