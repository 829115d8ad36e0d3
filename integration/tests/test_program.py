"""The broker as a program: what it says and how it ends when it cannot start, is told to stop, or is asked where it is."""

import os
import re
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition

from harness.broker import free_ports, write
from harness.clients import admin, consume, consumer, create_topic, produce, read, records, values
from harness.tools import DIES_WITH_US
from harness.wait import wait_for

LISTENERS = ("INSIDE", "OUTSIDE", "THIRD")


@pytest.fixture(scope="module")
def many(brokers):
    """A broker with three listeners, and what others stumble over: its ports and its directory are taken."""
    return brokers("many", listeners=LISTENERS).start()


def check_refusal(broker, *mentions, overrides=()):
    """The start fails: not with exit code 0, and with one clear line that has all of `mentions` (any, for Kafka,
    which surrounds it with stack traces)."""
    broker.spawn(*overrides)
    assert broker.exit_code(60) != 0
    log = broker.log_text()
    if broker.kind == "ottla":
        telling = [line for line in log.splitlines() if all(mention in line for mention in mentions)]
        assert len(telling) == 1, log
        assert "panicked" not in log and "RUST_BACKTRACE" not in log, log
    else:
        assert any(mention in log for mention in mentions), log[-3000:]


def test_a_port_in_use_is_one_line(brokers, many):
    second = brokers("port-in-use")
    second.ports["PLAINTEXT"] = many.ports["INSIDE"]
    second.config.update(second.defaults())
    check_refusal(second, "Address already in use", str(many.ports["INSIDE"]))


@pytest.mark.ottla_only
def test_a_data_directory_in_use_is_one_line(brokers, many):
    """Apache Kafka notices too, but only after its controller has written to the other one's metadata log."""
    second = brokers("directory-in-use")
    second.data = many.data
    second.config["log.dirs"] = many.data
    check_refusal(second, str(many.data), "lock")
    assert many.process.poll() is None
    assert admin(many).list_topics(timeout=10).brokers


WRONG = {
    "not-a-number": ("num.partitions", "many"),
    "out-of-range": ("num.io.threads", "0"),
    "not-a-word-it-knows": ("log.cleanup.policy", "shred"),
    "not-a-boolean": ("auto.create.topics.enable", "perhaps"),
}


@pytest.mark.parametrize("row", WRONG)
def test_a_wrong_setting_is_one_line_with_key_and_value(brokers, row):
    key, value = WRONG[row]
    check_refusal(brokers(row, config={key: value}), key, value)


def test_an_override_is_stronger_than_the_file_and_checked_alike(brokers):
    check_refusal(brokers("override", config={"num.partitions": "3"}), "num.partitions", "never",
                  overrides=["num.partitions=never"])


@pytest.mark.ottla_only
def test_a_missing_file_is_one_line(brokers):
    broker = brokers("no-file")
    broker.properties_file = broker.dir / "absent.properties"
    broker.write_properties = lambda: None
    check_refusal(broker, "absent.properties")


