"""Kafka's own command-line tools, all in one resident JVM (java/ToolServer.java)."""

import os
import selectors
import struct
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
INSTALLED = HERE / ".installed"
JARS = f"{INSTALLED}/classes:{INSTALLED}/jars/*"
QUICK_START = ["-XX:TieredStopAtLevel=1", "-Xshare:auto", "-XX:+UseSerialGC"]
LOGGING = f"-Dlog4j2.configurationFile={HERE}/java/tools-log4j2.properties"
# The process ends with us, however we end.
DIES_WITH_US = ["setpriv", "--pdeathsig", "KILL", "--"]

MAIN_CLASSES = {
    "kafka-acls": "org.apache.kafka.tools.AclCommand",
    "kafka-broker-api-versions": "org.apache.kafka.tools.BrokerApiVersionsCommand",
    "kafka-cluster": "org.apache.kafka.tools.ClusterTool",
    "kafka-configs": "org.apache.kafka.tools.ConfigCommand",
    "kafka-consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-consumer-perf-test": "org.apache.kafka.tools.ConsumerPerformance",
    "kafka-delegation-tokens": "org.apache.kafka.tools.DelegationTokenCommand",
    "kafka-delete-records": "org.apache.kafka.tools.DeleteRecordsCommand",
    "kafka-features": "org.apache.kafka.tools.FeatureCommand",
    "kafka-leader-election": "org.apache.kafka.tools.LeaderElectionCommand",
    "kafka-log-dirs": "org.apache.kafka.tools.LogDirsCommand",
    "kafka-metadata-quorum": "org.apache.kafka.tools.MetadataQuorumCommand",
    "kafka-producer-perf-test": "org.apache.kafka.tools.ProducerPerformance",
    "kafka-verifiable-consumer": "org.apache.kafka.tools.VerifiableConsumer",
    "move-logs": "MoveLogs",
    "ui-calls": "UiCalls",
    "kafka-verifiable-producer": "org.apache.kafka.tools.VerifiableProducer",
    "kafka-console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "kafka-console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "kafka-dump-log": "org.apache.kafka.tools.DumpLogSegments",
    "kafka-get-offsets": "org.apache.kafka.tools.GetOffsetShell",
    "kafka-reassign-partitions": "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
    "kafka-replica-verification": "org.apache.kafka.tools.ReplicaVerificationTool",
    "kafka-storage": "kafka.tools.StorageTool",
    "kafka-transactions": "org.apache.kafka.tools.TransactionsCommand",
    "kafka-topics": "org.apache.kafka.tools.TopicCommand",
}


@dataclass
class Result:
    code: int
    out: bytes
    err: bytes

    @property
    def text(self):
        return self.out.decode()

    @property
    def lines(self):
        return self.text.splitlines()

    @property
    def all_text(self):
        return self.out.decode(errors="replace") + self.err.decode(errors="replace")


class Tools:
    """`tools("kafka-topics", "--list", broker=broker)`; a tool that fails is an AssertionError unless allowed."""

    def __init__(self):
        self.process = None
        self.log = None

    def __call__(self, name, *args, broker=None, stdin=b"", within=60, may_fail=False):
        words = [MAIN_CLASSES[name], *map(str, args)]
        if broker is not None:
            words += ["--bootstrap-server", broker.bootstrap]
        result = self._run(words, stdin, within)
        if result.code != 0 and not may_fail:
            raise AssertionError(f"{name} {' '.join(words[1:])}: exit {result.code}\n{result.all_text}")
        return result

    def alone(self, name, *args, broker, within=60):
        """In a JVM of its own: a tool that ends the JVM, or says its last words while that ends."""
        words = [MAIN_CLASSES[name], *map(str, args), "--bootstrap-server", broker.bootstrap]
        done = subprocess.run([*DIES_WITH_US, "java", *QUICK_START, LOGGING, "-cp", JARS, *words], capture_output=True,
                              timeout=within, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, f"{name}: exit {done.returncode}\n{done.stdout.decode()}{done.stderr.decode()}"
        return Result(done.returncode, done.stdout, done.stderr)

    def close(self):
        if self.process is not None:
            self.process.stdin.close()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self._kill()
                raise AssertionError("the tool server did not end with its input")
            self.process.stdout.close()
            self.log.close()
            self.process = None

    def _start(self):
        (INSTALLED / "logs").mkdir(exist_ok=True)
        self.log = open(INSTALLED / "logs" / "tools.log", "wb")
        self.process = subprocess.Popen(
            [*DIES_WITH_US, "java", "-Xmx512m", *QUICK_START, LOGGING, "-cp", JARS, "ToolServer"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, bufsize=0,
        )

    def _kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self.log.close()
        self.process = None

    def _run(self, words, stdin, within):
        if self.process is None:
            self._start()
        request = struct.pack(">i", len(words))
        for part in [*(word.encode() for word in words), stdin]:
            request += struct.pack(">i", len(part)) + part
        self._write(request)
        deadline = time.monotonic() + within
        try:
            code = self._number(deadline)
            out = self._read(self._number(deadline), deadline)
            err = self._read(self._number(deadline), deadline)
        except (TimeoutError, EOFError) as failure:
            self._kill()
            raise AssertionError(f"{' '.join(words)}: {failure}") from None
        return Result(code, out, err)

    def _write(self, data):
        view = memoryview(data)
        while view:
            view = view[os.write(self.process.stdin.fileno(), view):]

    def _number(self, deadline):
        return struct.unpack(">i", self._read(4, deadline))[0]

    def _read(self, size, deadline):
        pipe, data = self.process.stdout, b""
        with selectors.DefaultSelector() as ready:
            ready.register(pipe, selectors.EVENT_READ)
            while len(data) < size:
                if not ready.select(max(0, deadline - time.monotonic())):
                    raise TimeoutError("no answer in time")
                more = os.read(pipe.fileno(), size - len(data))
                if not more:
                    raise EOFError("the tool server ended")
                data += more
        return data
