"""Where a reader may start and what it then gets: offsets, times, ends, waits."""

import os
import time

import pytest
from confluent_kafka import OFFSET_END, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec

from harness.clients import (HOUR_AGO_MS, Record, admin, consume, consumer, create_topic, kcat, kcat_consume, produce, read,
                             records, values)
from harness.java_console import java_consume, java_produce

HUNDRED = [b"%d" % number for number in range(100)]


@pytest.fixture
def one_batch(broker, topic):
    """A topic whose hundred records are one gzip batch."""
    produce(broker, topic, records(*HUNDRED), linger_ms=300, compression_type="gzip")
    return topic


def lines(values):
    return b"".join(value + b"\n" for value in values)


def watermarks(broker, topic):
    client = consumer(broker)
    try:
        return client.get_watermark_offsets(TopicPartition(topic, 0), timeout=10)
    finally:
        client.close()


# --- by offset ---------------------------------------------------------------------------------------------------

def test_row_08_the_first_offset_of_a_new_partition_is_0(tools, broker, name):
    create_topic(broker, name, partitions=3)
    assert watermarks(broker, name) == (0, 0)
    assert consume(broker, name) == []
    for at in ("earliest", "latest"):
        assert tools("kafka-get-offsets", "--topic", name, "--time", at, broker=broker).lines == \
            [f"{name}:{partition}:0" for partition in range(3)]
    rows = [Record(b"plain", partition=0), Record(b"idempotent", partition=1)]
    for row, idempotent in zip(rows, (False, True)):
        assert produce(broker, name, [row], enable_idempotence=idempotent)[0].offset() == 0
    kcat(broker, "-P", "-t", name, "-p", 2, stdin=b"kcat")
    assert [consume(broker, name, partition=partition)[0].offset() for partition in range(3)] == [0, 0, 0]


@pytest.mark.parametrize("start", [0, 1, 57, 99])
def test_row_09_a_read_from_inside_a_batch_starts_at_the_very_record(tools, broker, one_batch, start):
    got = consume(broker, one_batch, offset=start)
    assert [message.offset() for message in got] == list(range(start, 100))
    assert values(got) == HUNDRED[start:]
    assert kcat_consume(broker, one_batch, offset=start) == lines(HUNDRED[start:])
    assert java_consume(tools, broker, one_batch, 100 - start, offset=start) == lines(HUNDRED[start:])


def test_a_consumer_seeks_back_and_forth(broker, one_batch):
    client = consumer(broker)
    client.assign([TopicPartition(one_batch, 0, 0)])
    for start in (90, 10, 50, 0, 99):
        read(client, 1)
        client.seek(TopicPartition(one_batch, 0, start))
        assert values(read(client, 1)) == [b"%d" % start]
    client.close()


@pytest.mark.parametrize("start, first", [("beginning", 0), ("-7", 93), ("-1000", 0), ("end", 100)])
def test_kcat_starts_from_either_end(broker, one_batch, start, first):
    assert kcat_consume(broker, one_batch, offset=start) == lines(HUNDRED[first:])


def test_row_10_a_read_past_the_end_is_out_of_range(broker, one_batch):
    with pytest.raises(KafkaException) as failure:
        consume(broker, one_batch, offset=101)
    assert failure.value.args[0].code() == KafkaError._AUTO_OFFSET_RESET
    assert "out of range" in failure.value.args[0].str()
    assert values(consume(broker, one_batch, offset=101, auto_offset_reset="earliest")) == HUNDRED


@pytest.mark.parametrize("start", [100, OFFSET_END], ids=["by-number", "by-name"])
def test_row_10_a_read_at_the_end_is_empty_and_goes_on(broker, one_batch, start):
    client = consumer(broker)
    client.assign([TopicPartition(one_batch, 0, start)])
    assert read(client) == []
    produce(broker, one_batch, records(b"next"))
    assert values(read(client, 1)) == [b"next"]
    client.close()


# --- waiting -----------------------------------------------------------------------------------------------------

def test_row_12_a_wait_ends_without_an_error_and_the_next_record_comes(broker, topic):
    errors = []
    client = consumer(broker, error_cb=errors.append, fetch_wait_max_ms=100, fetch_min_bytes=1_000_000)
    client.assign([TopicPartition(topic, 0, 0)])
    assert read(client) == []
    assert client.poll(1.5) is None, "ten empty waits say nothing"
    produce(broker, topic, records(b"late"))
    assert values(read(client, 1)) == [b"late"], "fewer bytes than asked for, when the wait is over"
    client.close()
    assert not errors


def test_a_waiting_fetch_is_woken_by_the_record(broker, topic):
    client = consumer(broker, fetch_wait_max_ms=50_000, fetch_min_bytes=1, socket_timeout_ms=60_000)
    client.assign([TopicPartition(topic, 0, 0)])
    assert client.poll(1.0) is None or read(client) == []
    began = time.monotonic()
    produce(broker, topic, records(b"wake"))
    assert values(read(client, 1)) == [b"wake"]
    assert time.monotonic() - began < 10, "a fetch waits for data, not for its time"
    client.close()