def start(*words):
    """What a start that fails says on standard error."""
    command = [*DIES_WITH_US, os.environ["OTTLA_BIN"], *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert done.returncode == 1, f"{words}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    assert "ERROR" not in done.stdout, f"{words}: told twice\n{done.stdout}"
    return done.stderr


def check_line(said, mention):
    """One line that names what is wrong, and its cause once."""
    assert len(said.splitlines()) == 1, said
    assert mention in said and "panicked" not in said, said
    parts = said.strip().split(": ")
    assert len(set(parts)) == len(parts), f"something is said twice: {said}"
    for system in re.findall(r"[A-Z][a-z ]+ \(os error \d+\)", said):
        assert said.count(system) == 1, f"the cause is named twice: {said}"


@pytest.mark.ottla_only
def test_whatever_stops_a_start_is_one_line_that_names_its_cause_once(many, tmp_path):
    def run(mention, config=(), prepare=lambda data: None, words=()):
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        data, file = folder / "data", folder / "server.properties"
        prepare(data)
        ports = dict(zip(("PLAINTEXT", "CONTROLLER"), free_ports(2)))
        listeners = {name: f"{name}://127.0.0.1:{port}" for name, port in ports.items()}
        settings = {"process.roles": "broker,controller", "node.id": 1, "log.dirs": data,
                    "controller.listener.names": "CONTROLLER", "listeners": ",".join(listeners.values()),
                    "controller.quorum.bootstrap.servers": f"127.0.0.1:{ports['CONTROLLER']}"}
        for key, value in dict(config).items():
            settings[key] = str(value).format(data=data, folder=folder, **listeners)
        write(file, settings)
        check_line(start("server", file, *words), mention.format(data=data, folder=folder, file=file))

    def file(data):
        data.write_text("in the way")

    def formatted(text):
        def prepare(data):
            data.mkdir()
            (data / "meta.properties").write_bytes(text)
        return prepare

    def in_use(data):
        data.symlink_to(many.data)

    def metadata_log(name, content):
        def prepare(data):
            formatted(b"version=1\ncluster.id=c\nnode.id=1\n")(data)
            (data / "__cluster_metadata-0").mkdir()
            (data / "__cluster_metadata-0" / name).write_bytes(content)
        return prepare

    # Listeners.
    run("Address already in use (os error 98)",
        {"listeners": "PLAINTEXT://127.0.0.1:%d,{CONTROLLER}" % many.ports["INSIDE"]})
    run("Cannot assign requested address", {"listeners": "PLAINTEXT://192.0.2.1:9092,{CONTROLLER}"})
    run("no.such.host.invalid", {"listeners": "PLAINTEXT://no.such.host.invalid:9092,{CONTROLLER}"})
    # Directories.
    run("{data}", prepare=file)
    run("{data}/below", {"log.dirs": "{data}/below"}, prepare=file)
    run("/proc/no-such-place", {"log.dirs": "/proc/no-such-place"})
    run("{data}", prepare=in_use)
    run("{data}/meta.properties, line 2", prepare=formatted(b"version=1\ncluster.id=\\u12"))
    run("node.id is missing", prepare=formatted(b"version=1\ncluster.id=c\n"))
    run("Invalid node.id", prepare=formatted(b"version=1\ncluster.id=c\nnode.id=7\n"))
    run("version is 2", prepare=formatted(b"version=2\ncluster.id=c\nnode.id=1\n"))
    run("Invalid cluster.id", {"log.dirs": "{data},%s" % many.data},
        prepare=formatted(b"version=1\ncluster.id=c\nnode.id=1\n"))
    run("__cluster_metadata-0", prepare=metadata_log(f"{7:020}-{1:010}.checkpoint", b"nonsense"))
    run("quorum-state", prepare=metadata_log("quorum-state", b"nonsense"))
    # Files and words.
    check_line(start("server", tmp_path / "absent.properties"), "absent.properties")
    check_line(start("server", tmp_path), str(tmp_path))
    run("num.partitions", {"num.partitions": "many"})
    run("log.cleanup.policy", {"log.cleanup.policy": "shred"})
    run("process.roles", {"process.roles": "broker"})
    run("listeners", {"listeners": "PLAINTEXT:9092"})
    run("broker.rack", {"broker.rack": "${{env:RACK}}"})
    run("{file}:", {"broker.rack": "\\u12"})
    run("num.partitions", words=["--override", "num.partitions=never"])
    run("--override", words=["--override", "num.partitions"])
    run("--loud", words=["--loud"])
    run("second", words=["second"])


@pytest.mark.ottla_only
def test_whatever_stops_a_tool_is_one_line_that_names_its_cause_once(tmp_path):
    port, absent = free_ports(1)[0], tmp_path / "absent.properties"
    broken = tmp_path / "broken.properties"
    broken.write_bytes(b"client.id=\\u12")
    secured = tmp_path / "secured.properties"
    secured.write_bytes(b"security.protocol=SSL")
    to = ["--bootstrap-server", f"127.0.0.1:{port}"]
    rows = [
        ("absent.properties", ["topics", "--list", *to, "--command-config", absent]),
        ("broken.properties", ["topics", "--list", *to, "--command-config", broken]),
        ("host:port", ["topics", "--list", "--bootstrap-server", "nonsense"]),
        ("SSL", ["topics", "--list", *to, "--command-config", secured]),
        ("absent.properties", ["storage", "info", "--config", absent]),
        ("broken.properties", ["storage", "check", "--config", broken]),
        ("absent.properties", ["storage", "format", "--cluster-id", "c", "--config", absent]),
    ]
    for mention, words in rows:
        check_line(start(*words), mention)


@pytest.mark.ottla_only
def test_security_that_is_not_there_yet_stops_the_start(brokers):
    """Fail closed: a listener that should be encrypted or authenticated is never served in the clear."""
    for protocol in ("SSL", "SASL_PLAINTEXT", "SASL_SSL"):
        broker = brokers(f"closed-{protocol}")
        broker.config["listener.security.protocol.map"] = f"PLAINTEXT:{protocol},CONTROLLER:PLAINTEXT"
        check_refusal(broker, protocol)


def test_every_listener_answers_with_its_own_address(many):
    create_topic(many, "seen-from-everywhere")
    for listener in LISTENERS:
        known = admin(many, listener).list_topics(timeout=10)
        assert [f"{b.host}:{b.port}" for b in known.brokers.values()] == [many.address(listener)]
        assert "seen-from-everywhere" in known.topics


def test_unknown_and_retired_settings_are_no_obstacle(brokers):
    broker = brokers("settings", config={"no.such.setting": "1", "zookeeper.connect": "localhost:2181",
                                         "num.partitions": "2"})
    broker.start("num.partitions=4", "compression.type=zstd")
    produce(broker, "automatic", records(b"v"), partitioner="consistent")
    assert len(admin(broker).list_topics(timeout=10).topics["automatic"].partitions) == 4, "the override counts"


def test_the_log_lines_that_testcontainers_waits_for(many):
    """Java, Go and .NET wait for the first, Python and Rust for the second."""
    for line in ("Transitioning from RECOVERY to RUNNING", "Kafka Server started"):
        wait_for(lambda: line in many.log_text(), f"the log has {line!r}", within=10)


def test_sigterm_stops_at_once_and_cleanly(brokers, kind):
    """Also with a consumer that waits for data, a connection that is silent, and records just written."""
    broker = brokers("stopped").start()
    create_topic(broker, "kept")
    produce(broker, "kept", records(b"a", b"b"), acks="all")
    waiting = consumer(broker, fetch_wait_max_ms=20_000, socket_timeout_ms=30_000, log_level=0)
    waiting.assign([TopicPartition("kept", 0, 0)])
    assert values(read(waiting)) == [b"a", b"b"]
    silent = socket.create_connection(("127.0.0.1", broker.ports["PLAINTEXT"]))
    began = time.monotonic()
    process = broker.process
    broker.stop()
    took = time.monotonic() - began
    silent.close()
    waiting.close()
    assert process.returncode == (0 if kind == "ottla" else 143), "the JVM reports the signal"
    assert took < (2 if kind == "ottla" else 60), f"took {took:.1f} s"
    assert (broker.data / ".kafka_cleanshutdown").exists()
    broker.start()
    assert not (broker.data / ".kafka_cleanshutdown").exists(), "the mark is for one start"
    assert values(consume(broker, "kept")) == [b"a", b"b"]


@pytest.mark.ottla_only
def test_it_starts_in_milliseconds(brokers):
    broker = brokers("quick")
    broker.start()
    broker.stop()
    began = time.monotonic()
    broker.spawn()
    wait_for(broker._serves, "serves", within=5)
    assert time.monotonic() - began < 1, "milliseconds, and room for a busy machine"


@pytest.mark.ottla_only
def test_it_takes_no_huge_pages(many):
    """With them an idle broker has 12 MB where it needs 2, and a start clears all of it."""
    process = Path("/proc", str(many.process.pid))
    taken = re.search(r"AnonHugePages: +([0-9]+) kB", (process / "smaps_rollup").read_text())
    refused = re.search(r"THP_enabled:\s+([01])", (process / "status").read_text())
    assert refused.group(1) == "0", "none are taken where the kernel gives them unasked"
    # There the process has a few from before it could refuse.
    unasked = "[always]" in Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text()
    assert unasked or taken.group(1) == "0", "the allocator asks for none"


@pytest.mark.ottla_only
def test_two_brokers_on_one_empty_directory_at_once(brokers):
    """Exactly one wins; the other says why."""
    first, second = brokers("race-a"), brokers("race-b")
    second.data = first.data
    second.config["log.dirs"] = first.data
    for one in (first, second):
        one.spawn()
    loser = wait_for(lambda: next((b for b in (first, second) if b.process.poll() is not None), None), "one loses")
    winner = first if loser is second else second
    assert loser.exit_code(1) != 0 and str(first.data) in loser.log_text()
    wait_for(winner._serves, "the other serves")
