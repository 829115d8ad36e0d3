"""Producers of other clients than librdkafka that go on while nodes are killed, each with acks=all and idempotence to one
partition of its own, and what each was told."""

import json
import subprocess
import threading

from .adapter import Adapter
from .broker import write
from .clients import consume, create_topic
from .tools import DIES_WITH_US, JARS, LOGGING, MAIN_CLASSES, QUICK_START
from .wait import wait_for

RATE = 300  # records a second


class Stream(threading.Thread):
    """Numbers its values. `told` has the offset of each that was acknowledged, in the order of the answers."""

    def __init__(self, cluster, topic):
        super().__init__(daemon=True)
        self.cluster, self.topic = cluster, create_topic(cluster, topic, 1, 3, min_insync_replicas="2")
        self.told, self.failure, self.stopping = {}, None, threading.Event()

    def run(self):
        try:
            self.produce()
        except Exception as failure:  # reported by `finish`
            self.failure = repr(failure)

    def finish(self):
        self.stopping.set()
        self.join(120)
        assert not self.is_alive(), f"{self.topic}: the producer never came to its end"
        assert not self.failure, f"{self.topic}: {self.failure}"

    def check(self):
        """Every value that was acknowledged until now is at its offset, each is there once, and they are in order."""
        told = dict(self.told)
        got = {message.offset(): message.value().decode() for message in consume(self.cluster, self.topic)}
        wrong = [(value, at, got.get(at)) for value, at in told.items() if got.get(at) != value]
        assert not wrong, f"{self.topic}: {len(wrong)} of {len(told)} acknowledged are lost, as value, offset, found: {wrong[:5]}"
        numbers = [int(value) for _, value in sorted(got.items())]
        assert numbers == sorted(set(numbers)), f"{self.topic}: doubled or out of order"


class Java(Stream):
    """Kafka's verifiable producer, told to try again as any producer does by default."""

    def produce(self):
        config = self.cluster.nodes[0].dir / f"{self.topic}.properties"
        write(config, {"retries": 2**31 - 1, "enable.idempotence": "true"})
        command = [MAIN_CLASSES["kafka-verifiable-producer"], "--topic", self.topic, "--acks", "-1", "--throughput", str(RATE),
                   "--bootstrap-server", self.cluster.bootstrap, "--command-config", str(config)]
        process = subprocess.Popen([*DIES_WITH_US, "java", "-Xmx128m", *QUICK_START, LOGGING, "-cp", JARS, *command],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=lambda: (self.stopping.wait(), process.terminate()), daemon=True).start()
        for line in process.stdout:
            said = json.loads(line)
            if said["name"] == "producer_send_success":
                self.told[said["value"]] = said["offset"]
            elif said["name"] == "producer_send_error":
                raise AssertionError(line)
        process.wait()


class Franz(Stream):
    """franz-go's synchronous produce, with a client of its own for each batch."""

    def produce(self):
        adapter = Adapter("franz-go", self.cluster.bootstrap)
        number, batch = 0, 30
        while not self.stopping.wait(batch / RATE):
            values = [str(one) for one in range(number, number + batch)]
            items = [{"value": value, "key": None, "headers": [], "partition": 0} for value in values]
            self.told.update(zip(values, adapter("produce", within=120, topic=self.topic, records=items)))
            number += batch
        adapter.close()


class Streams:
    """All of them, from before the first kill until after the last."""

    def __init__(self, cluster, prefix):
        self.all = [kind(cluster, f"{prefix}-{kind.__name__.lower()}") for kind in (Java, Franz)]
        self.topics = {stream.topic: 1 for stream in self.all}

    def __enter__(self):
        for stream in self.all:
            stream.start()
        return self

    def progress(self, records, within=90):
        enough = [(stream, len(stream.told) + records) for stream in self.all]
        wait_for(lambda: any(stream.failure for stream in self.all) or all(len(stream.told) >= most for stream, most in enough),
                 f"{records} more records of each client", within, lambda: {stream.topic: len(stream.told) for stream in self.all})
        assert not any(stream.failure for stream in self.all), [stream.failure for stream in self.all]

    def __exit__(self, kind, *_):
        for stream in self.all:
            stream.stopping.set()
        if kind is None:
            for stream in self.all:
                stream.finish()

    def told(self):
        return sum(len(stream.told) for stream in self.all)

    def are_done(self):
        return not any(stream.is_alive() for stream in self.all)

    def check(self):
        for stream in self.all:
            stream.check()