def test_java_times_out_on_an_idle_topic_and_gets_what_there_is(tools, broker, topic):
    java_produce(tools, broker, topic, [b"only"])
    assert java_consume(tools, broker, topic, None, timeout_ms=3000) == b"only\n"


# --- by time -----------------------------------------------------------------------------------------------------

@pytest.fixture(params=["none", "zstd"])
def timed(request, broker, topic):
    """Two batches; timestamps 1000..10000 in the first, then 20000, 15000, 30000, 30000."""
    stamps = [range(1000, 11_000, 1000), [20_000, 15_000, 30_000, 30_000]]
    for batch in stamps:
        produce(broker, topic, [Record(b"v%d" % stamp, timestamp=stamp) for stamp in batch], linger_ms=300,
                compression_type=request.param)
    return topic


# time asked for -> offset of the first record at or after it
BY_TIME = [(0, 0), (1000, 0), (1001, 1), (5500, 5), (10_000, 9), (10_001, 10), (12_000, 10), (20_001, 12),
           (30_000, 12)]


def test_row_14_a_time_finds_a_record_and_not_its_batch(tools, broker, timed):
    client = consumer(broker)
    for asked, offset in BY_TIME:
        found = client.offsets_for_times([TopicPartition(timed, 0, asked)], timeout=10)
        assert (asked, found[0].offset) == (asked, offset)
    assert client.offsets_for_times([TopicPartition(timed, 0, 30_001)], timeout=10)[0].offset == OFFSET_END
    client.close()
    for asked, offset in [(5500, 5), (12_000, 10)]:
        shown = tools("kafka-get-offsets", "--topic", timed, "--time", asked, broker=broker)
        assert shown.lines == [f"{timed}:0:{offset}"]


def offset_and_time(broker, topic, spec):
    client = admin(broker)
    place = TopicPartition(topic, 0)
    found = client.list_offsets({place: spec})[place].result(10)
    return found.offset, found.timestamp


def test_row_14_no_record_at_or_after_a_time_is_no_offset(tools, broker, timed):
    assert offset_and_time(broker, timed, OffsetSpec.for_timestamp(30_001)) == (-1, -1)
    assert tools("kafka-get-offsets", "--topic", timed, "--time", 30_001, broker=broker).lines == []


def test_row_14_the_record_of_the_largest_timestamp(tools, broker, timed):
    assert offset_and_time(broker, timed, OffsetSpec.max_timestamp()) == (12, 30_000)
    for at in ("max-timestamp", "-3"):
        shown = tools("kafka-get-offsets", "--topic", timed, "--time", at, broker=broker)
        assert shown.lines == [f"{timed}:0:12"]


def test_kcat_starts_at_a_time(broker, timed):
    assert kcat_consume(broker, timed, offset="s@9500") == lines([b"v10000", b"v20000", b"v15000", b"v30000", b"v30000"])


# --- from disk ---------------------------------------------------------------------------------------------------

def put_out_of_memory(broker, topic):
    """What was written is on disk only: the next reader has to have it fetched."""
    for path in broker.data.glob(f"{topic}-*/*"):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@pytest.mark.parametrize("size, count, isolation", [(100, 20_000, "read_uncommitted"), (30_000, 1_500, "read_committed"),
                                                    (700_000, 60, "read_committed")])
def test_what_is_on_disk_only_is_read_whole_and_in_order(broker, name, size, count, isolation):
    create_topic(broker, name, partitions=2, segment_bytes=8 << 20)
    rows = [b"%d:" % number + os.urandom(size) for number in range(count)]
    for partition in (0, 1):
        produce(broker, name, [Record(row, partition=partition) for row in rows])
    for partition in (0, 1, 0):
        put_out_of_memory(broker, name)
        got = consume(broker, name, count, partition=partition, isolation_level=isolation)
        assert values(got) == rows
        assert [message.offset() for message in got] == list(range(count))


def test_an_offset_is_found_by_time_on_disk(broker, name):
    create_topic(broker, name, segment_bytes=1 << 20)
    rows = [Record(os.urandom(1_000), timestamp=HOUR_AGO_MS + number) for number in range(5_000)]
    produce(broker, name, rows)
    for number in (0, 3_321, 4_999):
        put_out_of_memory(broker, name)
        asked = OffsetSpec.for_timestamp(HOUR_AGO_MS + number)
        assert offset_and_time(broker, name, asked) == (number, HOUR_AGO_MS + number)
    put_out_of_memory(broker, name)
    assert offset_and_time(broker, name, OffsetSpec.for_timestamp(HOUR_AGO_MS + 5_000)) == (-1, -1)
    put_out_of_memory(broker, name)
    assert offset_and_time(broker, name, OffsetSpec.max_timestamp()) == (4_999, HOUR_AGO_MS + 4_999)
