"""The broker as a program: what it says and how it ends when it cannot start, is told to stop, or is asked where it is."""

import socket
import time

import pytest
from confluent_kafka import TopicPartition

from harness.clients import admin, consume, consumer, create_topic, produce, read, records, values
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
