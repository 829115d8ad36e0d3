"""Two real files travel line by line from each client to another, in every compression, and arrive byte for byte."""

import importlib.util
from pathlib import Path

import pytest

from harness.clients import consume, kcat, kcat_consume, produce, records, values
from harness.java_console import java_consume, java_produce

DATA = Path(importlib.util.find_spec("vega_datasets").submodule_search_locations[0]) / "_data"
FILES = ["airports.csv", "seattle-weather.csv"]
COMPRESSIONS = ["none", "gzip", "snappy", "lz4", "zstd"]


def lines_of(file):
    return (DATA / file).read_bytes().splitlines()


def joined(lines):
    return b"".join(line + b"\n" for line in lines)


def confluent_sends(tools, broker, topic, lines, compression):
    produce(broker, topic, records(*lines), compression_type=compression, acks="all")


def kcat_sends(tools, broker, topic, lines, compression):
    kcat(broker, "-P", "-t", topic, "-p", 0, "-z", compression, "-X", "linger.ms=5", stdin=joined(lines))


def java_sends(tools, broker, topic, lines, compression):
    java_produce(tools, broker, topic, lines, compression_type=compression, linger_ms=5)


def confluent_receives(tools, broker, topic, count):
    return joined(values(consume(broker, topic)))


def kcat_receives(tools, broker, topic, count):
    return kcat_consume(broker, topic)


def java_receives(tools, broker, topic, count):
    return java_consume(tools, broker, topic, count)


ROUTES = {
    "confluent-kcat": (confluent_sends, kcat_receives),
    "java-confluent": (java_sends, confluent_receives),
    "kcat-java": (kcat_sends, java_receives),
}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("file", FILES)
def test_a_file_arrives_as_it_was_sent(tools, broker, topic, file, compression, route):
    lines = lines_of(file)
    send, receive = ROUTES[route]
    send(tools, broker, topic, lines, compression)
    assert receive(tools, broker, topic, len(lines)) == (DATA / file).read_bytes()


def test_one_topic_holds_all_compressions_and_every_client_reads_them(tools, broker, topic):
    """Batches of five compressions from three clients in one log, read whole by each client."""
    senders = [confluent_sends, kcat_sends, java_sends]
    lines = lines_of("seattle-weather.csv")
    expected = []
    for number, compression in enumerate(COMPRESSIONS):
        part = lines[number * 200:(number + 1) * 200]
        senders[number % 3](tools, broker, topic, part, compression)
        expected += part
    for receive in (confluent_receives, kcat_receives, java_receives):
        assert receive(tools, broker, topic, len(expected)) == joined(expected), receive.__name__


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_row_04_librdkafka_compresses_and_the_broker_stores_it_so(tools, broker, topic, compression):
    """Produce advertised from version 0, or librdkafka would silently send everything uncompressed."""
    lines = lines_of("airports.csv")
    # On a busy machine a record goes alone now and then, and alone it does not become smaller. What is flushed does not linger.
    produce(broker, topic, records(*lines), compression_type=compression, linger_ms=5000)
    dump = tools("kafka-dump-log", "--files", broker.data / f"{topic}-0" / f"{0:020}.log").lines
    batches = [line for line in dump if line.startswith("baseOffset")]
    full = [batch for batch in batches if " count: 1 " not in batch]
    assert full and all(f"compresscodec: {compression} " in batch for batch in full), batches
    size = sum(int(batch.split(" size: ")[1].split()[0]) for batch in batches)
    raw = sum(map(len, lines))
    assert (size > raw) == (compression == "none"), (size, raw)
