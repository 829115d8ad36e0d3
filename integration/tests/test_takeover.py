"""`ottla storage check` on directories that Apache Kafka wrote: it says what a start would do and changes nothing, and what it
lists as a reason not to start is what the start itself says."""

import hashlib
import os
import shutil
import subprocess

import pytest

from harness.broker import Broker
from harness.clients import consume, create_topic, produce, records
from harness.wait import wait_for

pytestmark = [pytest.mark.ottla_only, pytest.mark.timeout(300)]


@pytest.fixture
def kafkas(tools, name):
    """A directory of Apache Kafka with a topic in it, stopped cleanly."""
    broker = Broker("kafka", name, tools, config={"offsets.topic.num.partitions": 3})
    broker.start()
    create_topic(broker, "orders", 2, retention_ms="86400000")
    produce(broker, "orders", records(b"one", b"two"))
    broker.stop()
    broker.kind = "ottla"
    yield broker
    broker.close()


def tree(broker):
    """Every name and byte under the data directory."""
    digest = hashlib.sha256()
    for path in sorted(broker.data.rglob("*")):
        digest.update(str(path.relative_to(broker.data)).encode() + b"\0")
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def check(broker):
    """The exit code and what it says; the directory is the same afterwards."""
    broker.write_properties()
    before = tree(broker)
    command = [os.environ["OTTLA_BIN"], "storage", "check", "--config", str(broker.properties_file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert tree(broker) == before, "the check changed something"
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


def stops(broker):
    """What stops a start, by the check; the start says the same, and changes nothing either."""
    code, text = check(broker)
    assert code == 1, text
    _, _, listed = text.partition(" a start:\n")
    lines = [line.strip() for line in listed.splitlines() if line.startswith("  ")]
    before = tree(broker)
    broker.log_file.write_bytes(b"")
    assert broker.spawn().exit_code(30) != 0
    assert tree(broker) == before, "a start that was refused changed something"
    for line in lines:
        assert line in broker.log_text(), f"the start does not say: {line}"
    return lines


def test_a_clean_directory_is_described_and_then_taken_over(kafkas):
    code, text = check(kafkas)
    assert code == 0, text
    for part in ["cluster.id=J4f8Yy1nQ2uO0l3nKvQb8A", "node.id=1, version=1", "metadata.version: ", "group.version=1",
                 "voters: 1-", "2 partitions, 2 segments", "the last shutdown was clean", "Nothing stops a start."]:
        assert part in text, f"{part}:\n{text}"
    kafkas.start()
    wait_for(lambda: len(consume(kafkas, "orders", partition=0)) + len(consume(kafkas, "orders", partition=1)) == 2, "both records")


def test_what_a_start_would_do_with_each_thing(kafkas):
    kafkas.kind = "kafka"
    kafkas.start()
    kafkas.kill9()
    kafkas.kind = "ottla"
    data = kafkas.data
    for name in ["orders-0.0123456789abcdef0123456789abcdef-delete", "orders-1.0123456789abcdef0123456789abcdef-future",
                 "gone-0.0123456789abcdef0123456789abcdef-stray", "lost+found", "unheard-of-3"]:
        (data / name).mkdir()
    (data / "log-start-offset-checkpoint").write_text("nonsense")
    shutil.rmtree(data / "orders-1")
    code, text = check(kafkas)
    assert code == 0, text
    for part in ["the last shutdown was not clean", f"{data}/orders-0: would be recovered from offset ",
                 "-delete: would be removed: a deletion that was under way", "-future: a copy on its way", "-stray: kept: stray",
                 "lost+found: kept: it is no partition's", "unheard-of-3: would be set aside as stray",
                 "log-start-offset-checkpoint, line 1:", "they would be made anew, empty:\n  orders-1\n"]:
        assert part in text, f"{part}:\n{text}"


def test_metadata_that_is_missing_or_another_nodes_stops_the_start(kafkas):
    folder = kafkas.data / "__cluster_metadata-0"
    aside = kafkas.dir / "aside"
    folder.rename(aside)
    [line] = stops(kafkas)
    assert "there is no metadata log in" in line and "2 partitions" in line, line
    properties = kafkas.data / "meta.properties"
    written = properties.read_text()
    properties.write_text("version=0\nbroker.id=1\ncluster.id=J4f8Yy1nQ2uO0l3nKvQb8A\n")
    [line] = stops(kafkas)
    assert "ZooKeeper" in line and f"{kafkas.data}/meta.properties" in line, line
    aside.rename(folder)
    properties.write_text(written.replace("node.id=1", "node.id=7"))
    [line] = stops(kafkas)
    assert "Invalid node.id" in line, line
    properties.write_text(written)
    newest = max(folder.glob("*.checkpoint"))
    whole = newest.read_bytes()
    newest.write_bytes(whole[:-10])
    [line] = stops(kafkas)
    assert str(newest) in line, line
    newest.write_bytes(whole)
    assert check(kafkas)[0] == 0
